/* agentbridge: the runtime's side of the bridge, for agents in C.
 *
 * Messages of browsers come in with abr_recv(), events of runs go out with abr_run_*(). The wire is ZeroMQ and
 * MessagePack (proto/README.md); this library keeps its rules: numbered events that are held for REPLAY, one end to a
 * run, one tool_completed to a tool, PING and HELLO answered, several bridges at once.
 *
 * Threads. One thread per abr_t, with everything that belongs to it (items, connections, runs, tools); another thread
 * may have an abr_t of its own, with endpoints of its own (the bridge takes lists). The library starts no thread.
 *
 * Keeping the link alive. HELLO, PING and REPLAY are answered inside abr_recv(), abr_serve() and every call that emits.
 * An agent that computes for a second or longer without emitting calls abr_serve() now and then: a bridge that has
 * missed events waits for the answer no longer than its replay-timeout-ms before it gives them up.
 *
 * Errors. Functions that can fail return 0 or a pointer, and -1 or NULL when they fail; errno says what kind (the
 * values stand at each function), abr_error() says in words what to do. A failed call has sent nothing and changed
 * nothing. NULL for the object is EINVAL, so that a chain after a failed abr_run_new() fails and does not crash.
 *
 * Strings are UTF-8 and end with NUL; what is given is copied, nothing is kept. Times in calls are milliseconds. */
#ifndef AGENTBRIDGE_H
#define AGENTBRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ABR_EXPORT __attribute__ ((visibility ("default")))
#else
#define ABR_EXPORT
#endif

typedef struct abr abr_t;           /* the agent's end of the links */
typedef struct abr_item abr_item_t; /* something that has come in */
typedef struct abr_conn abr_conn_t; /* a client's connection, with the bridge that it is at */
typedef struct abr_run abr_run_t;   /* one piece of work, from agent_started to its one end */
typedef struct abr_tool abr_tool_t; /* one use of a tool in a run */

/* --- the agent's end ----------------------------------------------------------------------------------------- */

/* The library's version, as "0.1.0". */
ABR_EXPORT const char *abr_version (void);

/* A new end with default options; nothing is bound yet. `name` is the runtime's name for bridges, and the `agent_name`
 * of runs; 1 to 128 bytes. NULL: EINVAL, ENOMEM. The caller owns it. */
ABR_EXPORT abr_t *abr_new (const char *name);

/* End: open runs end with agent_error CANCELLED, what is queued goes out within the linger time (in the background, and
 * when czmq's context ends). Who wants runs to end by themselves goes on until abr_runs() is 0, and destroys then.
 * Items, connections, runs and tools that the caller holds stay valid until their own destroy; runs are ended. */
ABR_EXPORT void abr_destroy (abr_t **self_p);

/* What the last failed call of this end (or of its runs and tools) says, one line for people. Valid until the next
 * call. With NULL: the text of errno. */
ABR_EXPORT const char *abr_error (const abr_t *self);

/* Options, all before abr_start() (later: EBUSY). Values that cannot be: EINVAL.
 *
 * Endpoints: a comma list in czmq notation, `@` binds, `>` connects, without either it binds. Defaults
 * "@tcp://127.0.0.1:5555" (commands, ROUTER) and "@tcp://127.0.0.1:5556" (events, PUB). Stay on loopback or ipc unless
 * CURVE is on. */
ABR_EXPORT int abr_set_commands (abr_t *self, const char *endpoints);
ABR_EXPORT int abr_set_events (abr_t *self, const char *endpoints);
/* How many events, and bytes of them, are held for bridges that missed some; the oldest go first (ABR_REPLAY_EVICTED
 * counts). Default 10,000 and 64 MiB. 0 events: none are held. */
