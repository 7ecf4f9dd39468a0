/* Up: a client's frame on its way to the runtime.
 *
 *   edge/ws.c        on_receive
 *   core/upstream.c    upstream_chunk      collects fragments, max-message-bytes, UTF-8
 *                        take              keeps what comes before the connection is ready
 *                          handle          rate limit; what kind of message is it?
 *                            answer        ping, heartbeat, refresh_token: the bridge itself
 *                            forward       everything else: MESSAGE, byte for byte
 *   edge/link.c                  link_send
 */
#include "core/upstream.h"
#include "base/metrics.h"
#include "base/utf8.h"
#include "core/auth.h"
#include "core/client_msg.h"
#include "core/hub.h"
#include "core/jwks.h"
#include "core/notice.h"
#include "core/session.h"
#include "core/trace.h"

#define EARLY_MAX 64 /* frames; then, or at the rate limit, the socket is not read until the connection is ready */

/* A message may belong to another trace than its connection. */
static struct log_ctx message_log (const struct conn *conn, const struct client_msg *msg)
{
    struct log_ctx ctx = conn_log (conn);
    if (conn->hub->config->log_trace && traceparent_valid (msg->traceparent))
        ctx.traceparent = msg->traceparent;
    return ctx;
}

/* With the limit, where there are several that it could be. */
static void log_refusal (const struct conn *conn, enum client_error error, enum client_result result,
                         const struct client_msg *msg)
{
    struct log_ctx ctx = message_log (conn, msg);
    const char *code = client_error_text (error);
    if (error != CLIENT_ERROR_RATE_LIMITED)
        LOG (MESSAGE_REFUSED, &ctx, KV_S ("error_code", code));
    else if (result == CLIENT_RESULT_user_rate_limited)
        LOG (MESSAGE_REFUSED, &ctx, KV_S ("error_code", code), KV_S ("limit", "client-messages-per-minute-per-user"));
    else
        LOG (MESSAGE_REFUSED, &ctx, KV_S ("error_code", code), KV_S ("limit", "client-messages-per-minute"));
}

/* Refuse one message; the connection lives on. A raw connection cannot be told, so it ends with a reason rather
 * than lose a frame in silence. */
static void refuse (struct conn *conn, enum client_error error, enum client_result result, const struct client_msg *msg)
{
    metric_inc (M_CLIENT_MESSAGES, result);
    log_refusal (conn, error, result, msg);
    if (conn->form != FORM_RAW)
        notice_error (conn, error, msg->message_id);
    else
        conn_close (conn, error == CLIENT_ERROR_RATE_LIMITED ? CLOSE_RATE_LIMITED : CLOSE_TRY_LATER);
}

static struct slice message_headers (struct conn *conn, enum ws_opcode opcode, struct slice traceparent)
{
    bool traced = traceparent.n && utf8_valid (traceparent); /* a msgpack client may have sent any bytes */
    struct buf *out = &conn->hub->scratch;
    msgpack_packer packer;
    buf_reset (out);
    mp_writer_init (&packer, out);
    mp_put_map (&packer, traced ? 4 : 3);
    mp_put_cstr (&packer, "seq");
    mp_put_uint (&packer, conn->seq + 1);
    mp_put_cstr (&packer, "ts");
    mp_put_double (&packer, clock_wall ());
    mp_put_cstr (&packer, "opcode");
    mp_put_cstr (&packer, opcode == WS_BINARY ? "binary" : "text");
    if (traced) {
        mp_put_cstr (&packer, "traceparent");
        mp_put_str (&packer, traceparent);
    }
    return out->failed ? slice_str (NULL) : buf_slice (out);
}

