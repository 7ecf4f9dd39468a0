/* The agent's end: options, errors, counters; events outside runs and what goes to single connections. */
#include "internal.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* --- errors and log ------------------------------------------------------------------------------------------ */

int abr_failed (abr_t *self, int code, const char *format, ...)
{
    va_list arguments;
    if (self) {
        va_start (arguments, format);
        vsnprintf (self->error, sizeof self->error, format, arguments);
        va_end (arguments);
    }
    errno = code;
    return -1;
}

const char *abr_error (const abr_t *self)
{
    return self ? self->error : zmq_strerror (errno);
}

void abr_log (abr_t *self, const char *format, ...)
{
    char line[512];
    va_list arguments;
    if (!self->log)
        return;
    va_start (arguments, format);
    vsnprintf (line, sizeof line, format, arguments);
    va_end (arguments);
    self->log (self->log_arg, line);
}

static void log_to_stderr (void *arg, const char *line)
{
    (void) arg;
    fprintf (stderr, "agentbridge: %s\n", line); /* zsys_warning() would write to standard output */
}

/* --- life ---------------------------------------------------------------------------------------------------- */

const char *abr_version (void)
{
    return ABR_VERSION;
}

static const struct abr_options default_options = {.inbox_items = 1000,
                                                   .inbox_bytes = 16 << 20,
                                                   .events_hwm = 10000,
                                                   .commands_hwm = 20000,
                                                   .linger = 1000,
                                                   .max_command = 16 << 20,
                                                   .max_event = 1 << 20,
                                                   .cancel_abandoned = true};

static void name_publisher (abr_t *self)
{
    char id[ABR_ID_SIZE];
    abr_new_id (id);
    snprintf (self->publisher, sizeof self->publisher, "abr_%s", id);
}

abr_t *abr_new (const char *name)
{
    abr_t *self = name && abr_is_name (abr_bytes_of (name), 128) ? calloc (1, sizeof *self) : NULL;
    if (!self) {
        errno = name && abr_is_name (abr_bytes_of (name), 128) ? ENOMEM : EINVAL;
        return NULL;
    }
    self->epoll_fd = self->event_fd = -1;
    self->inbox_end = &self->inbox;
    self->options = default_options;
    self->log = log_to_stderr;
    name_publisher (self);
    abr_replay_init (&self->replay, 10000, 64 << 20);
    self->name = strdup (name);
    self->options.commands = strdup ("@tcp://127.0.0.1:5555");
    self->options.events = strdup ("@tcp://127.0.0.1:5556");
    if (!self->name || !self->options.commands || !self->options.events) {
        abr_destroy (&self);
        errno = ENOMEM;
    }
    return self;
}

static void fini_options (struct abr_options *self)
{
    free (self->commands);
    free (self->events);
    free (self->curve_public);
    free (self->curve_secret);
    free (self->curve_server);
}

void abr_destroy (abr_t **self_p)
{
    if (!self_p || !*self_p)
        return;
    abr_t *self = *self_p;
    abr_runs_release (self);
    abr_links_close (self);
    while (self->inbox) {
        abr_item_t *item = self->inbox;
        self->inbox = item->next;
        abr_item_destroy (&item);
    }
    abr_replay_fini (&self->replay);
    abr_buf_fini (&self->event);
    abr_buf_fini (&self->headers);
    fini_options (&self->options);
    free (self->name);
    free (self);
    *self_p = NULL;
}

/* --- options ------------------------------------------------------------------------------------------------- */

/* May this option be set, and to this? */
static int settable (abr_t *self, bool good, const char *wanted)
{
    if (!self)
        return abr_failed (NULL, EINVAL, "no abr_t");
    if (self->commands)
        return abr_failed (self, EBUSY, "options are set before abr_start()");
    return good ? 0 : abr_failed (self, EINVAL, "%s", wanted);
}

static int set_text (abr_t *self, char **option, const char *value)
{
    char *copy = value ? strdup (value) : NULL;
    if (value && !copy)
        return abr_failed (self, ENOMEM, "no memory");
    free (*option);
    *option = copy;
    return 0;
}

int abr_set_commands (abr_t *self, const char *endpoints)
{
    if (settable (self, endpoints && *endpoints, "endpoints: a comma list, as \"@tcp://127.0.0.1:5555\"") != 0)
        return -1;
    return set_text (self, &self->options.commands, endpoints);
}

int abr_set_events (abr_t *self, const char *endpoints)
{
    if (settable (self, endpoints && *endpoints, "endpoints: a comma list, as \"@tcp://127.0.0.1:5556\"") != 0)
        return -1;
    return set_text (self, &self->options.events, endpoints);
}

