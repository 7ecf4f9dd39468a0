/* Table of contents: read the configuration, do what the command says, exit with its code.
 * Exit codes: 0 done, 2 bad configuration or arguments, 1 everything else. */
#include "bridge.h"
#include "base/log.h"
#include "base/metrics.h"
#include "cmd/cmd.h"
#include "edge/tls_identity.h"
#include "version.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define SPARE_FDS 512 /* beside connections and open requests: listeners, ZeroMQ, files */
#define TLS_FDS   3   /* of one connection: its socket, and the pair behind it (edge/tls.c) */

extern char **environ;

enum command_id {
    SERVE,
    CHECK_CONFIG,
    TOKEN,
    VERIFY,
    REFERENCE,
    TOOL
};

static const struct command_row {
    const char *name;
    enum command_id id;
    const char *own_options; /* of the command itself, comma list */
    const char *help;
    const struct tool *tool;
} command_rows[] = {
    {"serve", SERVE, "", "run the bridge (what happens without a command)", NULL},
    {"check-config", CHECK_CONFIG, "", "print the configuration in force, or every fault in it", NULL},
    {"token", TOKEN, "user,ttl", "print a token: --user U [--ttl SECONDS]; not in production", NULL},
    {"verify", VERIFY, "", "judge the tokens on standard input, one a line", NULL},
    {"reference", REFERENCE, "", "print a reference in Markdown: options, metrics or logs", NULL},
    {"connect", TOOL, "", "be a client: print events, send lines; see connect --help", &tool_connect},
    {"emit", TOOL, "", "be a runtime for a moment: publish events; see emit --help", &tool_emit},
    {"drain", TOOL, "", "have a bridge drain, and wait for it; see drain --help", &tool_drain},
};

/* --- help ---------------------------------------------------------------------------------------------------- */

static int out_of_memory (void)
{
    fputs ("agentbridge: out of memory\n", stderr);
    return 1;
}

static int print (struct buf *out, FILE *stream)
{
    bool whole = !out->failed;
    bool ok = whole && fwrite (out->p, 1, out->n, stream) == out->n && fflush (stream) == 0;
    buf_fini (out);
    return ok ? 0 : whole ? 1 : out_of_memory ();
}

static int help (void)
{
    struct buf out;
    buf_init (&out, 0);
    buf_puts (&out, "agentbridge: WebSocket to ZeroMQ sidecar bridge for AI-agent runtimes\n\n"
                    "usage: agentbridge [COMMAND] [--config FILE] [--NAME VALUE]...\n\ncommands:\n");
    for (size_t i = 0; i < COUNT_OF (command_rows); i++)
        buf_printf (&out, "  %-14s %s\n", command_rows[i].name, command_rows[i].help);
    buf_puts (&out,
              "\nEvery option is also a variable (AGENTBRIDGE_ and the name in capitals, - as _) and a key of the\n"
              "configuration file (ZPL). A flag counts before a variable, that before the file.\n\noptions:\n");
    config_help (&out);
    return print (&out, stdout);
}

static int reference (int argc, char **argv)
{
    struct buf out;
    buf_init (&out, 0);
    const char *what = argc == 1 ? argv[0] : "";
    if (strcmp (what, "options") == 0)
        config_reference (&out);
    else if (strcmp (what, "metrics") == 0)
        metrics_reference (&out);
    else if (strcmp (what, "logs") == 0)
        log_reference (&out);
    else {
        fputs ("agentbridge reference: name one of options, metrics, logs\n", stderr);
        return 2;
    }
    return print (&out, stdout);
}

/* --- serve --------------------------------------------------------------------------------------------------- */

static rlim_t fds_each (const struct config *config)
{
    return tls_is_configured (config) ? TLS_FDS : 1;
}

/* Room for the connections and requests that are allowed, and no more: libwebsockets keeps tables of the size of the
 * limit. */