static void forward (struct conn *conn, enum ws_opcode opcode, struct slice bytes, const struct client_msg *msg)
{
    struct hub *hub = conn->hub;
    struct command command = {.name = COMMAND_MESSAGE,
                              .connection_id = slice_str (conn->id),
                              .user_id = user_id (conn->user),
                              .headers = message_headers (conn, opcode, msg->traceparent),
                              .body = bytes};
    if (conn->state == CONN_degraded || !command.headers.n ||
        !hub->runtime.send (hub->runtime.self, conn->lane, &command)) {
        refuse (conn, CLIENT_ERROR_RUNTIME_UNAVAILABLE, CLIENT_RESULT_unavailable, msg);
        return;
    }
    conn->seq++;
    if (!conn->user->asked_at)
        conn->user->asked_at = clock_now ();
    metric_inc (M_CLIENT_MESSAGES, CLIENT_RESULT_forwarded);
    if (log_wants (LOG_MESSAGE_FORWARDED)) {
        struct log_ctx ctx = message_log (conn, msg);
        LOG (MESSAGE_FORWARDED, &ctx, KV_U ("seq", conn->seq), KV_U ("bytes", bytes.n));
    }
}

static void refresh_token (struct conn *conn, const struct client_msg *msg)
{
    struct jwt_rules rules = jwt_rules_of (conn->hub->config);
    struct jwt_result result;
    auth_check_token (&result, conn->hub->keys, &conn->hub->tokens, &rules, msg->token, clock_wall ());
    jwks_review (conn->hub->jwks, &result);
    bool ok = result.error == ERROR_NONE && slice_is (user_id (conn->user), result.user);
    if (ok) {
        session_set_expiry (conn, result.expires);
        metric_inc (M_CLIENT_MESSAGES, CLIENT_RESULT_answered);
        notice_token_refreshed (conn);
    } else if (result.error == ERROR_TOO_MANY_CONNECTIONS) /* memory is out: the token may be good */
        conn_close (conn, CLOSE_INTERNAL);
    else
        refuse (conn, CLIENT_ERROR_TOKEN_REFUSED, CLIENT_RESULT_invalid, msg);
    jwt_result_fini (&result);
}

static void answer (struct conn *conn, const struct client_msg *msg)
{
    metric_inc (M_CLIENT_MESSAGES, CLIENT_RESULT_answered);
    if (msg->kind == CLIENT_MSG_PING)
        notice_pong (conn, msg->id);
    else if (slice_is (msg->type, "heartbeat"))
        notice_heartbeat_ack (conn);
}

static struct client_msg classify (const struct conn *conn, enum ws_opcode opcode, struct slice bytes)
{
    struct client_msg msg = {.kind = CLIENT_MSG_RUNTIME};
    if (conn->form == FORM_MSGPACK && opcode == WS_TEXT)
        msg.kind = CLIENT_MSG_INVALID;
    else if (conn->form == FORM_MSGPACK)
        client_msg_read_msgpack (&msg, bytes);
    else if (conn->form == FORM_JSON && opcode == WS_TEXT)
        client_msg_read_json (&msg, bytes);
    return msg;
}

static bool within_own_rate (struct conn *conn)
{
    double per_minute = (double) conn->hub->config->client_messages_per_minute;
    return per_minute == 0 || bucket_take (&conn->bucket, per_minute / 60, per_minute / 10, clock_now ());
}

static bool within_users_rate (struct conn *conn)
{
    double per_minute = (double) conn->hub->config->client_messages_per_minute_per_user;
    return per_minute == 0 ||
           limiter_take (&conn->hub->messages, user_id (conn->user), per_minute / 60, per_minute / 10, clock_now ());
}

/* Charge one message. False with the result that tells of it when it is one too many. */
static bool within_rate (struct conn *conn, enum client_result *result)
{
    *result = CLIENT_RESULT_rate_limited;
    if (!within_own_rate (conn))
        return false;
    *result = CLIENT_RESULT_user_rate_limited;
    return within_users_rate (conn);
}

