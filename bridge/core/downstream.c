/* Down: an event of the runtime on its way to the clients.
 *
 *   edge/link.c        on_events
 *   core/downstream.c    downstream_event    whose is it, is it sound, may it go there?
 *                          registry_record     offset, history
 *                          deliver             one encoding per form, shared by the user's connections
 *                            conn_send
 *   edge/ws.c                ws_flush          everything for one socket in one write
 *
 * Commands of the runtime (SEND, CLOSE, KICK) are in core/commands_in.c.
 */
#include "core/downstream.h"
#include "base/metrics.h"
#include "core/auth.h"
#include "core/ident.h"
#include "core/encode.h"
#include "core/session.h"

static const char *const drop_labels[DROP_REASON_COUNT] = {
#define DROP_REASON(symbol, label) [DROP_##symbol] = label,
#include "tbl/drop_reasons.h"
#undef DROP_REASON
};

static void drop (enum drop_reason reason, struct slice user, size_t bytes)
{
    struct log_ctx ctx = {.user = reason == DROP_BAD_USER ? slice_str (NULL) : user};
    metric_inc (M_EVENTS_DROPPED, reason);
    if (reason == DROP_ISOLATION) {
        metric_inc (M_ISOLATION_VIOLATIONS, 0);
        LOG (ISOLATION_VIOLATION, &ctx, KV_S ("by", "event"));
    } else
        LOG (EVENT_DROPPED, &ctx, KV_S ("reason", drop_labels[reason]), KV_U ("bytes", bytes));
}

/* A map; with both of publisher and seq, or with neither. */
static bool is_meta (struct slice bytes)
{
    struct mp_token publisher, seq;
    if (mp_check (bytes) != MP_OK || !mp_is_map (bytes))
        return false;
    bool named = mp_map_get (bytes, "publisher", &publisher), numbered = mp_map_get (bytes, "seq", &seq);
    if (!named || !numbered)
        return named == numbered;
    return publisher.kind == MP_STR && publisher.bytes.n && seq.kind == MP_UINT;
}

static enum drop_reason check (const struct hub *hub, const struct slice *frames, size_t n, struct event *event)
{
    if (n != 2 && n != 3)
        return DROP_BAD_FRAMES;
    if (!ident_is_user (frames[0]))
        return DROP_BAD_USER;
    if (frames[1].n > (size_t) hub->config->max_event_bytes)
        return DROP_TOO_BIG;
    if (n == 3 && !is_meta (frames[2]))
        return DROP_BAD_FRAMES;
    return event_parse (event, frames[1], frames[0]);
}

/* For one connection of this user only: not kept, no offset. */
static enum drop_reason deliver_narrowed (struct hub *hub, struct slice user, const struct event *event)
{
    struct conn *conn = registry_conn (&hub->registry, event->connection_id);
    if (!conn || !conn->user)
        return DROP_NO_CONNECTION;
    if (!slice_eq (user_id (conn->user), user))
        return DROP_ISOLATION;
    if (!conn_is_live (conn))
        return DROP_NO_CONNECTION;
    struct msg *msg = encode_event (&hub->scratch, conn->form, event, 0);
    if (!msg) {
        conn_close (conn, CLOSE_INTERNAL); /* it must not believe that it has everything */
        return DROP_NO_MEMORY;
    }
    if (conn_send (conn, msg))
        metric_inc (M_EVENTS_DELIVERED, event->type);
    msg_unref (&msg);
    runs_note (&conn->user->runs, event);
    session_runs_changed (conn->user);
    return DROP_NONE;
}

/* A connection that is not live yet, or behind, gets the event from history in its turn. */
static bool takes_now (const struct conn *conn)
{
    return conn_is_live (conn) && !conn->behind;
}

static void deliver (struct hub *hub, struct user *user, const struct event *event, uint64_t offset)
{
    struct msg *by_form[FORM_COUNT] = {0};
    LIST_FOREACH (&user->conns, link) {
        struct conn *conn = LIST_ENTRY (link, struct conn, user_link);
        if (!takes_now (conn))
            continue;
        struct msg **msg = &by_form[conn->form];
        if (!*msg)
            *msg = encode_event (&hub->scratch, conn->form, event, offset);
        if (!*msg) {
            conn_close (conn, CLOSE_INTERNAL); /* it must not believe that it has everything */
            continue;
        }
        conn->cursor = offset;
        if (conn_send (conn, *msg))
            metric_inc (M_EVENTS_DELIVERED, event->type);
    }
    for (int form = 0; form < FORM_COUNT; form++)
        msg_unref (&by_form[form]);
}

/* For all connections of the user, those that come later too. */
static enum drop_reason deliver_kept (struct hub *hub, struct slice id, const struct event *event)
{
    struct history_limits limits = hub_history_limits (hub);
    size_t total = (size_t) hub->config->history_total_bytes;
    struct user *user = registry_user_get (&hub->registry, id);
    if (!user)
        return DROP_NO_MEMORY;
    runs_note (&user->runs, event);
    bool connected = user->n_conns > 0; /* otherwise the user may be gone after this */
    uint64_t offset = registry_record (&hub->registry, user, &limits, total, event, clock_now ());
    if (connected) {
        deliver (hub, user, event, offset);
        session_runs_changed (user);
    }
    return DROP_NONE;
}

void downstream_event (struct hub *hub, const struct slice *frames, size_t n)
{
    struct event event;
    struct slice id = n ? frames[0] : slice_str (NULL);
    enum drop_reason reason = check (hub, frames, n, &event);
    if (reason == DROP_NONE)
        reason = event.connection_id.n ? deliver_narrowed (hub, id, &event) : deliver_kept (hub, id, &event);
    if (reason != DROP_NONE) {
        drop (reason, id, n > 1 ? frames[1].n : 0);
        return;
    }
    metric_inc (M_EVENTS_RECEIVED, event.type);
    if (event.has_reserved)
        metric_inc (M_RESERVED_KEYS, 0);
}
