#include "core/conn.h"
#include "base/metrics.h"
#include "base/sm.h"
#include "core/hub.h"
#include "core/session.h"

#define CLOSE_GRACE (5 * S_NS) /* for the close handshake; then the socket is cut */

static const struct sm_state states[CONN_STATE_COUNT] = {
#define TO(symbol)             | 1u << CONN_##symbol
#define CONN_STATE(symbol, to) [CONN_##symbol] = {#symbol, 0 to},
#include "tbl/conn_states.h"
#undef CONN_STATE
#undef TO
};

static const struct {
    const char *label;
    uint16_t code;
    enum {
        FRAME_NEVER,
        FRAME_NOW,
        FRAME_AFTER
    } frame;
    const char *text;
} reasons[CLOSE_REASON_COUNT] = {
#define CLOSE_REASON(symbol, label, code, frame, text) [CLOSE_##symbol] = {label, code, FRAME_##frame, text},
#include "tbl/close_reasons.h"
#undef CLOSE_REASON
};

struct conn *conn_new (struct hub *hub)
{
    struct conn *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    do
        ident_new_connection (self->id);
    while (registry_conn (&hub->registry, slice_str (self->id)));
    self->hub = hub;
    self->subprotocol = SUBPROTOCOL_NONE;
    self->refusal = ERROR_NONE;
    self->closing = CLOSE_NONE;
    self->lane = LANE_NONE;
    self->reading = true;
    self->opened_at = self->last_rx = clock_now ();
    list_init (&self->user_link);
    list_init (&self->work_link);
    list_init (&self->early);
    timer_init (&self->timer, session_on_timer);
    outq_init (&self->outq);
    if (!map_put (&hub->registry.conns, self)) {
        free (self);
        return NULL;
    }
    metric_add (M_CONNECTIONS, CONN_connecting, 1);
    return self;
}

static void free_partial (struct conn *self)
{
    if (self->partial)
        buf_fini (self->partial);
    free (self->partial);
    self->partial = NULL;
}

void conn_destroy (struct conn **self_p)
{
    struct conn *self = *self_p;
    if (!self)
        return;
    CHECK (self->state == CONN_closed && !self->wire);
    wheel_cancel (&self->timer);
    list_remove (&self->work_link);
    map_remove (&self->hub->registry.conns, slice_str (self->id));
    metric_add (M_CONNECTIONS, CONN_closed, -1);
    for (struct list *link; (link = list_pop (&self->early));)
        free (LIST_ENTRY (link, struct early_frame, link));
    free_partial (self);
    outq_fini (&self->outq);
    merge_destroy (&self->merge);
    if (self->user) {
        self->user->refs--;
        registry_user_release (&self->hub->registry, self->user);
    }
    free (self->connect_headers);
    free (self->traceparent);
    free (self->close_frame);
    free (self);
    *self_p = NULL;
}

/* Which states count as one of the user's connections. */
static bool is_member (enum conn_state state)
{
    return state >= CONN_authenticated && state < CONN_closing;
}

static void join_user (struct conn *self)
{
    CHECK (self->user);
    list_append (&self->user->conns, &self->user_link);
    if (self->user->n_conns++ > 0)
        return;
    metric_set (M_USERS, 0, (double) ++self->hub->registry.users_connected);
    registry_user_arrived (self->user);
}

static void leave_user (struct conn *self)
{
    list_remove (&self->user_link);
    if (--self->user->n_conns > 0)
        return;
    metric_set (M_USERS, 0, (double) --self->hub->registry.users_connected);
    registry_user_left (&self->hub->registry, self->user);
}

void conn_bind_user (struct conn *self, struct user *user)
{
    CHECK (!self->user);
    user->refs++;
    self->user = user;
}

bool conn_move (struct conn *self, enum conn_state to)
{
    enum conn_state from = self->state;
    if (!sm_allowed (states, from, to)) {
        struct log_ctx ctx = conn_log (self);
        metric_inc (M_STATE_ERRORS, 0);
        LOG (STATE_ILLEGAL, &ctx, KV_S ("from", states[from].name), KV_S ("to", states[to].name));
        return false;
    }
    self->state = to;
    metric_add (M_CONNECTIONS, from, -1);
    metric_add (M_CONNECTIONS, to, 1);
    if (!is_member (from) && is_member (to))
        join_user (self);
    if (is_member (from) && !is_member (to))
        leave_user (self);
    return true;
}

