/* JSON Web Tokens (core/jwt.c, base64url.c, auth.c). A token that is taken was signed with the one secret that anybody
 * knows: the private halves of the other keys are gone, so that a signature of theirs would be forged. What is taken
 * also has sound claims, and the cache of good tokens changes no answer.
 *
 * The first byte says what follows: a token as it is, or a header (a piece) and a payload, which are signed here. */
#include "core/auth.h"
#include "core/base64url.h"
#include "core/ident.h"
#include "clock.h"
#include "input.h"
#include "json.h"

#include <openssl/err.h>
#include <openssl/hmac.h>

#define SECRET "0123456789abcdef0123456789abcdef"

static const char jwks[] = "{\"keys\":[{\"kty\":\"oct\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"}"
                           ",{\"kty\":\"RSA\",\"n\":\"sT51ErYOysSeU_0ARS8FuRYCobmyFE9pWGzqpdBpZPSaV33800Sd8CiKHHuLwG"
                           "UYocnMnr5bg5zqANjAXMlnOBR2brNXnMpcQSn-MfsmII7IONVm4Csne94sSZHGyE8__yJb7k0Y4bM-9W5tYRL42n"
                           "kVZSknwDr7iG6asTQuOHY3VKMCNvdvlGORwB5f4ZHV1cSrMQgAEWybxuyBRavYwtkw2NCDe0IbaMt9LazGHEk_s8"
                           "Xasb7wW9heQIh6YRSn8CqNpJgcQJJfUFiGkTBfOlqwE4KHkFaEWbubPm-CSjWczuS-Gc-1Bnw7S8dMKG5PUBo64a"
                           "2EasNGsrPxjngqOQ\",\"e\":\"AQAB\"}"
                           ",{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"FwUABSlJJnUGpieeZBrF3TgiOTVUwh-91b7YNJOFi90\""
                           ",\"y\":\"E0koPbXJncXL_hI7XEFl7cl8QUmbaCFUUBsCM0rn9Ws\"}"
                           ",{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"YgibcK3ud_-oMQ6uwzjiGgPoOwM6XBP1PV07O59o-8tei"
                           "lznrLzXU_N-4MoqtV-E\",\"y\":\"22mG6YSC-LOi6NHRMwGAd3N27l-3e0ABuBr_70mJvOl_CL-tXMSNu8UGlN"
                           "Tus0WB\"}"
                           ",{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AQEtqXzYZUN4jV74IRjjrFVMr83o2hUBIC_8_HAzrIuae"
                           "pmmniK00v-NOjuUG9k5weEHEt1DdF0RBcTDnDARAbuA\",\"y\":\"AbcxFnIOi-WqubfS1fZ-S7xxydKPsu__id"
                           "3DxCm5204XUeb6MDdWewuzMXNUUZ6q_A83rae7q1kovaxsJUC8943i\"}"
                           ",{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"9lYCcQIhSeaCoMh_YsBAf2zI1gDMgeU-tqJF28h6Zf"
                           "M\"}]}";

static const struct jwt_rules plain = {.user_claim = "sub", .leeway_s = 30, .require_exp = true};
static const struct jwt_rules named = {
    .user_claim = "sub", .leeway_s = 0, .require_exp = false, .issuer = "us", .audience = "bridge"};

static struct keys *keys;
static struct token_cache cache;

static void set_up (void)
{
    struct buf error, skipped;
    if (keys)
        return;
    buf_init (&error, 0);
    buf_init (&skipped, 0);
    keys = keys_parse_jwks (slice_str (jwks), "", &error, &skipped);
    CHECK (keys && keys->n == 6 && !skipped.n);
    buf_fini (&error);
    buf_fini (&skipped);
    token_cache_init (&cache);
}

static const EVP_MD *digest_of (const char *alg)
{
    if (strcmp (alg, "HS256") == 0)
        return EVP_sha256 ();
    if (strcmp (alg, "HS384") == 0)
        return EVP_sha384 ();
    return strcmp (alg, "HS512") == 0 ? EVP_sha512 () : NULL;
}

/* A part of a token that was taken: JSON that jansson and RFC 8259 agree on, without duplicate members. */
static json_t *part_tree (struct slice part)
{
    size_t n;
    char *text = base64url_decode (part, &n);
    CHECK (text);
    json_t *tree = json_tree (slice_of (text, n), JSON_REJECT_DUPLICATES);
    free (text);
    CHECK (json_is_object (tree));
    return tree;
}

