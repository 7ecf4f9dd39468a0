/* The opening handshake: its form, who may come in, and what the connection knows afterwards. */
#include "handshake_fixture.h"
#include "core/mp_json.h"
#include "core/session.h"

#define B(literal)                                                                                                     \
    {                                                                                                                  \
        (literal), sizeof (literal) - 1                                                                                \
    }

/* --- form ---------------------------------------------------------------------------------------------------- */

#define HOST          "Host: bridge.example\r\n"
#define UPGRADE       "Upgrade: websocket\r\n"
#define CONNECT       "Connection: Upgrade\r\n"
#define KEY           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION       "Sec-WebSocket-Version: 13\r\n"
#define GET           "GET /ws HTTP/1.1\r\n"
#define ALL           HOST UPGRADE CONNECT KEY VERSION
#define WITH_KEY(key) GET HOST UPGRADE CONNECT VERSION "Sec-WebSocket-Key:" key "\r\n"

static const char f_upgrade[] = "not a WebSocket upgrade", f_version[] = "Sec-WebSocket-Version must be 13",
                  f_http[] = "HTTP/1.1 is needed", f_host[] = "one Host header is needed",
                  f_key[] = "Sec-WebSocket-Key must be 24 characters of base64",
                  f_twice[] = "more than one Origin or Authorization header", f_body[] = "an upgrade has no body";

static const struct {
    const char *head; /* without the empty line */
    int status;
    const char *fault;
} check_cases[] = {
    {GET ALL, 0, NULL},
    {GET VERSION KEY CONNECT UPGRADE HOST, 0, NULL},
    {GET HOST "upgrade:WebSocket\r\nCONNECTION: keep-alive, UPGRADE\r\n" KEY VERSION, 0, NULL},
    {GET HOST UPGRADE "Connection: keep-alive\r\n" CONNECT KEY VERSION, 0, NULL},
    {GET ALL "Origin: https://x\r\nAuthorization: Bearer x\r\nContent-Length: 0\r\n", 0, NULL},
    {GET ALL "Sec-WebSocket-Extensions: permessage-deflate\r\n", 0, NULL},
    {WITH_KEY ("++++++++++//////////ZZ=="), 0, NULL},
    {"POST /ws HTTP/1.1\r\n" ALL, 405, f_upgrade},
    {"HEAD /ws HTTP/1.1\r\n" ALL, 405, f_upgrade},
    {"get /ws HTTP/1.1\r\n" ALL, 405, f_upgrade},
    {"GETS /ws HTTP/1.1\r\n" ALL, 405, f_upgrade},
    {GET HOST CONNECT KEY VERSION, 426, f_upgrade},
    {GET HOST, 426, f_upgrade},
    {GET HOST CONNECT "Upgrade: h2c\r\n" KEY VERSION, 426, f_upgrade},
    {GET HOST CONNECT "Upgrade: websocket2\r\n" KEY VERSION, 426, f_upgrade},
    {GET HOST CONNECT "Upgrade: h2c, websocket\r\n" KEY VERSION, 426, f_upgrade},
    {GET ALL "Upgrade: h2c\r\n", 426, f_upgrade},
    {GET HOST UPGRADE KEY VERSION, 426, f_upgrade},
    {GET HOST UPGRADE "Connection: close\r\n" KEY VERSION, 426, f_upgrade},
    {GET HOST UPGRADE "Connection: upgrades, x-upgrade\r\n" KEY VERSION, 426, f_upgrade},
    {GET HOST UPGRADE CONNECT KEY, 426, f_version},
    {GET HOST UPGRADE CONNECT KEY "Sec-WebSocket-Version: 8\r\n", 426, f_version},
    {GET HOST UPGRADE CONNECT KEY "Sec-WebSocket-Version: 013\r\n", 426, f_version},
    {GET HOST UPGRADE CONNECT KEY "Sec-WebSocket-Version: 13, 8\r\n", 426, f_version},
    {GET ALL VERSION, 426, f_version},
    {"GET /ws HTTP/1.0\r\n" ALL, 400, f_http},
    {GET UPGRADE CONNECT KEY VERSION, 400, f_host},
    {GET "Host:\r\n" UPGRADE CONNECT KEY VERSION, 400, f_host},
    {GET ALL HOST, 400, f_host},
    {GET HOST UPGRADE CONNECT VERSION, 400, f_key},
    {GET ALL KEY, 400, f_key},
    {WITH_KEY (""), 400, f_key},
    {WITH_KEY ("dGhlIHNhbXBsZSBub25jZQ="), 400, f_key},
    {WITH_KEY ("dGhlIHNhbXBsZSBub25jZQ==="), 400, f_key},
    {WITH_KEY ("dGhlIHNhbXBsZSBub25jZQ=A"), 400, f_key},
    {WITH_KEY ("dGhlIHNhbXBsZSBub25jZQA="), 400, f_key},
    {WITH_KEY ("dGhlIHNhbXBsZSBub25j=Q=="), 400, f_key},
    {WITH_KEY ("dGhlIHNhbXBs-SBub25jZQ=="), 400, f_key},
    {WITH_KEY ("dGhlIHNhbXBs_SBub25jZQ=="), 400, f_key},
    {WITH_KEY ("dGhlIHNhbXBs SBub25jZQ=="), 400, f_key},
    {WITH_KEY ("dGhlIHNhbXBs\xff"
               "SBub25jZQ=="),
     400, f_key},
    {GET ALL "Origin: https://x\r\norigin: https://x\r\n", 400, f_twice},
    {GET ALL "Authorization: Bearer x\r\nAuthorization: Bearer y\r\n", 400, f_twice},
    {GET ALL "Content-Length: 5\r\n", 400, f_body},
    {GET ALL "Content-Length: 00\r\n", 400, f_body},
    {GET ALL "Content-Length:\r\n", 400, f_body},
    {GET ALL "Transfer-Encoding: chunked\r\n", 400, f_body},
    {GET ALL "Content-Length: 0\r\nTransfer-Encoding: identity\r\n", 400, f_body},
    {GET ALL "Content-Length: 0\r\nContent-Length: 5\r\n", 400, f_body},
};