ABR_EXPORT int abr_set_replay (abr_t *self, size_t events, size_t bytes);
/* How many items, and bytes of them, may wait for abr_recv(). When it is full the library reads no more: the bridge
 * keeps what follows, up to its runtime-queue-messages, and tells clients RUNTIME_UNAVAILABLE beyond that. Nothing is
 * dropped, but PING and REPLAY are not answered either. Default 1,000 and 16 MiB. */
ABR_EXPORT int abr_set_inbox (abr_t *self, size_t items, size_t bytes);
/* Messages that a socket keeps for one bridge that does not read, at least 1. Default: events 10,000, beyond which PUB
 * drops and the bridge asks again; commands 20,000, beyond which calls fail with EAGAIN. */
ABR_EXPORT int abr_set_hwm (abr_t *self, int events, int commands);
/* How long sockets go on sending after abr_destroy(), at the latest until the program ends. Default 1000 ms; -1:
 * without end. */
ABR_EXPORT int abr_set_linger (abr_t *self, int ms);
/* The largest frame taken from a bridge; one that sends a larger one is disconnected. Default 16 MiB. */
ABR_EXPORT int abr_set_max_command_bytes (abr_t *self, size_t bytes);
/* The largest event that is emitted; the bridge's max-event-bytes. Default 1 MiB. */
ABR_EXPORT int abr_set_max_event_bytes (abr_t *self, size_t bytes);
/* Whether ABANDONED (all of the user's connections are gone for a while) ends the runs that it names, with agent_error
 * CANCELLED. Default true. The item comes either way. */
ABR_EXPORT int abr_set_cancel_abandoned (abr_t *self, bool yes);
/* CURVE on both links, keys as Z85 text (40 characters each; zcert_public_txt(), zcert_secret_txt()). `server_key`
 * NULL: this end is the server, for endpoints that bind; else the bridge's public key, for endpoints that connect. A
 * server lets in everybody who has its public key, unless the program runs a zauth actor; the ZAP domain is
 * "agentbridge". */
ABR_EXPORT int abr_set_curve (abr_t *self, const char *public_key, const char *secret_key, const char *server_key);
/* Where log lines go: `log` with `arg`, in this thread, from within calls of this library, without calling it back.
 * NULL: nowhere. Default: standard error. Lines tell of dropped commands and ended runs; they hold no payloads. */
ABR_EXPORT int abr_set_logger (abr_t *self, void (*log) (void *arg, const char *line), void *arg);

/* Bind and connect. EADDRINUSE and whatever else ZeroMQ says of the endpoint that abr_error() names; after a failure
 * the options may be changed and this called again (what had been bound is free a moment later). EBUSY: started
 * already. */
ABR_EXPORT int abr_start (abr_t *self);

/* The name under which events are numbered, new with every abr_new(); and the number of the last event, 0 before the
 * first. */
ABR_EXPORT const char *abr_publisher (const abr_t *self);
ABR_EXPORT uint64_t abr_seq (const abr_t *self);

/* The last endpoint bound or connected, with the port that ZeroMQ chose for "tcp://127.0.0.1:*". NULL before the start.
 */
ABR_EXPORT const char *abr_commands_endpoint (const abr_t *self);
ABR_EXPORT const char *abr_events_endpoint (const abr_t *self);

/* Runs that are open (started and not ended). */
ABR_EXPORT size_t abr_runs (const abr_t *self);

/* What has happened since abr_new(). */
typedef enum {
    ABR_COMMANDS_RECEIVED,  /* well-formed ones */
    ABR_COMMANDS_MALFORMED, /* dropped, each with a log line */
    ABR_COMMANDS_DROPPED,   /* well-formed items for which there was no memory, each with a log line */
    ABR_ANSWERS_UNSENT,     /* HELLO, PONG, EVENT, LOST for a bridge that is gone or does not read */
    ABR_EVENTS_REPLAYED,    /* answers to REPLAY */
    ABR_EVENTS_LOST,        /* asked for and no longer held */
    ABR_REPLAY_EVICTED,     /* no longer held, asked for or not */
    ABR_RUNS_ABANDONED,     /* ended by ABANDONED */
    ABR_COUNTERS
} abr_counter_t;
ABR_EXPORT uint64_t abr_counter (const abr_t *self, abr_counter_t counter);