/* Made with the secret, as its header says, and of no kind that has to be understood? */
static void check_signed (struct slice token)
{
    struct slice signature = token, header, payload;
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n;
    size_t got_n;
    CHECK (slice_cut (&signature, '.', &header) && slice_cut (&signature, '.', &payload));
    json_t *claims = part_tree (payload), *tree = part_tree (header);
    CHECK (!json_object_get (tree, "crit") && !json_object_get (tree, "b64"));
    const EVP_MD *md = digest_of (json_string_value (json_object_get (tree, "alg")));
    CHECK (md &&
           HMAC (md, SECRET, sizeof SECRET - 1, (const unsigned char *) token.p, header.n + 1 + payload.n, mac, &n));
    char *got = base64url_decode (signature, &got_n);
    CHECK (got && n == got_n && memcmp (mac, got, n) == 0);
    free (got);
    json_decref (tree);
    json_decref (claims);
}

static void check_claims (const struct jwt_result *result, const struct jwt_rules *rules)
{
    const json_t *exp = json_object_get (result->claims, "exp");
    CHECK (ident_is_user (slice_str (result->user)));
    CHECK (strcmp (json_string_value (json_object_get (result->claims, "sub")), result->user) == 0);
    CHECK (json_is_number (exp) || (!exp && !rules->require_exp));
    CHECK (!exp || json_number_value (exp) + (double) rules->leeway_s > FUZZ_WALL);
    CHECK (!rules->issuer || strcmp (json_string_value (json_object_get (result->claims, "iss")), rules->issuer) == 0);
    CHECK (!rules->audience || json_object_get (result->claims, "aud"));
}

static void check_result (const struct jwt_result *result, const struct jwt_rules *rules, struct slice token)
{
    bool good = result->error == ERROR_NONE;
    CHECK (good == (result->user != NULL) && good == (result->claims != NULL) && good == !*result->check);
    CHECK (good || result->expires == 0);
    CHECK (ERR_peek_error () == 0);
    if (!good)
        return;
    check_signed (token);
    check_claims (result, rules);
}

/* Whatever the cache holds. */
static void check_cached (const struct jwt_result *wanted, const struct jwt_rules *rules, struct slice token)
{
    for (int i = 0; i < 2; i++) {
        struct jwt_result result;
        auth_check_token (&result, keys, &cache, rules, token, FUZZ_WALL);
        CHECK (result.error == wanted->error && strcmp (result.check, wanted->check) == 0);
        CHECK (result.expires == wanted->expires &&
               json_equal (result.claims, wanted->claims) == (wanted->claims != NULL));
        jwt_result_fini (&result);
    }
}

static void try_token (struct slice token, const struct jwt_rules *rules)
{
    struct jwt_result result;
    jwt_verify (&result, keys, rules, token, FUZZ_WALL);
    check_result (&result, rules, token);
    if (token.n && memchr (token.p, '.', token.n)) /* without a dot it is unwrapped first */
        check_cached (&result, rules, token);
    else {
        struct jwt_result wrapped;
        auth_check_token (&wrapped, keys, &cache, rules, token, FUZZ_WALL);
        jwt_result_fini (&wrapped);
    }
    jwt_result_fini (&result);
}

/* The token of this header and payload, signed with HS256. */
static void put_signed (struct buf *token, struct slice header, struct slice payload)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n;
    base64url_put (token, header);
    buf_putc (token, '.');
    base64url_put (token, payload);
    CHECK (HMAC (EVP_sha256 (), SECRET, sizeof SECRET - 1, token->p, token->n, mac, &n));
    buf_putc (token, '.');
    base64url_put (token, slice_of (mac, n));
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    struct slice rest = slice_of (data, size);
    struct buf token;
    set_up ();
    buf_init (&token, 0);
    if (input_byte (&rest) & 1) {
        struct slice header = input_piece (&rest);
        put_signed (&token, header, rest);
        piece_free (header);
    } else
        buf_put (&token, rest.p, rest.n);
    struct slice exact = piece_of (buf_slice (&token));
    try_token (exact, &plain);
    try_token (exact, &named);
    piece_free (exact);
    buf_fini (&token);
    return 0;
}
