/* Which runtime serves a user: sticky, alike on every bridge, moved only when it must. */
#include "hub_fixture.h"

static struct user *user_of (const char *id)
{
    struct user *user = registry_user_get (&fx.hub.registry, slice_str (id));
    assert_non_null (user);
    return user;
}

/* The lane of a user who has none yet. */
static int lane_anew (const char *id)
{
    struct user *user = user_of (id);
    user->lane = LANE_NONE;
    return lanes_for_user (&fx.hub.runtime, user);
}

static void set_lanes (int n, unsigned up)
{
    fx.lanes = n;
    for (int i = 0; i < FIXTURE_LANES; i++)
        fx.lane_up[i] = i < n && (up >> i & 1);
}

static void test_any_up (void **state)
{
    (void) state;
    for (unsigned up = 0; up < 16; up++) {
        set_lanes (4, up);
        assert_int_equal (lanes_any_up (&fx.hub.runtime), up != 0);
    }
    fx.lanes = 2;
    fx.lane_up[0] = fx.lane_up[1] = false;
    fx.lane_up[2] = true; /* beyond the end */
    assert_false (lanes_any_up (&fx.hub.runtime));
}

static void test_none_up (void **state)
{
    (void) state;
    set_lanes (3, 0);
    assert_int_equal (lane_anew ("alice"), LANE_NONE);
    assert_int_equal (user_of ("alice")->lane, LANE_NONE);
}

static void test_old_lane_is_remembered (void **state)
{
    (void) state;
    set_lanes (3, 7);
    int lane = lane_anew ("alice");
    set_lanes (3, 0);
    assert_int_equal (lanes_for_user (&fx.hub.runtime, user_of ("alice")), LANE_NONE);
    assert_int_equal (user_of ("alice")->lane, lane);
    set_lanes (3, 7);
    assert_int_equal (lanes_for_user (&fx.hub.runtime, user_of ("alice")), lane);
}

/* Away when the lane is gone, and not back as long as the new one is up. */
static void test_sticky (void **state)
{
    (void) state;
    set_lanes (3, 7);
    struct user *user = user_of ("alice");
    int first = lanes_for_user (&fx.hub.runtime, user);
    fx.lane_up[first] = false;
    int second = lanes_for_user (&fx.hub.runtime, user);
    assert_int_not_equal (second, first);
    assert_true (fx.lane_up[second]);
    fx.lane_up[first] = true;
    assert_int_equal (lanes_for_user (&fx.hub.runtime, user), second);
    fx.lane_up[second] = false;
    assert_int_equal (lanes_for_user (&fx.hub.runtime, user), first); /* the highest hash again */
}

static void test_only_one_up (void **state)
{
    (void) state;
    for (int lane = 0; lane < 4; lane++) {
        set_lanes (4, 1u << lane);
        for (int i = 0; i < 50; i++)
            assert_int_equal (lane_anew (form ("user%d", i)), lane);
    }
}

/* A lost lane moves its own users only, and every lane gets its share. */
static void test_lost_lane_moves_its_own (void **state)
{
    int before[400], share[4] = {0};
    (void) state;
    set_lanes (4, 15);
    for (int i = 0; i < 400; i++) {
        before[i] = lane_anew (form ("user%d", i));
        share[before[i]]++;
    }
    for (int lane = 0; lane < 4; lane++)
        assert_in_range (share[lane], 60, 140);
    set_lanes (4, 15 & ~4u);
    for (int i = 0; i < 400; i++) {
        int now = lane_anew (form ("user%d", i));
        if (before[i] == 2)
            assert_int_not_equal (now, 2);
        else
            assert_int_equal (now, before[i]);
    }
}

/* The choice depends on names and numbers alone, so that another bridge chooses alike. */
static void test_alike (void **state)
{
    int first[100];
    (void) state;
    set_lanes (4, 15);
    for (int i = 0; i < 100; i++)
        first[i] = lane_anew (form ("user%d", i));
    fixture_down (NULL);
    fixture_up (NULL);
    set_lanes (4, 15);
    for (int i = 99; i >= 0; i--)
        assert_int_equal (lane_anew (form ("user%d", i)), first[i]);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST (test_any_up), HUB_TEST (test_none_up),     HUB_TEST (test_old_lane_is_remembered),
        HUB_TEST (test_sticky), HUB_TEST (test_only_one_up), HUB_TEST (test_lost_lane_moves_its_own),
        HUB_TEST (test_alike),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
