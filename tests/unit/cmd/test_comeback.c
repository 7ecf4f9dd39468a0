/* Whether a client comes back, against the closes of proto/vectors/handshake.json, and when. */
#include "cmd/comeback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct ws_client_end closed (unsigned code)
{
    return (struct ws_client_end){.opened = true, .code = code};
}

static void note (struct comeback_state *self, const char *text)
{
    json_t *message = json_loads (text, 0, NULL);
    assert_non_null (message);
    comeback_note (self, message);
    json_decref (message);
}

/* "with another token, when ..." stands for what the notes decide. */
static void test_vectors (void **state)
{
    json_t *root = json_load_file (VECTORS "/handshake.json", 0, NULL), *item;
    size_t i;
    (void) state;
    assert_true (json_array_size (json_object_get (root, "closes")) >= 12);
    json_array_foreach (json_object_get (root, "closes"), i, item)
    {
        struct comeback_state self = {0};
        const json_t *again = json_object_get (item, "again");
        struct ws_client_end end = closed ((unsigned) json_integer_value (json_object_get (item, "code")));
        bool comes = comeback_judge (&self, &end) == COMEBACK_AGAIN;
        if (json_is_boolean (again) && comes != json_is_true (again))
            fail_msg ("code %u", end.code);
        if (json_is_string (again))
            assert_int_equal (comeback_judge (&self, &end), COMEBACK_REFUSED);
    }
    json_decref (root);
}

static void test_refusals (void **state)
{
    static const struct {
        const char *said;
        enum comeback wanted;
        const char *code;
    } cases[] = {
        {"{\"type\":\"authentication_error\",\"error_code\":\"VALIDATION_FAILED\",\"retry_allowed\":false}",
         COMEBACK_REFUSED, "VALIDATION_FAILED"},
        {"{\"type\":\"authentication_error\",\"error_code\":\"AUTH_KEYS_UNAVAILABLE\",\"retry_allowed\":true}",
         COMEBACK_AGAIN, "AUTH_KEYS_UNAVAILABLE"},
        {"{\"type\":\"authentication_error\",\"error_code\":\"TOKEN_EXPIRED\",\"retry_allowed\":true}",
         COMEBACK_WITH_TOKEN, "TOKEN_EXPIRED"},
        {"{\"type\":\"token_expired\"}", COMEBACK_WITH_TOKEN, "TOKEN_EXPIRED"},
        {"{\"type\":\"authentication_error\"}", COMEBACK_REFUSED, "?"},
        {"{\"type\":\"x\",\"error_code\":\"Y\"}", COMEBACK_REFUSED, ""},
        {"{}", COMEBACK_REFUSED, ""},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct comeback_state self = {0};
        struct ws_client_end end = closed (1008);
        note (&self, cases[i].said);
        assert_int_equal (comeback_judge (&self, &end), cases[i].wanted);
        assert_string_equal (self.error_code, cases[i].code);
        comeback_begin (&self); /* of the next connection nothing is known */
        assert_string_equal (self.error_code, "");
    }
}

static void test_statuses (void **state)
{
    static const struct {
        unsigned status;
        enum comeback wanted;
    } cases[] = {{0, COMEBACK_AGAIN},   {200, COMEBACK_LOST},  {401, COMEBACK_WITH_TOKEN}, {403, COMEBACK_REFUSED},
                 {404, COMEBACK_LOST},  {426, COMEBACK_LOST},  {429, COMEBACK_AGAIN},      {502, COMEBACK_AGAIN},
                 {503, COMEBACK_AGAIN}, {504, COMEBACK_AGAIN}, {500, COMEBACK_LOST}};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct comeback_state self = {0};
        struct ws_client_end end = {.code = 1006, .status = cases[i].status};
        if (comeback_judge (&self, &end) != cases[i].wanted)
            fail_msg ("status %u", cases[i].status);
    }
}

/* The largest of many draws comes near the limit, and none passes it. */
static int64_t largest_wait (unsigned attempts)
{
    struct ws_client_end end = closed (1006);
    int64_t largest = 0;
    for (int i = 0; i < 1000; i++) {
        struct comeback_state self = {.attempts = attempts};
        int64_t wait = comeback_wait_ms (&self, &end);
        assert_true (wait >= 0);
        assert_int_equal (self.attempts, attempts + 1);
        largest = wait > largest ? wait : largest;
    }
    return largest;
}

static void test_waits_grow (void **state)
{
    static const int64_t limits[] = {500, 1000, 2000, 4000, 8000, 16000, 30000, 30000};
    (void) state;
    for (unsigned i = 0; i < COUNT_OF (limits); i++)
        assert_in_range (largest_wait (i), limits[i] / 2, limits[i]);
    assert_in_range (largest_wait (1000), 15000, 30000);
}

static void test_at_once (void **state)
{
    struct comeback_state self = {0};
    (void) state;
    for (unsigned code = 1001; code; code = code == 1001 ? 4008 : 0) {
        struct ws_client_end end = closed (code);
        comeback_established (&self);
        assert_int_equal (comeback_wait_ms (&self, &end), 0);
        assert_int_equal (self.attempts, 1);
    }
}

static void test_as_told (void **state)
{
    struct comeback_state self = {0};
    struct ws_client_end end = closed (1012);
    (void) state;
    note (&self, "{\"type\":\"bridge_draining\",\"data\":{\"reconnect_after_ms\":12345}}");
    assert_int_equal (comeback_wait_ms (&self, &end), 12345);
    assert_true (comeback_wait_ms (&self, &end) <= 1000); /* it was in vain: now by chance */
    self.attempts = 0;
    note (&self, "{\"type\":\"bridge_draining\",\"data\":{\"reconnect_after_ms\":99999999999}}");
    assert_int_equal (comeback_wait_ms (&self, &end), 600000);
}

int main (void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test (test_vectors),  cmocka_unit_test (test_refusals),
                                       cmocka_unit_test (test_statuses), cmocka_unit_test (test_waits_grow),
                                       cmocka_unit_test (test_at_once),  cmocka_unit_test (test_as_told)};
    return cmocka_run_group_tests (tests, NULL, NULL);
}
