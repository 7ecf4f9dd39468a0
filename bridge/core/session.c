/* The life of a connection:
 *
 *   ws_adopt -> session_accepted -+-> session_refuse -> conn_close          token, origin or limits say no
 *                                 +-> settle -> welcome                     runtime is there
 *                                 +-> (timer, runtime-wait-ms) -> refuse    runtime does not come
 *   link.c -> session_links_changed -> settle                               runtime came or went
 *   wheel -> session_on_timer (session_timer.c)                             ping, expiry, time-outs
 *   conn_close -> session_ended                                             DISCONNECT
 */
#include "core/session.h"
#include "base/metrics.h"
#include "core/encode.h"
#include "core/lanes.h"
#include "core/notice.h"
#include "core/upstream.h"

void session_count_refusal (const struct conn *conn, enum error_code code, const char *check)
{
    struct log_ctx ctx = conn_log (conn);
    char remote[IP_TEXT_LEN];
    ip_format (&conn->ip, remote);
    metric_inc (M_HANDSHAKES, 1 + code);
    LOG (HANDSHAKE_REFUSED, &ctx, KV_S ("error_code", error_info (code)->code), KV_S ("check", check ? check : ""),
         KV_S ("remote", remote));
}

void session_refuse (struct conn *conn, enum error_code code)
{
    session_count_refusal (conn, code, NULL);
    notice_refusal (conn, code);
    conn_close (conn, error_info (code)->ours ? CLOSE_TRY_LATER : CLOSE_AUTH_FAILED);
}

/* --- telling the runtime ------------------------------------------------------------------------------------- */

/* `headers` have no bytes when memory was out for them. */
static bool send_to_lane (struct conn *conn, int lane, enum command_name name, struct slice headers)
{
    struct hub *hub = conn->hub;
    struct command command = {
        .name = name, .connection_id = slice_str (conn->id), .user_id = user_id (conn->user), .headers = headers};
    if (headers.n == 0) {
        command_not_sent (&command, COMMAND_DROP_no_memory);
        return false;
    }
    return hub->runtime.send (hub->runtime.self, lane, &command);
}

static bool announce (struct conn *conn, int lane, bool resumed)
{
    struct buf *out = &conn->hub->scratch;
    msgpack_packer packer;
    buf_reset (out);
    mp_writer_init (&packer, out);
    mp_put_map (&packer, conn->connect_pairs + 1);
    buf_put (out, conn->connect_headers, conn->connect_headers_n);
    mp_put_cstr (&packer, "resumed");
    mp_put_bool (&packer, resumed);
    if (!send_to_lane (conn, lane, COMMAND_CONNECT, out->failed ? slice_str (NULL) : buf_slice (out)))
        return false;
    conn->lane = lane;
    return true;
}

void session_ended (struct conn *conn)
{
    if (conn->lane == LANE_NONE)
        return;
    struct close_frame frame = conn_close_frame (conn);
    struct buf *out = &conn->hub->scratch;
    msgpack_packer packer;
    buf_reset (out);
    mp_writer_init (&packer, out);
    mp_put_map (&packer, 3);
    mp_put_cstr (&packer, "code");
    mp_put_uint (&packer, frame.code ? frame.code : 1006);
    mp_put_cstr (&packer, "reason");
    mp_put_str (&packer, slice_of (frame.text, frame.n));
    mp_put_cstr (&packer, "remaining");
    mp_put_uint (&packer, conn->user->n_conns - 1);
    struct slice headers = out->failed ? slice_str (NULL) : buf_slice (out);
    (void) send_to_lane (conn, conn->lane, COMMAND_DISCONNECT, headers); /* counted when it fails */
}

/* --- welcome ------------------------------------------------------------------------------------------------- */