/* --- what comes in ------------------------------------------------------------------------------------------- */

/* The next item, in the order in which the bridge sent it. Waits up to `timeout_ms`; 0: not at all, -1: without end.
 * The caller owns it. NULL: EAGAIN (nothing within that time), EINTR (a signal; with czmq's handlers SIGINT and SIGTERM
 * end every later call too), ENOTCONN (not started), ETERM (czmq has been shut down). */
ABR_EXPORT abr_item_t *abr_recv (abr_t *self, int timeout_ms);

/* Answer what bridges ask, and take what they send into the inbox; never waits. 0, or ENOTCONN. */
ABR_EXPORT int abr_serve (abr_t *self);

/* A descriptor to wait on in another event loop (zpoller, zloop, epoll, libuv): readable, level-triggered, when
 * abr_recv() has something to do. Then call abr_recv (self, 0) until it returns NULL, or once: the descriptor stays
 * readable while something is left. Owned by the library, closed by abr_destroy(); -1 before the start. */
ABR_EXPORT int abr_fd (const abr_t *self);

typedef enum {
    ABR_MESSAGE, /* a client has sent a frame */
    ABR_CONNECT, /* a connection is there; comes before its first message, and again (`resumed`) after a restart of this
                    program */
    ABR_DISCONNECT, /* it has gone */
    ABR_ABANDONED   /* nobody has read these runs for a while */
} abr_kind_t;

ABR_EXPORT void abr_item_destroy (abr_item_t **self_p);
ABR_EXPORT abr_kind_t abr_item_kind (const abr_item_t *self);
/* The authenticated user, always there. Borrowed, as all pointers that items give. */
ABR_EXPORT const char *abr_item_user (const abr_item_t *self);
/* The connection; NULL with ABANDONED. */
ABR_EXPORT const abr_conn_t *abr_item_conn (const abr_item_t *self);
/* MESSAGE: the frame's bytes, as the client sent them, with a NUL behind them that `size` (may be NULL) does not count.
 * Empty otherwise. */
ABR_EXPORT const char *abr_item_body (const abr_item_t *self, size_t *size);
ABR_EXPORT bool abr_item_is_text (const abr_item_t *self); /* a text frame (else binary) */
/* MESSAGE: its number on its connection, from 1, without gaps; when it came, Unix time in seconds. 0 when unknown. */
ABR_EXPORT uint64_t abr_item_seq (const abr_item_t *self);
ABR_EXPORT double abr_item_time (const abr_item_t *self);
/* CONNECT: false when everything is new; true for a connection that was there before. */
ABR_EXPORT bool abr_item_resumed (const abr_item_t *self);
/* DISCONNECT: close code (1006 without a close frame), and how many connections the user still has. 0 when unknown. */
ABR_EXPORT int abr_item_code (const abr_item_t *self);
ABR_EXPORT uint64_t abr_item_remaining (const abr_item_t *self);
/* ABANDONED: the runs. NULL beyond the last, so that a loop needs no count. */
ABR_EXPORT const char *abr_item_run_id (abr_item_t *self, size_t index);
/* A header that is a string: "remote", "origin", "subprotocol", "traceparent" (CONNECT), "reason" (DISCONNECT),
 * "traceparent" (MESSAGE). NULL: not there, no string, or with a NUL in it. */
ABR_EXPORT const char *abr_item_header (abr_item_t *self, const char *name);
/* CONNECT: a claim of the token that is a string, as "sub" or "role". NULL as with headers. */
ABR_EXPORT const char *abr_item_claim (abr_item_t *self, const char *name);
/* All headers as one MessagePack map, for a reader of the caller's; it has been checked (whole, nested at most 64
 * deep). `size` 0: none. */
