#include "core/publisher.h"
#include "base/log.h"
#include "base/metrics.h"

#define HELLO_WAIT   (500 * MS_NS) /* for the answer, before a publisher that nobody has introduced is taken as it is */
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

/* --- life ---------------------------------------------------------------------------------------------------- */

static void on_timer (struct timer *timer);
static void on_no_hello (struct timer *timer);

static struct publisher *new_publisher (struct publishers *self, struct slice name, int lane)
{
    struct publisher *publisher = calloc (1, sizeof *publisher + name.n);
    if (!publisher)
        return NULL;
    publisher->owner = self;
    publisher->lane = lane;
    publisher->name_n = (uint8_t) name.n;
    slice_copy (publisher->name, name);
    list_init (&publisher->link);
    list_init (&publisher->runs);
    list_init (&publisher->held);
    timer_init (&publisher->timer, on_timer);
    return publisher;
}

static void free_held (struct publisher *self, struct held *held)
{
    list_remove (&held->link);
    self->held_bytes -= sizeof *held + held->n;
    free (held);
}

static void free_publisher (struct publisher *self)
{
    if (!self)
        return;
    CHECK (list_empty (&self->runs));
    LIST_FOREACH (&self->held, link)
        free_held (self, LIST_ENTRY (link, struct held, link));
    wheel_cancel (&self->timer);
    list_remove (&self->link);
    free (self);
}

void publishers_init (struct publishers *self, const struct config *config, struct wheel *wheel,
                      const struct runtime_port *runtime, struct publisher_port port)
{
    *self = (struct publishers){.config = config, .wheel = wheel, .runtime = runtime, .port = port};
    list_init (&self->all);
    list_init (&self->departed);
    for (int lane = 0; lane < LANES_MAX; lane++) {
        self->peers[lane].owner = self;
        timer_init (&self->peers[lane].patience, on_no_hello);
    }
}

void publishers_fini (struct publishers *self)
{
    LIST_FOREACH (&self->all, link)
        free_publisher (LIST_ENTRY (link, struct publisher, link));
    LIST_FOREACH (&self->departed, link)
        free_publisher (LIST_ENTRY (link, struct publisher, link));
    for (int lane = 0; lane < LANES_MAX; lane++) {
        wheel_cancel (&self->peers[lane].patience);
        free_publisher (self->peers[lane].nameless);
    }
    free_publisher (self->homeless);
}

/* The one heard last comes first, so this is short in practice. */
static struct publisher *find (const struct publishers *self, struct slice name)
{
    LIST_FOREACH (&self->all, link) {
        struct publisher *publisher = LIST_ENTRY (link, struct publisher, link);
        if (slice_eq (publisher_name (publisher), name))
            return publisher;
    }
    return NULL;
}

struct publisher *publishers_nameless (struct publishers *self, int lane)
{
    struct publisher **place = lane == LANE_NONE ? &self->homeless : &self->peers[lane].nameless;
    if (!*place)
        *place = new_publisher (self, slice_str (NULL), lane);
    return *place;
}

/* --- holding back -------------------------------------------------------------------------------------------- */

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

static bool is_held (struct publisher *self, uint64_t seq)
{
    struct list *place = place_of (self, seq);
    return place != &self->held && LIST_ENTRY (place, struct held, link)->last >= seq;
}

static void insert (struct publisher *self, struct held *held)
{
    list_append (place_of (self, held->first)->next, &held->link); /* in front of the one behind its place */
    self->held_bytes += sizeof *held + held->n;
}

/* Without memory it stays missing, and is asked for in its turn. */
static void hold (struct publisher *self, uint64_t seq, struct slice user, struct slice event)
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

static void hold_loss (struct publisher *self, uint64_t from, uint64_t to)
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

static void deliver (struct publisher *self, struct slice user, struct slice event)
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
        deliver (self, slice_of (held->bytes, held->user_n),
                 slice_of (held->bytes + held->user_n, held->n - held->user_n));
    free_held (self, held);
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

static bool is_missing (const struct publisher *self)
{
    return !list_empty (&self->held) || self->known >= self->next;
}

/* The last number that is missing before the next one that is there. */
static uint64_t missing_to (const struct publisher *self)
{
    const struct held *held = first_held (self);
    return held ? held->first - 1 : self->known;
}

