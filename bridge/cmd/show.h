/* What a client gets, as lines for people. */
#ifndef CMD_SHOW_H
#define CMD_SHOW_H

#include "base/buf.h"

#include <jansson.h>

struct show {
    bool terminal; /* deltas of a run stream on one line */
    bool colours;
    char *streaming; /* owned: the run and type whose deltas stand on the line that is not ended; NULL: none */
};

/* `fd` is where the lines go. Colours only on a terminal, and not with NO_COLOR or TERM=dumb. */
void show_init (struct show *self, int fd);
void show_fini (struct show *self);

/* Append one message. */
void show_message (struct show *self, struct buf *out, const json_t *message);

/* Append a frame that is no JSON object. */
void show_frame (struct show *self, struct buf *out, bool text, struct slice bytes);

/* End the line that deltas stand on, if there is one. */
void show_break (struct show *self, struct buf *out);

#endif