ABR_EXPORT const void *abr_item_headers (const abr_item_t *self, size_t *size);

/* A connection outlives its item as a copy. NULL: ENOMEM. The caller owns the copy. */
ABR_EXPORT abr_conn_t *abr_conn_dup (const abr_conn_t *self);
ABR_EXPORT void abr_conn_destroy (abr_conn_t **self_p);
ABR_EXPORT const char *abr_conn_id (const abr_conn_t *self);
ABR_EXPORT const char *abr_conn_user (const abr_conn_t *self);

/* --- fields of events ---------------------------------------------------------------------------------------- */

/* Fields are values with names, made by the functions below and listed by ABR_FIELDS; NULL is the empty list. The
 * compiler checks their types. Everything that a field points to is read during the call only.
 *
 *     abr_run_progress (run, ABR_FIELDS (abr_int ("percent", 37), abr_str ("stage", "reading")));
 *
 * Names that the library gives itself are refused (EINVAL), and so are a name twice and names that begin with "_",
 * which are the bridge's: type, user_id, event_id, timestamp; in runs run_id, thread_id, agent_name, and those of the
 * call. */
typedef enum {
    ABR_TYPE_END, /* behind the last field of a list */
    ABR_TYPE_NIL,
    ABR_TYPE_BOOL,
    ABR_TYPE_INT,
    ABR_TYPE_UINT,
    ABR_TYPE_FLOAT,
    ABR_TYPE_STR,
    ABR_TYPE_BIN,
    ABR_TYPE_MAP,
    ABR_TYPE_ARRAY,
    ABR_TYPE_PACKED
} abr_type_t;

typedef struct abr_field abr_field_t;
struct abr_field {
    const char *name;
    abr_type_t type;
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double d;
        const void *data;
        const abr_field_t *fields;
    } value;
    size_t size; /* of STR, BIN, PACKED */
};

#ifndef __cplusplus /* C++ has no compound literals: make an array that ends with abr_end() */
#define ABR_FIELDS(...) ((const abr_field_t[]){__VA_ARGS__, {0}})
#endif

static inline abr_field_t abr_field_of_ (const char *name, abr_type_t type)
{
    abr_field_t field;
    field.name = name;
    field.type = type;
    field.value.u = 0;
    field.size = 0;
    return field;
}

static inline abr_field_t abr_field_bytes_ (const char *name, abr_type_t type, const void *data, size_t size)
{
    abr_field_t field = abr_field_of_ (name, type);
    field.value.data = data;
    field.size = size;
    return field;
}

static inline abr_field_t abr_field_list_ (const char *name, abr_type_t type, const abr_field_t *fields)
{
    abr_field_t field = abr_field_of_ (name, type);
    field.value.fields = fields;
    return field;
}

static inline abr_field_t abr_end (void)
{
    return abr_field_of_ (NULL, ABR_TYPE_END);
}

static inline abr_field_t abr_nil (const char *name)
{
    return abr_field_of_ (name, ABR_TYPE_NIL);
}

static inline abr_field_t abr_bool (const char *name, bool value)
{
    abr_field_t field = abr_field_of_ (name, ABR_TYPE_BOOL);
    field.value.b = value;
    return field;
}

static inline abr_field_t abr_int (const char *name, int64_t value)
{
    abr_field_t field = abr_field_of_ (name, ABR_TYPE_INT);
    field.value.i = value;
    return field;
}

static inline abr_field_t abr_uint (const char *name, uint64_t value)
{
    abr_field_t field = abr_field_of_ (name, ABR_TYPE_UINT);
    field.value.u = value;
    return field;
}

static inline abr_field_t abr_float (const char *name, double value)
{
    abr_field_t field = abr_field_of_ (name, ABR_TYPE_FLOAT);
    field.value.d = value;
    return field;
}

