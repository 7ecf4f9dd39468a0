/* SipHash-1-3 (Aumasson, Bernstein 2012) under a key drawn at start, so that nobody outside can choose collisions;
 * and random bytes from the kernel. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/slice.h"

#include <stdint.h>

/* Keyed with the process's own random key: differs from process to process. */
uint64_t hash_bytes (struct slice bytes);

/* With a key of the caller's: the same in every process (rendezvous hashing). */
uint64_t hash_bytes_keyed (struct slice bytes, uint64_t k0, uint64_t k1);

/* Fill from getrandom(2); aborts if the kernel has none, as nothing safe can go on without. */
void random_bytes (void *out, size_t n);

/* Uniform in [0, bound); 0 when bound is 0. */
uint64_t random_below (uint64_t bound);

#endif
