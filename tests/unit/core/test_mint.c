/* Tokens for development: what is in them, and that they pass the check that clients' tokens must pass. */
#include "core/mint.h"
#include "base/clock.h"
#include "base/config.h"
#include "core/jwt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define SECRET "0123456789abcdef0123456789abcdef"

static struct keys *keys_of (const char *secret, const char *algorithms)
{
    struct buf error, skipped;
    buf_init (&error, 0);
    buf_init (&skipped, 0);
    struct keys *keys =
        keys_load (&(struct keys_sources){.secret = secret, .algorithms = algorithms}, &error, &skipped);
    assert_non_null (keys);
    buf_fini (&error);
    buf_fini (&skipped);
    return keys;
}

static void test_passes_and_ends (void **state)
{
    (void) state;
    char *argv[] = {"--environment=test", "--jwt-secret=" SECRET, "--jwt-issuer=i",
                    "--jwt-audience=a",   "--jwt-user-claim=uid", NULL};
    char *env[] = {NULL};
    struct jwt_result result;
    struct buf error;
    buf_init (&error, 0);
    struct config *config = config_new (5, argv, env, &error);
    struct keys *keys = keys_of (SECRET, "");
    assert_non_null (config);
    struct jwt_rules rules = jwt_rules_of (config);
    char *token = mint_token (config, mint_key (keys), slice_of ("j\xc3\xbcrgen!", 7), 60);
    assert_non_null (token);

    jwt_verify (&result, keys, &rules, slice_str (token), clock_wall ());
    assert_int_equal (result.error, ERROR_NONE);
    assert_string_equal (result.user, "j\xc3\xbcrgen");
    assert_true (result.expires - (int64_t) clock_wall () >= 59 && result.expires - (int64_t) clock_wall () <= 60);
    assert_int_equal (strlen (json_string_value (json_object_get (result.claims, "jti"))), 32);
    double end = (double) result.expires;
    jwt_result_fini (&result);
    jwt_verify (&result, keys, &rules, slice_str (token), end + (double) rules.leeway_s + 1);
    assert_int_equal (result.error, ERROR_TOKEN_EXPIRED);
    jwt_result_fini (&result);
    free (token);
    keys_destroy (&keys);
    config_destroy (&config);
    buf_fini (&error);
}

static void test_who_can_sign (void **state)
{
    (void) state;
    struct keys *keys = keys_of (SECRET, ""), *other = keys_of (SECRET, "HS384"), *none = keys_of ("", "");
    assert_ptr_equal (mint_key (keys), &keys->key[0]);
    assert_null (mint_key (other));
    assert_null (mint_key (none));
    assert_null (mint_key (NULL));
    keys_destroy (&keys);
    keys_destroy (&other);
    keys_destroy (&none);
}

int main (void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test (test_passes_and_ends), cmocka_unit_test (test_who_can_sign)};
    return cmocka_run_group_tests (tests, NULL, NULL);
}