static void count_close (struct conn *self)
{
    struct log_ctx ctx = conn_log (self);
    double life = (double) (clock_now () - self->opened_at) / (double) S_NS;
    metric_inc (M_CONNECTIONS_CLOSED, self->closing);
    if (self->established)
        metric_observe (M_CONNECTION_DURATION, life);
    LOG (CONN_CLOSED, &ctx, KV_S ("reason", reasons[self->closing].label), KV_U ("code", conn_close_frame (self).code),
         KV_D ("seconds", life), KV_U ("messages", self->seq));
}

/* What has merged becomes a frame like any other. */
static enum outq_result seal (struct conn *self, size_t max_frames, size_t max_bytes)
{
    if (!self->merge)
        return OUTQ_OK;
    struct msg *msg = merge_encode (self->merge, &self->hub->scratch, self->form);
    merge_destroy (&self->merge);
    enum outq_result result = msg ? outq_push (&self->outq, msg, max_frames, max_bytes) : OUTQ_NO_MEMORY;
    msg_unref (&msg);
    return result;
}

/* The last frame. Without memory for it, or for what comes before it, the socket is cut. */
static void queue_close_frame (struct conn *self)
{
    struct close_frame frame = conn_close_frame (self);
    char payload[2 + sizeof frame.text] = {(char) (frame.code >> 8), (char) frame.code};
    memcpy (payload + 2, frame.text, frame.n);
    if (reasons[self->closing].frame != FRAME_AFTER) {
        outq_fini (&self->outq);
        merge_destroy (&self->merge);
    }
    if (reasons[self->closing].frame == FRAME_NEVER)
        return;
    bool whole = seal (self, SIZE_MAX, SIZE_MAX) == OUTQ_OK;
    struct msg *msg = msg_new (WS_CLOSE, slice_of (payload, 2u + frame.n));
    self->kill = !whole || !msg || outq_push (&self->outq, msg, SIZE_MAX, SIZE_MAX) != OUTQ_OK;
    msg_unref (&msg);
}

void conn_close (struct conn *self, enum close_reason reason)
{
    if (conn_is_ending (self))
        return;
    self->closing = reason;
    count_close (self);
    session_ended (self);
    addresses_leave (&self->hub->addresses, &self->address);
    queue_close_frame (self);
    self->reading = true; /* the peer's close frame must be read */
    wheel_set (&self->hub->wheel, &self->timer, clock_now () + CLOSE_GRACE);
    conn_move (self, sm_allowed (states, self->state, CONN_closing) ? CONN_closing : CONN_failed);
    conn_mark_dirty (self);
}

void conn_close_with (struct conn *self, enum close_reason reason, uint16_t code, struct slice text)
{
    if (conn_is_ending (self))
        return;
    self->close_frame = malloc (sizeof *self->close_frame);
    if (self->close_frame) {
        self->close_frame->code = code;
        self->close_frame->n =
            (uint8_t) (text.n < sizeof self->close_frame->text ? text.n : sizeof self->close_frame->text);
        slice_copy (self->close_frame->text, slice_of (text.p, self->close_frame->n));
    } else if (reason == CLOSE_RUNTIME_CLOSE)
        reason = CLOSE_INTERNAL; /* 1000 could say the opposite of what the runtime wanted to say */
    conn_close (self, reason);
}

void conn_gone (struct conn *self, enum close_reason reason)
{
    self->wire = NULL;
    if (self->state == CONN_closed)
        return;
    conn_close (self, reason);
    conn_move (self, CONN_closed);
    wheel_cancel (&self->timer);
    list_remove (&self->work_link);
    list_append (&self->hub->reap, &self->work_link);
}

void conn_mark_dirty (struct conn *self)
{
    if (self->wire && list_empty (&self->work_link))
        list_append (&self->hub->dirty, &self->work_link);
}

static size_t waiting_frames (const struct conn *self)
{
    return self->outq.n + (self->merge != NULL);
}

static size_t waiting_bytes (const struct conn *self)
{
    return self->outq.bytes + (self->merge ? self->merge->size : 0);
}

