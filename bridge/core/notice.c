#include "core/notice.h"
#include "core/doc.h"
#include "core/hub.h"

static const struct {
    const char *code, *message;
} client_errors[CLIENT_ERROR_COUNT] = {
#define CLIENT_ERROR(symbol, message) [CLIENT_ERROR_##symbol] = {#symbol, message},
#include "tbl/client_errors.h"
#undef CLIENT_ERROR
};

const char *client_error_text (enum client_error code)
{
    return client_errors[code].code;
}

/* Begin a map of `pairs` besides `type` and `timestamp`. */
static void begin (struct doc *doc, struct conn *conn, const char *type, uint32_t pairs)
{
    buf_reset (&conn->hub->scratch);
    doc_init (doc, &conn->hub->scratch, conn->form);
    doc_map (doc, pairs + 2);
    doc_key (doc, "type");
    doc_str (doc, slice_str (type));
}

static void pair_str (struct doc *doc, const char *key, const char *value)
{
    doc_key (doc, key);
    doc_str (doc, slice_str (value));
}

static void finish (struct doc *doc, struct conn *conn)
{
    doc_key (doc, "timestamp");
    doc_double (doc, clock_wall ());
    doc_end (doc);
    if (conn->form == FORM_RAW)
        return;
    struct buf *out = &conn->hub->scratch;
    struct msg *msg = out->failed ? NULL : msg_new (conn->form == FORM_MSGPACK ? WS_BINARY : WS_TEXT, buf_slice (out));
    if (msg)
        conn_send (conn, msg);
    else
        conn_close (conn, CLOSE_INTERNAL);
    msg_unref (&msg);
}

static void put_resume (struct doc *doc, struct conn *conn)
{
    char epoch[EPOCH_LEN + 1];
    registry_epoch (&conn->hub->registry, conn->user, epoch);
    doc_key (doc, "resume");
    doc_map (doc, 2);
    pair_str (doc, "epoch", epoch);
    doc_key (doc, "offset");
    doc_uint (doc, conn->cursor);
    doc_end (doc);
}

static void put_recovered (struct doc *doc, const struct conn *conn)
{
    doc_key (doc, "recovered");
    doc_bool (doc, conn->recovery == RECOVERY_OK);
    doc_key (doc, "recovery_error");
    if (conn->recovery == RECOVERY_OK || conn->recovery == RECOVERY_NOT_ASKED)
        doc_nil (doc);
    else
        doc_str (doc, slice_str (conn->recovery == RECOVERY_EXPIRED ? "expired" : "unknown_epoch"));
}

void notice_established (struct conn *conn)
{
    struct doc doc;
    begin (&doc, conn, "connection_established", 1);
    doc_key (&doc, "data");
    doc_map (&doc, 7);
    pair_str (&doc, "connection_id", conn->id);
    doc_key (&doc, "user_id");
    doc_str (&doc, user_id (conn->user));
    pair_str (&doc, "bridge", conn->hub->config->bridge_id);
    put_resume (&doc, conn);
    put_recovered (&doc, conn);
    doc_key (&doc, "heartbeat_interval_ms");
    doc_uint (&doc, (uint64_t) conn->hub->config->ping_interval_s * 1000);
    doc_end (&doc);
    finish (&doc, conn);
}

static void pair_text (struct doc *doc, const char *key, struct slice value)
{
    doc_key (doc, key);
    if (value.n)
        doc_str (doc, value);
    else
        doc_nil (doc);
}

static void put_tools (struct doc *doc, const struct run *run)
{
    doc_key (doc, "open_tools");
    doc_array (doc, run->n_tools);
    LIST_FOREACH (&run->tools, link) {
        const struct run_tool *tool = LIST_ENTRY (link, struct run_tool, link);
        doc_item (doc);
        doc_map (doc, 2);
        pair_text (doc, "tool_name", run_tool_name (tool));
        pair_text (doc, "execution_id", run_tool_id (tool));
        doc_end (doc);
    }
    doc_array_end (doc);
}

static void put_run (struct doc *doc, const struct run *run)
{
    doc_item (doc);
    doc_map (doc, 6);
    pair_text (doc, "run_id", run_id (run));
    pair_text (doc, "thread_id", run_thread_id (run));
    pair_text (doc, "agent_name", run_agent_name (run));
    doc_key (doc, "started_at");
    doc_double (doc, run->started_at);
    pair_text (doc, "last_type", run_last_type (run));
    put_tools (doc, run);
    doc_end (doc);
}

void notice_runs (struct conn *conn)
{
    struct doc doc;
    begin (&doc, conn, "runs_snapshot", 1);
    doc_key (&doc, "data");
    doc_map (&doc, 1);
    doc_key (&doc, "runs");
    doc_array (&doc, conn->user->runs.n);
    LIST_FOREACH (&conn->user->runs.open, link)
        put_run (&doc, LIST_ENTRY (link, struct run, link));
    doc_array_end (&doc);
    doc_end (&doc);
    finish (&doc, conn);
}

void notice_resync (struct conn *conn)
{
    struct doc doc;
    begin (&doc, conn, "resync", 1);
    doc_key (&doc, "data");
    doc_map (&doc, 2);
    put_resume (&doc, conn);
    pair_str (&doc, "reason", "events_lost");
    doc_end (&doc);
    finish (&doc, conn);
}

void notice_refusal (struct conn *conn, enum error_code code)
{
    const struct error_info *info = error_info (code);
    struct doc doc;
    begin (&doc, conn, info->ours ? "connection_error" : "authentication_error", 3);
    pair_str (&doc, "error_code", info->code);
    pair_str (&doc, "error_message", info->message);
    doc_key (&doc, "retry_allowed");
    doc_bool (&doc, info->retry);
    finish (&doc, conn);
}

void notice_error (struct conn *conn, enum client_error code, struct slice message_id)
{
    struct doc doc;
    begin (&doc, conn, "error_message", 3);
    pair_str (&doc, "error_code", client_errors[code].code);
    pair_str (&doc, "error_message", client_errors[code].message);
    doc_key (&doc, "details");
    doc_map (&doc, message_id.n ? 1 : 0);
    if (message_id.n) {
        doc_key (&doc, "message_id");
        doc_raw (&doc, message_id);
    }
    doc_end (&doc);
    finish (&doc, conn);
}

void notice_pong (struct conn *conn, struct slice id)
{
    struct doc doc;
    begin (&doc, conn, "pong", id.n ? 1 : 0);
    if (id.n) {
        doc_key (&doc, "id");
        doc_raw (&doc, id);
    }
    finish (&doc, conn);
}

void notice_draining (struct conn *conn, uint64_t reconnect_after_ms)
{
    struct doc doc;
    begin (&doc, conn, "bridge_draining", 1);
    doc_key (&doc, "data");
    doc_map (&doc, 1);
    doc_key (&doc, "reconnect_after_ms");
    doc_uint (&doc, reconnect_after_ms);
    doc_end (&doc);
    finish (&doc, conn);
}

static void plain (struct conn *conn, const char *type)
{
    struct doc doc;
    begin (&doc, conn, type, 0);
    finish (&doc, conn);
}

void notice_token_expired (struct conn *conn)
{
    plain (conn, "token_expired");
}

void notice_token_refreshed (struct conn *conn)
{
    plain (conn, "token_refreshed");
}

void notice_heartbeat_ack (struct conn *conn)
{
    plain (conn, "heartbeat_ack");
}