static void test_check (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (check_cases); i++) {
        const char *fault = NULL;
        char *head = text ("%s\r\n", check_cases[i].head);
        struct request request = request_of (head);
        int status = handshake_check (&request, &fault);
        if (status != check_cases[i].status || (status && strcmp (fault, check_cases[i].fault) != 0))
            fail_msg ("%s%d %s, wanted %d %s", head, status, fault, check_cases[i].status, check_cases[i].fault);
        free (head);
    }
}

static void test_paths (void **state)
{
    (void) state;
    HUB_UP ("--ws-paths", "/ws, /api/v1/websocket");
    assert_true (handshake_is_ws_path (&hub, slice_str ("/ws")));
    assert_true (handshake_is_ws_path (&hub, slice_str ("/api/v1/websocket")));
    static const char *const others[] = {"",     "/", "/w", "/ws/", "/wsx", "/WS", "/ws,", "/ws, /api/v1/websocket",
                                         "/%77s"};
    for (size_t i = 0; i < COUNT_OF (others); i++)
        assert_false (handshake_is_ws_path (&hub, slice_str (others[i])));
    hub_down ();
}

/* --- admitting ----------------------------------------------------------------------------------------------- */

#define CLAIMS "{\"sub\":\"alice\",\"exp\":" EXP "}"

static char *alice_head (const char *target, const char *headers)
{
    char *token = token_of (CLAIMS);
    char *head = text ("GET %s HTTP/1.1\r\n" HOST UPGRADE CONNECT KEY VERSION "Authorization: Bearer %s\r\n%s\r\n",
                       target, token, headers);
    free (token);
    return head;
}

static struct conn *admit_alice (const char *target, const char *headers)
{
    return admit (alice_head (target, headers));
}

static void expect_refusal (struct conn *conn, enum error_code wanted)
{
    if (conn->refusal != wanted)
        fail_msg ("%s, wanted %s", conn->refusal == ERROR_NONE ? "welcome" : error_info (conn->refusal)->code,
                  wanted == ERROR_NONE ? "welcome" : error_info (wanted)->code);
    assert_int_equal (conn->user != NULL, wanted == ERROR_NONE);
}

/* The head (taken) is refused: counted once under the code's own label and no other, and logged with the check. */
static void expect_refused (char *head, enum error_code code, const char *check)
{
    double before[ERROR_CODE_COUNT + 1];
    for (unsigned i = 0; i <= ERROR_CODE_COUNT; i++)
        before[i] = metric_get (M_HANDSHAKES, i);
    log_set_level (LOG_LEVEL_WARN);
    struct conn *conn = admit (head);
    log_set_level (LOG_LEVEL_ERROR);
    expect_refusal (conn, code);
    assert_null (conn->connect_headers);
    for (unsigned i = 0; i <= ERROR_CODE_COUNT; i++)
        assert_true (metric_get (M_HANDSHAKES, i) == before[i] + (i == 1 + code));
    char *wanted =
        text ("\"conn\":\"%s\",\"error_code\":\"%s\",\"check\":\"%s\"", conn->id, error_info (code)->code, check);
    char *log = log_text ();
    if (!strstr (log, wanted))
        fail_msg ("no %s in %s", wanted, log);
    free (wanted);
    free (log);
    drop (conn);
}

static void test_welcome (void **state)
{
    (void) state;
    HUB_UP ();
    struct conn *conn = admit_alice ("/ws", "");
    expect_refusal (conn, ERROR_NONE);
    assert_true (slice_is (user_id (conn->user), "alice"));
    assert_int_equal (conn->user->refs, 1);
    assert_int_equal (conn->user->n_conns, 0);
    assert_int_equal (conn->expires, LATE);
    assert_int_equal (conn->state, CONN_connecting);
    assert_int_equal (conn->recovery, RECOVERY_NOT_ASKED);
    for (unsigned i = 0; i <= ERROR_CODE_COUNT; i++)
        assert_true (metric_get (M_HANDSHAKES, i) == 0); /* counted when it is told so */
    drop (conn);
    assert_int_equal (map_size (&hub.registry.users), 0);
    hub_down ();
}

static void test_no_exp (void **state)
{
    (void) state;
    HUB_UP ("--jwt-require-exp", "false");
    char *token = token_of ("{\"sub\":\"alice\"}");
    struct conn *conn = admit (text (HEAD ("/ws", "Authorization: Bearer %s\r\n"), token));
    expect_refusal (conn, ERROR_NONE);
    assert_int_equal (conn->expires, 0);
    drop (conn);
    free (token);
    hub_down ();
}

/* --- origin -------------------------------------------------------------------------------------------------- */

