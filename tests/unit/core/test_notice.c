/* The frames that the bridge itself says: every key, in this order, in every form. */
#include "core/notice.h"
#include "hub_fixture.h"

typedef void say_fn (struct conn *conn);

static struct slice value; /* of message_id or id, in the connection's form */

#define SAY(name, call)                                                                                                \
    static void name (struct conn *conn)                                                                               \
    {                                                                                                                  \
        call;                                                                                                          \
    }

SAY (token_expired, notice_token_expired (conn))
SAY (token_refreshed, notice_token_refreshed (conn))
SAY (heartbeat_ack, notice_heartbeat_ack (conn))
SAY (pong, notice_pong (conn, slice_str (NULL)))
SAY (pong_with_id, notice_pong (conn, value))
SAY (draining, notice_draining (conn, 1234))
SAY (draining_long, notice_draining (conn, UINT64_MAX))
SAY (refusal_of_theirs, notice_refusal (conn, ERROR_VALIDATION_FAILED))
SAY (refusal_of_ours, notice_refusal (conn, ERROR_DRAINING))
SAY (parse_error, notice_error (conn, CLIENT_ERROR_JSON_PARSE_ERROR, slice_str (NULL)))
SAY (invalid, notice_error (conn, CLIENT_ERROR_INVALID_MESSAGE, slice_str (NULL)))
SAY (rate_limited, notice_error (conn, CLIENT_ERROR_RATE_LIMITED, value))
SAY (unavailable, notice_error (conn, CLIENT_ERROR_RUNTIME_UNAVAILABLE, value))
SAY (token_refused, notice_error (conn, CLIENT_ERROR_TOKEN_REFUSED, value))

#define ERROR_FRAME(code, message, details)                                                                            \
    "{\"type\":\"error_message\",\"error_code\":\"" code "\",\"error_message\":\"" message "\",\"details\":{" details  \
    "},\"timestamp\":0}"
#define ID "{\"a\":[1,\"x\"]}"

static const struct {
    say_fn *say;
    const char *json;
} notices[] = {
    {token_expired, "{\"type\":\"token_expired\",\"timestamp\":0}"},
    {token_refreshed, "{\"type\":\"token_refreshed\",\"timestamp\":0}"},
    {heartbeat_ack, "{\"type\":\"heartbeat_ack\",\"timestamp\":0}"},
    {pong, "{\"type\":\"pong\",\"timestamp\":0}"},
    {pong_with_id, "{\"type\":\"pong\",\"id\":" ID ",\"timestamp\":0}"},
    {draining, "{\"type\":\"bridge_draining\",\"data\":{\"reconnect_after_ms\":1234},\"timestamp\":0}"},
    {draining_long,
     "{\"type\":\"bridge_draining\",\"data\":{\"reconnect_after_ms\":18446744073709551615},\"timestamp\":0}"},
    {refusal_of_theirs, "{\"type\":\"authentication_error\",\"error_code\":\"VALIDATION_FAILED\","
                        "\"error_message\":\"The token was not accepted\",\"retry_allowed\":false,\"timestamp\":0}"},
    {refusal_of_ours, "{\"type\":\"connection_error\",\"error_code\":\"DRAINING\","
                      "\"error_message\":\"The bridge is shutting down\",\"retry_allowed\":true,\"timestamp\":0}"},
    {parse_error, ERROR_FRAME ("JSON_PARSE_ERROR", "The message is not valid JSON", "")},
    {invalid, ERROR_FRAME ("INVALID_MESSAGE", "A message is an object with a string \\\"type\\\"", "")},
    {rate_limited,
     ERROR_FRAME ("RATE_LIMITED", "Too many messages; this one was not handed over", "\"message_id\":" ID)},
    {unavailable,
     ERROR_FRAME ("RUNTIME_UNAVAILABLE", "The agent runtime cannot be reached; the message was not handed over",
                  "\"message_id\":" ID)},
    {token_refused,
     ERROR_FRAME ("TOKEN_REFUSED", "The new token was not accepted; the old one still counts", "\"message_id\":" ID)},
};

static void expect_text (struct conn *conn, const char *json)
{
    expect_frame (conn, form ("%s%s", binary (conn), json));
}