int abr_set_replay (abr_t *self, size_t events, size_t bytes)
{
    if (settable (self, events <= INT_MAX, "replay: too many events") != 0)
        return -1;
    abr_replay_init (&self->replay, events, bytes); /* empty before the start */
    return 0;
}

int abr_set_inbox (abr_t *self, size_t items, size_t bytes)
{
    if (settable (self, items && bytes, "inbox: at least one item and one byte") != 0)
        return -1;
    self->options.inbox_items = items;
    self->options.inbox_bytes = bytes;
    return 0;
}

int abr_set_hwm (abr_t *self, int events, int commands)
{
    if (settable (self, events > 0 && commands > 0, "hwm: at least 1; without a bound memory has none") != 0)
        return -1;
    self->options.events_hwm = events;
    self->options.commands_hwm = commands;
    return 0;
}

int abr_set_linger (abr_t *self, int ms)
{
    if (settable (self, ms >= -1, "linger: milliseconds, or -1 for ever") != 0)
        return -1;
    self->options.linger = ms;
    return 0;
}

int abr_set_max_command_bytes (abr_t *self, size_t bytes)
{
    if (settable (self, bytes && bytes <= INT_MAX, "max_command_bytes: 1 to 2 GiB") != 0)
        return -1;
    self->options.max_command = bytes;
    return 0;
}

int abr_set_max_event_bytes (abr_t *self, size_t bytes)
{
    if (settable (self, bytes && bytes <= INT_MAX, "max_event_bytes: 1 to 2 GiB") != 0)
        return -1;
    self->options.max_event = bytes;
    return 0;
}

int abr_set_cancel_abandoned (abr_t *self, bool yes)
{
    if (settable (self, true, "") != 0)
        return -1;
    self->options.cancel_abandoned = yes;
    return 0;
}

static bool is_key (const char *text)
{
    uint8_t key[32];
    return text && strlen (text) == 40 && zmq_z85_decode (key, text);
}

int abr_set_curve (abr_t *self, const char *public_key, const char *secret_key, const char *server_key)
{
    bool good = is_key (public_key) && is_key (secret_key) && (!server_key || is_key (server_key));
    if (settable (self, good, "curve: keys are 40 characters of Z85") != 0)
        return -1;
    if (!zsys_has_curve ())
        return abr_failed (self, ENOTSUP, "curve: this ZeroMQ was built without it");
    return set_text (self, &self->options.curve_public, public_key) ||
                   set_text (self, &self->options.curve_secret, secret_key) ||
                   set_text (self, &self->options.curve_server, server_key)
               ? -1
               : 0;
}

int abr_set_logger (abr_t *self, void (*log) (void *arg, const char *line), void *arg)
{
    if (settable (self, true, "") != 0)
        return -1;
    self->log = log;
    self->log_arg = arg;
    return 0;
}

/* --- what there is to know ----------------------------------------------------------------------------------- */

const char *abr_publisher (const abr_t *self)
{
    return self->publisher;
}

uint64_t abr_seq (const abr_t *self)
{
    return self->seq;
}

uint64_t abr_counter (const abr_t *self, abr_counter_t counter)
{
    if (counter == ABR_REPLAY_EVICTED)
        return self->replay.evicted;
    return (unsigned) counter < ABR_COUNTERS ? self->counters[counter] : 0;
}

/* --- events and connections ---------------------------------------------------------------------------------- */

static int ready (abr_t *self)
{
    if (self && self->commands)
        return 0;
    return abr_failed (self, self ? ENOTCONN : EINVAL, "not started: call abr_start() first");
}

static int check_user (abr_t *self, const char *user)
{
    if (user && abr_is_user (abr_bytes_of (user)))
        return 0;
    return abr_failed (self, EINVAL, "a user id has 1 to 128 bytes of UTF-8 without control characters");
}

/* An event outside runs, in self->event. */
static int compose (abr_t *self, const char *user, const char *type, const abr_field_t *fields)
{
    char id[ABR_ID_SIZE];
    if (check_user (self, user) != 0)
        return -1;
    if (!type || !*type || !abr_utf8 (abr_bytes_of (type)))
        return abr_failed (self, EINVAL, "an event's type is UTF-8 and not empty");
    abr_new_id (id);
    return abr_compose (self,
                        ABR_FIELDS (abr_str ("type", type), abr_str ("event_id", id),
                                    abr_float ("timestamp", abr_unix_time ()), abr_str ("user_id", user)),
                        NULL, fields, false);
}

int abr_emit (abr_t *self, const char *user, const char *type, const abr_field_t *fields)
{
    if (ready (self) != 0)
        return -1;
    abr_serve (self);
    return compose (self, user, type, fields) == 0 ? abr_publish (self, user) : -1;
}

static bool allocate (zmq_msg_t *body, const void *data, size_t size)
{
    if (zmq_msg_init_size (body, size) != 0)
        return false;
    if (size)
        memcpy (zmq_msg_data (body), data, size);
    return true;
}