/* A string that ends with NUL; NULL is sent as nil. */
static inline abr_field_t abr_str (const char *name, const char *text)
{
    return abr_field_bytes_ (name, text ? ABR_TYPE_STR : ABR_TYPE_NIL, text, text ? __builtin_strlen (text) : 0);
}

/* A string of `size` bytes. */
static inline abr_field_t abr_strn (const char *name, const char *text, size_t size)
{
    return abr_field_bytes_ (name, ABR_TYPE_STR, text, size);
}

/* Bytes; JSON clients get base64. */
static inline abr_field_t abr_bin (const char *name, const void *data, size_t size)
{
    return abr_field_bytes_ (name, ABR_TYPE_BIN, data, size);
}

/* A map of named fields, or an array of values whose names are not looked at: abr_map ("args", ABR_FIELDS (...)). NULL
 * is the empty one. */
static inline abr_field_t abr_map (const char *name, const abr_field_t *fields)
{
    return abr_field_list_ (name, ABR_TYPE_MAP, fields);
}

static inline abr_field_t abr_array (const char *name, const abr_field_t *values)
{
    return abr_field_list_ (name, ABR_TYPE_ARRAY, values);
}

/* Exactly one value in MessagePack, made by the caller (msgpack-c's packer); it is checked before it is sent. */
static inline abr_field_t abr_packed (const char *name, const void *data, size_t size)
{
    return abr_field_bytes_ (name, ABR_TYPE_PACKED, data, size);
}

/* --- events outside runs, and single connections ------------------------------------------------------------- */

/* All that emit: EINVAL (a name or value that cannot be; abr_error() names it), EMSGSIZE (over max_event_bytes),
 * ENOMEM, ENOTCONN (not started). Emitting never waits. PUB drops what a bridge is too slow for, or not yet there for;
 * the bridge notices and asks again. */

/* An event of any type for all connections of a user, with event_id, timestamp and user_id. A field "connection_id"
 * narrows it to one. */
ABR_EXPORT int abr_emit (abr_t *self, const char *user, const char *type, const abr_field_t *fields);

/* The following go to the bridge that has the connection: EHOSTUNREACH (that bridge is gone), EAGAIN (it does not
 * read). 0 means handed over: the connection may end before it arrives. */

/* One event for this connection alone; not kept for clients that come back. */
ABR_EXPORT int abr_send (abr_t *self, const abr_conn_t *conn, const char *type, const abr_field_t *fields);
/* One frame as it is: text (UTF-8, else EINVAL) or binary, up to max_event_bytes. */
ABR_EXPORT int abr_send_text (abr_t *self, const abr_conn_t *conn, const char *text);
ABR_EXPORT int abr_send_frame (abr_t *self, const abr_conn_t *conn, const void *data, size_t size, bool text);
/* Close it. `code`: 1000 to 1003, 1007 to 1014, 3000 to 4999; `reason`: at most 123 bytes, or NULL. Else EINVAL. */
ABR_EXPORT int abr_close (abr_t *self, const abr_conn_t *conn, int code, const char *reason);
/* Close all connections of a user with 4009, at every bridge that has said anything. `reason` as above. EHOSTUNREACH:
 * there is none. */
ABR_EXPORT int abr_kick (abr_t *self, const char *user, const char *reason);

/* --- runs ---------------------------------------------------------------------------------------------------- */

/* A run for a user; nothing is said yet. It gets a new run_id. NULL: EINVAL (a user is 1 to 128 bytes of UTF-8 without
 * control characters), ENOMEM. The caller owns it. */
ABR_EXPORT abr_run_t *abr_run_new (abr_t *self, const char *user);

/* An open run ends here with agent_error CANCELLED; one that was never started says nothing. */
ABR_EXPORT void abr_run_destroy (abr_run_t **self_p);

/* Before abr_run_started() (later: EBUSY). run_id: 1 to 255 bytes. agent_name: default is the name of the abr_t.
 * Without a thread_id events have none. */
