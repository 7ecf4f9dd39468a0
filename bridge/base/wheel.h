/* Hashed timer wheel (Varghese, Lauck 1987): setting, moving and cancelling a timer are O(1), nothing is
 * allocated. A timer fires at the first wheel_advance at or after its time, never before. */
#ifndef BASE_WHEEL_H
#define BASE_WHEEL_H

#include "base/clock.h"
#include "base/list.h"

#define WHEEL_SLOTS 512
#define WHEEL_TICK  (50 * MS_NS)

struct timer {
    struct list link; /* in a slot; itself when not armed */
    int64_t due;      /* monotonic ns */
    void (*fire) (struct timer *self);
};

struct wheel {
    struct list slots[WHEEL_SLOTS];
    int64_t tick; /* the last one that advance has looked at */
};

/* `now`, here and below: monotonic ns. */
void wheel_init (struct wheel *self, int64_t now);

/* Arm `timer` for `due`, moving it when it is armed already. A time in the past fires at the next advance. */
void wheel_set (struct wheel *self, struct timer *timer, int64_t due);

/* Fire what is due. A callback may set, cancel and free any timer, its own too: it is no longer armed when it
 * fires. */
void wheel_advance (struct wheel *self, int64_t now);

/* When the next timer is due; -1 when none is armed. Not for callbacks: those that are about to fire are left out. */
int64_t wheel_next (const struct wheel *self);

void timer_init (struct timer *self, void (*fire) (struct timer *self));

/* Harmless when not armed. */
static inline void wheel_cancel (struct timer *timer)
{
    list_remove (&timer->link);
}

static inline bool timer_armed (const struct timer *self)
{
    return !list_empty (&self->link);
}

#endif
