/* The last events of the publisher, for bridges that missed some. No gaps: what is held ends with the newest event. */
#ifndef ABR_REPLAY_H
#define ABR_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

struct abr_held {
    zmq_msg_t user, event; /* share their bytes with what ZeroMQ still sends */
};

struct abr_replay {
    struct abr_held *ring; /* owned, grows up to max_events */
    size_t cap, first, n;
    size_t bytes; /* of users and events, with what a place in the ring takes */
    size_t max_events, max_bytes;
    uint64_t evicted;
};

void abr_replay_init (struct abr_replay *self, size_t max_events, size_t max_bytes);
void abr_replay_fini (struct abr_replay *self);

/* Make sure that the next push finds a place. False: memory is out, nothing has changed. */
bool abr_replay_reserve (struct abr_replay *self);

/* Hold copies; the oldest go until both limits are kept. An event that alone is over the limit is not held, and then
 * none is. */
void abr_replay_push (struct abr_replay *self, zmq_msg_t *user, zmq_msg_t *event);

/* The event that was pushed `age` events ago, 0 is the newest; age < n. */
struct abr_held *abr_replay_at (struct abr_replay *self, uint64_t age);

#endif
