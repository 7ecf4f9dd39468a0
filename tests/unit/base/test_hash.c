#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/hash.h"

/* SipHash-1-3 written down a second time, straight from the paper: byte by byte, state in an array. */
static uint64_t rotl (uint64_t x, int b)
{
    return x << b | x >> (64 - b);
}

static void paper_round (uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl (v[1], 13);
    v[3] = rotl (v[3], 16);
    v[1] ^= v[0];
    v[3] ^= v[2];
    v[0] = rotl (v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl (v[1], 17);
    v[3] = rotl (v[3], 21);
    v[1] ^= v[2];
    v[3] ^= v[0];
    v[2] = rotl (v[2], 32);
}

static uint64_t paper_siphash13 (const uint8_t *p, size_t n, uint64_t k0, uint64_t k1)
{
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
                     k1 ^ 0x7465646279746573};
    for (size_t word = 0; word <= n / 8; word++) {
        uint64_t m = word == n / 8 ? (uint64_t) (n & 0xff) << 56 : 0;
        for (size_t i = 0; i < 8 && word * 8 + i < n; i++)
            m |= (uint64_t) p[word * 8 + i] << (8 * i);
        v[3] ^= m;
        paper_round (v);
        v[0] ^= m;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        paper_round (v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void agrees_with_the_paper (void **state)
{
    uint8_t bytes[300];
    (void) state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t) (i * 7 + 255 * (i % 3));
    for (size_t n = 0; n <= sizeof bytes; n++)
        assert_true (hash_bytes_keyed (slice_of (bytes, n), 0x0706050403020100, 0x0f0e0d0c0b0a0908) ==
                     paper_siphash13 (bytes, n, 0x0706050403020100, 0x0f0e0d0c0b0a0908));
}

static void alignment_does_not_matter (void **state)
{
    char bytes[32];
    (void) state;
    for (size_t at = 0; at < 8; at++) {
        memcpy (bytes + at, "abcdefghijklm", 13);
        assert_true (hash_bytes_keyed (slice_of (bytes + at, 13), 1, 2) ==
                     hash_bytes_keyed (slice_str ("abcdefghijklm"), 1, 2));
    }
}

static void key_and_every_byte_count (void **state)
{
    uint64_t plain = hash_bytes_keyed (slice_str ("user-1"), 1, 2);
    (void) state;
    assert_true (plain != hash_bytes_keyed (slice_str ("user-1"), 1, 3));
    assert_true (plain != hash_bytes_keyed (slice_str ("user-1"), 2, 2));
    assert_true (plain != hash_bytes_keyed (slice_str ("user-2"), 1, 2));
    assert_true (plain != hash_bytes_keyed (slice_of ("user-1", 7), 1, 2)); /* its NUL too */
    assert_true (hash_bytes_keyed (slice_of (NULL, 0), 1, 2) == hash_bytes_keyed (slice_str (""), 1, 2));
}

static void own_key_stays_the_same (void **state)
{
    (void) state;
    assert_true (hash_bytes (slice_str ("a")) == hash_bytes (slice_str ("a")));
    assert_true (hash_bytes (slice_str ("a")) != hash_bytes (slice_str ("b")));
}

static void random_numbers_stay_below_their_bound (void **state)
{
    static const uint64_t bounds[] = {1, 2, 3, 10, 1000, UINT64_MAX};
    (void) state;
    assert_int_equal (random_below (0), 0);
    for (size_t i = 0; i < COUNT_OF (bounds); i++)
        for (int n = 0; n < 200; n++)
            assert_true (random_below (bounds[i]) < bounds[i]);
}

static void random_numbers_reach_every_value (void **state)
{
    unsigned seen[5] = {0};
    (void) state;
    for (int n = 0; n < 5000; n++)
        seen[random_below (5)]++;
    for (size_t i = 0; i < COUNT_OF (seen); i++)
        assert_in_range (seen[i], 700, 1300); /* 1000 expected, standard deviation 28 */
}

static void random_bytes_fill_all_and_only_that (void **state)
{
    uint8_t a[600] = {0}, b[600] = {0};
    (void) state;
    random_bytes (a, sizeof a - 1);
    random_bytes (b, sizeof b - 1);
    assert_memory_not_equal (a, b, 300);
    assert_memory_not_equal (a + 300, b + 300, 299);
    assert_int_equal (a[599], 0);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (agrees_with_the_paper),
        cmocka_unit_test (alignment_does_not_matter),
        cmocka_unit_test (key_and_every_byte_count),
        cmocka_unit_test (own_key_stays_the_same),
        cmocka_unit_test (random_numbers_stay_below_their_bound),
        cmocka_unit_test (random_numbers_reach_every_value),
        cmocka_unit_test (random_bytes_fill_all_and_only_that),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