static const struct {
    char *allowed;
    const char *host, *origin; /* NULL: no such header */
    bool good;
} origin_cases[] = {
    {"", "a.example", NULL, true},
    {"", "a.example", "http://a.example", true},
    {"", "a.example", "https://a.example", true},
    {"", "a.example", "https://A.Example", true},
    {"", "A.EXAMPLE", "HTTPS://a.example", true},
    {"", "a.example", "https://a.example:443", true},
    {"", "a.example:443", "https://a.example", true},
    {"", "a.example:443", "https://a.example:443", true},
    {"", "a.example", "http://a.example:80", true},
    {"", "a.example:80", "http://a.example", true},
    {"", "a.example:8080", "http://a.example:8080", true},
    {"", "[::1]:8080", "http://[::1]:8080", true},
    {"", "[::1]", "http://[::1]:80", true},
    {"", "a.example", "null", false},
    {"", "a.example", "", false},
    {"", "a.example", "a.example", false},
    {"", "a.example", "https://", false},
    {"", "a.example", "https:///", false},
    {"", "a.example", "ftp://a.example", false},
    {"", "a.example", "file://a.example", false},
    {"", "a.example", "https://b.example", false},
    {"", "a.example", "https://a.example.evil", false},
    {"", "a.example", "https://evil-a.example", false},
    {"", "a.example", "https://a.exampl", false},
    {"", "a.example", "https://a.example/", false},
    {"", "a.example", "https://u@a.example", false},
    {"", "a.example", "https://a.example https://a.example", false},
    {"", "a.example", "http://a.example:443", false},
    {"", "a.example", "https://a.example:80", false},
    {"", "a.example:80", "https://a.example", false},
    {"", "a.example:443", "http://a.example", false},
    {"", "a.example", "https://a.example:8443", false},
    {"", "a.example:8443", "https://a.example", false},
    {"", "a.example:8080", "http://a.example:8081", false},
    {"", "a.example:8080", "http://a.example:80", false},
    {"https://x.example", "a.example", NULL, true},
    {"https://x.example", "a.example", "https://x.example", true},
    {"https://x.example,http://y.example:81", "a.example", "http://y.example:81", true},
    {"https://x.example , http://y.example:81", "a.example", "https://x.example", true},
    {"https://x.example", "a.example", "https://a.example", false}, /* the list is all there is */
    {"https://x.example", "a.example", "http://x.example", false},
    {"https://x.example", "a.example", "https://x.example:8443", false},
    {"https://x.example", "a.example", "https://x.example.evil", false},
    {"https://x.example", "a.example", "https://sub.x.example", false},
    {"https://x.example", "a.example", "null", false},
    {"https://x.example,http://y.example", "a.example", "https://x.example,http://y.example", false},
    {"https://x.example,null", "a.example", "null", true},
    {"*", "a.example", "https://b.example", true},
    {"*", "a.example", "null", true},
    {"*", "a.example", "", true},
    {"https://x.example, *", "a.example", "https://b.example", true},
    {"https://*.example", "a.example", "https://b.example", false}, /* no patterns */
};

static void test_origin (void **state)
{
    (void) state;
    char *token = token_of (CLAIMS);
    for (size_t i = 0; i < COUNT_OF (origin_cases); i++) {
        const char *origin = origin_cases[i].origin;
        HUB_UP ("--allowed-origins", origin_cases[i].allowed);
        struct conn *conn = admit (
            text (GET "Host: %s\r\n" UPGRADE CONNECT KEY VERSION "Authorization: Bearer %s\r\n%s%s%s\r\n",
                  origin_cases[i].host, token, origin ? "Origin: " : "", origin ? origin : "", origin ? "\r\n" : ""));
        if ((conn->refusal == ERROR_NONE) != origin_cases[i].good)
            fail_msg ("allowed \"%s\", host %s, origin %s", origin_cases[i].allowed, origin_cases[i].host, origin);
        expect_refusal (conn, origin_cases[i].good ? ERROR_NONE : ERROR_ORIGIN_DENIED);
        drop (conn);
        hub_down ();
    }
    free (token);
}

/* The admin port's page is let in beside what allowed-origins says, where it may connect at all. */
static const struct {
    unsigned page_port;
    const char *host, *origin;
    bool good;
} page_cases[] = {
    {9090, "a.example:8080", "http://a.example:9090", true},
    {9090, "A.example:8080", "HTTP://a.example:9090", true},
    {9090, "a.example", "http://a.example:9090", true},
    {9090, "[::1]:8080", "http://[::1]:9090", true},
    {9090, "[::1]", "http://[::1]:9090", true},
    {0, "a.example:8080", "http://a.example:9090", false},
    {0, "a.example:8080", "http://a.example:0", false},
    {9090, "a.example:8080", "https://a.example:9090", false},
    {9090, "a.example:8080", "http://a.example:9091", false},
    {9090, "a.example:8080", "http://a.example:90901", false},
    {9090, "a.example:8080", "http://a.example", false},
    {9090, "a.example:8080", "http://b.example:9090", false},
    {9090, "a.example:8080", "http://a.example:9090/", false},
    {9090, "a.example:8080", "http://a.example:9090.evil", false},
    {9090, "[::1]:8080", "http://[::2]:9090", false},
    {9090, ":8080", "http://evil:9090", false},
};

