/* The publishers of events: where each one's sequence stands, what is missing in it, and whether its runtime is there.
 * Events are delivered in the order of their numbers, each once.
 *
 *   event with meta -> publishers_take --+-- in turn --------------------------------> deliver
 *                                        +-- lower: a repeat
 *                                        +-- higher: held back, and the gap is asked for
 *   EVENT, LOST     -> publishers_answer, publishers_lost: fill the gap -> what was held back -> deliver
 *   HELLO, PONG     -> publishers_hello, publishers_claim: who speaks, and how far it is
 *   timer           -> what is missing is lost                                      -> lost, deliver
 *
 *   settling ---> flowing <--> trailing          settling: is this the publisher of a HELLO that is under way?
 *                    ^            |              trailing: told of events that have not come; they may be on the way
 *                    +--- repairing              repairing: REPLAY is under way, later events are held back
 *
 * Events without meta have no sequence; a nameless publisher per lane stands for where they come from. */
#ifndef CORE_PUBLISHER_H
#define CORE_PUBLISHER_H

#include "base/config.h"
#include "base/wheel.h"
#include "core/lanes.h"

#define PUBLISHERS_MAX     256
#define PUBLISHER_NAME_MAX 128
#define PUBLISHER_SEQ_MAX  (UINT64_MAX / 4) /* so that no sum of numbers wraps */

struct publisher;

/* What happens to events. `deliver`: in order; `not_before` (Unix seconds, 0: any) leaves out what is older. `ask`:
 * send REPLAY; false when it cannot be handed over. `lost`: `count` events will not come. `unsure`: the
 * publisher is followed from number `first` on, and clients may have missed what it sent before. `settled`:
 * publishers_settled may have changed. */
struct publisher_port {
    void *self;
    void (*deliver) (void *self, struct publisher *publisher, struct slice user, struct slice event, double not_before);
    bool (*ask) (void *self, int lane, struct slice publisher, uint64_t from, uint64_t to);
    void (*lost) (void *self, struct slice publisher, uint64_t count, const char *why);
    void (*unsure) (void *self, struct slice publisher, uint64_t first);
    void (*settled) (void *self);
};

struct publisher {
    struct list link; /* in publishers.all or .departed */
    struct list runs; /* struct run, publisher_link: those that it has in progress */
    struct publishers *owner;
    int lane;           /* where its runtime is; LANE_NONE: not known */
    int64_t gone_since; /* monotonic ns; 0: it is there */
    enum {
        PUBLISHER_SETTLING,
        PUBLISHER_FLOWING,
        PUBLISHER_TRAILING,
        PUBLISHER_REPAIRING
    } stage;
    bool begun;      /* something was delivered */
    bool doubted;    /* settling: does its count go on at `next`, or has it begun anew? */
    bool introduced; /* by HELLO */
    bool returned;   /* by another HELLO that did not tell its count, since its last event */
    bool guessing; /* HELLO did not tell where the count stood: what came before the first event may be older than we */

    uint64_t next;          /* number of the next event in turn */
    uint64_t next_at_hello; /* the same when the oldest HELLO was sent that may still be answered */
    uint64_t known;         /* highest number that is known to exist, or below `next` */
    uint64_t gap_end;       /* repairing: the last one missing */
    uint64_t
        asked_end; /* repairing: one behind the last that is asked for; not above `next` when nothing is under way */
    int64_t gap_since;  /* repairing: monotonic ns */
    uint64_t guess_end; /* what is missing up to here is not lost: it may be older than our HELLO */
    double not_before;  /* our HELLO, Unix seconds */
    struct list held;   /* what has come too early, by number */
    size_t held_bytes;
    struct timer timer;
    uint8_t name_n;
    char name[];
};

/* The runtime at one lane. */
struct lane_peer {
    struct publishers *owner;
    struct timer patience; /* with a first runtime that does not answer HELLO */
    int64_t hello_at;      /* when HELLO was sent, monotonic ns; 0: never */
    double hello_wall;
    bool answered;
    uint32_t hellos_open;        /* without an answer so far: the next answer may be to an older one than the last */
    bool known;                  /* a publisher has been introduced here before */
    struct publisher *publisher; /* introduced last; NULL: none, or forgotten */
    struct publisher *nameless;  /* owned; events without meta */
};

struct publishers {
    const struct config *config;
    struct wheel *wheel;
    struct publisher_port port;
    const struct runtime_port *runtime;
    struct list all; /* named ones, the last one heard first */
    uint32_t n;
    bool let_in;          /* a client has been told that it has everything from now on */
    bool forgot;          /* one of them, since there were too many */
    struct list departed; /* nameless ones whose runtime was replaced, until their runs have ended */
    struct lane_peer peers[LANES_MAX];
    struct publisher *homeless; /* owned; events without meta of users without a lane */
};

enum publisher_result {
    PUBLISHER_TAKEN, /* delivered, or held back */
    PUBLISHER_REPEAT,
    PUBLISHER_UNSOLICITED, /* an answer that nobody asked for */
    PUBLISHER_NO_MEMORY
};

/* Borrows everything. `port` is to be set before the first event. */
void publishers_init (struct publishers *self, const struct config *config, struct wheel *wheel,
                      const struct runtime_port *runtime);

/* Runs must be gone. What is held back is freed, not delivered. */
void publishers_fini (struct publishers *self);

/* An event from the event socket; slices are borrowed. `name` has 1 to PUBLISHER_NAME_MAX bytes. */
NODISCARD enum publisher_result publishers_take (struct publishers *self, struct slice name, uint64_t seq,
                                                 struct slice user, struct slice event);

/* EVENT from the runtime at `lane`: one that it was asked for. */
NODISCARD enum publisher_result publishers_answer (struct publishers *self, int lane, struct slice name, uint64_t seq,
                                                   struct slice user, struct slice event);

/* LOST from the runtime at `lane`: those from `from` to `to` are no longer held. */
NODISCARD enum publisher_result publishers_lost (struct publishers *self, int lane, struct slice name, uint64_t from,
                                                 uint64_t to);

/* The runtime at `lane` has answered HELLO: it is publisher `name` (empty: not told), and its last number was *seq
 * (NULL: not told). */
void publishers_hello (struct publishers *self, int lane, struct slice name, const uint64_t *seq);

/* PONG from the runtime at `lane`, to a PING of `sent` (monotonic ns). Commands of a runtime come in order: a HELLO
 * from before that has no answer to come. */
void publishers_pong (struct publishers *self, int lane, int64_t sent);

/* The publisher at `lane` says that it has sent `seq`. */
void publishers_claim (struct publishers *self, int lane, uint64_t seq);

/* The lane has come up, and HELLO was sent; or it has gone. */
void publishers_lane_up (struct publishers *self, int lane);
void publishers_lane_down (struct publishers *self, int lane);

/* Is it known for every runtime that is there where its events begin, or has that been waited for long enough? Clients
 * that are told earlier that they have everything from now on may miss what comes before the answer to HELLO. */
bool publishers_settled (const struct publishers *self);

/* Where the events without meta come from that `lane` serves (LANE_NONE: nobody knows). NULL when memory is out. */
struct publisher *publishers_nameless (struct publishers *self, int lane);

/* Call `fn` for each publisher whose runtime has been gone since `since` or longer. `fn` takes no publisher away. */
void publishers_each_gone (struct publishers *self, int64_t since, void (*fn) (void *arg, struct publisher *publisher),
                           void *arg);

static inline struct slice publisher_name (const struct publisher *self)
{
    return slice_of (self->name, self->name_n);
}

#endif
