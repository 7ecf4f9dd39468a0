#include "core/sequence.h"
#include "base/log.h"
#include "base/metrics.h"

#define TRAIL_WAIT   (200 * MS_NS) /* events and commands travel apart: what PONG tells of may be on the way */
#define STOOD_STILL  (300 * MS_NS) /* a timer this late shows that the process was stopped */
#define ASK_MAX      1000          /* events for one REPLAY */
#define GAP_TIMEOUTS 5             /* times replay-timeout-ms for a whole gap */

/* Something that came too early: an event, or the news that events will not come. */
struct held {
    struct list link;
    uint64_t first, last;
    bool lost;
    size_t n; /* bytes of user and event */
    size_t user_n;
    char bytes[]; /* user, event */
};

/* --- holding back -------------------------------------------------------------------------------------------- */

static void free_one (struct publisher *self, struct held *held)
{
    list_remove (&held->link);
    self->held_bytes -= sizeof *held + held->n;
    free (held);
}

static struct held *first_held (const struct publisher *self)
{
    return list_empty (&self->held) ? NULL : LIST_ENTRY (self->held.next, struct held, link);
}

/* The place behind which this number belongs; nearly always the end. */
static struct list *place_of (struct publisher *self, uint64_t seq)
{
    struct list *place = self->held.prev;
    while (place != &self->held && LIST_ENTRY (place, struct held, link)->first > seq)
        place = place->prev;
    return place;
}

bool sequence_is_held (struct publisher *self, uint64_t seq)
{
    struct list *place = place_of (self, seq);
    return place != &self->held && LIST_ENTRY (place, struct held, link)->last >= seq;
}

static void insert (struct publisher *self, struct held *held)
{
    list_append (place_of (self, held->first)->next, &held->link); /* in front of the one behind its place */
    self->held_bytes += sizeof *held + held->n;
}

bool sequence_first_held (const struct publisher *self, uint64_t *seq)
{
    const struct held *held = first_held (self);
    if (held)
        *seq = held->first;
    return held != NULL;
}

void sequence_free_held (struct publisher *self)
{
    for (struct held *held; (held = first_held (self));)
        free_one (self, held);
}

/* Without memory it stays missing, and is asked for in its turn. */
void sequence_hold (struct publisher *self, uint64_t seq, struct slice user, struct slice event)
{
    struct held *held = malloc (sizeof *held + user.n + event.n);
    if (self->known < seq)
        self->known = seq;
    if (!held)
        return;
    *held = (struct held){.first = seq, .last = seq, .n = user.n + event.n, .user_n = user.n};
    slice_copy (held->bytes, user);
    slice_copy (held->bytes + user.n, event);
    insert (self, held);
}

void sequence_hold_loss (struct publisher *self, uint64_t from, uint64_t to)
{
    struct held *held = malloc (sizeof *held);
    if (!held)
        return;
    *held = (struct held){.first = from, .last = to, .lost = true};
    insert (self, held);
}

/* --- in turn ------------------------------------------------------------------------------------------------- */