/* Everything that is missing now, and what the runtime has said to be lost. */
static uint64_t count_missing (const struct publisher *self)
{
    uint64_t lost = 0, at = self->next;
    LIST_FOREACH (&self->held, link) {
        const struct held *held = LIST_ENTRY (link, struct held, link);
        lost += count_lost (self, at, held->lost ? held->last : held->first - 1);
        at = higher (at, held->last + 1);
    }
    return lost + count_lost (self, at, self->known);
}

/* It is lost; what was held back goes on. */
static void give_up (struct publisher *self, const char *why)
{
    tell_lost (self, count_missing (self), why);
    for (struct held *held; (held = first_held (self));) {
        self->next = higher (self->next, held->first);
        take_held (self, held);
    }
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
static void ask (struct publisher *self)
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

static void open_gap (struct publisher *self)
{
    self->stage = PUBLISHER_REPAIRING;
    self->gap_since = clock_now ();
    self->gap_end = missing_to (self);
    metric_inc (M_EVENT_GAPS, 0);
    LOG (EVENT_GAP, NULL, KV_SL ("publisher", publisher_name (self)), KV_U ("from", self->next),
         KV_U ("to", self->gap_end));
    if (self->lane == LANE_NONE) {
        give_up (self, "no runtime has introduced itself as this publisher");
        return;
    }
    trim_gap (self);
    ask (self);
}

/* Something has moved: go on with what is in turn, and with the next question. */
static void advance (struct publisher *self)
{
    release (self);
    if (self->stage == PUBLISHER_REPAIRING && self->next <= self->gap_end) {
        if (self->next >= self->asked_end)
            ask (self);
        else
            set_deadline (self);
        return;
    }
    if (self->stage == PUBLISHER_REPAIRING)
        LOG (GAP_CLOSED, NULL, KV_SL ("publisher", publisher_name (self)), KV_U ("to", self->gap_end));
    if (!list_empty (&self->held)) {
        open_gap (self);
        return;
    }
    self->stage = is_missing (self) ? PUBLISHER_TRAILING : PUBLISHER_FLOWING;
    if (self->stage == PUBLISHER_TRAILING)
        wheel_set (self->owner->wheel, &self->timer, clock_now () + TRAIL_WAIT);
    else
        wheel_cancel (&self->timer);
}

/* --- where a sequence begins --------------------------------------------------------------------------------- */

static void begin_at (struct publisher *self, uint64_t first)
{
    self->next = first;
    self->stage = PUBLISHER_FLOWING;
}

/* Where a publisher begins that only its events have told of. When each lane has had one, another name is a restart
 * whose HELLO is late, and has begun under our eyes; unless it is one that was forgotten, or too far on for that. */
static uint64_t first_unheralded (const struct publishers *self, uint64_t seen)
{
    bool successor = seen > 1 && seen <= (uint64_t) self->config->replay_events && !self->forgot;
    for (int lane = 0; successor && lane < self->runtime->lanes (self->runtime->self); lane++)
        successor = self->peers[lane].known;
    return successor ? 1 : seen;
}

/* No HELLO has told of it. */
static void settle_unknown (struct publisher *self)
{
    const struct held *held = first_held (self);
    begin_at (self, held ? first_unheralded (self->owner, held->first) : 1);
    advance (self);
}

/* HELLO has told of it. `successor`: another publisher was here before, so this one has begun under our eyes. */
static void settle (struct publisher *self, const uint64_t *seq, bool successor, double hello_wall)
{
    const struct held *held = first_held (self);
    if (successor)
        begin_at (self, 1);
    else if (seq)
        begin_at (self, held && held->first <= *seq ? held->first : *seq + 1);
    else {
        begin_at (self, 1);
        self->guessing = !held;
        self->guess_end = held ? held->first - 1 : 0;
        self->not_before = hello_wall;
    }
    self->known = higher (self->known, seq ? *seq : 0);
}

/* --- events -------------------------------------------------------------------------------------------------- */

/* Until when a runtime may still introduce itself at this lane; 0: there is nothing to wait for. */
static int64_t hello_deadline_at (const struct publishers *self, int lane)
{
    const struct lane_peer *peer = &self->peers[lane];
    if (!self->runtime->lane_up (self->runtime->self, lane)) /* the event link has come up first */
        return clock_now () + self->config->replay_timeout_ms * MS_NS;
    return peer->hello_at && !peer->answered ? peer->hello_at + HELLO_WAIT : 0;
}

static int64_t hello_deadline (const struct publishers *self)
{
    int64_t latest = 0;
    for (int lane = 0; lane < self->runtime->lanes (self->runtime->self); lane++) {
        int64_t deadline = hello_deadline_at (self, lane);
        latest = deadline > latest ? deadline : latest;
    }
    return latest > clock_now () ? latest : 0;
}

static void forget_oldest (struct publishers *self)
{
    struct publisher *oldest = LIST_ENTRY (self->all.prev, struct publisher, link);
    struct publisher *heir = publishers_nameless (self, oldest->lane);
    LOG (PUBLISHER_FORGOTTEN, NULL, KV_SL ("publisher", publisher_name (oldest)));
    give_up (oldest, "too many publishers");
    if (!heir)
        return; /* without memory there is one too many for a while */
    list_move_all (&heir->runs, &oldest->runs);
    for (int lane = 0; lane < LANES_MAX; lane++)
        if (self->peers[lane].publisher == oldest)
            self->peers[lane].publisher = NULL;
    free_publisher (oldest);
    self->n--;
    self->forgot = true;
}

static struct publisher *add (struct publishers *self, struct slice name)
{
    bool single = self->runtime->lanes (self->runtime->self) == 1;
    struct publisher *publisher = new_publisher (self, name, single ? 0 : LANE_NONE);
    if (!publisher)
        return NULL;
    if (single && !self->runtime->lane_up (self->runtime->self, 0))
        publisher->gone_since = clock_now (); /* it may go before it can introduce itself */
    if (self->n == PUBLISHERS_MAX)
        forget_oldest (self);
    list_append (&self->all, &publisher->link);
    self->n++;
    LOG (PUBLISHER_NEW, NULL, KV_SL ("publisher", name));
    return publisher;
}

static void heard (struct publishers *self, struct publisher *publisher)
{
    if (self->all.next != &publisher->link) {
        list_remove (&publisher->link);
        list_append (self->all.next, &publisher->link);
    }
    if (!publisher->gone_since)
        return;
    /* What a dead one has left in the sockets shows that it was there until now; one that never says HELLO shows by
     * its events that it is back. */
    bool up = publisher->lane != LANE_NONE && self->runtime->lane_up (self->runtime->self, publisher->lane);
    publisher->gone_since = publisher->introduced || !up ? clock_now () : 0;
}

static struct publisher *find_or_add (struct publishers *self, struct slice name, uint64_t seq)
{
    struct publisher *publisher = find (self, name);
    if (!publisher && (publisher = add (self, name))) {
        int64_t deadline = hello_deadline (self);
        publisher->stage = deadline ? PUBLISHER_SETTLING : PUBLISHER_FLOWING;
        publisher->next = first_unheralded (self, seq);
        if (deadline)
            wheel_set (self->wheel, &publisher->timer, deadline);
    }
    return publisher;
}

/* A runtime that starts its count anew should take a new name; one that does not is believed all the same. */
static void start_anew (struct publisher *self, uint64_t first)
{
    give_up (self, "the publisher has started anew");
    begin_at (self, first);
    self->known = self->guess_end = 0;
    self->begun = false;
}

/* HELLO came again and did not tell where the count stands, and now the first number comes again? */
static bool restarted (struct publisher *self, uint64_t seq)
{
    bool anew = self->returned && seq <= 1;
    self->returned = false;
    if (anew)
        start_anew (self, seq);
    return anew;
}

/* HELLO has come again. A count below what had come before HELLO was sent is a new one. */
static void come_back (struct publisher *self, const uint64_t *seq)
{
    self->returned = !seq;
    if (seq && *seq + 1 < self->next_at_hello)
        start_anew (self, 1);
    self->known = higher (self->known, seq ? *seq : 0);
}

/* The answer to HELLO may have overtaken events that we have subscribed to; and some count from 0. */
static void note_first (struct publisher *self, uint64_t seq)
{
    if (self->begun)
        return;
    if (seq < self->next)
        self->next = seq;
    if (self->guessing)
        self->guess_end = seq > 0 ? seq - 1 : 0;
    self->guessing = false;
}

static void keep_for_later (struct publisher *self, uint64_t seq, struct slice user, struct slice event)
{
    hold (self, seq, user, event);
    if (self->held_bytes > (size_t) self->owner->config->replay_held_bytes)
        give_up (self, "more than replay-held-bytes wait");
    else if (self->stage == PUBLISHER_FLOWING || self->stage == PUBLISHER_TRAILING)
        open_gap (self);
}

enum publisher_result publishers_take (struct publishers *self, struct slice name, uint64_t seq, struct slice user,
                                       struct slice event)
{
    struct publisher *publisher = find_or_add (self, name, seq);
    if (!publisher)
        return PUBLISHER_NO_MEMORY;
    heard (self, publisher);
    if (publisher->stage == PUBLISHER_SETTLING) {
        if (is_held (publisher, seq))
            return PUBLISHER_REPEAT;
        keep_for_later (publisher, seq, user, event);
        return PUBLISHER_TAKEN;
    }
    note_first (publisher, seq);
    if ((seq < publisher->next && !restarted (publisher, seq)) || is_held (publisher, seq))
        return PUBLISHER_REPEAT;
    if (seq > publisher->next) {
        keep_for_later (publisher, seq, user, event);
        return PUBLISHER_TAKEN;
    }
    deliver (publisher, user, event);
    if (publisher->stage != PUBLISHER_FLOWING)
        advance (publisher);
    return PUBLISHER_TAKEN;
}

/* --- answers ------------------------------------------------------------------------------------------------- */

/* Is a number of this publisher waited for, from this lane? */
static enum publisher_result look_up (const struct publishers *self, int lane, struct slice name, uint64_t seq,
                                      struct publisher **publisher)
{
    *publisher = find (self, name);
    if (!*publisher || (*publisher)->lane != lane || (*publisher)->stage == PUBLISHER_SETTLING)
        return PUBLISHER_UNSOLICITED;
    if (seq < (*publisher)->next || is_held (*publisher, seq))
        return PUBLISHER_REPEAT;
    bool asked = (*publisher)->stage == PUBLISHER_REPAIRING && seq < (*publisher)->asked_end;
    return asked ? PUBLISHER_TAKEN : PUBLISHER_UNSOLICITED;
}

enum publisher_result publishers_answer (struct publishers *self, int lane, struct slice name, uint64_t seq,
                                         struct slice user, struct slice event)
{
    struct publisher *publisher;
    enum publisher_result result = look_up (self, lane, name, seq, &publisher);
    if (result != PUBLISHER_TAKEN)
        return result;
    metric_inc (M_EVENTS_REPAIRED, 0);
    if (seq == publisher->next)
        deliver (publisher, user, event);
    else
        hold (publisher, seq, user, event);
    advance (publisher);
    return PUBLISHER_TAKEN;
}

enum publisher_result publishers_lost (struct publishers *self, int lane, struct slice name, uint64_t from, uint64_t to)
{
    struct publisher *publisher;
    if (from > to)
        return PUBLISHER_UNSOLICITED;
    struct publisher *found = find (self, name);
    if (found && from < found->next && found->next <= to)
        from = found->next; /* some of it has come another way */
    enum publisher_result result = look_up (self, lane, name, from, &publisher);
    if (result != PUBLISHER_TAKEN)
        return result;
    hold_loss (publisher, from, to < publisher->asked_end ? to : publisher->asked_end - 1);
    advance (publisher);
    return PUBLISHER_TAKEN;
}

/* --- runtimes ------------------------------------------------------------------------------------------------ */

static void set_gone (struct publisher *self, bool gone)
{
    if (self && !gone)
        self->gone_since = 0;
    else if (self && !self->gone_since)
        self->gone_since = clock_now ();
}

/* Everybody else at this lane has gone: one runtime, one publisher. */
static void replace (struct publishers *self, int lane, const struct publisher *by)
{
    struct lane_peer *peer = &self->peers[lane];
    if (peer->known && peer->publisher != by && peer->nameless) {
        set_gone (peer->nameless, true);
        list_append (&self->departed, &peer->nameless->link);
        peer->nameless = NULL; /* the new runtime's events without meta have another one */
    }
    LIST_FOREACH (&self->all, link) {
        struct publisher *publisher = LIST_ENTRY (link, struct publisher, link);
        if (publisher != by && publisher->introduced && publisher->lane == lane)
            set_gone (publisher, true);
    }
}

/* Has the first runtime at this lane been asked who it is, and may it still answer? */
static bool may_answer (const struct lane_peer *peer)
{
    return peer->hello_at && !peer->answered && !peer->known && clock_now () < peer->hello_at + HELLO_WAIT;
}

bool publishers_settled (const struct publishers *self)
{
    for (int lane = 0; lane < self->runtime->lanes (self->runtime->self); lane++)
        if (self->runtime->lane_up (self->runtime->self, lane) && may_answer (&self->peers[lane]))
            return false;
    return true;
}

static void on_no_hello (struct timer *timer)
{
    struct publishers *self = CONTAINER_OF (timer, struct lane_peer, patience)->owner;
    self->port.settled (self->port.self);
}

static void introduce (struct publishers *self, int lane, struct slice name, const uint64_t *seq)
{
    struct lane_peer *peer = &self->peers[lane];
    struct publisher *publisher = find (self, name);
    bool fresh = !publisher;
    if (name.n == 0)
        return;
    if (fresh && !(publisher = add (self, name)))
        return; /* it is taken as one that nobody has introduced */
    if (fresh || publisher->stage == PUBLISHER_SETTLING)
        settle (publisher, seq, peer->known, peer->hello_wall);
    else
        come_back (publisher, seq);
    publisher->lane = lane;
    publisher->introduced = true;
    heard (self, publisher);
    set_gone (publisher, false);
    replace (self, lane, publisher);
    peer->known = true;
    peer->publisher = publisher;
    if (is_missing (publisher))
        advance (publisher);
}

void publishers_hello (struct publishers *self, int lane, struct slice name, const uint64_t *seq)
{
    struct lane_peer *peer = &self->peers[lane];
    peer->answered = true;
    wheel_cancel (&peer->patience);
    introduce (self, lane, name, seq);
    self->port.settled (self->port.self);
}

void publishers_claim (struct publishers *self, int lane, uint64_t seq)
{
    struct publisher *publisher = self->peers[lane].publisher;
    if (!publisher || publisher->stage == PUBLISHER_SETTLING || seq <= publisher->known)
        return;
    publisher->known = seq;
    if (publisher->stage == PUBLISHER_FLOWING && seq >= publisher->next)
        advance (publisher);
}

void publishers_lane_up (struct publishers *self, int lane)
{
    struct lane_peer *peer = &self->peers[lane];
    peer->hello_at = clock_now ();
    peer->hello_wall = clock_wall ();
    peer->answered = false;
    if (!peer->known)
        wheel_set (self->wheel, &peer->patience, peer->hello_at + HELLO_WAIT);
    set_gone (peer->nameless, false);
    LIST_FOREACH (&self->all, link) {
        struct publisher *publisher = LIST_ENTRY (link, struct publisher, link);
        bool waits = publisher->stage == PUBLISHER_REPAIRING && publisher->asked_end <= publisher->next;
        if (publisher->lane != lane)
            continue;
        publisher->next_at_hello = publisher->next;
        if (waits)
            ask (publisher);
    }
}

/* A question that was under way is put again when the lane returns. */
void publishers_lane_down (struct publishers *self, int lane)
{
    set_gone (self->peers[lane].nameless, true);
    wheel_cancel (&self->peers[lane].patience);
    LIST_FOREACH (&self->all, link) {
        struct publisher *publisher = LIST_ENTRY (link, struct publisher, link);
        if (publisher->lane != lane)
            continue;
        set_gone (publisher, true);
        publisher->asked_end = 0;
    }
}

static void visit (struct publisher *publisher, int64_t since, void (*fn) (void *arg, struct publisher *publisher),
                   void *arg)
{
    if (publisher && publisher->gone_since && publisher->gone_since <= since)
        fn (arg, publisher);
}

void publishers_each_gone (struct publishers *self, int64_t since, void (*fn) (void *arg, struct publisher *publisher),
                           void *arg)
{
    LIST_FOREACH (&self->all, link)
        visit (LIST_ENTRY (link, struct publisher, link), since, fn, arg);
    LIST_FOREACH (&self->departed, link) {
        struct publisher *publisher = LIST_ENTRY (link, struct publisher, link);
        visit (publisher, since, fn, arg);
        if (list_empty (&publisher->runs))
            free_publisher (publisher);
    }
    for (int lane = 0; lane < LANES_MAX; lane++)
        visit (self->peers[lane].nameless, since, fn, arg);
}

static void on_timer (struct timer *timer)
{
    struct publisher *self = CONTAINER_OF (timer, struct publisher, timer);
    switch (self->stage) {
    case PUBLISHER_SETTLING:
        settle_unknown (self);
        return;
    case PUBLISHER_TRAILING:
        open_gap (self);
        return;
    case PUBLISHER_REPAIRING:
        if (clock_now () - timer->due > STOOD_STILL) /* it was we: the answer may lie in the socket */
            wheel_set (self->owner->wheel, timer, clock_now () + TRAIL_WAIT);
        else
            give_up (self, "the runtime does not answer");
        return;
    case PUBLISHER_FLOWING:
        return;
    }
}
