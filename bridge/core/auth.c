#include "core/auth.h"
#include "base/utf8.h"

#define TOKEN_MAX_BYTES (16 * 1024)
#define USER_MAX_BYTES  128

static const char *const token_prefixes[] = {"jwt.", "jwt-auth.", "bearer."};

static bool is_blank (char c)
{
    return c == ' ' || c == '\t';
}

static struct slice trim (struct slice s)
{
    for (; s.n && is_blank (s.p[0]); s.p++)
        s.n--;
    while (s.n && is_blank (s.p[s.n - 1]))
        s.n--;
    return s;
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
    struct slice value = trim (authorization);
    size_t n = sizeof scheme - 1;
    if (!begins_with (value, scheme, true) || (value.n > n && !is_blank (value.p[n])))
        return false;
    *token = trim (slice_of (value.p + n, value.n - n));
    return true;
}

/* The first entry of a comma list that begins with `prefix`. */
static bool find_entry (struct slice list, const char *prefix, struct slice *token)
{
    while (list.n) {
        const char *comma = memchr (list.p, ',', list.n);
        size_t n = comma ? (size_t) (comma - list.p) : list.n;
        struct slice entry = trim (slice_of (list.p, n));
        if (begins_with (entry, prefix, false)) {
            *token = slice_of (entry.p + strlen (prefix), entry.n - strlen (prefix));
            return true;
        }
        n += comma ? 1 : 0;
        list = slice_of (list.p + n, list.n - n);
    }
    return false;
}

static bool find_token (const struct auth_request *request, struct slice *token)
{
    if (find_bearer (request->authorization, token))
        return true;
    for (size_t i = 0; i < COUNT_OF (token_prefixes); i++)
        if (find_entry (request->subprotocols, token_prefixes[i], token))
            return true;
    *token = request->query_token;
    return token->n > 0;
}

void auth_check (struct jwt_result *result, const struct keys *keys, const struct jwt_rules *rules,
                 const struct auth_request *request, double now)
{
    struct slice token;
    if (find_token (request, &token))
        auth_check_token (result, keys, rules, token, now);
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

void auth_check_token (struct jwt_result *result, const struct keys *keys, const struct jwt_rules *rules,
                       struct slice token, double now)
{
    size_t n = 0;
    char *unwrapped = NULL;
    /* A compact JWS has dots, base64 has none. What is longer cannot hold a token of allowed size. Base64 of the
     * characters of a JWS never needs those two in which the alphabets differ. */
    if (token.n && token.n <= (TOKEN_MAX_BYTES + 2) / 3 * 4 && !memchr (token.p, '.', token.n))
        unwrapped = base64url_decode (strip_padding (token), &n);
    jwt_verify (result, keys, rules, unwrapped ? slice_of (unwrapped, n) : token, now);
    free (unwrapped);
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

static bool is_control (uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f);
}

bool auth_valid_user (struct slice user)
{
    uint32_t cp;
    if (user.n == 0 || user.n > USER_MAX_BYTES)
        return false;
    while (user.n) {
        size_t n = utf8_next (user, &cp);
        if (n == 0 || is_control (cp))
            return false;
        user = slice_of (user.p + n, user.n - n);
    }
    return true;
}