static void test_origin_of_page (void **state)
{
    (void) state;
    char *token = token_of (CLAIMS);
    for (size_t i = 0; i < COUNT_OF (page_cases); i++) {
        HUB_UP ("--allowed-origins", "https://x.example");
        hub.page_port = page_cases[i].page_port;
        struct conn *conn = admit (text (GET "Host: %s\r\n" UPGRADE CONNECT KEY VERSION
                                             "Authorization: Bearer %s\r\nOrigin: %s\r\n\r\n",
                                         page_cases[i].host, token, page_cases[i].origin));
        if ((conn->refusal == ERROR_NONE) != page_cases[i].good)
            fail_msg ("page %u, host %s, origin %s", page_cases[i].page_port, page_cases[i].host, page_cases[i].origin);
        drop (conn);
        hub_down ();
    }
    free (token);
}

/* --- subprotocol --------------------------------------------------------------------------------------------- */

static const struct {
    char *standard;
    const char *headers;
    enum subprotocol chosen;
    enum form form;
} subprotocol_cases[] = {
    {"agent_chat", "", SUBPROTOCOL_NONE, FORM_JSON},
    {"agent_chat.msgpack", "", SUBPROTOCOL_NONE, FORM_MSGPACK},
    {"raw", "", SUBPROTOCOL_NONE, FORM_RAW},
    {"raw", "Sec-WebSocket-Protocol: x, Agent_Chat\r\n", SUBPROTOCOL_NONE, FORM_RAW},
    {"raw", "Sec-WebSocket-Protocol:\r\n", SUBPROTOCOL_NONE, FORM_RAW},
    {"raw", "Sec-WebSocket-Protocol: jwt\r\n", SUBPROTOCOL_JWT, FORM_JSON},
    {"agent_chat", "Sec-WebSocket-Protocol: raw\r\n", SUBPROTOCOL_RAW, FORM_RAW},
    {"agent_chat", "Sec-WebSocket-Protocol: agent_chat.msgpack\r\n", SUBPROTOCOL_AGENT_CHAT_MSGPACK, FORM_MSGPACK},
    {"raw", "Sec-WebSocket-Protocol: agent_chat\r\n", SUBPROTOCOL_AGENT_CHAT, FORM_JSON},
    {"raw", "Sec-WebSocket-Protocol: jwt-auth\r\n", SUBPROTOCOL_JWT_AUTH, FORM_JSON},
    {"raw", "Sec-WebSocket-Protocol: bearer\r\n", SUBPROTOCOL_BEARER, FORM_JSON},
    {"raw", "Sec-WebSocket-Protocol: e2e-testing\r\n", SUBPROTOCOL_E2E_TESTING, FORM_JSON},
    /* the client's order counts, over all lines */
    {"agent_chat", "Sec-WebSocket-Protocol: raw, agent_chat\r\n", SUBPROTOCOL_RAW, FORM_RAW},
    {"raw", "Sec-WebSocket-Protocol: agent_chat, raw\r\n", SUBPROTOCOL_AGENT_CHAT, FORM_JSON},
    {"raw", "Sec-WebSocket-Protocol: x,,\t bearer ,raw\r\n", SUBPROTOCOL_BEARER, FORM_JSON},
    {"agent_chat", "Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: raw\r\nSec-WebSocket-Protocol: jwt\r\n",
     SUBPROTOCOL_RAW, FORM_RAW},
    /* secrets are no subprotocols */
    {"agent_chat", "Sec-WebSocket-Protocol: e2e.KEY, e2e-user.U, raw\r\n", SUBPROTOCOL_RAW, FORM_RAW},
    {"raw", "Sec-WebSocket-Protocol: jwt.raw, bearer.agent_chat\r\n", SUBPROTOCOL_NONE, FORM_RAW},
};

/* Chosen also when the client is refused: it has to understand the refusal. */
static void test_subprotocol (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (subprotocol_cases); i++) {
        HUB_UP ("--default-subprotocol", subprotocol_cases[i].standard);
        for (int good = 0; good < 2; good++) {
            struct conn *conn = good ? admit_alice ("/ws", subprotocol_cases[i].headers)
                                     : admit (text (HEAD ("/ws", "%s"), subprotocol_cases[i].headers));
            if (conn->subprotocol != subprotocol_cases[i].chosen || conn->form != subprotocol_cases[i].form)
                fail_msg ("%s%s: %d, form %d", subprotocol_cases[i].headers, subprotocol_cases[i].standard,
                          conn->subprotocol, conn->form);
            assert_int_equal (conn->refusal == ERROR_NONE, good);
            drop (conn);
        }
        hub_down ();
    }
}

/* --- limits -------------------------------------------------------------------------------------------------- */

static struct conn *live_conn (const char *user)
{
    char *claims = text ("{\"sub\":\"%s\",\"exp\":" EXP "}", user), *token = token_of (claims);
    struct conn *conn = admit (text (HEAD ("/ws", "Authorization: Bearer %s\r\n"), token));
    expect_refusal (conn, ERROR_NONE);
    assert_true (conn_move (conn, CONN_accepted) && conn_move (conn, CONN_authenticated));
    free (claims);
    free (token);
    return conn;
}

static void test_limit_of_all (void **state)
{
    (void) state;
    HUB_UP ("--max-connections", "2");
    struct conn *first = live_conn ("alice"), *second = live_conn ("bob");
    expect_refused (alice_head ("/ws", ""), ERROR_TOO_MANY_CONNECTIONS, "");
    drop (first);
    first = live_conn ("carol"); /* there is room again */
    drop (first);
    drop (second);
    hub_down ();
}

