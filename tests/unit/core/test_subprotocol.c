/* Subprotocol tokens and the form of frames that each stands for. */
#include "core/subprotocol.h"
#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static const struct {
    const char *token;
    enum subprotocol subprotocol;
    enum form form;
} spoken[] = {
    {"agent_chat", SUBPROTOCOL_AGENT_CHAT, FORM_JSON},
    {"agent_chat.msgpack", SUBPROTOCOL_AGENT_CHAT_MSGPACK, FORM_MSGPACK},
    {"raw", SUBPROTOCOL_RAW, FORM_RAW},
    {"jwt-auth", SUBPROTOCOL_JWT_AUTH, FORM_JSON},
    {"jwt", SUBPROTOCOL_JWT, FORM_JSON},
    {"bearer", SUBPROTOCOL_BEARER, FORM_JSON},
    {"e2e-testing", SUBPROTOCOL_E2E_TESTING, FORM_JSON},
};

static void test_spoken (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (spoken); i++) {
        assert_int_equal (subprotocol_of (slice_str (spoken[i].token)), spoken[i].subprotocol);
        assert_string_equal (subprotocol_token (spoken[i].subprotocol), spoken[i].token);
        assert_int_equal (subprotocol_form (spoken[i].subprotocol), spoken[i].form);
    }
}

/* Also those that come later: every row is found by its own token. */
static void test_every_row (void **state)
{
    (void) state;
    assert_true (SUBPROTOCOL_COUNT >= COUNT_OF (spoken));
    for (int i = 0; i < SUBPROTOCOL_COUNT; i++) {
        enum subprotocol row = (enum subprotocol) i;
        assert_int_equal (subprotocol_of (slice_str (subprotocol_token (row))), row);
        assert_in_range (subprotocol_form (row), 0, FORM_COUNT - 1);
    }
}

static void test_foreign (void **state)
{
    (void) state;
    static const char *const foreign[] = {
        "",    "Agent_Chat", "AGENT_CHAT", "agent_chat ", " agent_chat", "agent_chat.", "agent_cha",
        "JWT", "Raw",        "raw,jwt",    "msgpack",     "jwt.x",       "graphql-ws",  "mqtt"};
    for (size_t i = 0; i < COUNT_OF (foreign); i++)
        assert_int_equal (subprotocol_of (slice_str (foreign[i])), SUBPROTOCOL_NONE);
    assert_int_equal (subprotocol_of (slice_of ("raw\0", 4)), SUBPROTOCOL_NONE);
    assert_int_equal (subprotocol_of (slice_str (NULL)), SUBPROTOCOL_NONE);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_spoken),
        cmocka_unit_test (test_every_row),
        cmocka_unit_test (test_foreign),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
