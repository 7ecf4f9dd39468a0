/* When the set is fetched and which keys count, with a fetch that the test answers. The clock stands still. */
#include "handshake_fixture.h"
#include "core/breaker.h"
#include "core/freshness.h"
#include "core/jwks.h"

#define LABELS ((unsigned) JWKS_RESULT_no_memory + 1)

static struct jwks *jwks;
static EVP_PKEY *one, *two;
static int fetches;
static bool can_begin, asked_with_a_set;
static struct jwks_mark asked_with;

/* --- the edge ------------------------------------------------------------------------------------------------ */

static bool fake_fetch (void *self, const struct jwks_mark *at_hand)
{
    assert_null (self);
    fetches++;
    asked_with_a_set = at_hand != NULL;
    asked_with = at_hand ? *at_hand : (struct jwks_mark){0};
    return can_begin;
}

static void answer (enum jwks_result result, struct keys *set, int64_t fresh_s, const char *etag)
{
    struct jwks_answer got = {.result = result, .keys = set, .fresh_s = fresh_s};
    snprintf (got.mark.etag, sizeof got.mark.etag, "%s", etag);
    memset (got.mark.digest, 'd', sizeof got.mark.digest);
    buf_init (&got.skipped, 0);
    buf_puts (&got.skipped, "jwks-url: key 2 (kid a): use is not sig\njwks-url: key 3: private key\n");
    jwks_done (jwks, &got);
    assert_null (got.keys);
    buf_fini (&got.skipped);
}

/* The public side of these keys as it is fetched, under the kids "1" and "2". */
static struct keys *fetched_set (EVP_PKEY *first, EVP_PKEY *second)
{
    struct buf error, skipped;
    char *a = jwk_ec (first, ",\"kid\":\"1\""), *b = second ? jwk_ec (second, ",\"kid\":\"2\"") : strdup ("");
    char *set = text ("{\"keys\":[%s%s%s]}", a, second ? "," : "", b);
    buf_init (&error, 0);
    buf_init (&skipped, 0);
    struct keys *parsed = keys_parse_fetched (slice_str (set), &error, &skipped);
    assert_non_null (parsed);
    assert_int_equal (skipped.n, 0);
    buf_fini (&error);
    buf_fini (&skipped);
    free (set);
    free (a);
    free (b);
    return parsed;
}

static void answer_ok (void)
{
    answer (JWKS_RESULT_ok, fetched_set (one, NULL), 600, "\"v1\"");
}

/* --- tokens -------------------------------------------------------------------------------------------------- */

/* How a token that was refused like this is refused in the end. */
static enum error_code review (enum error_code error, enum jwt_miss miss)
{
    struct jwt_result result = {.error = error, .check = "key", .miss = miss};
    jwks_review (jwks, &result);
    return result.error;
}

static enum error_code miss_kid (void)
{
    return review (ERROR_VALIDATION_FAILED, JWT_MISS_KID);
}

/* In how many seconds the next timer is due. */
static double next_s (void)
{
    return (double) (wheel_next (&hub.wheel) - clock_now ()) / (double) S_NS;
}

static void expect_next (double least, double most)
{
    double next = next_s ();
    if (next < least || next > most)
        fail_msg ("next in %g s, not %g to %g", next, least, most);
}

/* --- set-up -------------------------------------------------------------------------------------------------- */

static int set_up (void **state)
{
    (void) state;
    HUB_UP ("--jwks-url", "https://keys.example/", "--jwks-min-age-s", "100", "--jwks-max-age-s", "1000",
            "--jwks-retry-ms", "8000", "--jwks-breaker-failures", "4");
    struct jwks_port port = {.fetch = fake_fetch};
    one = make_ec ("P-256");
    two = make_ec ("P-256");
    fetches = 0;
    can_begin = true;
    jwks = jwks_new (&hub, &port);
    assert_non_null (jwks);
    hub.jwks = jwks;
    return 0;
}