static void test_limit_of_user (void **state)
{
    (void) state;
    HUB_UP ("--max-connections-per-user", "2");
    struct conn *first = live_conn ("alice"), *second = live_conn ("alice"), *other = live_conn ("bob");
    expect_refused (alice_head ("/ws", ""), ERROR_USER_CONNECTION_LIMIT, "");
    drop (first);
    first = live_conn ("alice");
    drop (first);
    drop (second);
    drop (other);
    hub_down ();
}

/* Whoever the user; one that is ending gives its place back at once, one that was refused takes none. */
static void test_limit_of_address (void **state)
{
    (void) state;
    HUB_UP ("--max-connections-per-address", "2");
    struct conn *first = live_conn ("alice"), *second = live_conn ("bob");
    for (int i = 0; i < 3; i++)
        expect_refused (alice_head ("/ws", ""), ERROR_ADDRESS_CONNECTION_LIMIT, "");
    assert_true (log_has ("\"remote\":\"192.0.2.7\""));
    conn_close (first, CLOSE_KICKED);
    struct conn *third = live_conn ("carol");
    expect_refused (alice_head ("/ws", ""), ERROR_ADDRESS_CONNECTION_LIMIT, "");
    drop (second);
    expect_refused (text (HEAD ("/ws", "")), ERROR_JWT_TOKEN_MISSING, "token");
    second = live_conn ("dave");
    drop (first);
    drop (second);
    drop (third);
    assert_int_equal (map_size (&hub.addresses.map), 0);
    hub_down ();
}

static struct ip ip_of (const char *text)
{
    struct ip ip;
    assert_true (ip_parse (slice_str (text), &ip));
    return ip;
}

/* Ten seconds' worth at once, then one after the other; IPv6 by /64. Time is the hub's clock, which stands still. */
static void test_rate_of_address (void **state)
{
    (void) state;
    HUB_UP ("--handshakes-per-second-per-address", "2");
    struct ip v4 = ip_of ("192.0.2.7"), other = ip_of ("192.0.2.8"), v6 = ip_of ("2001:db8::1");
    struct ip same = ip_of ("2001:db8::2"), next = ip_of ("2001:db8:0:1::1");
    for (int i = 0; i < 20; i++) {
        assert_true (handshake_within_rate (&hub, &v4));
        assert_true (handshake_within_rate (&hub, i % 2 ? &v6 : &same));
    }
    log_set_level (LOG_LEVEL_WARN);
    assert_false (handshake_within_rate (&hub, &v4));
    log_set_level (LOG_LEVEL_ERROR);
    assert_true (log_has ("\"id\":\"HANDSHAKES_LIMITED\",\"remote\":\"192.0.2.7\""));
    assert_false (handshake_within_rate (&hub, &v6));
    assert_false (handshake_within_rate (&hub, &same));
    assert_true (handshake_within_rate (&hub, &other) && handshake_within_rate (&hub, &next));
    assert_true (metric_get (M_HANDSHAKES, 1 + ERROR_TOO_MANY_HANDSHAKES) == 3);
    assert_true (metric_get (M_RATES_TRACKED, LIMITED_addresses) == 4);
    hub_expire_rates (&hub);
    assert_true (metric_get (M_RATES_TRACKED, LIMITED_addresses) == 4);
    config->handshakes_per_second_per_address = 0;
    assert_true (handshake_within_rate (&hub, &v4));
    hub_expire_rates (&hub);
    assert_true (metric_get (M_RATES_TRACKED, LIMITED_addresses) == 0);
    hub_down ();
}

static void expect_client (const char *peer, const char *headers, const char *wanted)
{
    char *head = text (HEAD ("/ws", "%s"), headers), got[IP_TEXT_LEN];
    struct request request = request_of (head);
    struct ip ip = ip_of (peer);
    ip = handshake_client (&hub, &request, &ip);
    ip_format (&ip, got);
    assert_string_equal (got, wanted);
    free (head);
}

#define XFF       "X-Forwarded-For: 203.0.113.1\r\n"
#define FORWARDED "Forwarded: for=203.0.113.2\r\n"

static void test_client (void **state)
{
    (void) state;
    HUB_UP ("--trusted-proxies", "10.0.0.0/8, fd00::/8");
    expect_client ("10.0.0.1", "", "10.0.0.1");
    expect_client ("10.0.0.1", XFF, "203.0.113.1");
    expect_client ("fd00::1", XFF FORWARDED, "203.0.113.2");
    expect_client ("192.0.2.7", XFF FORWARDED, "192.0.2.7");
    assert_true (metric_get (M_FORWARDED_UNUSABLE, 0) == 0);
    log_set_level (LOG_LEVEL_WARN);
    expect_client ("10.0.0.1", "Forwarded: for=unknown\r\n" XFF, "10.0.0.1");
    log_set_level (LOG_LEVEL_ERROR);
    assert_true (log_has ("\"id\":\"FORWARDED_UNUSABLE\",\"remote\":\"10.0.0.1\""));
    assert_true (metric_get (M_FORWARDED_UNUSABLE, 0) == 1);
    hub_down ();
    HUB_UP ("--trusted-proxies", "10.0.0.0/8", "--proxy-header", "x-forwarded-for");
    expect_client ("10.0.0.1", XFF FORWARDED, "203.0.113.1");
    expect_client ("10.0.0.1", FORWARDED, "10.0.0.1");
    hub_down ();
    HUB_UP ("--trusted-proxies", "10.0.0.0/8", "--proxy-header", "forwarded");
    expect_client ("10.0.0.1", XFF FORWARDED, "203.0.113.2");
    expect_client ("10.0.0.1", XFF, "10.0.0.1");
    hub_down ();
    HUB_UP ();
    expect_client ("127.0.0.1", XFF FORWARDED, "127.0.0.1");
    hub_down ();
}