void session_set_resume (struct conn *conn, struct slice epoch, struct slice offset)
{
    struct user *user = conn->user;
    struct history_limits limits = hub_history_limits (conn->hub);
    uint64_t wanted = 0;
    registry_expire_user (&conn->hub->registry, user, &limits, clock_now ());
    char current[EPOCH_LEN + 1];
    registry_epoch (&conn->hub->registry, user, current);
    conn->cursor = user->offset;
    conn->losses = conn->hub->registry.losses;
    if (epoch.n == 0)
        return;
    for (size_t i = 0; i < offset.n; i++) {
        if (offset.p[i] < '0' || offset.p[i] > '9' || wanted > UINT64_MAX / 10 - 1) {
            conn->recovery = RECOVERY_UNKNOWN_EPOCH;
            return;
        }
        wanted = wanted * 10 + (uint64_t) (offset.p[i] - '0');
    }
    if (!slice_is (epoch, current) || offset.n == 0 || wanted > user->offset)
        conn->recovery = RECOVERY_UNKNOWN_EPOCH;
    else if (!history_covers (&user->history, wanted))
        conn->recovery = RECOVERY_EXPIRED;
    else {
        conn->recovery = RECOVERY_OK;
        conn->cursor = wanted;
    }
}

/* Put one event of the history on the queue. */
static void replay (struct conn *conn, const struct history_entry *entry)
{
    struct event event = {
        .bytes = slice_of (entry->bytes, entry->n), .type = entry->type, .synthetic = entry->synthetic};
    struct msg *msg = encode_event (&conn->hub->scratch, conn->form, &event, entry->offset);
    if (!msg) {
        conn_close (conn, CLOSE_INTERNAL);
        return;
    }
    conn->cursor = entry->offset;
    conn->hub->replay_left -= msg->n < conn->hub->replay_left ? msg->n : conn->hub->replay_left;
    if (conn_send_replay (conn, msg)) {
        metric_inc (M_EVENTS_DELIVERED, entry->type);
        metric_inc (M_REPLAYED_EVENTS, 0);
    }
    msg_unref (&msg);
}

/* It comes where the loss was, behind what was there before. Of several the first and the last are told: nothing that
 * follows a loss comes untold, and what begins between the two may have its end in the last. */
static void note_loss_in_turn (struct conn *conn)
{
    uint64_t here = conn->user->offset;
    if (!conn->resync_first)
        conn->resync_first = here;
    else if (here > conn->resync_first)
        conn->resync_last = here;
}

/* `next` is what comes next from history. */
static void tell_loss_in_turn (struct conn *conn, const struct history_entry *next)
{
    if (!conn->resync_first || (next && next->offset <= conn->resync_first))
        return;
    conn->resync_first = conn->resync_last;
    conn->resync_last = 0;
    notice_resync (conn);
}

void session_catch_up (struct conn *conn)
{
    const struct config *config = conn->hub->config;
    while (conn->behind && !conn_is_ending (conn) && conn->outq.n < (size_t) config->queue_messages / 2 + 1 &&
           conn->outq.bytes < (size_t) config->queue_bytes / 2 + 1) {
        if (conn->hub->replay_left == 0) {
            conn_mark_dirty (conn);
            return;
        }
        const struct history_entry *entry = history_after (&conn->user->history, conn->cursor);
        if (!history_covers (&conn->user->history, conn->cursor)) {
            conn_close (conn, CLOSE_SLOW_CONSUMER); /* history ran away from it: it has to re-fetch */
            return;
        }
        tell_loss_in_turn (conn, entry);
        if (!entry) {
            conn->behind = false;
            return;
        }
        replay (conn, entry);
    }
}

/* processing_ready before the first run, processing during runs, idle between them. */
static void follow_runs (struct conn *conn)
{
    bool running = conn->user->runs.n > 0;
    if (running && (conn->state == CONN_processing_ready || conn->state == CONN_idle))
        conn_move (conn, CONN_processing);
    else if (!running && conn->state == CONN_processing)
        conn_move (conn, CONN_idle);
}

void session_runs_changed (struct user *user)
{
    LIST_FOREACH (&user->conns, link)
        follow_runs (LIST_ENTRY (link, struct conn, user_link));
}

/* What was there at the handshake may be gone now, when it has waited for the runtime. */
static void confirm_recovery (struct conn *conn)
{
    bool same_epoch = conn->losses == conn->hub->registry.losses;
    if (same_epoch && history_covers (&conn->user->history, conn->cursor))
        return;
    if (conn->recovery == RECOVERY_OK)
        conn->recovery = same_epoch ? RECOVERY_EXPIRED : RECOVERY_UNKNOWN_EPOCH;
    conn->cursor = conn->user->offset;
}

