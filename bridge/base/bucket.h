/* Token bucket: `rate` tokens a second, at most `burst` at once. Rate and burst are the caller's, so that a
 * bucket stays small and a reload changes all of them at once. */
#ifndef BASE_BUCKET_H
#define BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    double tokens;
    int64_t at; /* monotonic ns of the last refill */
};

/* Starts full. */
void bucket_init (struct bucket *self, double burst, int64_t now);

/* Take a token; false when there is none. A burst below 1 counts as 1, as otherwise nothing would ever pass.
 */
bool bucket_take (struct bucket *self, double rate, double burst, int64_t now);

/* Is it as it was at first? Then it can as well be forgotten. */
bool bucket_is_full (const struct bucket *self, double rate, double burst, int64_t now);

/* Nanoseconds until bucket_take succeeds: 0 when it does now, INT64_MAX when never (rate 0). */
int64_t bucket_wait_ns (const struct bucket *self, double rate, double burst, int64_t now);

#endif