/* Without room, or memory, the connection ends. */
static bool conclude (struct conn *self, enum outq_result result)
{
    if (result == OUTQ_OK) {
        conn_mark_dirty (self);
        return true;
    }
    if (result == OUTQ_FULL) {
        struct log_ctx ctx = conn_log (self);
        LOG (OUTQ_FULL, &ctx, KV_U ("frames", waiting_frames (self)), KV_U ("bytes", waiting_bytes (self)));
    }
    conn_close (self, result == OUTQ_FULL ? CLOSE_SLOW_CONSUMER : CLOSE_INTERNAL);
    return false;
}

static bool queue (struct conn *self, struct msg *msg, size_t max_frames, size_t max_bytes)
{
    if (conn_is_ending (self))
        return false;
    enum outq_result result = seal (self, max_frames, max_bytes);
    if (result == OUTQ_OK)
        result = outq_push (&self->outq, msg, max_frames, max_bytes);
    return conclude (self, result);
}

bool conn_send (struct conn *self, struct msg *msg)
{
    const struct config *config = self->hub->config;
    return queue (self, msg, (size_t) config->queue_messages, (size_t) config->queue_bytes);
}

bool conn_send_replay (struct conn *self, struct msg *msg)
{
    return queue (self, msg, SIZE_MAX, SIZE_MAX);
}

bool conn_merges (const struct conn *self, const struct event *event)
{
    const struct config *config = self->hub->config;
    bool slow =
        self->outq.n > (size_t) config->queue_messages / 2 || self->outq.bytes > (size_t) config->queue_bytes / 2;
    return slow && self->form != FORM_RAW && merge_suits (event);
}

/* Is what waits within the limits? */
static enum outq_result fits (const struct conn *self)
{
    const struct config *config = self->hub->config;
    bool full =
        waiting_frames (self) > (size_t) config->queue_messages || waiting_bytes (self) > (size_t) config->queue_bytes;
    return full ? OUTQ_FULL : OUTQ_OK;
}

/* Put an event behind the queue, where others can go into it. */
static enum outq_result begin_merge (struct conn *self, const struct event *event, uint64_t offset)
{
    const struct config *config = self->hub->config;
    enum outq_result result = seal (self, (size_t) config->queue_messages, (size_t) config->queue_bytes);
    if (result != OUTQ_OK)
        return result;
    self->merge = merge_new (event, offset);
    return self->merge ? fits (self) : OUTQ_NO_MEMORY;
}

static enum outq_result go_on_merging (struct conn *self, const struct event *event, uint64_t offset)
{
    if (merge_add (self->merge, event, offset))
        return fits (self);
    merge_destroy (&self->merge);
    return OUTQ_NO_MEMORY;
}

void conn_merge (struct conn *self, const struct event *event, uint64_t offset)
{
    size_t limit = (size_t) self->hub->config->max_event_bytes;
    if (conn_is_ending (self))
        return;
    if (self->merge && merge_takes (self->merge, event, limit)) {
        if (conclude (self, go_on_merging (self, event, offset)))
            metric_inc (M_EVENTS_COALESCED, 0);
    } else if (conclude (self, begin_merge (self, event, offset)))
        metric_inc (M_EVENTS_DELIVERED, event->type);
}

void conn_send_merged (struct conn *self)
{
    if (self->merge && self->outq.n == 0)
        conclude (self, seal (self, SIZE_MAX, SIZE_MAX));
}

bool conn_is_live (const struct conn *self)
{
    return self->state >= CONN_processing_ready && self->state <= CONN_degraded;
}

struct close_frame conn_close_frame (const struct conn *self)
{
    CHECK (conn_is_ending (self));
    if (self->close_frame)
        return *self->close_frame;
    struct close_frame frame = {.code = reasons[self->closing].code};
    frame.n = (uint8_t) strlen (reasons[self->closing].text);
    memcpy (frame.text, reasons[self->closing].text, frame.n);
    return frame;
}

struct log_ctx conn_log (const struct conn *self)
{
    return (struct log_ctx){.conn = slice_str (self->id),
                            .user = self->user ? user_id (self->user) : slice_str (NULL),
                            .traceparent = slice_str (self->traceparent)};
}

const char *conn_state_name (enum conn_state state)
{
    return states[state].name;
}
