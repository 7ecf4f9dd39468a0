#include "core/publisher.h"
#include "base/log.h"
#include "base/metrics.h"
#include "core/sequence.h"

#define HELLO_WAIT (500 * MS_NS) /* for the answer, before a publisher that nobody has introduced is taken as it is */

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

static void free_publisher (struct publisher *self)
{
    if (!self)
        return;
    CHECK (list_empty (&self->runs));
    sequence_free_held (self);
    wheel_cancel (&self->timer);
    list_remove (&self->link);
    free (self);
}

void publishers_init (struct publishers *self, const struct config *config, struct wheel *wheel,
                      const struct runtime_port *runtime)
{
    *self = (struct publishers){.config = config, .wheel = wheel, .runtime = runtime};
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

/* It is known only now that its events begin here, and clients have been let in: what came before may have been theirs.
 * (One that was forgotten begins where it is seen again, each time.) */
static void tell_unsure (const struct publisher *self)
{
    struct publishers *owner = self->owner;
    if (self->next > 1 && owner->let_in && !owner->forgot)
        owner->port.unsure (owner->port.self, publisher_name (self), self->next);
}

/* It has said HELLO again: does its count go on, or has it begun anew under the old name? */
static void settle_returned (struct publisher *self, const uint64_t *seq)
{
    uint64_t first;
    bool held = sequence_first_held (self, &first);
    bool anew = seq ? *seq + 1 < self->next_at_hello : held && first <= 1;
    begin_at (self, anew ? 1 : self->next);
    self->doubted = false;
    if (anew) {
        self->known = self->guess_end = 0;
        self->begun = false;
    }
    sequence_claim (self, seq ? *seq : 0);
}

/* No HELLO has told of it. */
static void settle_unknown (struct publisher *self)
{
    uint64_t first;
    if (self->doubted) /* nothing speaks for a new count */
        begin_at (self, self->next);
    else {
        begin_at (self, sequence_first_held (self, &first) ? first_unheralded (self->owner, first) : 1);
        tell_unsure (self);
    }
    self->doubted = false;
    sequence_advance (self);
}

/* HELLO has told of it. `successor`: another publisher was here before, so this one has begun under our eyes. */
static void settle (struct publisher *self, const uint64_t *seq, bool successor, double hello_wall)
{
    uint64_t first;
    bool held = sequence_first_held (self, &first);
    if (successor)
        begin_at (self, 1);
    else if (seq)
        begin_at (self, held && first <= *seq ? first : *seq + 1);
    else {
        begin_at (self, 1);
        self->guessing = !held;
        self->guess_end = held ? first - 1 : 0;
        self->not_before = hello_wall;
    }
    tell_unsure (self);
    sequence_claim (self, seq ? *seq : 0);
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
    sequence_give_up (oldest, "too many publishers");
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
    if (self->n >= PUBLISHERS_MAX)
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
        else
            tell_unsure (publisher);
    }
    return publisher;
}

