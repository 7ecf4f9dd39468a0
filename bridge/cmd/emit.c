/* `agentbridge emit`: publish events to a bridge that binds an event endpoint, as a runtime would. */
#include "cmd/cmd.h"
#include "base/clock.h"
#include "base/hash.h"
#include "core/event.h"
#include "core/ident.h"
#include "core/json_mp.h"
#include "core/mp_json.h"

#include <czmq.h>
#include <errno.h>
#include <time.h>

#define NAME       "emit"
#define LINGER_MS  5000
#define SEND_MS    5000 /* a bridge that takes nothing for so long is not there any more */
#define PROGRESS_S 5
#define EXIT_USAGE 2

struct emit_args {
    const char *user, *type, *run, *thread, *agent, *connect, *curve_file;
    struct arg_list fields;
    int64_t count, interval_ms, wait_ms;
    bool json;
};

struct emitter {
    struct emit_args args;
    const struct config *config;
    json_t *fields; /* what the command line says of the event */
    char publisher[32];
    uint64_t seq;
    char *endpoint;
    zsock_t *sock;
};

static const char usage[] = "Usage: agentbridge emit --user U --type T [--field NAME=VALUE]... [...]\n"
                            "\n"
                            "Publishes an event to the user's connections, for a try-out. The bridge must bind an "
                            "event endpoint: one with @ among its\n"
                            "runtime-events, e.g. --runtime-events '>tcp://127.0.0.1:5556,@tcp://127.0.0.1:5557'. emit "
                            "reads the same configuration and\n"
                            "takes the first such endpoint.\n"
                            "\n";

static const char closing[] = "\n"
                              "A VALUE that is JSON is that value, anything else a text: --field n=5 is a number, "
                              "--field 'n=\"5\"' and --field n=five\n"
                              "are texts. event_id, timestamp and user_id are made; the events carry a publisher of "
                              "their own and a count from 1.\n"
                              "\n"
                              "Exit code: 0 all are sent; 1 no bridge is there, or it stopped taking events; 2 wrong "
                              "arguments or configuration.\n";

#define TEXT_ARG(name, value, field, help)                                                                             \
    {                                                                                                                  \
        name, value, ARG_TEXT, false, offsetof (struct emit_args, field), 0, 0, help                                   \
    }
#define NUMBER_ARG(name, value, field, least, most, help)                                                              \
    {                                                                                                                  \
        name, value, ARG_NUMBER, false, offsetof (struct emit_args, field), least, most, help                          \
    }

static const struct arg_row rows[] = {
    TEXT_ARG ("user", "U", user, "user id; must be given"),
    TEXT_ARG ("type", "T", type, "type of the event; must be given"),
    {"field", "NAME=VALUE", ARG_LIST, false, offsetof (struct emit_args, fields), 0, 0,
     "a field of the event; may be given several times"},
    TEXT_ARG ("run", "R", run, "run_id"),
    TEXT_ARG ("thread", "T", thread, "thread_id"),
    TEXT_ARG ("agent", "A", agent, "agent_name"),
    NUMBER_ARG ("count", "N", count, 1, 10000000, "how many events (default 1)"),
    NUMBER_ARG ("interval-ms", "N", interval_ms, 0, 3600000, "pause between two of them (default 0)"),
    NUMBER_ARG ("wait-ms", "N", wait_ms, 1, 600000, "how long to wait for the bridge (default 5000)"),
    TEXT_ARG ("connect", "ENDPOINT", connect, "where the bridge binds, instead of what the configuration says"),
    TEXT_ARG ("curve-file", "FILE", curve_file, "with CURVE: zcert file with the runtime's secret key"),
    {"json", NULL, ARG_SWITCH, false, offsetof (struct emit_args, json), 0, 0, "print each event as a line of JSON"},
    {.name = NULL},
};

/* --- the event ----------------------------------------------------------------------------------------------- */

static const struct reserved {
    const char *name, *instead;
} reserved[] = {
    {"type", "give --type"},
    {"user_id", "give --user"},
    {"run_id", "give --run"},
    {"thread_id", "give --thread"},
    {"agent_name", "give --agent"},
    {"event_id", "it is made for each event"},
    {"timestamp", "it is made for each event"},
};

