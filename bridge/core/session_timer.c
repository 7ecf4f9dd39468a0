/* The connection's one timer: it is set to the nearest of its deadlines, and when it fires everything due is done. */
#include "core/notice.h"
#include "core/session.h"

/* At a socket that takes nothing: when its peer has gone meanwhile, libwebsockets spins. */
#define LOOK_EVERY (S_NS / 2)

static int64_t sooner (int64_t a, int64_t b)
{
    return b && (!a || b < a) ? b : a;
}

void session_set_expiry (struct conn *conn, int64_t exp)
{
    bool past = exp && (double) exp <= clock_wall ();
    conn->expires = past ? exp + conn->hub->config->jwt_leeway_s : exp;
    if (conn->state != CONN_connecting)
        session_rearm (conn);
}

/* When `exp` comes, on the monotonic clock. */
static int64_t expiry (const struct conn *conn)
{
    if (!conn->expires)
        return 0;
    double left = (double) conn->expires - clock_wall ();
    return clock_now () + (int64_t) ((left < 0 ? 0 : left > 1e8 ? 1e8 : left) * (double) S_NS);
}

/* Since when an answer to the last ping is waited for. */
static int64_t pinged_at (const struct conn *conn)
{
    return conn->pong_until - conn->hub->config->pong_timeout_s * S_NS;
}

/* Nothing tells when the answer comes, so it is looked for when the next ping is due as well. */
static int64_t liveness_due (const struct conn *conn)
{
    bool overdue = conn->pong_until && conn->last_rx < pinged_at (conn) && clock_now () >= conn->ping_at;
    return overdue ? conn->pong_until : sooner (conn->pong_until, conn->ping_at);
}

static int64_t blocked_due (const struct conn *conn)
{
    int64_t end = conn->blocked_since + conn->hub->config->send_timeout_s * S_NS;
    return conn->blocked_since ? sooner (end, clock_now () + LOOK_EVERY) : 0;
}

void session_rearm (struct conn *conn)
{
    if (conn_is_ending (conn))
        return;
    int64_t due = sooner (expiry (conn), conn->wait_until);
    due = sooner (due, liveness_due (conn));
    due = sooner (due, conn->drain_at);
    due = sooner (due, blocked_due (conn));
    if (due)
        wheel_set (&conn->hub->wheel, &conn->timer, due);
}

static void send_ping (struct conn *conn, int64_t now)
{
    struct msg *ping = msg_new (WS_PING, slice_str ("?")); /* libwebsockets does not tell of empty pongs */
    conn->ping_at = now + conn->hub->config->ping_interval_s * S_NS;
    if (!ping)
        return; /* the next one will do */
    conn->pong_until = now + conn->hub->config->pong_timeout_s * S_NS;
    conn_send (conn, ping);
    msg_unref (&ping);
}

static void check_liveness (struct conn *conn, int64_t now)
{
    if (conn->pong_until && conn->last_rx >= pinged_at (conn))
        conn->pong_until = 0;
    if (conn->pong_until && now >= conn->pong_until)
        conn_close (conn, CLOSE_PONG_TIMEOUT);
    else if (!conn->pong_until && conn->ping_at && now >= conn->ping_at)
        send_ping (conn, now);
}

static void expire (struct conn *conn)
{
    if (!conn->established) { /* it has waited for the runtime too long */
        session_refuse (conn, ERROR_TOKEN_EXPIRED);
        return;
    }
    notice_token_expired (conn);
    conn_close (conn, CLOSE_TOKEN_EXPIRED);
}

bool session_waits_for_runs (const struct conn *conn)
{
    return conn->user->runs.n && clock_now () < conn->hub->runs_until;
}

/* A run may have begun since the time was set; the drain will set another one. */
static void leave (struct conn *conn)
{
    if (session_waits_for_runs (conn))
        conn->drain_at = 0;
    else
        conn_close (conn, CLOSE_DRAINING);
}

void session_on_timer (struct timer *timer)
{
    struct conn *conn = CONTAINER_OF (timer, struct conn, timer);
    int64_t now = clock_now ();
    if (conn_is_ending (conn)) {
        conn->kill = true; /* the close handshake took too long */
        conn_mark_dirty (conn);
        return;
    }
    if (conn->wait_until && now >= conn->wait_until)
        session_refuse (conn, ERROR_SERVICE_NOT_READY);
    else if (conn->expires && clock_wall () >= (double) conn->expires)
        expire (conn);
    else if (conn->drain_at && now >= conn->drain_at)
        leave (conn);
    else if (conn->blocked_since && now >= conn->blocked_since + conn->hub->config->send_timeout_s * S_NS)
        conn_close (conn, CLOSE_SEND_TIMEOUT);
    else
        check_liveness (conn, now);
    if (conn->blocked_since)
        conn_mark_dirty (conn); /* the edge looks whether its peer is still there */
    session_rearm (conn);
}
