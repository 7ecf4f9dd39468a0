/* Users and connections by id, and the bound on the history of all users. */
#include "hub_fixture.h"

static struct history_limits limits;

#define ENTRY(n) (sizeof (struct history_entry) + (n) + sizeof (void *))

static int set_up (void **state)
{
    limits = (struct history_limits){.events = 100, .bytes = 100000, .ttl_ns = 10 * S_NS};
    return fixture_up (state);
}

static struct user *find (const char *id)
{
    return registry_user (&fx.hub.registry, slice_str (id));
}

/* 100 bytes of history; the user is made when there is none. */
static uint64_t record (const char *id, size_t total, int64_t now)
{
    static const char bytes[100];
    struct event event = {.bytes = slice_of (bytes, sizeof bytes)};
    struct user *user = registry_user_get (&fx.hub.registry, slice_str (id));
    assert_non_null (user);
    return registry_record (&fx.hub.registry, user, &limits, total, &event, now);
}

/* What a user of a name of `n` bytes takes with `events` events. */
static size_t cost (size_t n, size_t events)
{
    return sizeof (struct user) + n + events * ENTRY (100);
}

static void expect_history (size_t bytes, double events)
{
    assert_int_equal (fx.hub.registry.history_bytes, bytes);
    expect_metric (M_HISTORY_EVENTS, 0, events);
    expect_metric (M_HISTORY_BYTES, 0, events * (double) ENTRY (100));
}

static void test_find_conn (void **state)
{
    (void) state;
    struct conn *conn = conn_new (&fx.hub);
    assert_ptr_equal (registry_conn (&fx.hub.registry, slice_str (conn->id)), conn);
    assert_null (registry_conn (&fx.hub.registry, slice_of (conn->id, CONN_ID_LEN - 1)));
    assert_null (registry_conn (&fx.hub.registry, slice_str ("")));
    assert_true (ident_is_connection (slice_str (conn->id)));
    drop_conn (conn);
    assert_int_equal (map_size (&fx.hub.registry.conns), 0);
}

static void test_get_makes_once (void **state)
{
    (void) state;
    assert_null (find ("alice"));
    struct user *alice = registry_user_get (&fx.hub.registry, slice_str ("alice"));
    assert_ptr_equal (registry_user_get (&fx.hub.registry, slice_str ("alice")), alice);
    assert_ptr_equal (find ("alice"), alice);
    assert_null (find ("alic"));
    assert_null (find ("Alice"));
    assert_true (slice_is (user_id (alice), "alice"));
    assert_int_equal (strlen (user_epoch (alice)), EPOCH_LEN);
    assert_int_equal (alice->lane, LANE_NONE);
    assert_int_equal (alice->offset, 0);
}

static void test_long_id (void **state)
{
    char id[128];
    (void) state;
    memset (id, 'u', sizeof id);
    struct user *user = registry_user_get (&fx.hub.registry, slice_of (id, sizeof id));
    assert_true (slice_eq (user_id (user), slice_of (id, sizeof id)));
    assert_null (registry_user (&fx.hub.registry, slice_of (id, 127)));
}

static void test_release (void **state)
{
    (void) state;
    struct user *user = registry_user_get (&fx.hub.registry, slice_str ("alice"));
    user->refs = 1;
    registry_user_release (&fx.hub.registry, user);
    assert_ptr_equal (find ("alice"), user);
    user->refs = 0;
    registry_user_release (&fx.hub.registry, user);
    assert_null (find ("alice"));
}

static void test_history_keeps_user (void **state)
{
    (void) state;
    assert_int_equal (record ("alice", 1000000, 0), 1);
    char epoch[EPOCH_LEN + 1];
    memcpy (epoch, user_epoch (find ("alice")), sizeof epoch);
    registry_user_release (&fx.hub.registry, find ("alice"));
    assert_int_equal (record ("alice", 1000000, 0), 2);
    assert_string_equal (user_epoch (find ("alice")), epoch);
    expect_history (cost (5, 2), 2);
    registry_expire (&fx.hub.registry, &limits, 10 * S_NS);
    assert_null (find ("alice"));
    expect_history (0, 0);
    assert_int_equal (record ("alice", 1000000, 20 * S_NS), 1); /* counted anew, and so under a new name */
    assert_string_not_equal (user_epoch (find ("alice")), epoch);
}

/* Who has had no event costs nothing while away, and is not told of a loss that was none. */
static void test_epoch_without_events (void **state)
{
    (void) state;
    char epoch[EPOCH_LEN + 1];
    struct user *user = registry_user_get (&fx.hub.registry, slice_str ("alice"));
    memcpy (epoch, user_epoch (user), sizeof epoch);
    registry_user_release (&fx.hub.registry, user);
    assert_null (find ("alice"));
    record ("alice", 1000000, 0);
    assert_string_equal (user_epoch (find ("alice")), epoch);
    fx.hub.registry.losses++;
    assert_string_not_equal (user_epoch (find ("alice")), epoch);
}