/* A runtime that starts its count anew should take a new name; one that does not is believed all the same. */
static void start_anew (struct publisher *self, uint64_t first)
{
    sequence_give_up (self, "the publisher has started anew");
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

/* HELLO has come again. A count below what had come before HELLO was sent is a new one. (When the link came and went,
 * this may be the answer to an earlier HELLO, and then compares with what had come before that.) */
static void come_back (struct publisher *self, const uint64_t *seq)
{
    self->returned = !seq;
    if (seq && *seq + 1 < self->next_at_hello)
        start_anew (self, 1);
    sequence_claim (self, seq ? *seq : 0);
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

/* A lower number while its runtime may still say HELLO: a repeat, or the beginning of a new count that has overtaken
 * the answer to HELLO? */
static bool is_doubtful (const struct publisher *self, uint64_t seq)
{
    bool calm = self->stage == PUBLISHER_FLOWING || self->stage == PUBLISHER_TRAILING;
    return calm && self->begun && self->introduced && seq < self->next &&
           hello_deadline_at (self->owner, self->lane) > clock_now ();
}

static void doubt (struct publisher *self)
{
    self->doubted = true;
    self->stage = PUBLISHER_SETTLING;
    wheel_set (self->owner->wheel, &self->timer, hello_deadline_at (self->owner, self->lane));
}

static void keep_for_later (struct publisher *self, uint64_t seq, struct slice user, struct slice event)
{
    sequence_hold (self, seq, user, event);
    if (self->held_bytes > (size_t) self->owner->config->replay_held_bytes)
        sequence_give_up (self, "more than replay-held-bytes wait");
    else if (self->stage == PUBLISHER_FLOWING || self->stage == PUBLISHER_TRAILING)
        sequence_open_gap (self);
}

enum publisher_result publishers_take (struct publishers *self, struct slice name, uint64_t seq, struct slice user,
                                       struct slice event)
{
    struct publisher *publisher = find_or_add (self, name, seq);
    if (!publisher)
        return PUBLISHER_NO_MEMORY;
    heard (self, publisher);
    if (publisher->stage == PUBLISHER_SETTLING) {
        if (sequence_is_held (publisher, seq))
            return PUBLISHER_REPEAT;
        keep_for_later (publisher, seq, user, event);
        return PUBLISHER_TAKEN;
    }
    if (is_doubtful (publisher, seq)) {
        doubt (publisher);
        keep_for_later (publisher, seq, user, event);
        return PUBLISHER_TAKEN;
    }
    note_first (publisher, seq);
    if ((seq < publisher->next && !restarted (publisher, seq)) || sequence_is_held (publisher, seq))
        return PUBLISHER_REPEAT;
    if (seq > publisher->next) {
        keep_for_later (publisher, seq, user, event);
        return PUBLISHER_TAKEN;
    }
    sequence_deliver (publisher, user, event);
    if (publisher->stage != PUBLISHER_FLOWING)
        sequence_advance (publisher);
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
    if (seq < (*publisher)->next || sequence_is_held (*publisher, seq))
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
    publisher->returned = false;
    if (seq == publisher->next)
        sequence_deliver (publisher, user, event);
    else
        sequence_hold (publisher, seq, user, event);
    sequence_advance (publisher);
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
    sequence_hold_loss (publisher, from, to < publisher->asked_end ? to : publisher->asked_end - 1);
    sequence_advance (publisher);
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
    if (publisher->doubted)
        settle_returned (publisher, seq);
    else if (fresh || publisher->stage == PUBLISHER_SETTLING)
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
    if (sequence_is_missing (publisher))
        sequence_advance (publisher);
}

void publishers_hello (struct publishers *self, int lane, struct slice name, const uint64_t *seq)
{
    struct lane_peer *peer = &self->peers[lane];
    peer->answered = true;
    if (peer->hellos_open)
        peer->hellos_open--;
    wheel_cancel (&peer->patience);
    introduce (self, lane, name, seq);
    self->port.settled (self->port.self);
}

void publishers_pong (struct publishers *self, int lane, int64_t sent)
{
    struct lane_peer *peer = &self->peers[lane];
    if (sent >= peer->hello_at)
        peer->hellos_open = 0;
}

void publishers_claim (struct publishers *self, int lane, uint64_t seq)
{
    struct publisher *publisher = self->peers[lane].publisher;
    if (!publisher || publisher->stage == PUBLISHER_SETTLING)
        return;
    if (seq + 1 >= publisher->next)
        publisher->returned = false; /* the old count goes on */
    if (seq <= publisher->known)
        return;
    publisher->known = seq;
    if (publisher->stage == PUBLISHER_FLOWING && seq >= publisher->next)
        sequence_advance (publisher);
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
        if (!peer->hellos_open)
            publisher->next_at_hello = publisher->next;
        if (waits)
            sequence_ask (publisher);
    }
    peer->hellos_open++;
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
    case PUBLISHER_REPAIRING:
        sequence_time_out (self);
        return;
    case PUBLISHER_FLOWING:
        return;
    }
}
