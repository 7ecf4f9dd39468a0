/* One key of every kind, and what tokens must yield under them. */
#ifndef TESTS_JWT_FIXTURE_H
#define TESTS_JWT_FIXTURE_H

#include "core/jwt.h"
#include "jwt_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define HS      "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define PAYLOAD "{\"sub\":\"alice\",\"exp\":1700000600}"

static const struct jwt_rules plain_rules = {.user_claim = "sub", .leeway_s = 30, .require_exp = true};

static EVP_PKEY *rsa, *ec[3], *ed;
static struct keys *everything; /* an oct, RSA, EC and Ed25519 key, all without kid */
static struct keys *only_hmac;  /* SECRET */

static struct keys *parse (const char *jwks)
{
    struct buf error, skipped;
    buf_init (&error, 0);
    buf_init (&skipped, 0);
    struct keys *keys = keys_parse_jwks (slice_str (jwks), "", &error, &skipped);
    if (!keys || skipped.n)
        fail_msg ("%.*s%.*s", (int) error.n, (char *) error.p, (int) skipped.n, (char *) skipped.p);
    buf_fini (&error);
    buf_fini (&skipped);
    return keys;
}

static int set_up (void **state)
{
    (void) state;
    rsa = make_rsa (2048);
    ec[0] = make_ec ("P-256");
    ec[1] = make_ec ("P-384");
    ec[2] = make_ec ("P-521");
    ed = make_ed25519 ();
    char *jwk[] = {jwk_oct (SLICE (SECRET), ""), jwk_rsa (rsa, ""),  jwk_ec (ec[0], ""),
                   jwk_ec (ec[1], ""),           jwk_ec (ec[2], ""), jwk_ed25519 (ed, "")};
    char *all = text ("{\"keys\":[%s,%s,%s,%s,%s,%s]}", jwk[0], jwk[1], jwk[2], jwk[3], jwk[4], jwk[5]);
    char *hmac = text ("{\"keys\":[%s]}", jwk[0]);
    everything = parse (all);
    only_hmac = parse (hmac);
    free (all);
    free (hmac);
    for (size_t i = 0; i < COUNT_OF (jwk); i++)
        free (jwk[i]);
    return 0;
}

static int tear_down (void **state)
{
    (void) state;
    keys_destroy (&everything);
    keys_destroy (&only_hmac);
    EVP_PKEY_free (rsa);
    EVP_PKEY_free (ed);
    for (size_t i = 0; i < COUNT_OF (ec); i++)
        EVP_PKEY_free (ec[i]);
    return 0;
}

static EVP_PKEY *signer (enum jwt_alg alg)
{
    if (alg >= JWT_ES256 && alg <= JWT_ES512)
        return ec[alg - JWT_ES256];
    return alg == JWT_EdDSA ? ed : rsa;
}

static const char *code_name (enum error_code error)
{
    return error == ERROR_NONE ? "good" : error_info (error)->code;
}

static void expect_slice (const struct keys *keys, const struct jwt_rules *rules, struct slice token,
                          enum error_code error, const char *check)
{
    struct jwt_result result;
    jwt_verify (&result, keys, rules, token, NOW);
    if (result.error != error || strcmp (result.check, check) != 0)
        fail_msg ("%.*s\n  %s: %s, wanted %s: %s", (int) token.n, token.p, code_name (result.error), result.check,
                  code_name (error), check);
    assert_true ((result.error == ERROR_NONE) == (result.user != NULL));
    assert_true ((result.error == ERROR_NONE) == (result.claims != NULL));
    jwt_result_fini (&result);
}

/* Takes the token. */
static void expect (const struct keys *keys, char *token, enum error_code error, const char *check)
{
    expect_slice (keys, &plain_rules, slice_str (token), error, check);
    free (token);
}

static char *token_of (enum jwt_alg alg)
{
    char *header = text ("{\"alg\":\"%s\",\"typ\":\"JWT\"}", jwt_alg_name (alg));
    char *token = make_token_of (signer (alg), SLICE (SECRET), alg, header, slice_str (PAYLOAD));
    free (header);
    return token;
}

#endif