/* `paid`: it has been charged to the rate already. */
static void handle (struct conn *conn, enum ws_opcode opcode, struct slice bytes, bool paid)
{
    struct client_msg msg = classify (conn, opcode, bytes);
    enum client_result result;
    if (!paid && !within_rate (conn, &result)) {
        refuse (conn, CLIENT_ERROR_RATE_LIMITED, result, &msg);
        return;
    }
    switch (msg.kind) {
    case CLIENT_MSG_RUNTIME:
        forward (conn, opcode, bytes, &msg);
        return;
    case CLIENT_MSG_PING:
    case CLIENT_MSG_HEARTBEAT:
        answer (conn, &msg);
        return;
    case CLIENT_MSG_REFRESH_TOKEN:
        refresh_token (conn, &msg);
        return;
    case CLIENT_MSG_BAD_SYNTAX:
        refuse (conn, CLIENT_ERROR_JSON_PARSE_ERROR, CLIENT_RESULT_parse_error, &(struct client_msg){0});
        return;
    case CLIENT_MSG_INVALID:
        refuse (conn, CLIENT_ERROR_INVALID_MESSAGE, CLIENT_RESULT_invalid, &msg);
        return;
    }
}

static void keep_early (struct conn *conn, enum ws_opcode opcode, struct slice bytes)
{
    struct early_frame *frame = malloc (sizeof *frame + bytes.n);
    if (!frame) {
        conn_close (conn, CLOSE_INTERNAL);
        return;
    }
    frame->opcode = opcode;
    frame->n = bytes.n;
    slice_copy (frame->bytes, bytes);
    list_append (&conn->early, &frame->link);
    enum client_result result;
    bool paid = within_rate (conn, &result);
    if ((++conn->early_n >= EARLY_MAX || !paid) && conn->reading) {
        conn->reading = false;
        conn_mark_dirty (conn);
    }
}

static void take (struct conn *conn, enum ws_opcode opcode, struct slice bytes)
{
    if (conn_is_live (conn))
        handle (conn, opcode, bytes, false);
    else if (!conn_is_ending (conn))
        keep_early (conn, opcode, bytes);
}

void upstream_release_early (struct conn *conn)
{
    for (struct list *link; conn_is_live (conn) && (link = list_pop (&conn->early));) {
        struct early_frame *frame = LIST_ENTRY (link, struct early_frame, link);
        conn->early_n--;
        handle (conn, frame->opcode, slice_of (frame->bytes, frame->n), true);
        free (frame);
    }
    if (!conn->reading) {
        conn->reading = true;
        conn_mark_dirty (conn);
    }
}

/* The buffer is lent to the connection only while a message is arriving. */
static void return_partial (struct conn *conn)
{
    buf_fini (conn->partial);
    free (conn->partial);
    conn->partial = NULL;
}

static bool append_partial (struct conn *conn, struct slice bytes)
{
    if (!conn->partial) {
        conn->partial = malloc (sizeof *conn->partial);
        if (!conn->partial)
            return false;
        buf_init (conn->partial, 0);
    }
    buf_put (conn->partial, bytes.p, bytes.n);
    return !conn->partial->failed;
}

/* libwebsockets would judge the payload of pongs too, and miss a text that ends inside a character. */
static bool is_text (struct conn *conn, struct slice bytes, bool final)
{
    if (!utf8_goes_on (&conn->text, bytes))
        return false;
    return !final || utf8_may_end (&conn->text);
}

void upstream_chunk (struct conn *conn, enum ws_opcode opcode, struct slice bytes, bool final)
{
    conn->last_rx = clock_now ();
    if (conn_is_ending (conn))
        return;
    size_t so_far = conn->partial ? conn->partial->n : 0;
    if (so_far + bytes.n > (size_t) conn->hub->config->max_message_bytes) {
        conn_close (conn, CLOSE_TOO_BIG);
        return;
    }
    if (opcode == WS_TEXT && !is_text (conn, bytes, final)) {
        conn_close (conn, CLOSE_INVALID_TEXT);
        return;
    }
    if (final && !conn->partial) {
        take (conn, opcode, bytes);
        return;
    }
    if (!append_partial (conn, bytes)) {
        conn_close (conn, CLOSE_INTERNAL);
        return;
    }
    if (final) {
        take (conn, opcode, buf_slice (conn->partial));
        return_partial (conn);
    }
}
