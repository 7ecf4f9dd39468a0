#include "base/bucket.h"
#include "base/clock.h"

static double at_least_one (double burst)
{
    return burst >= 1 ? burst : 1;
}

/* Tokens there would be at `now`. */
static double level (const struct bucket *self, double rate, double burst, int64_t now)
{
    int64_t passed = now > self->at ? now - self->at : 0;
    double tokens = self->tokens + rate * (double) passed / (double) S_NS;
    return tokens < burst ? tokens : burst;
}

void bucket_init (struct bucket *self, double burst, int64_t now)
{
    *self = (struct bucket){.tokens = at_least_one (burst), .at = now};
}

bool bucket_take (struct bucket *self, double rate, double burst, int64_t now)
{
    self->tokens = level (self, rate, at_least_one (burst), now);
    if (now > self->at)
        self->at = now;
    if (self->tokens < 1)
        return false;
    self->tokens -= 1;
    return true;
}

bool bucket_is_full (const struct bucket *self, double rate, double burst, int64_t now)
{
    return level (self, rate, at_least_one (burst), now) >= at_least_one (burst);
}

int64_t bucket_wait_ns (const struct bucket *self, double rate, double burst, int64_t now)
{
    double missing = 1 - level (self, rate, at_least_one (burst), now);
    if (missing <= 0)
        return 0;
    double wait = missing / rate * (double) S_NS; /* infinite when the rate is 0 */
    /* One more, so that rounding never wakes the caller too early. */
    return wait < (double) (INT64_MAX / 2) ? (int64_t) wait + 1 : INT64_MAX;
}