static void test_every_notice (void **state)
{
    (void) state;
    for (enum form form = FORM_JSON; form <= FORM_MSGPACK; form++) {
        struct conn *conn = fixture_conn ("alice", form);
        value = form == FORM_JSON ? slice_str (ID) : pack (ID);
        for (size_t i = 0; i < COUNT_OF (notices); i++) {
            notices[i].say (conn);
            assert_int_equal (outq_peek (&conn->outq, 0)->type, EVENT_TYPE_COUNT);
            expect_text (conn, notices[i].json);
            expect_no_frame (conn);
        }
    }
}

static void test_raw_gets_none (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_RAW);
    value = slice_str (ID);
    for (size_t i = 0; i < COUNT_OF (notices); i++)
        notices[i].say (conn);
    notice_established (conn);
    expect_no_frame (conn);
    assert_false (conn_is_ending (conn));
}

static void test_nothing_when_ending (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    conn_close (conn, CLOSE_KICKED);
    notice_heartbeat_ack (conn);
    expect_frame (conn, "CLOSE 4009 Kicked");
    expect_no_frame (conn);
}

static void test_error_codes (void **state)
{
    (void) state;
    assert_int_equal (CLIENT_ERROR_COUNT, 5);
    assert_string_equal (client_error_text (CLIENT_ERROR_JSON_PARSE_ERROR), "JSON_PARSE_ERROR");
    assert_string_equal (client_error_text (CLIENT_ERROR_TOKEN_REFUSED), "TOKEN_REFUSED");
}

static void test_established (void **state)
{
    static const struct {
        enum recovery recovery;
        bool recovered;
        const char *error;
    } cases[] = {
        {RECOVERY_NOT_ASKED, false, NULL},
        {RECOVERY_OK, true, NULL},
        {RECOVERY_UNKNOWN_EPOCH, false, "\"unknown_epoch\""},
        {RECOVERY_EXPIRED, false, "\"expired\""},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++)
        for (enum form form = FORM_JSON; form <= FORM_MSGPACK; form++) {
            struct conn *conn = fixture_conn ("alice", form);
            conn->recovery = cases[i].recovery;
            conn->cursor = 1000000 * i;
            notice_established (conn);
            expect_established (conn, 1000000 * i, cases[i].recovered, cases[i].error);
            expect_no_frame (conn);
        }
}

/* Names of users and bridges are anybody's texts. */
static void test_escapes (void **state)
{
    (void) state;
    struct conn *conn = fixture_waiting ("a\"\\\xc3\xa9", FORM_JSON);
    free (fx.config->bridge_id);
    fx.config->bridge_id = strdup ("b\n\"1\"");
    fx.config->ping_interval_s = 3;
    conn->recovery = RECOVERY_NOT_ASKED;
    notice_established (conn);
    expect_frame (conn, form ("{\"type\":\"connection_established\",\"data\":{\"connection_id\":\"%s\","
                              "\"user_id\":\"a\\\"\\\\\xc3\xa9\",\"bridge\":\"b\\n\\\"1\\\"\","
                              "\"resume\":{\"epoch\":\"%s\",\"offset\":0},\"recovered\":false,\"recovery_error\":null,"
                              "\"heartbeat_interval_ms\":3000},\"timestamp\":0}",
                              conn->id, user_epoch (conn->user)));
}

/* What expect_frame masks: Unix seconds, in MessagePack a double. */
static void test_timestamp (void **state)
{
    (void) state;
    struct mp_token token;
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *packed = fixture_conn ("alice", FORM_MSGPACK);
    notice_heartbeat_ack (conn);
    struct msg *msg = outq_peek (&conn->outq, 0);
    assert_true (slice_eq (slice_of (msg->bytes + 2, msg->n - 2),
                           slice_str (form ("{\"type\":\"heartbeat_ack\",\"timestamp\":%.6f}", clock_wall ()))));
    notice_heartbeat_ack (packed);
    msg = outq_peek (&packed->outq, 0);
    assert_true (mp_map_get (slice_of (msg->bytes + 2, msg->n - 2), "timestamp", &token));
    assert_int_equal (token.kind, MP_FLOAT64);
    assert_true (token.d == clock_wall ());
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST (test_every_notice), HUB_TEST (test_raw_gets_none), HUB_TEST (test_nothing_when_ending),
        HUB_TEST (test_error_codes),  HUB_TEST (test_established),   HUB_TEST (test_escapes),
        HUB_TEST (test_timestamp),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