/* Draining, then room, then origin, then token, then the user's room. */
static void test_order (void **state)
{
    (void) state;
    static const char foreign[] = "Origin: https://evil.example\r\n";
    HUB_UP ("--max-connections", "1", "--max-connections-per-user", "1");
    struct conn *conn = live_conn ("alice");
    hub.draining = true;
    expect_refused (text (HEAD ("/ws", "%s"), foreign), ERROR_DRAINING, "");
    hub.draining = false;
    expect_refused (text (HEAD ("/ws", "%s"), foreign), ERROR_TOO_MANY_CONNECTIONS, "");
    drop (conn);
    expect_refused (text (HEAD ("/ws", "%s"), foreign), ERROR_ORIGIN_DENIED, "");
    expect_refused (alice_head ("/ws", foreign), ERROR_ORIGIN_DENIED, "");
    expect_refused (text (HEAD ("/ws", "")), ERROR_JWT_TOKEN_MISSING, "token");
    hub_down ();
}

/* The bucket begins with its burst, a tenth of a minute's messages. */
static void test_bucket (void **state)
{
    (void) state;
    HUB_UP ("--client-messages-per-minute", "50");
    struct conn *conn = admit_alice ("/ws", "");
    int64_t now = clock_now ();
    for (int i = 0; i < 5; i++)
        assert_true (bucket_take (&conn->bucket, 50.0 / 60, 5, now));
    assert_false (bucket_take (&conn->bucket, 50.0 / 60, 5, now));
    drop (conn);
    hub_down ();
}

/* --- tokens -------------------------------------------------------------------------------------------------- */

static void test_sources (void **state)
{
    (void) state;
    char *alice = token_of (CLAIMS), *bob = token_of ("{\"sub\":\"bob\",\"exp\":" EXP "}");
    char *carol = token_of ("{\"sub\":\"carol\",\"exp\":" EXP "}"), *wrapped = b64 (slice_str (bob));
    const struct {
        char *allowed;
        char *head; /* taken */
        const char *user;
    } cases[] = {
        {"false", text (HEAD ("/ws", "Authorization: bearer %s\r\n"), alice), "alice"},
        {"false", text (HEAD ("/ws", "Authorization: Basic eDp5\r\n")), NULL},
        {"false", text (HEAD ("/ws", "Sec-WebSocket-Protocol: jwt.%s\r\n"), bob), "bob"},
        {"false", text (HEAD ("/ws", "Sec-WebSocket-Protocol: raw, bearer.%s\r\n"), wrapped), "bob"},
        {"false", text (HEAD ("/ws", "Sec-WebSocket-Protocol: raw\r\nSec-WebSocket-Protocol: jwt-auth.%s\r\n"), bob),
         "bob"},
        {"false", text (HEAD ("/ws?token=%s", ""), carol), NULL},
        {"true", text (HEAD ("/ws?x=y&token=%s&token=z", ""), carol), "carol"},
        {"true", text (HEAD ("/ws?token=%%65%s", ""), carol + 1), "carol"},
        {"true", text (HEAD ("/ws?token", "")), NULL},
        {"true", text (HEAD ("/ws?Token=%s", ""), carol), NULL},
        {"true", text (HEAD ("/ws?token=%s", "Sec-WebSocket-Protocol: jwt.%s\r\n"), carol, bob), "bob"},
        {"true",
         text (HEAD ("/ws?token=%s", "Authorization: Bearer %s\r\nSec-WebSocket-Protocol: jwt.%s\r\n"), carol, alice,
               bob),
         "alice"},
    };
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        HUB_UP ("--allow-query-token", cases[i].allowed);
        if (cases[i].user) {
            struct conn *conn = admit (cases[i].head);
            expect_refusal (conn, ERROR_NONE);
            assert_true (slice_is (user_id (conn->user), cases[i].user));
            drop (conn);
        } else
            expect_refused (cases[i].head, ERROR_JWT_TOKEN_MISSING, "token");
        hub_down ();
    }
    free (alice);
    free (bob);
    free (carol);
    free (wrapped);
}

/* The check is for the operator; the token itself is for nobody. */
static void test_bad_tokens (void **state)
{
    (void) state;
    HUB_UP ("--jwt-issuer", "me");
    static const struct {
        const char *claims;
        enum error_code code;
        const char *check;
    } cases[] = {
        {"{\"sub\":\"alice\",\"iss\":\"me\",\"exp\":1}", ERROR_TOKEN_EXPIRED, "claims: exp"},
        {"{\"sub\":\"alice\",\"iss\":\"me\"}", ERROR_JWT_FORMAT_INVALID, "claims: exp"},
        {"{\"sub\":\"alice\",\"iss\":\"me\",\"exp\":" EXP ",\"nbf\":4102444799}", ERROR_TOKEN_NOT_YET_VALID,
         "claims: nbf"},
        {"{\"sub\":\"alice\",\"iss\":\"you\",\"exp\":" EXP "}", ERROR_VALIDATION_FAILED, "claims: iss"},
        {"{\"iss\":\"me\",\"exp\":" EXP "}", ERROR_MISSING_USER_ID, "claims: user"},
    };
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        char *token = token_of (cases[i].claims);
        expect_refused (text (HEAD ("/ws", "Authorization: Bearer %s\r\n"), token), cases[i].code, cases[i].check);
        assert_false (log_has (token));
        free (token);
    }
    expect_refused (strdup (HEAD ("/ws", "Authorization: Bearer x\r\n")), ERROR_JWT_FORMAT_INVALID, "format");
    hub_down ();
}

