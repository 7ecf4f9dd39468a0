#include "core/auth.h"
#include "base/clock.h"
#include "core/base64url.h"

#include <errno.h>

#define TOKEN_MAX_BYTES (16 * 1024)

static const char *const token_prefixes[] = {"jwt.", "jwt-auth.", "bearer."};

static bool is_blank (char c)
{
    return c == ' ' || c == '\t';
}

static bool begins_with (struct slice s, const char *prefix, bool any_case)
{
    size_t n = strlen (prefix);
    if (s.n < n)
        return false;
    return any_case ? strncasecmp (s.p, prefix, n) == 0 : memcmp (s.p, prefix, n) == 0;
}

static bool find_bearer (struct slice authorization, struct slice *token)
{
    static const char scheme[] = "bearer";
    struct slice value = slice_trim (authorization);
    size_t n = sizeof scheme - 1;
    if (!begins_with (value, scheme, true) || (value.n > n && !is_blank (value.p[n])))
        return false;
    *token = slice_trim (slice_of (value.p + n, value.n - n));
    return true;
}

bool auth_find_entry (struct slice list, const char *prefix, struct slice *rest)
{
    struct slice entry;
    while (slice_next_item (&list, &entry)) {
        if (!begins_with (entry, prefix, false))
            continue;
        *rest = slice_of (entry.p + strlen (prefix), entry.n - strlen (prefix));
        return true;
    }
    return false;
}

static bool find_token (const struct auth_request *request, struct slice *token)
{
    if (find_bearer (request->authorization, token))
        return true;
    for (size_t i = 0; i < COUNT_OF (token_prefixes); i++)
        if (auth_find_entry (request->subprotocols, token_prefixes[i], token))
            return true;
    *token = request->query_token;
    return token->n > 0;
}

bool auth_has_token (const struct auth_request *request)
{
    struct slice token;
    return find_token (request, &token);
}

void auth_check (struct jwt_result *result, const struct keys *keys, struct token_cache *cache,
                 const struct jwt_rules *rules, const struct auth_request *request, double now)
{
    struct slice token;
    if (find_token (request, &token))
        auth_check_token (result, keys, cache, rules, token, now);
    else
        *result = (struct jwt_result){.error = ERROR_JWT_TOKEN_MISSING, .check = "token"};
}

/* Padding counts only where it fills up the last four. */
static struct slice strip_padding (struct slice text)
{
    if (text.n == 0 || text.n % 4 != 0 || text.p[text.n - 1] != '=')
        return text;
    return slice_of (text.p, text.n - (text.p[text.n - 2] == '=' ? 2 : 1));
}

/* A good token must not be called bad because memory ran out on the way. Not every library tells the two apart, but
 * each failed allocation leaves its mark in errno. */
static void excuse (struct jwt_result *result)
{
    if (result->error == ERROR_NONE || errno != ENOMEM)
        return;
    result->error = ERROR_TOO_MANY_CONNECTIONS;
    result->check = "memory";
}

/* The payload, owned; NULL when the token is refused. */
static char *open_token (struct jwt_result *result, const struct keys *keys, struct slice token, size_t *payload_n)
{
    size_t n = 0;
    char *unwrapped = NULL;
    /* A compact JWS has dots, base64 has none. What is longer cannot hold a token of allowed size. Base64 of the
     * characters of a JWS never needs those two in which the alphabets differ. */
    if (token.n && token.n <= (TOKEN_MAX_BYTES + 2) / 3 * 4 && !memchr (token.p, '.', token.n))
        unwrapped = base64url_decode (strip_padding (token), &n);
    char *payload = jwt_open (result, keys, unwrapped ? slice_of (unwrapped, n) : token, payload_n);
    free (unwrapped);
    return payload;
}

/* Whatever the cache knows, the claims are judged now and by the present rules. */
void auth_check_token (struct jwt_result *result, const struct keys *keys, struct token_cache *cache,
                       const struct jwt_rules *rules, struct slice token, double now)
{
    size_t n = 0;
    struct token_hash hash;
    bool hashed = token_cache_hash (cache, token, &hash);
    struct slice known = hashed ? token_cache_find (cache, &hash, clock_now ()) : slice_of (NULL, 0);
    errno = 0; /* a cache that has no memory refuses nothing */
    char *payload = known.p ? NULL : open_token (result, keys, token, &n);
    if (known.p || payload)
        jwt_judge (result, rules, known.p ? known : slice_of (payload, n), now);
    excuse (result);
    if (hashed && payload && result->error == ERROR_NONE)
        token_cache_keep (cache, &hash, payload, n, clock_now ());
    else
        free (payload);
}

bool auth_is_secret_entry (struct slice entry)
{
    static const char *const others[] = {"e2e.", "e2e-user."};
    for (size_t i = 0; i < COUNT_OF (token_prefixes); i++)
        if (begins_with (entry, token_prefixes[i], true))
            return true;
    for (size_t i = 0; i < COUNT_OF (others); i++)
        if (begins_with (entry, others[i], true))
            return true;
    return false;
}
