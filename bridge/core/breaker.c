#include "core/breaker.h"

void breaker_init (struct breaker *self)
{
    *self = (struct breaker){.state = BREAKER_CLOSED};
}

bool breaker_allow (struct breaker *self, int64_t now)
{
    if (self->state == BREAKER_OPEN && now >= self->open_until) {
        self->state = BREAKER_HALF_OPEN;
        return true;
    }
    return self->state == BREAKER_CLOSED;
}

void breaker_succeeded (struct breaker *self)
{
    breaker_init (self);
}

void breaker_failed (struct breaker *self, const struct breaker_limits *limits, int64_t now)
{
    self->failures++;
    if (self->state == BREAKER_CLOSED && self->failures < limits->failures)
        return;
    self->state = BREAKER_OPEN;
    self->open_until = now + limits->open_ns;
}

const char *breaker_state_text (enum breaker_state state)
{
    static const char *const texts[] = {
        [BREAKER_CLOSED] = "closed", [BREAKER_HALF_OPEN] = "half-open", [BREAKER_OPEN] = "open"};
    return texts[state];
}