static void count_resume (const struct conn *conn)
{
    static const enum resume results[] = {[RECOVERY_OK] = RESUME_recovered,
                                          [RECOVERY_UNKNOWN_EPOCH] = RESUME_unknown_epoch,
                                          [RECOVERY_EXPIRED] = RESUME_expired};
    if (conn->recovery != RECOVERY_NOT_ASKED)
        metric_inc (M_RESUMES, results[conn->recovery]);
}

static void welcome (struct conn *conn)
{
    struct log_ctx ctx = conn_log (conn);
    struct user *user = conn->user;
    if (!conn_move (conn, CONN_services_ready))
        return;
    confirm_recovery (conn);
    if (!announce (conn, user->lane, conn->recovery == RECOVERY_OK)) {
        session_refuse (conn, ERROR_SERVICE_NOT_READY);
        return;
    }
    conn_move (conn, CONN_processing_ready);
    count_resume (conn);
    notice_established (conn);
    if (conn_is_ending (conn))
        return; /* no memory for it */
    conn->established = true;
    conn->hub->publishers.let_in = true;
    if (conn->recovery != RECOVERY_OK && user->runs.n)
        notice_runs (conn);
    char remote[IP_TEXT_LEN];
    ip_format (&conn->ip, remote);
    metric_inc (M_HANDSHAKES, 0);
    metric_observe (M_CONNECTION_SETUP, (double) (clock_read () - conn->opened_at) / (double) S_NS);
    LOG (CONN_OPEN, &ctx,
         KV_S ("subprotocol", conn->subprotocol < SUBPROTOCOL_NONE ? subprotocol_token (conn->subprotocol) : ""),
         KV_B ("recovered", conn->recovery == RECOVERY_OK), KV_S ("remote", remote));
    conn->wait_until = 0;
    conn->ping_at = clock_now () + conn->hub->config->ping_interval_s * S_NS;
    conn->behind = conn->cursor < user->offset;
    session_catch_up (conn);
    follow_runs (conn);
    upstream_release_early (conn);
    session_rearm (conn);
}

/* Bring a connection in line with the state of the links. */
static void settle (struct conn *conn)
{
    if (conn->state != CONN_authenticated && !conn_is_live (conn))
        return;
    bool ready = hub_link_ready (conn->hub);
    int lane = ready ? lanes_for_user (&conn->hub->runtime, conn->user) : LANE_NONE;
    if (conn->state == CONN_authenticated) {
        if (ready && publishers_settled (&conn->hub->publishers))
            welcome (conn);
        return;
    }
    if (ready && conn->lane != lane)
        ready = announce (conn, lane, true);
    if (!ready && conn->state != CONN_degraded)
        conn_move (conn, CONN_degraded);
    else if (ready && conn->state == CONN_degraded && conn_move (conn, CONN_processing_ready))
        follow_runs (conn);
}

void session_links_changed (struct hub *hub, int lost_lane)
{
    size_t cursor = 0;
    for (struct conn *conn; (conn = map_next (&hub->registry.conns, &cursor));) {
        if (lost_lane != LANE_NONE && conn->lane == lost_lane)
            conn->lane = LANE_NONE;
        settle (conn);
    }
}

void session_resync_all (struct hub *hub)
{
    size_t cursor = 0;
    for (struct conn *conn; (conn = map_next (&hub->registry.conns, &cursor));) {
        if (!conn_is_live (conn))
            continue; /* its welcome will tell */
        if (conn->form == FORM_RAW)
            conn_close (conn, CLOSE_EVENTS_LOST);
        else if (conn->behind)
            note_loss_in_turn (conn);
        else
            notice_resync (conn);
    }
}

void session_accepted (struct conn *conn)
{
    if (!conn_move (conn, CONN_accepted))
        return;
    if (conn->refusal == ERROR_NONE && conn->hub->draining) { /* since it was admitted */
        conn->refusal = ERROR_DRAINING;
        session_count_refusal (conn, ERROR_DRAINING, NULL);
    }
    if (conn->refusal != ERROR_NONE) {
        notice_refusal (conn, conn->refusal);
        conn_close (conn, error_info (conn->refusal)->ours ? CLOSE_TRY_LATER : CLOSE_AUTH_FAILED);
        return;
    }
    conn_move (conn, CONN_authenticated);
    conn->wait_until = clock_now () + conn->hub->config->runtime_wait_ms * MS_NS;
    session_rearm (conn);
    settle (conn);
}
