/* Commands of the runtime: each is checked, carried out or dropped with a reason, counted. Never fatal. */
#include "base/metrics.h"
#include "base/utf8.h"
#include "core/auth.h"
#include "core/downstream.h"
#include "core/encode.h"

#define CARRIED_OUT (-1)

/* The connection that SEND and CLOSE name, if it is the user's. Else NULL, with the reason. */
static struct conn *find_target (struct hub *hub, const struct command *command, int *dropped)
{
    struct conn *conn = registry_conn (&hub->registry, command->connection_id);
    if (conn && conn->user && !slice_eq (user_id (conn->user), command->user_id)) {
        *dropped = COMMAND_DROP_isolation;
        return NULL;
    }
    if (!conn || !conn_is_live (conn)) {
        *dropped = COMMAND_DROP_unknown_connection;
        return NULL;
    }
    return conn;
}

/* A frame that is sent as it is. A text frame that is not UTF-8 would cost the client its connection (close 1007). */
static struct msg *encode_frame (const struct command *command, struct slice opcode, int *dropped)
{
    bool binary = slice_is (opcode, "binary");
    *dropped = COMMAND_DROP_malformed;
    if (!binary && (!slice_is (opcode, "text") || !utf8_valid (command->body)))
        return NULL;
    *dropped = COMMAND_DROP_no_memory;
    return msg_new (binary ? WS_BINARY : WS_TEXT, command->body);
}

/* One event for this connection. */
static struct msg *encode_narrowed (struct hub *hub, const struct conn *conn, const struct command *command,
                                    int *dropped)
{
    struct event event;
    enum drop_reason fault = event_parse (&event, command->body, command->user_id);
    bool foreign =
        fault == DROP_NONE && event.connection_id.n && !slice_eq (event.connection_id, command->connection_id);
    *dropped = fault == DROP_ISOLATION || foreign ? COMMAND_DROP_isolation : COMMAND_DROP_malformed;
    if (fault != DROP_NONE || foreign)
        return NULL;
    *dropped = COMMAND_DROP_no_memory;
    return encode_event (&hub->scratch, conn->form, &event, 0);
}

static int do_send (struct hub *hub, const struct command *command)
{
    int dropped = CARRIED_OUT;
    struct slice opcode;
    struct conn *conn = find_target (hub, command, &dropped);
    if (!conn)
        return dropped;
    if (command->body.n > (size_t) hub->config->max_event_bytes)
        return COMMAND_DROP_malformed;
    struct msg *msg = mp_map_get_str (command->headers, "opcode", &opcode)
                          ? encode_frame (command, opcode, &dropped)
                          : encode_narrowed (hub, conn, command, &dropped);
    if (!msg) {
        if (dropped == COMMAND_DROP_no_memory)
            conn_close (conn, CLOSE_INTERNAL); /* it must not believe that it has everything */
        return dropped;
    }
    conn_send (conn, msg);
    msg_unref (&msg);
    return CARRIED_OUT;
}

