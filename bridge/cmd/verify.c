#include "cmd/cmd.h"
#include "base/clock.h"
#include "core/auth.h"
#include "edge/jwks_fetch.h"

#define EXIT_CONFIG 2

static const char help[] =
    "Usage: agentbridge verify [--NAME VALUE]... < TOKENS\n"
    "\n"
    "Reads tokens, one a line, and prints for each `OK USER`, or the error code and the check that failed\n"
    "(format, algorithm, key, signature, claims, in this order) under the configured keys. jwks-url is fetched once.\n"
    "Exit code: 0 all are good, 1 any is not, 2 the keys cannot be loaded.\n";

/* The keys of jwks-url beside those at hand, which are replaced. */
static void add_fetched (struct keys **keys_p, const struct config *config, struct buf *error, struct buf *skipped)
{
    struct jwks_answer answer;
    jwks_fetch_once (config, &answer);
    struct keys *both = answer.keys ? keys_union (*keys_p, answer.keys) : NULL;
    if (!both)
        buf_printf (error, "jwks-url: %s", answer.keys ? "out of memory" : answer.why);
    buf_put (skipped, answer.skipped.p, answer.skipped.n);
    keys_destroy (keys_p);
    *keys_p = both;
    jwks_answer_fini (&answer);
}

static struct keys *load_keys (const struct config *config)
{
    struct keys_sources sources = keys_sources_of (config);
    struct buf error, skipped;
    buf_init (&error, 0);
    buf_init (&skipped, 0);
    struct keys *keys = keys_load (&sources, &error, &skipped);
    if (keys && *config->jwks_url)
        add_fetched (&keys, config, &error, &skipped);
    if (keys && keys->n == 0) {
        buf_puts (&error, "no keys; give jwt-secret, jwt-secret-file, jwt-public-key-file, jwks-file or jwks-url");
        keys_destroy (&keys);
    }
    fprintf (stderr, "%.*s", (int) skipped.n, skipped.n ? (const char *) skipped.p : "");
    if (!keys)
        fprintf (stderr, "agentbridge verify: %.*s\n", (int) error.n, error.n ? (const char *) error.p : "");
    buf_fini (&skipped);
    buf_fini (&error);
    return keys;
}

static bool verify_line (const struct keys *keys, const struct jwt_rules *rules, struct slice line)
{
    struct jwt_result result;
    clock_refresh ();
    auth_check_token (&result, keys, NULL, rules, line, clock_wall ());
    bool good = result.error == ERROR_NONE;
    if (good)
        printf ("OK %s\n", result.user);
    else
        printf ("%s: %s\n", error_info (result.error)->code, result.check);
    jwt_result_fini (&result);
    return good;
}

static struct slice without_line_end (const char *line, size_t n)
{
    if (n && line[n - 1] == '\n')
        n--;
    if (n && line[n - 1] == '\r')
        n--;
    return slice_of (line, n);
}

static int verify_lines (const struct keys *keys, const struct jwt_rules *rules, FILE *in)
{
    char *line = NULL;
    size_t room = 0, lines = 0, bad = 0;
    ssize_t n;
    setlinebuf (stdout); /* an answer for each line at once, also into a pipe */
    while ((n = getline (&line, &room, in)) >= 0) {
        lines++;
        bad += !verify_line (keys, rules, without_line_end (line, (size_t) n));
    }
    free (line);
    if (lines == 0)
        fputs ("agentbridge verify: no token on standard input\n", stderr);
    return lines == 0 || bad ? 1 : 0;
}

int cmd_verify (const struct config *config, int argc, char **argv)
{
    if (argc > 0 && strcmp (argv[0], "--help") == 0) {
        fputs (help, stdout);
        return 0;
    }
    if (argc > 0) {
        fprintf (stderr, "agentbridge verify: %s: unknown argument; see agentbridge verify --help\n", argv[0]);
        return EXIT_CONFIG;
    }
    struct keys *keys = load_keys (config);
    if (!keys)
        return EXIT_CONFIG;
    struct jwt_rules rules = jwt_rules_of (config);
    int code = verify_lines (keys, &rules, stdin);
    keys_destroy (&keys);
    return code;
}