static void raise_descriptor_limit (const struct config *config)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t) (config->max_connections + config->max_open_requests) * fds_each (config) + SPARE_FDS;
    if (getrlimit (RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    (void) setrlimit (RLIMIT_NOFILE, &limit);
}

/* Connections may never use up the descriptors: without one left nothing can be accepted, read or logged. */
static void fit_to_descriptors (struct config *config)
{
    struct rlimit limit;
    if (getrlimit (RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    rlim_t left = limit.rlim_cur > SPARE_FDS ? limit.rlim_cur - SPARE_FDS : 0;
    int64_t room = left > fds_each (config) ? (int64_t) (left / fds_each (config)) : 1;
    if (config->max_connections <= room)
        return;
    LOG (LIMITED, NULL, KV_I ("max_connections", config->max_connections), KV_U ("descriptors", limit.rlim_cur),
         KV_I ("now", room));
    config->max_connections = room;
}

struct arguments {
    int argc;
    char **argv;
    size_t secrets; /* flags that gave one */
};

static struct config *load_again (void *arg, struct buf *error)
{
    struct arguments *arguments = arg;
    struct config *config = config_new (arguments->argc, arguments->argv, environ, error);
    if (config)
        fit_to_descriptors (config);
    return config;
}

/* Faults of the configuration are for people: plain lines on stderr. Without memory there are none. */
static int fail (struct buf *error)
{
    int code = error->n && !error->failed ? 2 : out_of_memory ();
    fwrite (error->p, 1, error->n, stderr);
    buf_fini (error);
    return code;
}

static int serve (struct config **config_p, struct arguments *arguments)
{
    struct config *config = *config_p;
    struct file_watch key_files;
    struct buf error;
    buf_init (&error, 0);
    signal (SIGPIPE, SIG_IGN);
    raise_descriptor_limit (config);
    fit_to_descriptors (config);
    struct keys *keys = reload_read_keys (config, &key_files, &error);
    if (!keys)
        return fail (&error);
    struct bridge *bridge = bridge_new (config, keys, &key_files, &error);
    if (!bridge) {
        keys_destroy (&keys);
        return fail (&error);
    }
    *config_p = NULL; /* the bridge's now */
    bridge_on_reload (bridge, load_again, arguments);
    if (arguments->secrets)
        LOG (SECRET_IN_FLAG, NULL, KV_U ("flags", arguments->secrets));
    int code = bridge_run (bridge);
    bridge_destroy (&bridge);
    buf_fini (&error);
    return code;
}

static int check_config (const struct config *config)
{
    struct buf out;
    struct file_watch key_files;
    struct tls_identity identity = {0};
    buf_init (&out, 0);
    bool ok = !tls_is_configured (config) || tls_identity_load (&identity, config, &out);
    tls_identity_fini (&identity);
    struct keys *keys = ok ? reload_read_keys (config, &key_files, &out) : NULL;
    if (!keys)
        return fail (&out);
    keys_destroy (&keys);
    buf_reset (&out);
    config_print (config, &out);
    return print (&out, stdout);
}

/* --- arguments ----------------------------------------------------------------------------------------------- */

static struct slice flag_name (const char *flag)
{
    return slice_of (flag + 2, strcspn (flag + 2, "="));
}

static bool is_own (const struct command_row *row, const char *flag)
{
    struct slice name = flag_name (flag);
    if (row->tool)
        return !row->tool->options || args_find (row->tool->rows, name);
    return name.n && config_list_has (row->own_options, name);
}

/* Does the next word belong to it? */
static bool wants_word (const struct command_row *row, const char *flag)
{
    const struct arg_row *own = row->tool ? args_find (row->tool->rows, flag_name (flag)) : NULL;
    return !strchr (flag, '=') && strcmp (flag, "--help") != 0 && !(own && own->kind == ARG_SWITCH);
}

/* Sort the arguments: the command's own to the front of `own`, options of the configuration to `options`. */
static void sort_arguments (const struct command_row *row, int argc, char **argv, struct arguments *own,
                            struct arguments *options)
{
    for (int i = 0; i < argc; i++) {
        bool flag = strncmp (argv[i], "--", 2) == 0;
        struct arguments *to = !flag || is_own (row, argv[i]) || strcmp (argv[i], "--help") == 0 ? own : options;
        to->argv[to->argc++] = argv[i];
        if (flag && i + 1 < argc && wants_word (row, argv[i]))
            to->argv[to->argc++] = argv[++i];
    }
}

static int run_tool (const struct tool *tool, struct arguments *own, struct arguments *options)
{
    struct config *config = NULL;
    struct buf error;
    buf_init (&error, 0);
    for (int i = 0; i < own->argc; i++)
        if (strcmp (own->argv[i], "--help") == 0)
            return tool_help (tool);
    if (tool->options)
        config = config_new_part (tool->options, options->argc, options->argv, environ, &error);
    if (tool->options && !config)
        return fail (&error);
    int code = tool->run (config, own->argc, own->argv);
    config_destroy (&config);
    buf_fini (&error);
    return code;
}

static int run (const struct command_row *row, struct arguments *own, struct arguments *options)
{
    struct buf error;
    buf_init (&error, 0);
    if (row->tool)
        return run_tool (row->tool, own, options);
    if (row->id == REFERENCE)
        return reference (own->argc, own->argv);
    if (own->argc && row->id != TOKEN && row->id != VERIFY) {
        fprintf (stderr, "agentbridge %s: unexpected argument \"%s\"; see --help\n", row->name, own->argv[0]);
        return 2;
    }
    struct config *config = config_new (options->argc, options->argv, environ, &error);
    if (!config)
        return fail (&error);
    log_configure (2, log_level_of (config->log_level), strcmp (config->log_format, "json") == 0);
    int code = row->id == SERVE          ? serve (&config, options)
               : row->id == CHECK_CONFIG ? check_config (config)
               : row->id == TOKEN        ? cmd_token (config, own->argc, own->argv)
                                         : cmd_verify (config, own->argc, own->argv);
    config_destroy (&config);
    buf_fini (&error);
    return code;
}

static const struct command_row *find_command (const char *name)
{
    for (size_t i = 0; i < COUNT_OF (command_rows); i++)
        if (strcmp (name, command_rows[i].name) == 0)
            return &command_rows[i];
    return NULL;
}

static void free_words (char **words)
{
    for (char **word = words; word && *word; word++)
        free (*word);
    free (words);
}

/* Copies of the arguments. In the words themselves secrets are overwritten, as those are what `ps` shows. */
static char **copy_words (const struct command_row *row, int argc, char **argv, size_t *secrets)
{
    char **words = calloc ((size_t) argc + 1, sizeof *words);
    bool ok = words != NULL;
    for (int i = 0; ok && i < argc; i++) {
        words[i] = strdup (argv[i]);
        ok = words[i] != NULL;
    }
    *secrets = config_hide_secrets (argc, argv);
    if (row->tool)
        args_hide_secrets (row->tool->rows, argc, argv);
    if (ok)
        return words;
    free_words (words);
    return NULL;
}

static int main_with (const struct command_row *row, int argc, char **argv)
{
    struct arguments own = {.argv = calloc ((size_t) argc + 1, sizeof *argv)};
    struct arguments options = {.argv = calloc ((size_t) argc + 1, sizeof *argv)};
    char **words = copy_words (row, argc, argv, &options.secrets);
    bool ok = own.argv && options.argv && words;
    if (ok)
        sort_arguments (row, argc, words, &own, &options);
    int code = ok ? run (row, &own, &options) : out_of_memory ();
    free (own.argv);
    free (options.argv);
    free_words (words);
    return code;
}

/* Before any secret is read: what the memory holds gets into no core file, and nobody without root reads it by way of
 * /proc. A program that this one would start could gain no privileges. */
static void harden (void)
{
    prctl (PR_SET_DUMPABLE, 0);
    prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int main (int argc, char **argv)
{
    const struct command_row *row = &command_rows[0];
    int first = 1;
    if (argc > 1 && argv[1][0] != '-') {
        row = find_command (argv[1]);
        first = 2;
    }
    if (!row) {
        fprintf (stderr, "agentbridge: unknown command \"%s\"; see agentbridge --help\n", argv[1]);
        return 2;
    }
    if (argc > first && strcmp (argv[first], "--version") == 0) {
        puts ("agentbridge " AGENTBRIDGE_VERSION);
        return 0;
    }
    if (argc > first && strcmp (argv[first], "--help") == 0 && row->id != TOKEN && row->id != VERIFY && !row->tool)
        return help ();
    harden ();
    return main_with (row, argc - first, argv + first);
}