/* Codes that an endpoint may send (RFC 6455 section 7.4). */
static bool is_close_code (uint16_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static bool read_reason (const struct command *command, struct slice *reason)
{
    *reason = slice_str (NULL);
    if (!mp_map_get_str (command->headers, "reason", reason))
        return true;
    return reason->n <= 123 && utf8_valid (*reason);
}

/* 1000 when it is not there. */
static bool read_code (const struct command *command, uint16_t *code)
{
    struct mp_token value;
    *code = 1000;
    if (!mp_map_get (command->headers, "code", &value))
        return true;
    *code = value.kind == MP_UINT && value.u <= UINT16_MAX ? (uint16_t) value.u : 0;
    return is_close_code (*code);
}

static int do_close (struct hub *hub, const struct command *command)
{
    int dropped = CARRIED_OUT;
    uint16_t code;
    struct slice reason;
    struct conn *conn = find_target (hub, command, &dropped);
    if (!conn)
        return dropped;
    if (!read_code (command, &code) || !read_reason (command, &reason))
        return COMMAND_DROP_malformed;
    conn_close_with (conn, CLOSE_RUNTIME_CLOSE, code, reason);
    return CARRIED_OUT;
}

static int do_kick (struct hub *hub, const struct command *command)
{
    struct slice reason;
    struct user *user = registry_user (&hub->registry, command->user_id);
    if (!read_reason (command, &reason))
        return COMMAND_DROP_malformed;
    if (!user || user->n_conns == 0)
        return COMMAND_DROP_unknown_connection;
    LIST_FOREACH (&user->conns, link) {
        struct conn *conn = LIST_ENTRY (link, struct conn, user_link);
        if (reason.n)
            conn_close_with (conn, CLOSE_KICKED, 4009, reason);
        else
            conn_close (conn, CLOSE_KICKED);
    }
    return CARRIED_OUT;
}

/* Empty when it is not there. */
static struct slice text_header (const struct command *command, const char *key)
{
    struct slice value;
    return mp_map_get_str (command->headers, key, &value) ? value : slice_str (NULL);
}

/* `seq` of HELLO and PONG. False when it cannot be one; *there tells whether there is one. */
static bool read_claim (const struct command *command, uint64_t *seq, bool *there)
{
    *there = mp_map_get_uint (command->headers, "seq", seq);
    return !*there || *seq <= PUBLISHER_SEQ_MAX;
}

static int do_hello (struct hub *hub, int lane, const struct command *command)
{
    uint64_t seq;
    bool counted;
    struct slice publisher = text_header (command, "publisher");
    if (publisher.n > PUBLISHER_NAME_MAX || !read_claim (command, &seq, &counted))
        return COMMAND_DROP_malformed;
    publishers_hello (&hub->publishers, lane, publisher, counted ? &seq : NULL);
    LOG (RUNTIME_HELLO, NULL, KV_I ("lane", lane), KV_SL ("runtime", text_header (command, "runtime")),
         KV_SL ("publisher", publisher), KV_SL ("sdk", text_header (command, "sdk")));
    return CARRIED_OUT;
}

static int do_ping (struct hub *hub, int lane, const struct command *command)
{
    struct command pong = {.name = COMMAND_PONG, .headers = command->headers};
    (void) hub->runtime.send (hub->runtime.self, lane, &pong); /* the link counts what fails */
    return CARRIED_OUT;
}

static int do_pong (struct hub *hub, int lane, const struct command *command)
{
    uint64_t sent, seq;
    bool counted;
    if (!mp_map_get_uint (command->headers, "t", &sent) || sent > (uint64_t) clock_read () ||
        !read_claim (command, &seq, &counted))
        return COMMAND_DROP_malformed;
    publishers_pong (&hub->publishers, lane, (int64_t) sent);
    if (counted)
        publishers_claim (&hub->publishers, lane, seq);
    metric_observe (M_RUNTIME_ROUND_TRIP, (double) ((uint64_t) clock_read () - sent) / (double) S_NS);
    return CARRIED_OUT;
}

/* What became of an answer to REPLAY. */
static int answered (enum publisher_result result)
{
    static const int dropped[] = {[PUBLISHER_TAKEN] = CARRIED_OUT,
                                  [PUBLISHER_REPEAT] = COMMAND_DROP_repeat,
                                  [PUBLISHER_UNSOLICITED] = COMMAND_DROP_unsolicited,
                                  [PUBLISHER_NO_MEMORY] = COMMAND_DROP_no_memory};
    return dropped[result];
}

static int do_event (struct hub *hub, int lane, const struct command *command)
{
    struct slice publisher = text_header (command, "publisher");
    uint64_t seq;
    if (!publisher.n || !mp_map_get_uint (command->headers, "seq", &seq))
        return COMMAND_DROP_malformed;
    struct slice user = ident_fits_user (command->user_id); /* a bad one takes its number all the same */
    return answered (publishers_answer (&hub->publishers, lane, publisher, seq, user, command->body));
}

static int do_lost (struct hub *hub, int lane, const struct command *command)
{
    struct slice publisher = text_header (command, "publisher");
    uint64_t from, to;
    if (!publisher.n || !mp_map_get_uint (command->headers, "from", &from) ||
        !mp_map_get_uint (command->headers, "to", &to) || from > to || to > PUBLISHER_SEQ_MAX)
        return COMMAND_DROP_malformed;
    return answered (publishers_lost (&hub->publishers, lane, publisher, from, to));
}

static int carry_out (struct hub *hub, int lane, const struct command *command)
{
    switch (command->name) {
    case COMMAND_HELLO:
        return do_hello (hub, lane, command);
    case COMMAND_PING:
        return do_ping (hub, lane, command);
    case COMMAND_PONG:
        return do_pong (hub, lane, command);
    case COMMAND_SEND:
        return do_send (hub, command);
    case COMMAND_CLOSE:
        return do_close (hub, command);
    case COMMAND_KICK:
        return do_kick (hub, command);
    case COMMAND_EVENT:
        return do_event (hub, lane, command);
    case COMMAND_LOST:
        return do_lost (hub, lane, command);
    default:
        return COMMAND_DROP_unknown_command;
    }
}

static int read_command (const struct slice *frames, size_t n, struct command *command)
{
    if (n != COMMAND_FRAMES)
        return COMMAND_DROP_malformed;
    *command = (struct command){.name = command_from_runtime (frames[0]),
                                .connection_id = frames[1],
                                .user_id = frames[2],
                                .headers = frames[3],
                                .body = frames[4]};
    if (command->name == COMMAND_COUNT)
        return COMMAND_DROP_unknown_command;
    if (command->headers.n && (mp_check (command->headers) != MP_OK || !mp_is_map (command->headers)))
        return COMMAND_DROP_malformed;
    return CARRIED_OUT;
}

static void report (int dropped, int lane, const struct command *command)
{
    struct log_ctx ctx = {.conn =
                              ident_is_connection (command->connection_id) ? command->connection_id : slice_str (NULL)};
    const char *name = command->name < COMMAND_COUNT ? command_text (command->name) : "?";
    metric_inc (M_COMMANDS_DROPPED, (unsigned) dropped);
    if (dropped == COMMAND_DROP_isolation) {
        metric_inc (M_ISOLATION_VIOLATIONS, 0);
        LOG (ISOLATION_VIOLATION, &ctx, KV_S ("by", name), KV_I ("lane", lane));
    } else
        LOG (COMMAND_DROPPED, &ctx, KV_S ("command", name), KV_S ("reason", command_drop_text ((unsigned) dropped)),
             KV_I ("lane", lane));
}

void downstream_command (struct hub *hub, int lane, const struct slice *frames, size_t n)
{
    struct command command = {.name = COMMAND_COUNT};
    int dropped = read_command (frames, n, &command);
    if (dropped == CARRIED_OUT) {
        metric_inc (M_RUNTIME_COMMANDS, command.name);
        dropped = carry_out (hub, lane, &command);
    }
    if (dropped != CARRIED_OUT)
        report (dropped, lane, &command);
}
