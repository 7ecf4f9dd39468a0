#include "base/hash.h"
#include "base/check.h"

#include <sys/random.h>

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline void sip_round (struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = ROTL (s->v1, 13) ^ s->v0;
    s->v0 = ROTL (s->v0, 32);
    s->v2 += s->v3;
    s->v3 = ROTL (s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = ROTL (s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = ROTL (s->v1, 17) ^ s->v2;
    s->v2 = ROTL (s->v2, 32);
}

uint64_t hash_bytes_keyed (struct slice bytes, uint64_t k0, uint64_t k1)
{
    struct sip s = {k0 ^ UINT64_C (0x736f6d6570736575), k1 ^ UINT64_C (0x646f72616e646f6d),
                    k0 ^ UINT64_C (0x6c7967656e657261), k1 ^ UINT64_C (0x7465646279746573)};
    const char *p = bytes.p;
    size_t left = bytes.n;
    uint64_t word;

    for (; left >= 8; left -= 8, p += 8) {
        memcpy (&word, p, 8);
        s.v3 ^= word;
        sip_round (&s);
        s.v0 ^= word;
    }
    word = (uint64_t) bytes.n << 56;
    for (size_t i = 0; i < left; i++)
        word |= (uint64_t) (uint8_t) p[i] << (8 * i);
    s.v3 ^= word;
    sip_round (&s);
    s.v0 ^= word;
    s.v2 ^= 0xff;
    sip_round (&s);
    sip_round (&s);
    sip_round (&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t hash_bytes (struct slice bytes)
{
    static uint64_t key[2];
    if (!key[0])
        random_bytes (key, sizeof key);
    return hash_bytes_keyed (bytes, key[0], key[1]);
}

static void from_kernel (void *out, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = getrandom ((char *) out + done, n - done, 0);
        CHECK (got > 0);
        done += (size_t) got;
    }
}

/* Small amounts come from a reserve that one call fills, and are erased there. */
void random_bytes (void *out, size_t n)
{
    static uint8_t reserve[256];
    static size_t left;
    if (n > sizeof reserve / 4) {
        from_kernel (out, n);
        return;
    }
    if (left < n) {
        from_kernel (reserve, sizeof reserve);
        left = sizeof reserve;
    }
    left -= n;
    memcpy (out, reserve + left, n);
    explicit_bzero (reserve + left, n);
}

uint64_t random_below (uint64_t bound)
{
    uint64_t r;
    if (bound == 0)
        return 0;
    do
        random_bytes (&r, sizeof r);
    while (r >= UINT64_MAX - UINT64_MAX % bound); /* no modulo bias */
    return r % bound;
}