ABR_EXPORT int abr_run_set_id (abr_run_t *self, const char *run_id);
ABR_EXPORT int abr_run_set_thread (abr_run_t *self, const char *thread_id);
ABR_EXPORT int abr_run_set_agent (abr_run_t *self, const char *agent_name);
ABR_EXPORT const char *abr_run_id (const abr_run_t *self);
ABR_EXPORT const char *abr_run_user (const abr_run_t *self);

/* All that follow fail, beside what emitting says above, with EPROTO (not started, or started twice), ESHUTDOWN (it has
 * ended) and ECANCELED (it was ended by ABANDONED or abr_run_cancel(): stop working). */

/* agent_started, with task_description (NULL: without). */
ABR_EXPORT int abr_run_started (abr_run_t *self, const char *task, const abr_field_t *fields);
/* agent_thinking: a whole thought (reasoning), or the next piece of one (delta). step_number 0 is left out. */
ABR_EXPORT int abr_run_thinking (abr_run_t *self, const char *reasoning, unsigned step_number);
ABR_EXPORT int abr_run_thinking_delta (abr_run_t *self, const char *delta, unsigned step_number);
/* stream_chunk with delta: the next piece of the answer. */
ABR_EXPORT int abr_run_chunk (abr_run_t *self, const char *delta);
/* progress_update; its fields are yours, usually "percent". */
ABR_EXPORT int abr_run_progress (abr_run_t *self, const abr_field_t *fields);
/* Any other event of the run. The five that make its course, and agent_error, have functions of their own and are
 * refused (EINVAL). */
ABR_EXPORT int abr_run_emit (abr_run_t *self, const char *type, const abr_field_t *fields);

/* The end: agent_completed with final_response (NULL: nil), duration_ms and status "completed", or another status.
 * Tools that are open are completed without success first. */
ABR_EXPORT int abr_run_complete (abr_run_t *self, const char *final_response, const abr_field_t *fields);
ABR_EXPORT int abr_run_complete_as (abr_run_t *self, const char *status, const char *final_response,
                                    const abr_field_t *fields);
/* The end: agent_error with error_code and error_message. The client reads both: no secrets, no library texts. */
ABR_EXPORT int abr_run_fail (abr_run_t *self, const char *error_code, const char *error_message);
/* The end: agent_error CANCELLED. */
ABR_EXPORT int abr_run_cancel (abr_run_t *self);
/* Has it ended; was it by ABANDONED or abr_run_cancel()? */
ABR_EXPORT bool abr_run_ended (const abr_run_t *self);
ABR_EXPORT bool abr_run_cancelled (const abr_run_t *self);

/* tool_executing with tool_name, tool_args (a map of these fields) and a new execution_id. NULL as with emitting. The
 * caller owns it, and ends it with one of the three below; each sends tool_completed with execution_time (seconds
 * since) once, and frees it. */
ABR_EXPORT abr_tool_t *abr_tool_new (abr_run_t *run, const char *name, const abr_field_t *args);
/* It went well: results are a map of these fields, or (_value) any one value. After a failure (EMSGSIZE, say) the tool
 * is still there, unless its run has ended: then it was completed with it, the call says so (ESHUTDOWN, ECANCELED) and
 * has freed it. */
ABR_EXPORT int abr_tool_complete (abr_tool_t **self_p, const abr_field_t *results);
ABR_EXPORT int abr_tool_complete_value (abr_tool_t **self_p, abr_field_t results);
/* It failed: success is false, results {"error": text}. The client reads the text. */
ABR_EXPORT int abr_tool_fail (abr_tool_t **self_p, const char *text);
/* Give it up, when it is still there: success is false, results are nil. For the way out of a function. */
ABR_EXPORT void abr_tool_destroy (abr_tool_t **self_p);
ABR_EXPORT const char *abr_tool_id (const abr_tool_t *self); /* execution_id */

#ifdef __cplusplus
}
#endif
#endif
