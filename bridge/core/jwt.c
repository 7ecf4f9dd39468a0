#include "core/jwt.h"
#include "core/base64url.h"
#include "core/ident.h"
#include "core/pkey.h"

#include <limits.h>
#include <math.h>
#include <openssl/crypto.h>
#include <openssl/core_names.h>
#include <openssl/err.h>

#define TOKEN_MAX_BYTES (16 * 1024)

/* A longer life is told as this one, so that nanoseconds of it fit in 64 bits (year 2262). */
#define EXPIRES_MAX (INT64_MAX / INT64_C (1000000000))

/* A token taken apart; nothing in it is trusted yet. */
struct jws {
    struct slice signed_text; /* borrowed: header and payload as they stand in the token */
    json_t *header;
    const char *kid; /* in header; NULL when it has none */
    int alg;         /* enum jwt_alg; -1 when unknown */
    char *payload;
    size_t payload_n;
    char *signature;
    size_t signature_n;
};

/* Duplicate members and NUL are refused (jansson by itself steps over a NUL behind a number or literal). Integers
 * beyond 64 bits make jansson read all numbers as reals. */
static json_t *parse_object (struct slice text)
{
    json_error_t fault;
    if (memchr (text.p, '\0', text.n))
        return NULL;
    json_t *object = json_loadb (text.p, text.n, JSON_REJECT_DUPLICATES, &fault);
    if (!object && json_error_code (&fault) == json_error_numeric_overflow)
        object = json_loadb (text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &fault);
    if (json_is_object (object))
        return object;
    json_decref (object);
    return NULL;
}

/* A JWT or an access token (RFC 9068), with or without `application/` (RFC 7515 section 4.1.9). Other kinds, such as
 * logout+jwt, are signed with the same keys for other purposes (RFC 8725 section 3.11). */
static bool good_typ (const json_t *typ)
{
    static const char prefix[] = "application/";
    const char *text = typ ? json_string_value (typ) : "JWT";
    if (!text)
        return false;
    if (strncasecmp (text, prefix, sizeof prefix - 1) == 0)
        text += sizeof prefix - 1;
    return strcasecmp (text, "JWT") == 0 || strcasecmp (text, "at+jwt") == 0;
}

/* `jku`, `jwk`, `x5u` and `x5c` are never looked at: a token does not choose its own key. */
static bool judge_header (struct jws *self)
{
    const json_t *alg = json_object_get (self->header, "alg");
    const json_t *kid = json_object_get (self->header, "kid");
    if (!json_is_string (alg) || (kid && !json_is_string (kid)) || !good_typ (json_object_get (self->header, "typ")))
        return false;
    /* Extensions that must be understood; none is. */
    if (json_object_get (self->header, "crit") || json_object_get (self->header, "b64"))
        return false;
    self->alg = jwt_alg_of (slice_str (json_string_value (alg)));
    self->kid = json_string_value (kid);
    return true;
}

/* Tokens of one issuer begin with the same bytes, so the last good header is kept as it was read. */
static bool read_header (struct jws *self, struct slice part)
{
    static struct {
        char text[256];
        size_t n;
        json_t *header;
    } last;
    size_t n;
    if (last.n && slice_eq (part, slice_of (last.text, last.n))) {
        self->header = json_incref (last.header);
        return judge_header (self);
    }
    char *text = base64url_decode (part, &n);
    self->header = text ? parse_object (slice_of (text, n)) : NULL;
    free (text);
    if (!judge_header (self))
        return false;
    if (part.n <= sizeof last.text) {
        json_decref (last.header);
        last.header = json_incref (self->header);
        last.n = part.n;
        slice_copy (last.text, part);
    }
    return true;
}

/* A foreign dot in the last part is refused by its decoding. */
static bool jws_read (struct jws *self, struct slice token)
{
    struct slice header, payload, signature = token;
    *self = (struct jws){.alg = -1};
    if (token.n > TOKEN_MAX_BYTES || !slice_cut (&signature, '.', &header) || !slice_cut (&signature, '.', &payload))
        return false;
    self->signed_text = slice_of (token.p, header.n + 1 + payload.n);
    self->payload = base64url_decode (payload, &self->payload_n);
    self->signature = base64url_decode (signature, &self->signature_n);
    return self->payload && self->signature && read_header (self, header);
}

static void jws_fini (struct jws *self)
{
    json_decref (self->header);
    free (self->payload);
    free (self->signature);
}

