/* Down: an event of the runtime on its way to the clients.
 *
 *   edge/link.c        on_events
 *   core/downstream.c    downstream_event
 *                          publishers_take     is it in turn? (core/publisher.c, sequence.c)
 *                          take_event          whose is it, is it sound, may it go there?
 *                            registry_record   offset, history
 *                            deliver           one encoding per form, shared by the user's connections
 *                              conn_send       or, for a client that reads slowly, conn_merge
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
    struct log_ctx ctx = {.user = ident_is_user (user) ? user : slice_str (NULL)};
    metric_inc (M_EVENTS_DROPPED, reason);
    if (reason == DROP_ISOLATION) {
        metric_inc (M_ISOLATION_VIOLATIONS, 0);
        LOG (ISOLATION_VIOLATION, &ctx, KV_S ("by", "event"));
    } else
        LOG (EVENT_DROPPED, &ctx, KV_S ("reason", drop_labels[reason]), KV_U ("bytes", bytes));
}

/* What `meta` says; an empty publisher when it says nothing. */
struct meta {
    struct slice publisher;
    uint64_t seq;
};

/* Of a key that stands there twice the first counts. */
static void note_meta (struct slice key, const struct mp_token *value, struct mp_token *publisher, struct mp_token *seq)
{
    struct mp_token *place = slice_is (key, "publisher") ? publisher : slice_is (key, "seq") ? seq : NULL;
    if (place && place->kind == MP_NIL)
        *place = *value;
}

/* A map; with both of publisher and seq, or with neither. */
static bool read_meta (struct slice bytes, struct meta *meta)
{
    struct mp_token head, key, value, publisher = {.kind = MP_NIL}, seq = {.kind = MP_NIL};
    size_t pos = 0;
    if (mp_read (bytes, &pos, &head) != MP_OK || head.kind != MP_MAP)
        return false;
    for (uint32_t i = 0; i < head.count; i++) {
        if (mp_read_whole (bytes, &pos, 1, &key) != MP_OK || mp_read_whole (bytes, &pos, 1, &value) != MP_OK)
            return false;
        if (key.kind == MP_STR)
            note_meta (key.bytes, &value, &publisher, &seq);
    }
    if (pos != bytes.n || publisher.kind == MP_NIL || seq.kind == MP_NIL)
        return pos == bytes.n && publisher.kind == seq.kind;
    if (publisher.kind != MP_STR || seq.kind != MP_UINT || seq.u > PUBLISHER_SEQ_MAX)
        return false;
    *meta = (struct meta){publisher.bytes, seq.u};
    return publisher.bytes.n > 0 && publisher.bytes.n <= PUBLISHER_NAME_MAX;
}

static enum drop_reason check (const struct hub *hub, struct slice user, struct slice bytes, struct event *event)
{
    if (!ident_is_user (user))
        return DROP_BAD_USER;
    if (bytes.n > (size_t) hub->config->max_event_bytes)
        return DROP_TOO_BIG;
    return event_parse (event, bytes, user);
}

static void note_run (struct hub *hub, struct user *user, struct publisher *publisher, const struct event *event)
{
    if (event->type == EVENT_agent_started && user->asked_at) {
        metric_observe (M_RUN_FIRST_EVENT, (double) (clock_now () - user->asked_at) / (double) S_NS);
        user->asked_at = 0;
    }
    runs_note (&user->runs, user, publisher, event, clock_now ());
    registry_runs_changed (&hub->registry, user);
}