static int tear_down (void **state)
{
    (void) state;
    hub.jwks = NULL;
    jwks_destroy (&jwks);
    assert_int_equal (wheel_next (&hub.wheel), -1);
    assert_ptr_equal (hub.keys, keys);
    EVP_PKEY_free (one);
    EVP_PKEY_free (two);
    hub_down ();
    return 0;
}

/* --- tests --------------------------------------------------------------------------------------------------- */

static void test_first_set (void **state)
{
    (void) state;
    jwks_start (jwks);
    jwks_start (jwks);
    assert_int_equal (fetches, 1);
    assert_false (asked_with_a_set);
    assert_string_equal (jwks_fault (jwks), "no keys from jwks-url yet");
    answer_ok ();
    assert_null (jwks_fault (jwks));
    assert_int_equal (hub.keys->n, 2);
    assert_true (keys_have_kid (hub.keys, "1"));
    assert_int_equal (hub.keys->algorithms, HMAC_ALGORITHMS | UINT32_C (1) << JWT_ES256);
    assert_true (metric_get (M_JWKS_REFRESHES, JWKS_RESULT_ok) == 1);
    assert_true (metric_get (M_JWKS_LAST_SUCCESS, 0) == clock_wall ());
}

/* Between 9 and 10 tenths of four fifths of the life. */
static void test_schedule (void **state)
{
    (void) state;
    static const struct {
        int64_t said;
        double life;
    } rows[] = {{600, 600}, {FRESHNESS_UNKNOWN, 300}, {0, 100}, {99, 100}, {1000, 1000}, {99999, 1000}};
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        answer (JWKS_RESULT_ok, fetched_set (one, NULL), rows[i].said, "");
        expect_next (rows[i].life * 0.72, rows[i].life * 0.8);
    }
}

static void test_not_modified (void **state)
{
    (void) state;
    answer_ok ();
    const struct keys *before = hub.keys;
    wheel_advance (&hub.wheel, clock_now () + 480 * S_NS);
    assert_int_equal (fetches, 1);
    assert_true (asked_with_a_set);
    assert_string_equal (asked_with.etag, "\"v1\"");
    assert_int_equal (asked_with.digest[JWKS_DIGEST_SIZE - 1], 'd');
    answer (JWKS_RESULT_not_modified, NULL, 200, "");
    assert_ptr_equal (hub.keys, before);
    expect_next (144, 160);
    assert_true (metric_get (M_JWKS_REFRESHES, JWKS_RESULT_not_modified) == 1);
}

/* A server that sends the whole set again: the keys stay as they are, and so do tokens that were verified. */
static void test_the_same_set_again (void **state)
{
    (void) state;
    answer_ok ();
    const struct keys *before = hub.keys;
    answer (JWKS_RESULT_ok, NULL, 200, "\"v2\"");
    assert_ptr_equal (hub.keys, before);
    expect_next (144, 160);
    assert_true (metric_get (M_JWKS_REFRESHES, JWKS_RESULT_ok) == 2);
    wheel_advance (&hub.wheel, clock_now () + 160 * S_NS);
    assert_string_equal (asked_with.etag, "\"v2\"");
}

static void test_unchanged_without_a_set (void **state)
{
    (void) state;
    answer (JWKS_RESULT_not_modified, NULL, 200, "");
    answer (JWKS_RESULT_ok, NULL, 200, "");
    assert_true (metric_get (M_JWKS_REFRESHES, JWKS_RESULT_http_status) == 2);
    assert_non_null (jwks_fault (jwks));
}

static void test_cannot_begin (void **state)
{
    (void) state;
    can_begin = false;
    jwks_start (jwks);
    assert_int_equal (fetches, 1);
    assert_true (metric_get (M_JWKS_REFRESHES, JWKS_RESULT_no_memory) == 1);
    expect_next (4, 8);
    can_begin = true;
    wheel_advance (&hub.wheel, clock_now () + 8 * S_NS);
    assert_int_equal (fetches, 2);
    answer_ok ();
    assert_null (jwks_fault (jwks));
}