static uint64_t higher (uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* How many of these numbers, which will not come, are a loss. */
static uint64_t count_lost (const struct publisher *self, uint64_t from, uint64_t to)
{
    from = higher (from, self->guess_end + 1);
    return to >= from ? to - from + 1 : 0;
}

static void tell_lost (struct publisher *self, uint64_t count, const char *why)
{
    if (count)
        self->owner->port.lost (self->owner->port.self, publisher_name (self), count, why);
}

void sequence_deliver (struct publisher *self, struct slice user, struct slice event)
{
    double not_before = self->next <= self->guess_end ? self->not_before : 0;
    self->next++;
    self->begun = true;
    self->owner->port.deliver (self->owner->port.self, self, user, event, not_before);
}

/* The first one held is in turn, or repeats what has come another way. */
static void take_held (struct publisher *self, struct held *held)
{
    if (held->lost)
        self->next = higher (self->next, held->last + 1);
    else if (held->first == self->next)
        sequence_deliver (self, slice_of (held->bytes, held->user_n),
                          slice_of (held->bytes + held->user_n, held->n - held->user_n));
    else
        metric_inc (M_EVENTS_DROPPED, DROP_REPEAT);
    free_one (self, held);
}

static void release (struct publisher *self)
{
    for (struct held *held; (held = first_held (self)) && held->first <= self->next;) {
        if (held->lost)
            tell_lost (self, count_lost (self, self->next, held->last), "no longer held by the runtime");
        take_held (self, held);
    }
}

/* --- gaps ---------------------------------------------------------------------------------------------------- */

bool sequence_is_missing (const struct publisher *self)
{
    return !list_empty (&self->held) || self->known >= self->next;
}

/* The last number that is missing before the next one that is there. */
static uint64_t missing_to (const struct publisher *self)
{
    const struct held *held = first_held (self);
    return held ? held->first - 1 : self->known;
}

struct hole {
    uint64_t from;
    uint64_t lost; /* how many of its numbers are a loss; 0: there is no hole */
};

static void add_hole (const struct publisher *self, uint64_t from, uint64_t to, uint64_t *lost, struct hole *last)
{
    uint64_t n = count_lost (self, from, to);
    *lost += n;
    if (n)
        *last = (struct hole){.from = from, .lost = n};
}

/* Everything that is missing now, and what the runtime has said to be lost. */
static uint64_t count_missing (const struct publisher *self, struct hole *last)
{
    uint64_t lost = 0, at = self->next;
    *last = (struct hole){.lost = 0};
    LIST_FOREACH (&self->held, link) {
        const struct held *held = LIST_ENTRY (link, struct held, link);
        add_hole (self, at, held->lost ? held->last : held->first - 1, &lost, last);
        at = higher (at, held->last + 1);
    }
    add_hole (self, at, self->known, &lost, last);
    return lost;
}

static void tell_at (struct publisher *self, struct hole *hole, const char *why)
{
    if (self->next < hole->from)
        return;
    tell_lost (self, hole->lost, why);
    hole->lost = 0;
}

/* It is lost; what was held back goes on. Clients are told where the first hole is, and once more at the last one: they
 * may have seen the beginning of something between the two that has its end there. */
void sequence_give_up (struct publisher *self, const char *why)
{
    struct hole last;
    uint64_t lost = count_missing (self, &last);
    tell_lost (self, lost - last.lost, why);
    for (struct held *held; (held = first_held (self));) {
        tell_at (self, &last, why);
        self->next = higher (self->next, held->first);
        take_held (self, held);
    }
    tell_at (self, &last, why);
    self->next = higher (self->next, self->known + 1);
    self->stage = PUBLISHER_FLOWING;
    wheel_cancel (&self->timer);
}

/* Each answer that brings something gives the runtime more time, within a bound. */
static void set_deadline (struct publisher *self)
{
    int64_t timeout = self->owner->config->replay_timeout_ms * MS_NS;
    int64_t soon = clock_now () + timeout, late = self->gap_since + GAP_TIMEOUTS * timeout;
    wheel_set (self->owner->wheel, &self->timer, soon < late ? soon : late);
}

/* One question at a time. When it cannot be put now, the lane's return or the deadline goes on. */
void sequence_ask (struct publisher *self)
{
    struct publishers *owner = self->owner;
    uint64_t to = self->gap_end - self->next < ASK_MAX ? self->gap_end : self->next + ASK_MAX - 1;
    bool asked = owner->port.ask (owner->port.self, self->lane, publisher_name (self), self->next, to);
    self->asked_end = asked ? to + 1 : 0;
    set_deadline (self);
}

/* What is too much to ask for is lost at once. */
static void trim_gap (struct publisher *self)
{
    uint64_t most = (uint64_t) self->owner->config->replay_events;
    if (self->gap_end - self->next < most)
        return;
    uint64_t from = self->next;
    self->next = self->gap_end - most + 1;
    tell_lost (self, count_lost (self, from, self->next - 1), "more than replay-events");
}

void sequence_open_gap (struct publisher *self)
{
    self->stage = PUBLISHER_REPAIRING;
    self->gap_since = clock_now ();
    self->gap_end = missing_to (self);
    metric_inc (M_EVENT_GAPS, 0);
    LOG (EVENT_GAP, NULL, KV_SL ("publisher", publisher_name (self)), KV_U ("from", self->next),
         KV_U ("to", self->gap_end));
    if (self->lane == LANE_NONE) {
        sequence_give_up (self, "no runtime has introduced itself as this publisher");
        return;
    }
    trim_gap (self);
    sequence_ask (self);
}

/* Something has moved: go on with what is in turn, and with the next question. */
void sequence_advance (struct publisher *self)
{
    release (self);
    if (self->stage == PUBLISHER_REPAIRING && self->next <= self->gap_end) {
        if (self->next >= self->asked_end)
            sequence_ask (self);
        else
            set_deadline (self);
        return;
    }
    if (self->stage == PUBLISHER_REPAIRING)
        LOG (GAP_CLOSED, NULL, KV_SL ("publisher", publisher_name (self)), KV_U ("to", self->gap_end));
    if (!list_empty (&self->held)) {
        sequence_open_gap (self);
        return;
    }
    self->stage = sequence_is_missing (self) ? PUBLISHER_TRAILING : PUBLISHER_FLOWING;
    if (self->stage == PUBLISHER_TRAILING)
        wheel_set (self->owner->wheel, &self->timer, clock_now () + TRAIL_WAIT);
    else
        wheel_cancel (&self->timer);
}

void sequence_claim (struct publisher *self, uint64_t seq)
{
    self->known = higher (self->known, seq);
}

void sequence_time_out (struct publisher *self)
{
    if (self->stage == PUBLISHER_TRAILING)
        sequence_open_gap (self);
    else if (clock_now () - self->timer.due > STOOD_STILL) /* it was we: the answer may lie in the socket */
        wheel_set (self->owner->wheel, &self->timer, clock_now () + TRAIL_WAIT);
    else
        sequence_give_up (self, "the runtime does not answer");
}