static bool check_name (const char *name)
{
    for (size_t i = 0; i < COUNT_OF (reserved); i++)
        if (strcmp (name, reserved[i].name) == 0)
            return args_fault (NAME, "--field %s: is reserved; %s", name, reserved[i].instead);
    if (*name == '_')
        return args_fault (NAME, "--field %.60s: names that begin with _ are the bridge's", name);
    return true;
}

/* Objects and arrays within each other. */
static unsigned depth_of (const json_t *value)
{
    unsigned deepest = 0, depth;
    const char *key;
    json_t *item, *any = (json_t *) (uintptr_t) value;
    size_t i;
    json_object_foreach (any, key, item) deepest = (depth = depth_of (item)) > deepest ? depth : deepest;
    json_array_foreach (any, i, item) deepest = (depth = depth_of (item)) > deepest ? depth : deepest;
    return json_is_object (any) || json_is_array (any) ? deepest + 1 : 0;
}

static bool add_field (json_t *fields, const char *text)
{
    const char *equals = strchr (text, '=');
    char name[256];
    if (!equals || equals == text || equals - text >= (ptrdiff_t) sizeof name)
        return args_fault (NAME, "--field %.60s: is not NAME=VALUE", text);
    snprintf (name, sizeof name, "%.*s", (int) (equals - text), text);
    if (!check_name (name))
        return false;
    if (json_object_get (fields, name))
        return args_fault (NAME, "--field %.60s: is given twice", name);
    json_t *value = json_loads (equals + 1, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (depth_of (value) >= MP_MAX_DEPTH) { /* the event itself counts too */
        json_decref (value);
        return args_fault (NAME, "--field %.60s: is nested deeper than %d", name, MP_MAX_DEPTH - 1);
    }
    if (json_object_set_new (fields, name, value ? value : json_string (equals + 1)) != 0)
        return args_fault (NAME, "--field %.60s: name and value must be UTF-8", name);
    return true;
}

static bool add_text (json_t *fields, const char *name, const char *flag, const char *value)
{
    return !value || json_object_set_new (fields, name, json_string (value)) == 0 ||
           args_fault (NAME, "--%s: must be UTF-8", flag);
}

static bool read_fields (struct emitter *self)
{
    const struct emit_args *args = &self->args;
    if (!args->user || !ident_is_user (slice_str (args->user)))
        return args_fault (NAME, "--user must be given: 1 to 128 bytes of UTF-8 without control characters");
    if (!args->type || !*args->type)
        return args_fault (NAME, "--type must be given, e.g. --type agent_started");
    bool good = add_text (self->fields, "type", "type", args->type) &&
                add_text (self->fields, "user_id", "user", args->user) &&
                add_text (self->fields, "run_id", "run", args->run) &&
                add_text (self->fields, "thread_id", "thread", args->thread) &&
                add_text (self->fields, "agent_name", "agent", args->agent);
    for (size_t i = 0; good && i < args->fields.n; i++)
        good = add_field (self->fields, args->fields.items[i]);
    return good;
}

static void put_id (char *text, size_t room)
{
    uint8_t random[8];
    random_bytes (random, sizeof random);
    for (size_t i = 0; i < sizeof random && 2 * i + 2 < room; i++)
        snprintf (text + 2 * i, 3, "%02x", random[i]);
}

/* The next event as MessagePack. */
static bool put_event (struct emitter *self, struct buf *out)
{
    char id[17] = "";
    msgpack_packer packer;
    put_id (id, sizeof id);
    clock_refresh ();
    buf_reset (out);
    mp_writer_init (&packer, out);
    if (json_object_set_new (self->fields, "event_id", json_string (id)) != 0 ||
        json_object_set_new (self->fields, "timestamp", json_real (clock_wall ())) != 0)
        return false;
    json_mp_put (&packer, self->fields);
    return !out->failed;
}

static bool put_meta (struct emitter *self, struct buf *out)
{
    msgpack_packer packer;
    buf_reset (out);
    mp_writer_init (&packer, out);
    mp_put_map (&packer, 2);
    mp_put_cstr (&packer, "publisher");
    mp_put_cstr (&packer, self->publisher);
    mp_put_cstr (&packer, "seq");
    mp_put_uint (&packer, ++self->seq);
    return !out->failed;
}

/* What the bridge would drop is said here. */
static bool check_event (struct emitter *self)
{
    struct buf bytes;
    struct event event;
    buf_init (&bytes, 0);
    bool made = put_event (self, &bytes);
    enum drop_reason reason =
        made ? event_parse (&event, buf_slice (&bytes), slice_str (self->args.user)) : DROP_REASON_COUNT;
    bool large = bytes.n > (size_t) self->config->max_event_bytes;
    buf_fini (&bytes);
    if (!made)
        return args_fault (NAME, "memory is out");
    if (large)
        return args_fault (NAME, "the event is larger than max-event-bytes (%lld bytes)",
                           (long long) self->config->max_event_bytes);
    return reason == DROP_NONE || args_fault (NAME, "the bridge would drop this event: is connection_id a string?");
}

/* --- the bridge ---------------------------------------------------------------------------------------------- */

/* tcp://0.0.0.0:1 and tcp://[::]:1 are bound, and reached by loopback; so is tcp://STAR:1. NULL with a line on stderr.
 */
static char *reachable (const char *endpoint, size_t n)
{
    static const char *const anywhere[][2] = {
        {"tcp://*:", "127.0.0.1"}, {"tcp://0.0.0.0:", "127.0.0.1"}, {"tcp://[::]:", "[::1]"}};
    char *text = NULL;
    const char *port = memrchr (endpoint, ':', n);
    size_t port_n = port ? n - (size_t) (port - endpoint) - 1 : 0;
    if (strncmp (endpoint, "tcp:", 4) == 0 && port_n == 1 && (port[1] == '*' || port[1] == '0')) {
        args_fault (NAME, "option runtime-events: %.*s takes any free port; give --connect tcp://HOST:PORT", (int) n,
                    endpoint);
        return NULL;
    }
    for (size_t i = 0; i < COUNT_OF (anywhere); i++)
        if (strncmp (endpoint, anywhere[i][0], strlen (anywhere[i][0])) == 0)
            return asprintf (&text, "tcp://%s%.*s", anywhere[i][1], (int) port_n + 1, port) < 0 ? NULL : text;
    return strndup (endpoint, n);
}

/* The first endpoint that the bridge binds. NULL with a line on stderr. */
static char *find_endpoint (const struct emitter *self)
{
    struct slice rest = slice_str (self->config->runtime_events), item;
    const char *given = self->args.connect;
    if (given)
        return strdup (*given == '>' ? given + 1 : given);
    while (slice_next_item (&rest, &item))
        if (item.p[0] == '@')
            return reachable (item.p + 1, item.n - 1);
    args_fault (
        NAME,
        "option runtime-events: \"%s\" binds no endpoint that could be published to; have the bridge bind one, e.g. "
        "--runtime-events '%s,@tcp://127.0.0.1:5557', and give the same here (or --connect ENDPOINT)",
        self->config->runtime_events, self->config->runtime_events);
    return NULL;
}

/* Where CURVE is configured the bound socket is a server that lets in the runtime's key only. */
static bool secure (struct emitter *self)
{
    const char *server_file = self->config->curve_secret_file;
    if (!self->args.curve_file)
        return !*server_file ||
               args_fault (NAME, "the endpoint speaks CURVE; give --curve-file with the runtime's secret key");
    if (!*server_file)
        return args_fault (NAME, "--curve-file: curve-secret-file and curve-runtime-file must be given too");
    zcert_t *own = zcert_load (self->args.curve_file), *server = zcert_load (server_file);
    bool good = own && server;
    if (good) {
        zcert_apply (own, self->sock);
        zsock_set_curve_serverkey (self->sock, zcert_public_txt (server));
    }
    zcert_destroy (&own);
    zcert_destroy (&server);
    return good || args_fault (NAME, "--curve-file %s: no CURVE certificate", self->args.curve_file);
}

/* XPUB, as it hears of the bridge's subscription. */
static bool open_socket (struct emitter *self)
{
    self->sock = zsock_new (ZMQ_XPUB);
    if (!self->sock)
        return args_fault (NAME, "cannot make a ZeroMQ socket: %s", zmq_strerror (zmq_errno ()));
    zsock_set_linger (self->sock, LINGER_MS);
    zsock_set_ipv6 (self->sock, 1);
    zsock_set_sndtimeo (self->sock, SEND_MS);
    zsock_set_xpub_nodrop (self->sock, 1);
    zsock_set_rcvtimeo (self->sock, (int) self->args.wait_ms);
    if (!secure (self))
        return false;
    return zsock_connect (self->sock, "%s", self->endpoint) == 0 ||
           args_fault (NAME, "%s: %s; an endpoint is tcp://HOST:PORT or ipc://PATH", self->endpoint,
                       zmq_strerror (zmq_errno ()));
}

static bool await_bridge (struct emitter *self)
{
    zframe_t *frame = zframe_recv (self->sock);
    bool there = frame && zframe_size (frame) >= 1 && zframe_data (frame)[0] == 1;
    zframe_destroy (&frame);
    return there || args_fault (NAME,
                                "no bridge has subscribed at %s within %lld ms: does it run, and bind this endpoint "
                                "(runtime-events with @)?",
                                self->endpoint, (long long) self->args.wait_ms);
}

/* --- sending ------------------------------------------------------------------------------------------------- */

static void print_event (const struct emitter *self, struct slice event)
{
    struct buf line;
    buf_init (&line, 0);
    if (self->args.json)
        mp_json_write (&line, event);
    else
        buf_printf (&line, "sent %llu of %lld: %s to %s, event_id %s", (unsigned long long) self->seq,
                    (long long) self->args.count, self->args.type, self->args.user,
                    json_string_value (json_object_get (self->fields, "event_id")));
    buf_putc (&line, '\n');
    if (!line.failed)
        fwrite (line.p, 1, line.n, stdout);
    buf_fini (&line);
}

static bool send_one (struct emitter *self, struct buf *event, struct buf *meta)
{
    if (!put_event (self, event) || !put_meta (self, meta))
        return args_fault (NAME, "memory is out");
    zmsg_t *message = zmsg_new ();
    zmsg_addstr (message, self->args.user);
    zmsg_addmem (message, event->p, event->n);
    zmsg_addmem (message, meta->p, meta->n);
    if (zmsg_send (&message, self->sock) != 0) {
        zmsg_destroy (&message);
        return args_fault (NAME, "%s takes no more events (%s); %llu were sent", self->endpoint,
                           zmq_strerror (zmq_errno ()), (unsigned long long) self->seq - 1);
    }
    print_event (self, buf_slice (event));
    return true;
}

static void pause_ms (int64_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    fflush (stdout);
    while (ms && nanosleep (&left, &left) != 0 && errno == EINTR)
        ;
}

/* Progress on stderr, where standard output goes elsewhere. */
static bool send_all (struct emitter *self)
{
    struct buf event, meta;
    int64_t told = clock_read ();
    bool ok = true, quiet = isatty (STDOUT_FILENO);
    buf_init (&event, 0);
    buf_init (&meta, 0);
    for (int64_t i = 0; ok && i < self->args.count; i++) {
        if (i)
            pause_ms (self->args.interval_ms);
        ok = send_one (self, &event, &meta);
        if (!quiet && clock_read () - told > PROGRESS_S * S_NS) {
            told = clock_read ();
            fprintf (stderr, "agentbridge emit: %llu of %lld sent\n", (unsigned long long) self->seq,
                     (long long) self->args.count);
        }
    }
    buf_fini (&event);
    buf_fini (&meta);
    return ok;
}

static int run (struct emitter *self)
{
    if (!read_fields (self) || !check_event (self))
        return EXIT_USAGE;
    self->endpoint = find_endpoint (self);
    if (!self->endpoint || !open_socket (self))
        return EXIT_USAGE;
    bool ok = await_bridge (self) && send_all (self);
    return fflush (stdout) == 0 && ok ? 0 : 1;
}

static int emit_run (const struct config *config, int argc, char **argv)
{
    struct emitter self = {.args = {.count = 1, .wait_ms = 5000}, .config = config, .fields = json_object ()};
    int code = EXIT_USAGE;
    memcpy (self.publisher, "emit_", 5);
    put_id (self.publisher + 5, sizeof self.publisher - 5);
    if (args_parse (NAME, rows, &self.args, argc, argv)) {
        zsys_handler_set (NULL); /* a signal ends us */
        zsys_init ();
        code = run (&self);
        zsock_destroy (&self.sock);
        zsys_shutdown (); /* waits until what was sent has left, LINGER_MS at most */
    }
    free (self.endpoint);
    json_decref (self.fields);
    return code;
}

const struct tool tool_emit = {.name = NAME,
                               .rows = rows,
                               .usage = usage,
                               .closing = closing,
                               .options = "runtime-events,curve-secret-file,curve-runtime-file,max-event-bytes",
                               .run = emit_run};
