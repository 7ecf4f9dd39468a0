#include "base/wheel.h"

static struct list *slot_of (struct wheel *self, int64_t tick)
{
    return &self->slots[tick % WHEEL_SLOTS];
}

/* The tick of `due`, but none that advance has left behind. */
static int64_t tick_of (const struct wheel *self, int64_t due)
{
    int64_t tick = due / WHEEL_TICK;
    return tick > self->tick ? tick : self->tick;
}

void wheel_init (struct wheel *self, int64_t now)
{
    CHECK (now >= 0);
    for (size_t i = 0; i < WHEEL_SLOTS; i++)
        list_init (&self->slots[i]);
    self->tick = now / WHEEL_TICK;
}

void timer_init (struct timer *self, void (*fire) (struct timer *self))
{
    list_init (&self->link);
    self->due = 0;
    self->fire = fire;
}

void wheel_set (struct wheel *self, struct timer *timer, int64_t due)
{
    list_remove (&timer->link);
    timer->due = due;
    list_append (slot_of (self, tick_of (self, due)), &timer->link);
}

static void collect (struct list *slot, int64_t now, struct list *due)
{
    LIST_FOREACH (slot, it) {
        if (LIST_ENTRY (it, struct timer, link)->due > now)
            continue; /* later in this tick, or a later turn */
        list_remove (it);
        list_append (due, it);
    }
}

/* First everything due is taken out, then it fires: what callbacks set goes to the slots and waits for the
 * next advance, what they cancel just leaves the list. */
void wheel_advance (struct wheel *self, int64_t now)
{
    int64_t first = self->tick, last = tick_of (self, now);
    struct list due, *link;

    if (last - first >= WHEEL_SLOTS)
        first = last - WHEEL_SLOTS + 1; /* one whole turn meets every timer */
    list_init (&due);
    for (int64_t tick = first; tick <= last; tick++)
        collect (slot_of (self, tick), now, &due);
    self->tick = last;
    while ((link = list_pop (&due))) {
        struct timer *timer = LIST_ENTRY (link, struct timer, link);
        timer->fire (timer);
    }
}

static int64_t earliest (const struct list *slot, int64_t least)
{
    LIST_FOREACH (slot, it) {
        int64_t due = LIST_ENTRY (it, struct timer, link)->due;
        if (least < 0 || due < least)
            least = due > 0 ? due : 0;
    }
    return least;
}

int64_t wheel_next (const struct wheel *self)
{
    int64_t least = -1;
    for (int64_t tick = self->tick; tick < self->tick + WHEEL_SLOTS; tick++) {
        least = earliest (&self->slots[tick % WHEEL_SLOTS], least);
        if (least >= 0 && least / WHEEL_TICK <= tick)
            break; /* the slots behind hold nothing earlier */
    }
    return least;
}
