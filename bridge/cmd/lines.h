/* Lines of a descriptor (terminal, pipe or file), read from a libuv loop. Its flags stay as they are: it may be shared
 * with other programs. */
#ifndef CMD_LINES_H
#define CMD_LINES_H

#include "base/buf.h"

#include <uv.h>

#define LINE_MAX_BYTES (64 * 1024 * 1024) /* as large as max-message-bytes may be */

struct lines {
    uv_loop_t *loop;
    int fd;
    int epoll; /* that the loop watches; -1: a file, which is always ready */
    union {
        uv_poll_t poll;
        uv_idle_t idle;
    };
    struct buf line; /* what has come of the next one */
    bool reading;
    void (*on_line) (void *arg, struct slice line); /* without its end */
    void (*on_end) (void *arg, bool too_long);      /* once; too_long: a line was larger than LINE_MAX_BYTES */
    void *arg;
};

/* Reads nothing yet. False with errno. */
NODISCARD bool lines_init (struct lines *self, uv_loop_t *loop, int fd);

/* Go on reading, or stop: harmless when it is so already. No line comes out of lines_read itself. */
void lines_read (struct lines *self, bool on);

/* Lets go of the loop, which has to run on for it. */
void lines_close (struct lines *self);
void lines_fini (struct lines *self);

#endif