/* One context an algorithm, for ever: to look the digest up costs more than to compute it. */
static EVP_MAC_CTX *mac_context (enum jwt_alg alg)
{
    static EVP_MAC_CTX *contexts[JWT_HS512 + 1];
    if (contexts[alg])
        return contexts[alg];
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string (OSSL_MAC_PARAM_DIGEST, (char *) EVP_MD_get0_name (jwt_alg_md (alg)), 0),
        OSSL_PARAM_construct_end ()};
    EVP_MAC *mac = EVP_MAC_fetch (NULL, "HMAC", NULL);
    EVP_MAC_CTX *context = mac ? EVP_MAC_CTX_new (mac) : NULL;
    EVP_MAC_free (mac); /* the context has a reference of its own */
    if (context && EVP_MAC_CTX_set_params (context, params))
        return contexts[alg] = context;
    EVP_MAC_CTX_free (context);
    return NULL;
}

/* Length of the MAC; 0 when it could not be made. */
static size_t hmac (enum jwt_alg alg, struct slice secret, struct slice text, uint8_t mac[EVP_MAX_MD_SIZE])
{
    size_t n = 0;
    EVP_MAC_CTX *context = mac_context (alg);
    bool ok = context && EVP_MAC_init (context, (const unsigned char *) secret.p, secret.n, NULL) &&
              EVP_MAC_update (context, (const unsigned char *) text.p, text.n) &&
              EVP_MAC_final (context, mac, &n, EVP_MAX_MD_SIZE);
    return ok ? n : 0;
}

static bool hmac_verify (const struct key *key, enum jwt_alg alg, struct slice text, struct slice signature)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    size_t n = hmac (alg, slice_of (key->secret, key->secret_n), text, mac);
    return n > 0 && n == signature.n && CRYPTO_memcmp (mac, signature.p, n) == 0;
}

static bool key_fits (const struct key *key, const struct jws *jws)
{
    if (!(key->algorithms & UINT32_C (1) << jws->alg))
        return false;
    return !jws->kid || !key->kid || strcmp (jws->kid, key->kid) == 0;
}

static bool key_verify (const struct key *key, const struct jws *jws)
{
    enum jwt_alg alg = (enum jwt_alg) jws->alg;
    struct slice signature = slice_of (jws->signature, jws->signature_n);
    if (key->pkey)
        return pkey_verify (key->pkey, alg, jws->signed_text, signature);
    return hmac_verify (key, alg, jws->signed_text, signature);
}

static bool refuse (struct jwt_result *result, enum error_code error, const char *check)
{
    result->error = error;
    result->check = check;
    return false;
}

/* A fetched key is never a secret. */
static enum jwt_miss miss_of (const struct keys *keys, const struct jws *jws)
{
    uint32_t alg = jws->alg < 0 ? 0 : UINT32_C (1) << jws->alg;
    if (!(alg & keys->allowed & ~HMAC_ALGORITHMS))
        return JWT_MISS_NONE;
    if (!jws->kid)
        return JWT_MISS_UNNAMED;
    return keys_have_kid (keys, jws->kid) ? JWT_MISS_NONE : JWT_MISS_KID;
}

static bool check_signature (struct jwt_result *result, const struct keys *keys, const struct jws *jws)
{
    bool any = false;
    if (!keys || keys->n == 0)
        return refuse (result, ERROR_AUTH_KEYS_UNAVAILABLE, "key");
    result->miss = miss_of (keys, jws);
    if (jws->alg < 0 || !(keys->algorithms & UINT32_C (1) << jws->alg))
        return refuse (result, ERROR_VALIDATION_FAILED, "algorithm");
    for (size_t i = 0; i < keys->n; i++) {
        if (!key_fits (&keys->key[i], jws))
            continue;
        if (key_verify (&keys->key[i], jws))
            return true;
        any = true;
    }
    return refuse (result, ERROR_VALIDATION_FAILED, any ? "signature" : "key");
}

/* A time in seconds, `absent` when it is not there; false when it is no number. */
static bool read_time (const json_t *claims, const char *name, double absent, double *time)
{
    const json_t *value = json_object_get (claims, name);
    *time = json_is_number (value) ? json_number_value (value) : absent;
    return !value || (json_is_number (value) && isfinite (*time));
}

static bool check_times (struct jwt_result *result, const struct jwt_rules *rules, double now)
{
    double exp, nbf, iat, leeway = (double) rules->leeway_s;
    const json_t *claims = result->claims;
    if (!read_time (claims, "exp", INFINITY, &exp) || (rules->require_exp && isinf (exp)))
        return refuse (result, ERROR_JWT_FORMAT_INVALID, "claims: exp");
    if (!read_time (claims, "nbf", -INFINITY, &nbf))
        return refuse (result, ERROR_JWT_FORMAT_INVALID, "claims: nbf");
    if (!read_time (claims, "iat", -INFINITY, &iat))
        return refuse (result, ERROR_JWT_FORMAT_INVALID, "claims: iat");
    if (now >= exp + leeway)
        return refuse (result, ERROR_TOKEN_EXPIRED, "claims: exp");
    if (nbf > now + leeway)
        return refuse (result, ERROR_TOKEN_NOT_YET_VALID, "claims: nbf");
    if (iat > now + leeway)
        return refuse (result, ERROR_TOKEN_NOT_YET_VALID, "claims: iat");
    if (!isinf (exp))
        result->expires = exp < (double) EXPIRES_MAX ? (int64_t) exp : EXPIRES_MAX;
    return true;
}

