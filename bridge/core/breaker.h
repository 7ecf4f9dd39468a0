/* A circuit breaker (Nygard 2007): a service that has failed so many times in a row is left alone for a while; then one
 * try decides. Knows neither the service nor the clock. */
#ifndef CORE_BREAKER_H
#define CORE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

/* As agentbridge_auth_breaker_state shows them. */
enum breaker_state {
    BREAKER_CLOSED,
    BREAKER_HALF_OPEN, /* the one try is under way */
    BREAKER_OPEN
};

struct breaker_limits {
    int64_t failures; /* in a row, that open it */
    int64_t open_ns;  /* for how long */
};

struct breaker {
    enum breaker_state state;
    int64_t failures;   /* in a row */
    int64_t open_until; /* monotonic ns; in state open */
};

void breaker_init (struct breaker *self);

/* May the service be asked at `now`? When it was open for long enough, this is the one try, and the breaker is
 * half-open until its outcome is told. */
bool breaker_allow (struct breaker *self, int64_t now);

/* How it went, what was allowed. */
void breaker_succeeded (struct breaker *self);
void breaker_failed (struct breaker *self, const struct breaker_limits *limits, int64_t now);

/* "closed", "half-open", "open". */
const char *breaker_state_text (enum breaker_state state);

#endif
