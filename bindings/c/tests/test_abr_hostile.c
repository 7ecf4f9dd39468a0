/* Commands with bytes changed, cut, repeated and swapped: each is taken or counted as malformed, and whatever was taken
 * can be read through all accessors. The same bytes in every run; the sanitizers watch. */
#include "vectors.h"

#define ROUNDS 20000

static uint64_t chance_state = 88172645463325252u;

/* Xorshift: below n. */
static size_t chance (size_t n)
{
    chance_state ^= chance_state << 13;
    chance_state ^= chance_state >> 7;
    chance_state ^= chance_state << 17;
    return (size_t) (chance_state % n);
}

/* A copy of the frame in memory of just its size, at times with something wrong. */
static void spoil (zmq_msg_t *frame, struct abr_bytes good)
{
    bool whole = chance (5) != 0;
    size_t cut = !whole && chance (2) ? chance (good.n + 1) : good.n;
    zmq_msg_init_size (frame, cut);
    uint8_t *bytes = zmq_msg_data (frame);
    if (cut)
        memcpy (bytes, good.p, cut);
    for (size_t n = whole ? 0 : chance (4); n && cut; n--)
        bytes[chance (cut)] = (uint8_t) chance (256);
}

static void read_all (abr_item_t *item)
{
    static const char *const names[] = {"remote", "origin", "subprotocol", "traceparent", "reason", "later", "claims"};
    size_t size;
    assert_true (abr_is_user (abr_bytes_of (abr_item_user (item))));
    assert_int_equal (abr_item_body (item, &size)[size], 0);
    assert_true (abr_item_code (item) >= 0 && abr_item_code (item) <= 4999);
    for (size_t i = 0; i < COUNT_OF (names); i++) {
        const char *text = abr_item_header (item, names[i]), *claim = abr_item_claim (item, names[i]);
        assert_true ((!text || strlen (text) < 1000) && (!claim || strlen (claim) < 1000));
    }
    for (size_t i = 0; abr_item_run_id (item, i); i++)
        assert_true (i < 1000);
    abr_item_destroy (&item);
}

/* One command, mostly with five frames behind the routing id, each perhaps of another command. */
static void hostile (json_t *vectors)
{
    zmq_msg_t frames[8];
    struct abr_bytes good[8];
    size_t n = chance (10) ? ABR_COMMAND_FRAMES : chance (COUNT_OF (frames) + 1);
    frames_of (json_array_get (vectors, chance (json_array_size (vectors))), good);
    for (size_t i = 0; i < n; i++)
        spoil (&frames[i], i == 0 ? BYTES ("pod-7") : i < 6 ? good[i - 1] : BYTES ("more"));
    abr_command_take (fx.abr, frames, n);
    while (n)
        zmq_msg_close (&frames[--n]);
    while (vectors_memory.n) /* of frames_of() */
        free (vectors_memory.p[--vectors_memory.n]);
}

static void test_hostile (void **state)
{
    json_t *vectors = vectors_load ("commands.json");
    size_t items = 0;
    (void) state;
    for (int round = 0; round < ROUNDS; round++) {
        hostile (vectors);
        fx.log[0] = 0;
        for (abr_item_t *item; (item = abr_recv (fx.abr, 0)); items++)
            read_all (item);
        zsock_flush (fx.dealer);
    }
    uint64_t taken = abr_counter (fx.abr, ABR_COMMANDS_RECEIVED),
             dropped = abr_counter (fx.abr, ABR_COMMANDS_MALFORMED);
    assert_int_equal (taken + dropped, ROUNDS);
    print_message ("%zu items, %" PRIu64 " commands taken, %" PRIu64 " dropped\n", items, taken, dropped);
    assert_true (items > 500 && taken > items && dropped > 500); /* each way was taken often */
    assert_true (fx.abr->bridges_n <= ABR_MAX_BRIDGES);
    assert_int_equal (fx.abr->inbox_bytes, 0);
    json_decref (vectors);
}

int main (void)
{
    const struct CMUnitTest tests[] = {TEST (test_hostile)};
    return cmocka_run_group_tests (tests, NULL, NULL);
}
