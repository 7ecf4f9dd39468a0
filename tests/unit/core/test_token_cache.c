/* Payloads of good tokens: how long they are known, by what, and what they take. */
#include "base/metrics.h"
#include "core/auth.h"
#include "jwt_maker.h"

#include <errno.h>
#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define T INT64_C (1000)

static struct token_cache cache;

static int cache_up (void **state)
{
    (void) state;
    metrics_reset ();
    token_cache_init (&cache);
    return 0;
}

static int cache_down (void **state)
{
    (void) state;
    token_cache_fini (&cache);
    assert_int_equal (cache.kept, 0);
    return 0;
}

/* One of the hashes that belong to a place. */
static struct token_hash hash_at (size_t place, uint8_t last)
{
    return (struct token_hash){.bytes = {[0] = (uint8_t) place, [1] = (uint8_t) (place >> 8), [31] = last}};
}

static void keep (struct token_hash hash, const char *payload, int64_t now)
{
    token_cache_keep (&cache, &hash, strdup (payload), strlen (payload), now);
}

/* NULL: not known. Only what is known is a hit. */
static void expect (struct token_hash hash, int64_t now, const char *payload)
{
    double hits = metric_get (M_TOKEN_CACHE_HITS, 0);
    struct slice got = token_cache_find (&cache, &hash, now);
    if (payload)
        assert_true (got.p && slice_is (got, payload));
    else
        assert_true (!got.p && got.n == 0);
    assert_true (metric_get (M_TOKEN_CACHE_HITS, 0) == hits + (payload != NULL));
}

static void test_known (void **state)
{
    (void) state;
    struct token_hash hash = hash_at (5, 1);
    expect (hash, T, NULL);
    keep (hash, "{1}", T);
    assert_int_equal (cache.kept, 1);
    expect (hash, T, "{1}");
    expect (hash, T, "{1}");
    expect (hash_at (6, 1), T, NULL);
}

static void test_no_longer_than (void **state)
{
    (void) state;
    struct token_hash hash = hash_at (5, 1);
    assert_int_equal (TOKEN_CACHE_TTL, INT64_C (5000000000));
    keep (hash, "{1}", T);
    expect (hash, T + TOKEN_CACHE_TTL - 1, "{1}");
    assert_int_equal (cache.kept, 1);
    expect (hash, T + TOKEN_CACHE_TTL, NULL); /* the hit before has not made it longer */
    assert_int_equal (cache.kept, 0);
    keep (hash, "{2}", T + 1);
    keep (hash, "{3}", T + 2);
    assert_int_equal (cache.kept, 1);
    expect (hash, T + 2 + TOKEN_CACHE_TTL - 1, "{3}");
    expect (hash_at (5, 2), T + 2 + TOKEN_CACHE_TTL, NULL); /* another one looks and frees it */
    assert_int_equal (cache.kept, 0);
}

/* One bit of the hash, whichever, makes another token. */
static void test_compared_whole (void **state)
{
    (void) state;
    struct token_hash hash = hash_at (700, 0xa5);
    keep (hash, "{1}", T);
    for (size_t bit = 0; bit < 8 * sizeof hash.bytes; bit++) {
        struct token_hash other = hash;
        other.bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
        expect (other, T, NULL);
    }
    expect (hash, T, "{1}");
}

static void test_newer_takes_the_place (void **state)
{
    (void) state;
    char payload[16];
    for (size_t i = 0; i < TOKEN_CACHE_PLACES; i++) {
        snprintf (payload, sizeof payload, "{%zu}", i);
        keep (hash_at (i, 1), payload, T);
    }
    assert_int_equal (cache.kept, TOKEN_CACHE_PLACES);
    keep (hash_at (3, 2), "{new}", T);
    keep (hash_at (TOKEN_CACHE_PLACES + 4, 1), "{newer}", T);
    assert_int_equal (cache.kept, TOKEN_CACHE_PLACES);
    expect (hash_at (3, 1), T, NULL);
    expect (hash_at (3, 2), T, "{new}");
    expect (hash_at (4, 1), T, NULL);
    expect (hash_at (TOKEN_CACHE_PLACES + 4, 1), T, "{newer}");
    for (size_t i = 5; i < TOKEN_CACHE_PLACES; i++) {
        snprintf (payload, sizeof payload, "{%zu}", i);
        expect (hash_at (i, 1), T, payload);
    }
}

static void test_large_payloads (void **state)
{
    (void) state;
    char most[TOKEN_CACHE_PAYLOAD_BYTES + 1] = {0}, more[TOKEN_CACHE_PAYLOAD_BYTES + 2] = {0};
    memset (most, ' ', sizeof most - 1);
    memset (more, ' ', sizeof more - 1);
    keep (hash_at (1, 1), most, T);
    keep (hash_at (1, 2), more, T);
    keep (hash_at (2, 1), more, T);
    expect (hash_at (1, 1), T, most);
    expect (hash_at (1, 2), T, NULL);
    expect (hash_at (2, 1), T, NULL);
    assert_int_equal (cache.kept, 1);
}

static void test_clear (void **state)
{
    (void) state;
    for (size_t i = 0; i < TOKEN_CACHE_PLACES; i++)
        keep (hash_at (i, 1), "{}", T);
    token_cache_clear (&cache);
    assert_int_equal (cache.kept, 0);
    for (size_t i = 0; i < TOKEN_CACHE_PLACES; i++)
        expect (hash_at (i, 1), T, NULL);
    keep (hash_at (0, 1), "{}", T);
    expect (hash_at (0, 1), T, "{}");
}