static bool is_text (const json_t *value, const char *text)
{
    return json_is_string (value) && strcmp (json_string_value (value), text) == 0;
}

/* `aud` is a string or an array of strings and nothing else. */
static bool has_audience (const json_t *aud, const char *wanted)
{
    size_t i;
    const json_t *one;
    bool found = is_text (aud, wanted);
    json_array_foreach (aud, i, one)
    {
        if (!json_is_string (one))
            return false;
        found = found || is_text (one, wanted);
    }
    return found;
}

static bool demanded (const char *text)
{
    return text && *text;
}

static bool check_names (struct jwt_result *result, const struct jwt_rules *rules)
{
    const json_t *claims = result->claims;
    if (demanded (rules->issuer) && !is_text (json_object_get (claims, "iss"), rules->issuer))
        return refuse (result, ERROR_VALIDATION_FAILED, "claims: iss");
    if (demanded (rules->audience) && !has_audience (json_object_get (claims, "aud"), rules->audience))
        return refuse (result, ERROR_VALIDATION_FAILED, "claims: aud");
    const char *user = json_string_value (json_object_get (claims, rules->user_claim));
    if (!user || !ident_is_user (slice_str (user)))
        return refuse (result, ERROR_MISSING_USER_ID, "claims: user");
    result->user = strdup (user);
    return result->user || refuse (result, ERROR_AUTH_KEYS_UNAVAILABLE, "memory");
}

static bool check_claims (struct jwt_result *result, const struct jwt_rules *rules, struct slice payload, double now)
{
    result->claims = parse_object (payload);
    if (!result->claims)
        return refuse (result, ERROR_JWT_FORMAT_INVALID, "claims");
    return check_times (result, rules, now) && check_names (result, rules);
}

struct jwt_rules jwt_rules_of (const struct config *config)
{
    return (struct jwt_rules){.issuer = config->jwt_issuer,
                              .audience = config->jwt_audience,
                              .user_claim = config->jwt_user_claim,
                              .leeway_s = config->jwt_leeway_s,
                              .require_exp = config->jwt_require_exp};
}

char *jwt_open (struct jwt_result *result, const struct keys *keys, struct slice token, size_t *n)
{
    struct jws jws;
    char *payload = NULL;
    *result = (struct jwt_result){.error = ERROR_NONE, .check = ""};
    bool good = jws_read (&jws, token) || refuse (result, ERROR_JWT_FORMAT_INVALID, "format");
    if (good && check_signature (result, keys, &jws)) {
        payload = jws.payload;
        *n = jws.payload_n;
        jws.payload = NULL;
    }
    jws_fini (&jws);
    ERR_clear_error (); /* what is left there would confuse TLS on this thread */
    return payload;
}

void jwt_judge (struct jwt_result *result, const struct jwt_rules *rules, struct slice payload, double now)
{
    *result = (struct jwt_result){.error = ERROR_NONE, .check = ""};
    if (check_claims (result, rules, payload, now))
        return;
    json_decref (result->claims);
    result->claims = NULL;
    result->expires = 0;
}

void jwt_verify (struct jwt_result *result, const struct keys *keys, const struct jwt_rules *rules, struct slice token,
                 double now)
{
    size_t n;
    char *payload = jwt_open (result, keys, token, &n);
    if (payload)
        jwt_judge (result, rules, slice_of (payload, n), now);
    free (payload);
}

void jwt_result_fini (struct jwt_result *self)
{
    free (self->user);
    json_decref (self->claims);
    self->user = NULL;
    self->claims = NULL;
}

char *jwt_sign_hs256 (const json_t *claims, struct slice secret)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    struct buf out;
    char *payload = json_dumps (claims, JSON_COMPACT);
    buf_init (&out, 0);
    base64url_put (&out, slice_str ("{\"alg\":\"HS256\",\"typ\":\"JWT\"}"));
    buf_putc (&out, '.');
    base64url_put (&out, slice_str (payload));
    size_t n = payload && !out.failed ? hmac (JWT_HS256, secret, buf_slice (&out), mac) : 0;
    buf_putc (&out, '.');
    base64url_put (&out, slice_of (mac, n));
    free (payload);
    char *token = buf_steal_str (&out);
    if (token && n)
        return token;
    free (token);
    return NULL;
}