/* Headers are in self->headers. */
static int route_to (abr_t *self, const abr_conn_t *conn, const char *command, const void *data, size_t size)
{
    zmq_msg_t body;
    const struct abr_outgoing out = {conn->bridge, command, conn->id, conn->user, {self->headers.p, self->headers.n}};
    if (self->headers.failed || !allocate (&body, data, size))
        return abr_failed (self, ENOMEM, "no memory for a command");
    return abr_route (self, &out, &body);
}

/* Ready, and is this a connection to send to? */
static int connected (abr_t *self, const abr_conn_t *conn)
{
    if (ready (self) != 0)
        return -1;
    if (!conn || !*conn->id)
        return abr_failed (self, EINVAL, "no connection");
    abr_serve (self);
    abr_buf_reset (&self->headers);
    return 0;
}

int abr_send (abr_t *self, const abr_conn_t *conn, const char *type, const abr_field_t *fields)
{
    if (connected (self, conn) != 0 || compose (self, conn->user, type, fields) != 0)
        return -1;
    return route_to (self, conn, "SEND", self->event.p, self->event.n);
}

int abr_send_frame (abr_t *self, const abr_conn_t *conn, const void *data, size_t size, bool text)
{
    msgpack_packer packer;
    if (connected (self, conn) != 0)
        return -1;
    if (!data && size)
        return abr_failed (self, EINVAL, "a frame has a size, but no bytes");
    if (size > self->options.max_event)
        return abr_failed (self, EMSGSIZE, "the frame has %zu bytes, more than the %zu of abr_set_max_event_bytes()",
                           size, self->options.max_event);
    if (text && !abr_utf8 ((struct abr_bytes){data, size}))
        return abr_failed (self, EINVAL, "a text frame is UTF-8; send this one as binary");
    abr_mp_writer (&packer, &self->headers);
    msgpack_pack_map (&packer, 1);
    abr_mp_put_cstr (&packer, "opcode");
    abr_mp_put_cstr (&packer, text ? "text" : "binary");
    return route_to (self, conn, "SEND", data, size);
}

int abr_send_text (abr_t *self, const abr_conn_t *conn, const char *text)
{
    if (!text)
        return abr_failed (self, EINVAL, "no text");
    return abr_send_frame (self, conn, text, strlen (text), true);
}

static bool is_close_code (int code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static void put_reason (msgpack_packer *packer, const char *reason)
{
    abr_mp_put_cstr (packer, "reason");
    abr_mp_put_cstr (packer, reason);
}

int abr_close (abr_t *self, const abr_conn_t *conn, int code, const char *reason)
{
    msgpack_packer packer;
    if (connected (self, conn) != 0)
        return -1;
    if (!is_close_code (code))
        return abr_failed (self, EINVAL, "%d is no close code to send: 1000 to 1003, 1007 to 1014, 3000 to 4999", code);
    if (!abr_is_reason (reason))
        return abr_failed (self, EINVAL, "a reason has at most 123 bytes of UTF-8");
    abr_mp_writer (&packer, &self->headers);
    if (reason || code != 1000) { /* the default */
        msgpack_pack_map (&packer, reason ? 2 : 1);
        abr_mp_put_cstr (&packer, "code");
        msgpack_pack_int (&packer, code);
    }
    if (reason)
        put_reason (&packer, reason);
    return route_to (self, conn, "CLOSE", NULL, 0);
}

/* To every bridge that is known; backwards, because those that are gone are taken out. How many took it. */
static size_t route_to_all (abr_t *self, const char *command, const char *user)
{
    size_t sent = 0;
    for (size_t i = self->bridges_n; i--;) {
        struct abr_bridge bridge = self->bridges[i];
        const struct abr_outgoing out = {{bridge.id, bridge.n}, command, "", user, {self->headers.p, self->headers.n}};
        sent += abr_route (self, &out, NULL) == 0;
    }
    return sent;
}

int abr_kick (abr_t *self, const char *user, const char *reason)
{
    msgpack_packer packer;
    if (ready (self) != 0 || abr_serve (self) != 0 || check_user (self, user) != 0)
        return -1;
    if (!abr_is_reason (reason))
        return abr_failed (self, EINVAL, "a reason has at most 123 bytes of UTF-8");
    abr_buf_reset (&self->headers);
    abr_mp_writer (&packer, &self->headers);
    if (reason) {
        msgpack_pack_map (&packer, 1);
        put_reason (&packer, reason);
    }
    if (self->headers.failed)
        return abr_failed (self, ENOMEM, "no memory for a command");
    return route_to_all (self, "KICK", user) ? 0 : abr_failed (self, EHOSTUNREACH, "no bridge is there");
}
