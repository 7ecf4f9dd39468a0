#include "cmd/cmd.h"
#include "base/clock.h"
#include "base/hash.h"
#include "core/auth.h"
#include "core/ident.h"

#define TTL_DEFAULT 3600
#define TTL_MAX     31536000
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
    return *ttl_s >= 1 && *ttl_s <= TTL_MAX;
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

/* Later members replace earlier ones, so that the user claim wins whatever its name. */
static json_t *make_claims (const struct config *config, const struct token_args *args)
{
    uint8_t random[16];
    char jti[2 * sizeof random + 1];
    int64_t now = (int64_t) clock_wall ();
    random_bytes (random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf (jti + 2 * i, 3, "%02x", random[i]);
    json_t *claims =
        json_pack ("{s:I, s:I, s:s}", "iat", (json_int_t) now, "exp", (json_int_t) (now + args->ttl_s), "jti", jti);
    int failed = !claims;
    if (*config->jwt_issuer)
        failed |= json_object_set_new (claims, "iss", json_string (config->jwt_issuer));
    if (*config->jwt_audience)
        failed |= json_object_set_new (claims, "aud", json_string (config->jwt_audience));
    failed |= json_object_set_new (claims, config->jwt_user_claim, json_string (args->user));
    if (!failed)
        return claims;
    json_decref (claims);
    return NULL;
}

static int print_token (const struct config *config, const struct token_args *args, const struct key *key)
{
    json_t *claims = make_claims (config, args);
    char *token = claims ? jwt_sign_hs256 (claims, slice_of (key->secret, key->secret_n)) : NULL;
    json_decref (claims);
    if (token)
        puts (token);
    else
        fault ("cannot sign", NULL, "out of memory, or an issuer, audience or claim name that is not UTF-8");
    free (token);
    return token ? 0 : 1;
}

static const struct key *find_secret (const struct keys *keys)
{
    for (size_t i = 0; keys && i < keys->n; i++)
        if (keys->key[i].secret && keys->key[i].algorithms & UINT32_C (1) << JWT_HS256)
            return &keys->key[i];
    return NULL;
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
    const struct key *key = find_secret (keys);
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
    if (strcmp (config->environment, "production") == 0) {
        fault ("environment", config->environment, "no tokens are made here; use your identity provider");
        return EXIT_CONFIG;
    }
    return sign_with_config (config, &args);
}