static void test_back_off (void **state)
{
    (void) state;
    static const double most[] = {8, 16, 32, 30}; /* the fourth one opens the breaker */
    for (size_t i = 0; i < COUNT_OF (most); i++) {
        answer (JWKS_RESULT_timeout, NULL, FRESHNESS_UNKNOWN, "");
        expect_next (i == 3 ? 30 : most[i] / 2, most[i]);
        assert_true (metric_get (M_AUTH_BREAKER, 0) == (i == 3 ? BREAKER_OPEN : 0));
    }
    answer (JWKS_RESULT_timeout, NULL, FRESHNESS_UNKNOWN, "");
    assert_true (metric_get (M_JWKS_REFRESHES, JWKS_RESULT_timeout) == 5);
    answer_ok ();
    assert_true (metric_get (M_AUTH_BREAKER, 0) == 0);
}

static void test_back_off_ends (void **state)
{
    (void) state;
    config->jwks_breaker_failures = 1000;
    for (int i = 0; i < 70; i++)
        answer (JWKS_RESULT_unreachable, NULL, FRESHNESS_UNKNOWN, "");
    expect_next (30, 60);
}

static void test_too_old (void **state)
{
    (void) state;
    answer_ok ();
    answer (JWKS_RESULT_timeout, NULL, FRESHNESS_UNKNOWN, "");
    assert_null (jwks_fault (jwks));
    wheel_advance (&hub.wheel, clock_now () + config->jwks_stale_s * S_NS - 100 * MS_NS);
    assert_null (jwks_fault (jwks));
    wheel_advance (&hub.wheel, clock_now () + config->jwks_stale_s * S_NS + 100 * MS_NS);
    assert_string_equal (jwks_fault (jwks), "the keys from jwks-url are too old");
    assert_int_equal (hub.keys->n, 1);
    assert_int_equal (review (ERROR_VALIDATION_FAILED, JWT_MISS_UNNAMED), ERROR_AUTH_KEYS_UNAVAILABLE);
    answer_ok ();
    assert_null (jwks_fault (jwks));
}

static void test_bad_sets (void **state)
{
    (void) state;
    answer_ok ();
    const struct keys *before = hub.keys;
    struct keys *empty = fetched_set (one, NULL), *many = fetched_set (one, two);
    key_fini (&empty->key[0]);
    empty->n = empty->algorithms = 0;
    answer (JWKS_RESULT_ok, empty, 600, "");
    assert_true (metric_get (M_JWKS_REFRESHES, JWKS_RESULT_no_keys) == 1);
    many->key = realloc (many->key, KEYS_MAX * sizeof *many->key);
    while (many->n < KEYS_MAX)
        many->key[many->n++] = (struct key){0};
    answer (JWKS_RESULT_ok, many, 600, "");
    assert_true (metric_get (M_JWKS_REFRESHES, JWKS_RESULT_too_large) == 1);
    assert_ptr_equal (hub.keys, before);
}

static void test_review (void **state)
{
    (void) state;
    answer_ok ();
    for (enum error_code error = 0; error <= ERROR_NONE; error++) {
        assert_int_equal (review (error, JWT_MISS_NONE), error);
        assert_int_equal (review (error, JWT_MISS_UNNAMED), error);
        if (error != ERROR_VALIDATION_FAILED)
            assert_int_equal (review (error, JWT_MISS_KID), error);
    }
    assert_int_equal (fetches, 0);
    struct jwt_result result = {.error = ERROR_VALIDATION_FAILED, .miss = JWT_MISS_KID};
    jwks_review (NULL, &result);
    assert_int_equal (result.error, ERROR_VALIDATION_FAILED);
}

static void test_unknown_kid (void **state)
{
    (void) state;
    answer_ok ();
    for (int i = 0; i < 10; i++)
        assert_int_equal (miss_kid (), ERROR_AUTH_KEYS_UNAVAILABLE);
    assert_int_equal (fetches, 1);
    assert_int_equal (review (ERROR_VALIDATION_FAILED, JWT_MISS_UNNAMED), ERROR_VALIDATION_FAILED);
    answer (JWKS_RESULT_ok, fetched_set (one, two), 600, "");
    assert_true (keys_have_kid (hub.keys, "2"));
    assert_int_equal (miss_kid (), ERROR_VALIDATION_FAILED);
    assert_int_equal (fetches, 1);
}

