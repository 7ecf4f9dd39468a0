/* `agentbridge drain`: have a bridge drain, and wait until it is done; for an exec preStop in an image without a shell.
 */
#include "cmd/cmd.h"
#include "cmd/http_call.h"

#include <errno.h>

#define NAME       "drain"
#define MARGIN_S   5 /* beyond drain-timeout-s */
#define PROGRESS_S 5
#define KEY_MAX    255
#define EXIT_NOT   1
#define EXIT_USAGE 2

struct drain_args {
    const char *admin, *key_file;
    int64_t timeout_s;
};

static const char usage[] =
    "Usage: agentbridge drain [--admin HOST:PORT] [--timeout-s N] [--drain-key-file FILE]\n"
    "\n"
    "Has the bridge drain by way of its admin port: it takes no new connections, tells its clients, lets runs end. "
    "Waits\n"
    "until it is done; the bridge lives on until a signal ends it. For preStop: exec: [agentbridge, drain].\n"
    "\n";

static const char closing[] = "\n"
                              "Exit code: 0 drained; 1 not; 2 wrong arguments or configuration.\n";

static const struct arg_row rows[] = {
    {"admin", "HOST:PORT", ARG_TEXT, false, offsetof (struct drain_args, admin), 0, 0,
     "admin port (default: that of admin-listen, on loopback)"},
    {"timeout-s", "N", ARG_NUMBER, false, offsetof (struct drain_args, timeout_s), 1, 7200,
     "how long to wait (default: drain-timeout-s and 5 s)"},
    {"drain-key-file", "FILE", ARG_TEXT, false, offsetof (struct drain_args, key_file), 0, 0,
     "file with the drain-key, for a bridge that is not on this machine's loopback"},
    {.name = NULL},
};

/* Where to call; owned. NULL with a line on stderr. */
static char *make_url (const struct drain_args *args, const struct config *config)
{
    char *url = NULL;
    const char *address = args->admin ? args->admin : config->admin_listen;
    if (strncmp (address, "http://", 7) == 0)
        address += 7;
    size_t n = strcspn (address, "/");
    const char *port = memrchr (address, ':', n);
    struct slice host = slice_of (address, port ? (size_t) (port - address) : 0);
    if (!port || host.n == 0 || memchr (address, '@', n) || (address[n] && address[n + 1])) {
        args_fault (NAME, "--admin: is not HOST:PORT, e.g. 127.0.0.1:9090");
        return NULL;
    }
    if (!args->admin && atoi (port + 1) == 0) {
        args_fault (NAME, "option admin-listen: takes any free port; give --admin HOST:PORT");
        return NULL;
    }
    if (slice_is (host, "0.0.0.0"))
        host = slice_str ("127.0.0.1");
    if (slice_is (host, "[::]"))
        host = slice_str ("[::1]");
    int printed = asprintf (&url, "http://%.*s%.*s/drain", (int) host.n, host.p, (int) (address + n - port), port);
    return printed < 0 ? NULL : url;
}

/* The header with the key, of the file or else of the configuration; "" when there is none. */
static bool make_header (const struct drain_args *args, const struct config *config, char *header, size_t room)
{
    char key[KEY_MAX + 2] = "";
    FILE *in = args->key_file ? fopen (args->key_file, "re") : NULL;
    bool read = in && fgets (key, sizeof key, in);
    if (in)
        fclose (in);
    if (args->key_file && !read)
        return args_fault (NAME, "--drain-key-file %s: cannot be read, or is empty", args->key_file);
    key[strcspn (key, "\r\n")] = '\0';
    const char *text = args->key_file ? key : config->drain_key;
    for (const char *c = text; *c; c++)
        if (*c < ' ' || *c > '~')
            return args_fault (NAME, "the drain key holds other than visible ASCII characters");
    snprintf (header, room, "%s%s", *text ? "X-Drain-Key: " : "", text);
    return true;
}

static void on_second (UNUSED void *arg, unsigned seconds)
{
    if (seconds % PROGRESS_S == 0)
        fprintf (stderr, "agentbridge drain: draining for %u s\n", seconds);
}

static int judge (const struct http_answer *answer, const char *url, int64_t timeout_s)
{
    if (answer->status == 200) {
        puts ("drained");
        return fflush (stdout) == 0 ? 0 : EXIT_NOT;
    }
    if (answer->status == 403)
        args_fault (
            NAME, "%s: refused; run it beside the bridge (loopback), or give --drain-key-file with its drain-key", url);
    else if (answer->status)
        args_fault (NAME, "%s: HTTP status %ld; is this the admin port (admin-listen)?", url, answer->status);
    else if (answer->timed_out)
        args_fault (NAME, "%s: not drained within %lld s; the drain goes on", url, (long long) timeout_s);
    else
        args_fault (NAME, "%s: %s; does the bridge run, and is this its admin-listen?", url, answer->why);
    return EXIT_NOT;
}

static int call (const char *url, const char *header, int64_t timeout_s)
{
    struct http_answer answer;
    struct http_call drain = {.url = url,
                              .headers = &header,
                              .n_headers = *header ? 1 : 0,
                              .post = true,
                              .no_proxy = true,
                              .timeout_ms = timeout_s * 1000,
                              .on_second = on_second};
    http_call (&drain, &answer);
    int code = judge (&answer, url, timeout_s);
    http_answer_fini (&answer);
    return code;
}

static int drain_run (const struct config *config, int argc, char **argv)
{
    struct drain_args args = {.timeout_s = config->drain_timeout_s + MARGIN_S};
    char header[KEY_MAX + 32];
    if (!args_parse (NAME, rows, &args, argc, argv) || !make_header (&args, config, header, sizeof header))
        return EXIT_USAGE;
    char *url = make_url (&args, config);
    int code = url ? call (url, header, args.timeout_s) : EXIT_USAGE;
    free (url);
    return code;
}

const struct tool tool_drain = {.name = NAME,
                                .rows = rows,
                                .usage = usage,
                                .closing = closing,
                                .options = "admin-listen,drain-key,drain-timeout-s",
                                .run = drain_run};