/* For one connection of this user only: not kept, no offset. */
static enum drop_reason deliver_narrowed (struct hub *hub, struct publisher *publisher, struct slice user,
                                          const struct event *event)
{
    struct conn *conn = registry_conn (&hub->registry, event->connection_id);
    if (!conn || !conn->user)
        return DROP_NO_CONNECTION;
    if (!slice_eq (user_id (conn->user), user))
        return DROP_ISOLATION;
    if (!conn_is_live (conn))
        return DROP_NO_CONNECTION;
    if (runs_is_second_end (&conn->user->runs, event))
        return DROP_SECOND_END;
    struct msg *msg = encode_event (&hub->scratch, conn->form, event, 0);
    if (!msg) {
        conn_close (conn, CLOSE_INTERNAL); /* it must not believe that it has everything */
        return DROP_NO_MEMORY;
    }
    if (conn_send (conn, msg))
        metric_inc (M_EVENTS_DELIVERED, event->type);
    msg_unref (&msg);
    note_run (hub, conn->user, publisher, event);
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
        if (conn_merges (conn, event)) {
            conn->cursor = offset;
            conn_merge (conn, event, offset);
            continue;
        }
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
static enum drop_reason deliver_kept (struct hub *hub, struct publisher *publisher, struct slice id,
                                      const struct event *event)
{
    struct history_limits limits = hub_history_limits (hub);
    size_t total = (size_t) hub->config->history_total_bytes;
    struct user *user = registry_user_get (&hub->registry, id);
    if (!user)
        return DROP_NO_MEMORY;
    if (runs_is_second_end (&user->runs, event))
        return DROP_SECOND_END;
    note_run (hub, user, publisher, event);
    bool connected = user->n_conns > 0; /* otherwise the user may be gone after this */
    uint64_t offset = registry_record (&hub->registry, user, &limits, total, event, clock_now ());
    if (connected) {
        deliver (hub, user, event, offset);
        session_runs_changed (user);
    }
    while (hub->registry.runs.n > RUNS_MAX_ALL)
        registry_user_release (&hub->registry, runs_forget_oldest (&hub->registry.runs));
    return DROP_NONE;
}

/* One event that is in turn. What is older than `not_before` was there before this bridge. */
static void take_event (struct hub *hub, struct publisher *publisher, struct slice id, struct slice bytes,
                        double not_before)
{
    struct event event;
    enum drop_reason reason = check (hub, id, bytes, &event);
    if (reason == DROP_NONE && event.timestamp > 0 && event.timestamp < not_before)
        return;
    if (reason == DROP_NONE)
        reason = event.connection_id.n ? deliver_narrowed (hub, publisher, id, &event)
                                       : deliver_kept (hub, publisher, id, &event);
    if (reason != DROP_NONE) {
        drop (reason, id, bytes.n);
        return;
    }
    metric_inc (M_EVENTS_RECEIVED, event.type);
    if (event.has_reserved)
        metric_inc (M_RESERVED_KEYS, 0);
}

/* --- what the publishers ask for (core/publisher.h) ---------------------------------------------------------- */

static void port_deliver (void *self, struct publisher *publisher, struct slice user, struct slice event,
                          double not_before)
{
    take_event (self, publisher, user, event, not_before);
}

static bool port_ask (void *self, int lane, struct slice publisher, uint64_t from, uint64_t to)
{
    struct hub *hub = self;
    msgpack_packer packer;
    buf_reset (&hub->scratch);
    mp_writer_init (&packer, &hub->scratch);
    mp_put_map (&packer, 3);
    mp_put_cstr (&packer, "publisher");
    mp_put_str (&packer, publisher);
    mp_put_cstr (&packer, "from");
    mp_put_uint (&packer, from);
    mp_put_cstr (&packer, "to");
    mp_put_uint (&packer, to);
    struct command replay = {.name = COMMAND_REPLAY, .headers = buf_slice (&hub->scratch)};
    return !hub->scratch.failed && hub->runtime.send (hub->runtime.self, lane, &replay);
}

/* Nobody knows whose they were: all epochs change, and whoever is here is told. */
static void note_loss (struct hub *hub)
{
    hub->registry.losses++;
    session_resync_all (hub);
}

static void port_unsure (void *self, struct slice publisher, uint64_t first)
{
    metric_inc (M_EVENT_GAPS, 0);
    LOG (EVENTS_UNSURE, NULL, KV_SL ("publisher", publisher), KV_U ("first", first));
    note_loss (self);
}

static void port_lost (void *self, struct slice publisher, uint64_t count, const char *why)
{
    metric_add (M_EVENTS_LOST, 0, (double) count);
    LOG (EVENTS_LOST, NULL, KV_SL ("publisher", publisher), KV_U ("events", count), KV_S ("why", why));
    note_loss (self);
}

/* --- events ------------------------------------------------------------------------------------------------- */

/* The lane whose runtime sends this user's events without meta. */
static int home_lane (const struct hub *hub, struct slice id)
{
    if (hub->runtime.lanes (hub->runtime.self) == 1)
        return 0;
    const struct user *user = registry_user (&hub->registry, id);
    return user ? user->lane : LANE_NONE;
}

static void take_unnumbered (struct hub *hub, struct slice id, struct slice bytes)
{
    /* Without memory for a publisher the event is delivered all the same; a run that it begins is not followed. */
    take_event (hub, publishers_nameless (&hub->publishers, home_lane (hub, id)), id, bytes, 0);
}

void downstream_event (struct hub *hub, const struct slice *frames, size_t n)
{
    struct meta meta = {.seq = 0};
    if ((n != 2 && n != 3) || (n == 3 && !read_meta (frames[2], &meta))) {
        drop (DROP_BAD_FRAMES, n ? frames[0] : slice_str (NULL), n > 1 ? frames[1].n : 0);
        return;
    }
    if (meta.publisher.n == 0) {
        take_unnumbered (hub, frames[0], frames[1]);
        return;
    }
    /* A bad one takes its number all the same. */
    struct slice user = ident_fits_user (frames[0]);
    enum publisher_result result = publishers_take (&hub->publishers, meta.publisher, meta.seq, user, frames[1]);
    if (result == PUBLISHER_TAKEN)
        return;
    drop (result == PUBLISHER_REPEAT ? DROP_REPEAT : DROP_NO_MEMORY, user, frames[1].n);
    if (result == PUBLISHER_NO_MEMORY)
        port_lost (hub, meta.publisher, 1, "out of memory");
}

bool downstream_own (struct hub *hub, struct user *user, const struct event *event)
{
    return deliver_kept (hub, NULL, user_id (user), event) == DROP_NONE;
}

/* Whoever has waited for it is welcome now. */
static void port_settled (void *self)
{
    session_links_changed (self, LANE_NONE);
}

void downstream_attach (struct hub *hub)
{
    hub->publishers.port = (struct publisher_port){.self = hub,
                                                   .deliver = port_deliver,
                                                   .ask = port_ask,
                                                   .lost = port_lost,
                                                   .unsure = port_unsure,
                                                   .settled = port_settled};
}