static void test_no_keys (void **state)
{
    (void) state;
    static const struct keys none;
    HUB_UP ();
    hub.keys = &none;
    expect_refused (alice_head ("/ws", ""), ERROR_AUTH_KEYS_UNAVAILABLE, "key");
    hub_down ();
}

/* The signature of a token counts for a while without being verified, but only under the keys that it was verified
 * with. */
static void test_token_again (void **state)
{
    (void) state;
    static struct keys none;
    HUB_UP ();
    for (int i = 0; i < 2; i++) {
        struct conn *conn = admit_alice ("/ws", "");
        expect_refusal (conn, ERROR_NONE);
        assert_int_equal (conn->expires, LATE);
        drop (conn);
        assert_true (metric_get (M_TOKEN_CACHE_HITS, 0) == i);
    }
    hub_set_keys (&hub, &none);
    expect_refused (alice_head ("/ws", ""), ERROR_AUTH_KEYS_UNAVAILABLE, "key");
    hub_set_keys (&hub, keys);
    drop (admit_alice ("/ws", ""));
    assert_true (metric_get (M_TOKEN_CACHE_HITS, 0) == 1);
    drop (admit_alice ("/ws", ""));
    assert_true (metric_get (M_TOKEN_CACHE_HITS, 0) == 2);
    hub_down ();
}

/* --- CONNECT ------------------------------------------------------------------------------------------------- */

/* What CONNECT will say, as JSON. */
static void expect_connect (const struct conn *conn, const char *wanted)
{
    struct buf map, json;
    msgpack_packer packer;
    buf_init (&map, 0);
    buf_init (&json, 0);
    mp_writer_init (&packer, &map);
    mp_put_map (&packer, conn->connect_pairs);
    buf_put (&map, conn->connect_headers, conn->connect_headers_n);
    assert_int_equal (mp_check (buf_slice (&map)), MP_OK);
    mp_json_write (&json, buf_slice (&map));
    if (!slice_is (buf_slice (&json), wanted))
        fail_msg ("%.*s\nwanted %s", (int) json.n, (char *) json.p, wanted);
    buf_fini (&map);
    buf_fini (&json);
}

static void test_connect_headers (void **state)
{
    (void) state;
    HUB_UP ("--default-subprotocol", "raw");
    struct conn *conn = admit_alice ("/ws", "");
    expect_connect (conn, "{\"remote\":\"192.0.2.7\",\"subprotocol\":\"raw\",\"claims\":" CLAIMS "}");
    drop (conn);
    conn = admit_alice ("/ws", "Sec-WebSocket-Protocol: agent_chat.msgpack\r\nOrigin: https://bridge.example\r\n"
                               "traceparent: \t00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 \r\n"
                               "X-Other: not for the runtime\r\n");
    expect_connect (conn, "{\"remote\":\"192.0.2.7\",\"origin\":\"https://bridge.example\","
                          "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\","
                          "\"subprotocol\":\"agent_chat.msgpack\",\"claims\":" CLAIMS "}");
    drop (conn);
    hub_down ();
}

/* Claims of every kind go through as they are. */
static void test_connect_claims (void **state)
{
    (void) state;
    static const char claims[] =
        "{\"sub\":\"\xc3\xa4 lice\",\"exp\":" EXP ",\"roles\":[\"a\",[],{}],\"n\":-5,\"r\":0.5,"
        "\"t\":true,\"f\":false,\"z\":null,\"deep\":{\"x\":{\"y\":\"\\\"\"}}}";
    HUB_UP ();
    char *token = token_of (claims);
    struct conn *conn = admit (text (HEAD ("/ws", "Sec-WebSocket-Protocol: raw, jwt.%s\r\n"), token));
    char *wanted = text ("{\"remote\":\"192.0.2.7\",\"subprotocol\":\"raw\",\"claims\":%s}", claims);
    expect_refusal (conn, ERROR_NONE);
    assert_true (slice_is (user_id (conn->user), "\xc3\xa4 lice"));
    expect_connect (conn, wanted);
    drop (conn);
    free (wanted);
    free (token);
    hub_down ();
}

/* A string of MessagePack is UTF-8: a runtime that reads strictly must not stumble over what a client has sent. */
static void test_connect_is_utf8 (void **state)
{
    (void) state;
    HUB_UP ("--allowed-origins", "*");
    struct conn *conn = admit_alice ("/ws", "Origin: https://\xff\r\ntraceparent: 00-\xc3\r\n");
    expect_refusal (conn, ERROR_NONE);
    for (size_t i = 0; i < conn->connect_headers_n; i++)
        assert_true ((unsigned char) conn->connect_headers[i] != 0xff);
    assert_null (memmem (conn->connect_headers, conn->connect_headers_n, "00-\xc3\xab", 5));
    drop (conn);
    hub_down ();
}

/* --- resume -------------------------------------------------------------------------------------------------- */

/* One event for alice. */
static void record (struct user *user)
{
    struct history_limits limits = hub_history_limits (&hub);
    struct event event;
    assert_int_equal (event_parse (&event, slice_of ("\x81\xa4type\xa1x", 8), slice_str ("alice")), DROP_NONE);
    registry_record (&hub.registry, user, &limits, SIZE_MAX, &event, clock_now ());
}