/* A run in progress keeps its user. */
static void test_run_keeps_user (void **state)
{
    (void) state;
    struct user *user = registry_user_get (&fx.hub.registry, slice_str ("alice"));
    struct publisher *publisher = publishers_nameless (&fx.hub.publishers, 0);
    struct event event = {.type = EVENT_agent_started, .run_id = slice_str ("r")};
    runs_note (&user->runs, user, publisher, &event, 0);
    registry_user_release (&fx.hub.registry, user);
    assert_ptr_equal (find ("alice"), user);
    event.type = EVENT_agent_completed;
    runs_note (&user->runs, user, publisher, &event, 0);
    registry_user_release (&fx.hub.registry, user);
    assert_null (find ("alice"));
}

/* A connected user keeps its offset and epoch when its history goes. */
static void test_expire_of_connected_user (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    struct user *user = conn->user;
    record ("alice", 1000000, 0);
    registry_expire (&fx.hub.registry, &limits, 10 * S_NS - 1);
    assert_int_equal (user->history.n, 1);
    registry_expire (&fx.hub.registry, &limits, 10 * S_NS);
    assert_int_equal (user->history.n, 0);
    assert_ptr_equal (find ("alice"), user);
    assert_int_equal (user->offset, 1);
    assert_false (history_covers (&user->history, 0));
    expect_metric (M_HISTORY_EVICTED, EVICTION_age, 1);
    expect_history (0, 0);
    drop_conn (conn);
    assert_null (find ("alice"));
}

static void test_expire_in_order_of_age (void **state)
{
    (void) state;
    record ("a", 1000000, 1 * S_NS);
    record ("b", 1000000, 2 * S_NS);
    record ("c", 1000000, 3 * S_NS);
    record ("a", 1000000, 4 * S_NS);
    registry_expire (&fx.hub.registry, &limits, 13 * S_NS);
    assert_non_null (find ("a"));
    assert_null (find ("b"));
    assert_null (find ("c"));
    expect_history (cost (1, 2), 2);
}

static void test_expire_is_bounded (void **state)
{
    (void) state;
    for (int i = 0; i < 1500; i++)
        record (form ("u%d", i), SIZE_MAX, 0);
    registry_expire (&fx.hub.registry, &limits, 10 * S_NS);
    assert_int_equal (map_size (&fx.hub.registry.users), 500);
    registry_expire (&fx.hub.registry, &limits, 10 * S_NS);
    assert_int_equal (map_size (&fx.hub.registry.users), 0);
    expect_metric (M_HISTORY_EVICTED, EVICTION_age, 1500);
}

/* The users whose last event is oldest go first, as few as needed. */
static void test_total (void **state)
{
    (void) state;
    size_t total = 3 * cost (1, 1);
    record ("a", total, 1);
    record ("b", total, 2);
    record ("c", total, 3);
    expect_history (total, 3);
    record ("d", total, 4);
    assert_null (find ("a"));
    expect_history (total, 3);
    expect_metric (M_HISTORY_EVICTED, EVICTION_total, 1);
    record ("b", total, 5); /* two events: too much by one entry, and c is the oldest now */
    assert_null (find ("c"));
    assert_non_null (find ("b"));
    assert_non_null (find ("d"));
    expect_history (cost (1, 2) + cost (1, 1), 3);
}

static void test_total_below_one (void **state)
{
    (void) state;
    assert_int_equal (record ("alice", cost (5, 1) - 1, 0), 1);
    assert_null (find ("alice"));
    expect_history (0, 0);
    assert_int_equal (record ("alice", 0, 0), 1);
    assert_null (find ("alice"));
}

static void test_not_kept (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    record ("alice", 1000000, 0);
    limits.bytes = 50;
    assert_int_equal (record ("alice", 1000000, 0), 2);
    assert_int_equal (conn->user->offset, 2);
    assert_false (history_covers (&conn->user->history, 1));
    assert_true (history_covers (&conn->user->history, 2));
    expect_history (0, 0);
    assert_int_equal (record ("bob", 1000000, 0), 1);
    assert_null (find ("bob"));
}

/* Limits, sizes and ages at random: the sum is always that of what is held. */
static void test_sum_is_right (void **state)
{
    (void) state;
    uint32_t seed = 99;
    for (int round = 0; round < 5000; round++) {
        seed = seed * 1664525 + 1013904223;
        limits.events = 1 + (seed >> 8) % 5;
        limits.bytes = (seed >> 12) % 7 * ENTRY (100);
        record (form ("u%u", (seed >> 16) % 20), (seed >> 24) * cost (2, 1) / 16, round * S_NS / 4);
        if (round % 10 == 0)
            registry_expire (&fx.hub.registry, &limits, round * S_NS / 4);
        size_t sum = 0, cursor = 0;
        for (struct user *user; (user = map_next (&fx.hub.registry.users, &cursor));)
            sum += user->history.bytes + sizeof *user + user->id_n;
        assert_int_equal (fx.hub.registry.history_bytes, sum);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown (function, set_up, fixture_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (test_find_conn),
        TEST (test_get_makes_once),
        TEST (test_long_id),
        TEST (test_release),
        TEST (test_history_keeps_user),
        TEST (test_epoch_without_events),
        TEST (test_run_keeps_user),
        TEST (test_expire_of_connected_user),
        TEST (test_expire_in_order_of_age),
        TEST (test_expire_is_bounded),
        TEST (test_total),
        TEST (test_total_below_one),
        TEST (test_not_kept),
        TEST (test_sum_is_right),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