/* After a failure the back-off decides when the set is fetched, and nobody can say that a key does not exist. */
static void test_unknown_kid_after_a_failure (void **state)
{
    (void) state;
    answer_ok ();
    answer (JWKS_RESULT_tls, NULL, FRESHNESS_UNKNOWN, "");
    assert_int_equal (miss_kid (), ERROR_AUTH_KEYS_UNAVAILABLE);
    assert_int_equal (fetches, 0);
    answer (JWKS_RESULT_not_modified, NULL, 600, "");
    assert_int_equal (miss_kid (), ERROR_AUTH_KEYS_UNAVAILABLE);
    assert_int_equal (fetches, 1);
}

static void test_local_keys_change (void **state)
{
    (void) state;
    struct buf error;
    buf_init (&error, 0);
    answer_ok ();
    struct keys_sources sources = {.secret = SECRET, .algorithms = "HS256"};
    struct keys *narrow = keys_load (&sources, &error, &error);
    jwks_set_local (jwks, narrow);
    assert_int_equal (hub.keys->n, 1);
    assert_int_equal (hub.keys->algorithms, UINT32_C (1) << JWT_HS256);
    answer_ok ();
    assert_true (metric_get (M_JWKS_REFRESHES, JWKS_RESULT_no_keys) == 1);
    jwks_set_local (jwks, keys);
    keys_destroy (&narrow);
    assert_int_equal (hub.keys->n, 2);
    buf_fini (&error);
}

/* A payload that was verified under the keys before is not known under the next. */
static void test_token_cache (void **state)
{
    (void) state;
    struct token_hash hash;
    answer_ok ();
    assert_true (token_cache_hash (&hub.tokens, slice_str ("token"), &hash));
    token_cache_keep (&hub.tokens, &hash, strdup ("{}"), 2, clock_now ());
    answer (JWKS_RESULT_not_modified, NULL, 600, "");
    assert_non_null (token_cache_find (&hub.tokens, &hash, clock_now ()).p);
    answer (JWKS_RESULT_ok, fetched_set (two, NULL), 600, "");
    assert_null (token_cache_find (&hub.tokens, &hash, clock_now ()).p);
}

static void test_log (void **state)
{
    (void) state;
    log_set_level (LOG_LEVEL_INFO);
    answer_ok ();
    assert_true (log_has ("\"id\":\"KEY_SKIPPED\",\"why\":\"jwks-url: key 2 (kid a): use is not sig\""));
    assert_true (log_has ("\"why\":\"jwks-url: key 3: private key\""));
    assert_true (log_has ("\"id\":\"JWKS_FETCHED\",\"changed\":true,\"keys\":1,\"fresh_s\":600"));
    for (unsigned i = JWKS_RESULT_unreachable; i < LABELS; i++)
        answer ((enum jwks_result) i, NULL, FRESHNESS_UNKNOWN, "");
    assert_true (log_has ("\"id\":\"JWKS_FAILED\",\"result\":\"unreachable\",\"why\":\"\",\"next_ms\":"));
    assert_true (log_has ("\"id\":\"JWKS_BREAKER\",\"from\":\"closed\",\"to\":\"open\",\"failures\":4"));
}

#define TEST(function) cmocka_unit_test_setup_teardown (function, set_up, tear_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (test_first_set),
        TEST (test_schedule),
        TEST (test_not_modified),
        TEST (test_the_same_set_again),
        TEST (test_unchanged_without_a_set),
        TEST (test_cannot_begin),
        TEST (test_back_off),
        TEST (test_back_off_ends),
        TEST (test_too_old),
        TEST (test_bad_sets),
        TEST (test_review),
        TEST (test_unknown_kid),
        TEST (test_unknown_kid_after_a_failure),
        TEST (test_local_keys_change),
        TEST (test_token_cache),
        TEST (test_log),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
