/* The sequence of one publisher: what has come too early is held back, what is missing is asked for and filled in, or
 * given up as lost. Used by core/publisher.c alone, which knows who the publishers are. The picture stands in
 * core/publisher.h.
 *
 *   sequence_hold -> sequence_open_gap --ask--> (EVENT, LOST) -> sequence_advance -> deliver
 *                                                (deadline)   -> sequence_give_up -> lost, deliver
 */
#ifndef CORE_SEQUENCE_H
#define CORE_SEQUENCE_H

#include "core/publisher.h"

/* Hand on the event that is in turn (its number is `next`). */
void sequence_deliver (struct publisher *self, struct slice user, struct slice event);

/* Keep a copy of one that is not in turn yet. Without memory it stays missing, and is asked for later. */
void sequence_hold (struct publisher *self, uint64_t seq, struct slice user, struct slice event);
bool sequence_is_held (struct publisher *self, uint64_t seq);

/* The lowest number that is held back; false when none is. */
bool sequence_first_held (const struct publisher *self, uint64_t *seq);
void sequence_free_held (struct publisher *self);

/* Keep the news that these will not come. */
void sequence_hold_loss (struct publisher *self, uint64_t from, uint64_t to);

/* A number that the runtime says it has sent. */
void sequence_claim (struct publisher *self, uint64_t seq);
bool sequence_is_missing (const struct publisher *self);

/* Something has moved: deliver what is in turn, then ask for what is missing next, or be done. */
void sequence_advance (struct publisher *self);

/* Something is missing: ask for it. */
void sequence_open_gap (struct publisher *self);

/* Put the question of the open gap (again). */
void sequence_ask (struct publisher *self);

/* What is missing is lost; what was held back goes on. */
void sequence_give_up (struct publisher *self, const char *why);

/* The deadline of a trailing or repairing publisher has come. */
void sequence_time_out (struct publisher *self);

#endif
