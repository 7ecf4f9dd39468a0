/* The event loop: epoll, and the clock. */
#ifndef LOAD_LOOP_H
#define LOAD_LOOP_H

#include "base/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define US_NS INT64_C (1000)
#define MS_NS INT64_C (1000000)
#define S_NS  INT64_C (1000000000)

/* One descriptor that is waited for. The owner embeds it. */
struct watcher {
    int fd; /* -1: none */
    void (*fn) (struct watcher *self, uint32_t events);
};

struct loop {
    int epoll;
};

/* CLOCK_MONOTONIC in ns; `ts` of the events is taken from it, so both ends must be on one machine. */
int64_t now_ns (void);

/* Something that cannot be had: say so and end with exit code 1. */
void die (const char *format, ...) __attribute__ ((format (printf, 1, 2), noreturn));

void loop_init (struct loop *self);
void loop_add (struct loop *self, struct watcher *watcher, uint32_t events);
void loop_change (struct loop *self, struct watcher *watcher, uint32_t events);

/* Close the watcher's descriptor, if it has one. Events of it that this turn still holds are not delivered. */
void loop_close (struct loop *self, struct watcher *watcher);

/* Wait for at most timeout_ns and call whoever is ready. */
void loop_turn (struct loop *self, int64_t timeout_ns);

/* A TCP socket, not blocking. Listen on 127.0.0.1:port, or connect to host:port (numbers); on failure die. */
int tcp_listen (unsigned port);
int tcp_connect (const char *address);

/* A connection with an output buffer. */
struct pipe {
    struct watcher watcher;
    struct loop *loop;
    struct buf in;
    struct buf out;
    size_t sent; /* of out */
    bool blocked;
};

/* Take over fd. `fn` is called when there is input (pipe_read) or an error. */
void pipe_open (struct pipe *self, struct loop *loop, int fd, void (*fn) (struct watcher *watcher, uint32_t events));
void pipe_close (struct pipe *self);

/* Write what is buffered; what the socket does not take goes out when it can. */
void pipe_flush (struct pipe *self);

/* Read what is there into `in`. False when the peer has closed. */
bool pipe_read (struct pipe *self);

/* Drop the first n bytes of `in`. */
void pipe_consume (struct pipe *self, size_t n);

#endif
