#include "cmd/cmd.h"
#include "core/ident.h"
#include "core/mint.h"

#define TTL_DEFAULT 3600
#define EXIT_CONFIG 2

static const char help[] = "Usage: agentbridge token --user U [--ttl SECONDS] [--NAME VALUE]...\n"
                           "\n"
                           "Prints a JWT for user U, signed (HS256) with jwt-secret or jwt-secret-file. For "
                           "development and tests only.\n"
                           "\n"
                           "  --user U       user id, 1 to 128 bytes of UTF-8 without control characters\n"
                           "  --ttl SECONDS  how long it is valid, 1 to 31536000 (default 3600)\n";

struct token_args {
    const char *user;
    int64_t ttl_s;
    bool help;
};

static bool parse_ttl (const char *text, int64_t *ttl_s)
{
    size_t n = strlen (text);
    if (n == 0 || n > 8 || strspn (text, "0123456789") != n)
        return false;
    *ttl_s = strtoll (text, NULL, 10);
    return *ttl_s >= 1 && *ttl_s <= MINT_TTL_MAX;
}

static bool fault (const char *what, const char *value, const char *allowed)
{
    fprintf (stderr, "agentbridge token: %s%s%s: %s\n", what, value ? ": " : "", value ? value : "", allowed);
    return false;
}

static bool parse_one (struct token_args *args, const char *name, const char *value)
{
    bool is_user = strcmp (name, "--user") == 0;
    if (!is_user && strcmp (name, "--ttl") != 0)
        return fault (name, NULL, "unknown argument; see agentbridge token --help");
    if (!value)
        return fault (name, NULL, "wants a value");
    if (is_user)
        args->user = value;
    else if (!parse_ttl (value, &args->ttl_s))
        return fault (name, value, "must be 1 to 31536000 seconds");
    return true;
}

static bool parse_args (struct token_args *args, int argc, char **argv)
{
    for (int i = 0; i < argc; i += 2) {
        args->help = strcmp (argv[i], "--help") == 0;
        if (args->help)
            return true;
        if (!parse_one (args, argv[i], i + 1 < argc ? argv[i + 1] : NULL))
            return false;
    }
    if (!args->user)
        return fault ("--user", NULL, "must be given");
    if (!ident_is_user (slice_str (args->user)))
        return fault ("--user", NULL, "must be 1 to 128 bytes of UTF-8 without control characters");
    return true;
}

static int print_token (const struct config *config, const struct token_args *args, const struct key *key)
{
    char *token = mint_token (config, key, slice_str (args->user), args->ttl_s);
    if (token)
        puts (token);
    else
        fault ("cannot sign", NULL, "out of memory, or an issuer, audience or claim name that is not UTF-8");
    free (token);
    return token ? 0 : 1;
}

static int sign_with_config (const struct config *config, const struct token_args *args)
{
    struct keys_sources sources = {
        .secret = config->jwt_secret, .secret_file = config->jwt_secret_file, .algorithms = config->jwt_algorithms};
    struct buf error, skipped;
    int code = EXIT_CONFIG;
    buf_init (&error, 0);
    buf_init (&skipped, 0);
    struct keys *keys = keys_load (&sources, &error, &skipped);
    const struct key *key = mint_key (keys);
    if (key)
        code = print_token (config, args, key);
    else if (!keys)
        fprintf (stderr, "agentbridge token: %.*s\n", (int) error.n, (const char *) error.p);
    else if (keys->n)
        fault ("jwt-algorithms", config->jwt_algorithms, "does not allow HS256, with which tokens are signed here");
    else
        fault ("jwt-secret", NULL, "no secret to sign with; give jwt-secret or jwt-secret-file");
    keys_destroy (&keys);
    buf_fini (&skipped);
    buf_fini (&error);
    return code;
}

int cmd_token (const struct config *config, int argc, char **argv)
{
    struct token_args args = {.ttl_s = TTL_DEFAULT};
    if (!parse_args (&args, argc, argv))
        return EXIT_CONFIG;
    if (args.help) {
        fputs (help, stdout);
        return 0;
    }
    if (config_is_production (config)) {
        fault ("environment", config->environment, "no tokens are made here; use your identity provider");
        return EXIT_CONFIG;
    }
    return sign_with_config (config, &args);
}