static void test_expire (void **state)
{
    (void) state;
    for (size_t i = 0; i < TOKEN_CACHE_PLACES; i++)
        keep (hash_at (i, 1), "{}", T);
    for (size_t seen = 0; seen < TOKEN_CACHE_PLACES; seen += TOKEN_CACHE_EXPIRE_BATCH)
        token_cache_expire (&cache, T + TOKEN_CACHE_TTL - 1);
    assert_int_equal (cache.kept, TOKEN_CACHE_PLACES);
    for (size_t left = TOKEN_CACHE_PLACES; left; left -= TOKEN_CACHE_EXPIRE_BATCH) {
        assert_int_equal (cache.kept, left);
        token_cache_expire (&cache, T + TOKEN_CACHE_TTL);
    }
    assert_int_equal (cache.kept, 0);
    token_cache_expire (&cache, T + TOKEN_CACHE_TTL);
}

/* --- the hash ------------------------------------------------------------------------------------------------ */

/* Vectors of FIPS 180-2; each twice, as the context is used again. */
static void test_hash (void **state)
{
    (void) state;
    static const struct {
        struct slice token;
        const char *hash;
    } cases[] = {
        {{"abc", 3}, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {{NULL, 0}, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56},
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < 2 * COUNT_OF (cases); i++) {
        struct token_hash hash;
        char hex[65];
        assert_true (token_cache_hash (&cache, cases[i % COUNT_OF (cases)].token, &hash));
        for (size_t at = 0; at < sizeof hash.bytes; at++)
            snprintf (hex + 2 * at, 3, "%02x", hash.bytes[at]);
        assert_string_equal (hex, cases[i % COUNT_OF (cases)].hash);
    }
}

static void test_not_hashed (void **state)
{
    (void) state;
    static const char token[TOKEN_CACHE_TOKEN_BYTES + 1];
    struct token_hash hash;
    assert_true (token_cache_hash (&cache, slice_of (token, sizeof token - 1), &hash));
    assert_false (token_cache_hash (&cache, slice_of (token, sizeof token), &hash));
    assert_false (token_cache_hash (NULL, slice_of (token, 1), &hash));
}

/* --- memory runs out ----------------------------------------------------------------------------------------- */

static long allocations, failing; /* OpenSSL's; the Nth from now fails when `failing` is N */

static bool fails (void)
{
    allocations++;
    if (!failing || --failing)
        return false;
    errno = ENOMEM;
    return true;
}

static void *failing_malloc (size_t n, const char *file, int line)
{
    (void) file;
    (void) line;
    return fails () ? NULL : malloc (n);
}

static void *failing_realloc (void *p, size_t n, const char *file, int line)
{
    (void) file;
    (void) line;
    return fails () ? NULL : realloc (p, n);
}

static void plain_free (void *p, const char *file, int line)
{
    (void) file;
    (void) line;
    free (p);
}

/* Whichever allocation of the digest fails: the token is checked without the cache, good or bad, and the next one is
 * kept. */
static void test_no_memory (void **state)
{
    (void) state;
    static const struct jwt_rules rules = {.user_claim = "sub", .require_exp = true};
    struct key secret = {.algorithms = HMAC_ALGORITHMS, .secret = (uint8_t[]){SECRET}, .secret_n = sizeof SECRET - 1};
    struct keys keys = {.key = &secret, .n = 1, .algorithms = HMAC_ALGORITHMS};
    char *good = make_token ("{\"alg\":\"HS256\"}", "{\"sub\":\"alice\",\"exp\":1700000600}"),
         *bad = text ("%sA", good);
    struct jwt_result result;
    struct token_hash hash;
    auth_check_token (&result, &keys, NULL, &rules, slice_str (good), NOW); /* HMAC has its memory from now on */
    jwt_result_fini (&result);
    assert_true (token_cache_hash (&cache, slice_str (good), &hash));
    token_cache_fini (&cache);
    allocations = 0;
    assert_true (token_cache_hash (&cache, slice_str (good), &hash));
    long needed = allocations;
    assert_true (needed > 0);
    for (long i = 1; i <= needed; i++) {
        for (int forged = 0; forged < 2; forged++) {
            token_cache_fini (&cache);
            failing = i;
            auth_check_token (&result, &keys, &cache, &rules, slice_str (forged ? bad : good), NOW);
            assert_int_equal (failing, 0);
            assert_int_equal (result.error, forged ? ERROR_VALIDATION_FAILED : ERROR_NONE);
            assert_int_equal (ERR_peek_error (), 0);
            jwt_result_fini (&result);
        }
        assert_true (token_cache_hash (&cache, slice_str (good), &hash));
    }
    free (good);
    free (bad);
}

#define CACHE_TEST(function) cmocka_unit_test_setup_teardown (function, cache_up, cache_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        CACHE_TEST (test_known),          CACHE_TEST (test_no_longer_than),
        CACHE_TEST (test_compared_whole), CACHE_TEST (test_newer_takes_the_place),
        CACHE_TEST (test_large_payloads), CACHE_TEST (test_clear),
        CACHE_TEST (test_expire),         CACHE_TEST (test_hash),
        CACHE_TEST (test_not_hashed),     CACHE_TEST (test_no_memory),
    };
    CHECK (CRYPTO_set_mem_functions (failing_malloc, failing_realloc, plain_free));
    return cmocka_run_group_tests (tests, NULL, NULL);
}