static const struct {
    const char *query; /* E stands for the epoch */
    enum recovery recovery;
    uint64_t cursor;
} resume_cases[] = {
    {"", RECOVERY_NOT_ASKED, 5},
    {"?offset=2", RECOVERY_NOT_ASKED, 5},
    {"?epoch=&offset=2", RECOVERY_NOT_ASKED, 5},
    {"?epoch=E&offset=2", RECOVERY_OK, 2},
    {"?epoch=E&offset=4", RECOVERY_OK, 4},
    {"?epoch=E&offset=5", RECOVERY_OK, 5},
    {"?offset=3&x=y&epoch=E", RECOVERY_OK, 3},
    {"?epoch=E&offset=3&offset=4&epoch=x", RECOVERY_OK, 3},
    {"?epoch=E&offset=1", RECOVERY_EXPIRED, 5},
    {"?epoch=E&offset=0", RECOVERY_EXPIRED, 5},
    {"?epoch=E&offset=6", RECOVERY_UNKNOWN_EPOCH, 5},
    {"?epoch=E", RECOVERY_UNKNOWN_EPOCH, 5},
    {"?epoch=E&offset=", RECOVERY_UNKNOWN_EPOCH, 5},
    {"?epoch=E&offset=-1", RECOVERY_UNKNOWN_EPOCH, 5},
    {"?epoch=E&offset=%2B3", RECOVERY_UNKNOWN_EPOCH, 5},
    {"?epoch=E&offset=3.0", RECOVERY_UNKNOWN_EPOCH, 5},
    {"?epoch=E&offset=3x", RECOVERY_UNKNOWN_EPOCH, 5},
    {"?epoch=E&offset=0x3", RECOVERY_UNKNOWN_EPOCH, 5},
    {"?epoch=E&offset=18446744073709551615", RECOVERY_UNKNOWN_EPOCH, 5},
    {"?epoch=E&offset=18446744073709551619", RECOVERY_UNKNOWN_EPOCH, 5}, /* 3 and 2^64 */
    {"?epoch=E&offset=99999999999999999999999999999999", RECOVERY_UNKNOWN_EPOCH, 5},
    {"?epoch=x&offset=3", RECOVERY_UNKNOWN_EPOCH, 5},
    {"?epoch=Ex&offset=3", RECOVERY_UNKNOWN_EPOCH, 5},
    {"?epoch=x&offset=0", RECOVERY_UNKNOWN_EPOCH, 5},
};

/* Of five events the last three are held. */
static void test_resume (void **state)
{
    (void) state;
    HUB_UP ("--history-events", "3");
    struct user *user = registry_user_get (&hub.registry, slice_str ("alice"));
    char epoch[EPOCH_LEN + 1];
    registry_epoch (&hub.registry, user, epoch);
    for (int i = 0; i < 5; i++)
        record (user);
    for (size_t i = 0; i < COUNT_OF (resume_cases); i++) {
        const char *query = resume_cases[i].query, *e = strchr (query, 'E');
        char *target = e ? text ("/ws%.*s%s%s", (int) (e - query), query, epoch, e + 1) : text ("/ws%s", query);
        struct conn *conn = admit_alice (target, "");
        expect_refusal (conn, ERROR_NONE);
        if (conn->recovery != resume_cases[i].recovery || conn->cursor != resume_cases[i].cursor)
            fail_msg ("%s: recovery %d, cursor %lu", target, conn->recovery, (unsigned long) conn->cursor);
        drop (conn);
        free (target);
    }
    hub_down ();
}

/* The epoch of one user says nothing of another. */
static void test_resume_of_other (void **state)
{
    (void) state;
    HUB_UP ();
    struct user *bob = registry_user_get (&hub.registry, slice_str ("bob"));
    record (registry_user_get (&hub.registry, slice_str ("alice")));
    record (bob);
    char epoch[EPOCH_LEN + 1];
    registry_epoch (&hub.registry, bob, epoch);
    char *target = text ("/ws?epoch=%s&offset=0", epoch);
    struct conn *conn = admit_alice (target, "");
    assert_int_equal (conn->recovery, RECOVERY_UNKNOWN_EPOCH);
    assert_int_equal (conn->cursor, 1);
    drop (conn);
    free (target);
    hub_down ();
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_check),
        cmocka_unit_test (test_paths),
        cmocka_unit_test (test_welcome),
        cmocka_unit_test (test_no_exp),
        cmocka_unit_test (test_origin),
        cmocka_unit_test (test_origin_of_page),
        cmocka_unit_test (test_subprotocol),
        cmocka_unit_test (test_limit_of_all),
        cmocka_unit_test (test_limit_of_user),
        cmocka_unit_test (test_order),
        cmocka_unit_test (test_bucket),
        cmocka_unit_test (test_sources),
        cmocka_unit_test (test_bad_tokens),
        cmocka_unit_test (test_no_keys),
        cmocka_unit_test (test_connect_headers),
        cmocka_unit_test (test_connect_claims),
        cmocka_unit_test (test_connect_is_utf8),
        cmocka_unit_test (test_resume),
        cmocka_unit_test (test_resume_of_other),
        cmocka_unit_test (test_token_again),
        cmocka_unit_test (test_limit_of_address),
        cmocka_unit_test (test_rate_of_address),
        cmocka_unit_test (test_client),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
