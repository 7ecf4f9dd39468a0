#include "zmtp.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING_BYTES 64
#define FLAG_MORE      1
#define FLAG_LONG      2
#define FLAG_COMMAND   4

static void put_size (struct buf *out, uint64_t n, int bytes)
{
    while (bytes--)
        buf_putc (out, (char) (n >> (8 * bytes)));
}

static void put_frame (struct buf *out, uint8_t flags, struct slice body)
{
    bool is_long = body.n > 255;
    buf_putc (out, (char) (flags | (is_long ? FLAG_LONG : 0)));
    put_size (out, body.n, is_long ? 8 : 1);
    buf_put (out, body.p, body.n);
}

static void put_greeting (struct buf *out)
{
    static const char greeting[GREETING_BYTES] = {
        [0] = '\xff', [9] = '\x7f', [10] = 3, [12] = 'N', [13] = 'U', [14] = 'L', [15] = 'L'};
    buf_put (out, greeting, sizeof greeting);
}

static void put_ready (struct buf *out, const char *type)
{
    char body[64] = "\5READY\13Socket-Type";
    size_t n = strlen (body), type_n = strlen (type);
    memset (body + n, 0, 3);
    body[n + 3] = (char) type_n;
    memcpy (body + n + 4, type, type_n);
    put_frame (out, FLAG_COMMAND, slice_of (body, n + 4 + type_n));
}

void zmtp_put (struct zmtp *self, struct slice frame, bool more)
{
    put_frame (&self->peer.out, more ? FLAG_MORE : 0, frame);
}

/* The frame at *at; false when it is not whole yet. */
static bool read_frame (struct slice in, size_t *at, uint8_t *flags, struct slice *body)
{
    const uint8_t *p = (const uint8_t *) in.p + *at;
    size_t left = in.n - *at, head = left && (p[0] & FLAG_LONG) ? 9 : 2;
    if (left < head)
        return false;
    uint64_t n = 0;
    for (size_t i = 1; i < head; i++)
        n = n << 8 | p[i];
    if (left - head < n)
        return false;
    *flags = p[0];
    *body = slice_of (p + head, n);
    *at += head + n;
    return true;
}

/* The message or command at *at; false when it is not whole yet. */
static bool take_one (struct zmtp *self, struct slice in, size_t *at)
{
    struct slice frames[ZMTP_FRAMES_MAX];
    size_t n = 0, end = *at;
    for (uint8_t flags = FLAG_MORE; flags & FLAG_MORE; n++) {
        if (n == ZMTP_FRAMES_MAX)
            die ("ZMTP: a message of more than %d frames", ZMTP_FRAMES_MAX);
        if (!read_frame (in, &end, &flags, &frames[n]))
            return false;
        if (flags & FLAG_COMMAND)
            self->state = ZMTP_READY; /* the peer's READY; later ones are heartbeats, which are off */
    }
    bool command = in.p[*at] & FLAG_COMMAND;
    *at = end;
    if (!command)
        self->message_fn (self->message_arg, frames, n);
    return true;
}

static void take_all (struct zmtp *self)
{
    struct slice in = buf_slice (&self->peer.in);
    size_t at = 0;
    if (self->state == ZMTP_GREETING) {
        if (in.n < GREETING_BYTES)
            return;
        at = GREETING_BYTES;
        self->state = ZMTP_HANDSHAKE;
        put_ready (&self->peer.out, self->type);
    }
    while (at < in.n && take_one (self, in, &at))
        ;
    pipe_consume (&self->peer, at);
    pipe_flush (&self->peer);
}

static void on_peer (struct watcher *watcher, UNUSED uint32_t events)
{
    struct zmtp *self = CONTAINER_OF (CONTAINER_OF (watcher, struct pipe, watcher), struct zmtp, peer);
    if (pipe_read (&self->peer)) {
        take_all (self);
        return;
    }
    pipe_close (&self->peer);
    self->state = ZMTP_NO_PEER;
}

static void on_listener (struct watcher *watcher, UNUSED uint32_t events)
{
    struct zmtp *self = CONTAINER_OF (watcher, struct zmtp, listener);
    int fd = accept4 (watcher->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (self->state != ZMTP_NO_PEER)
        pipe_close (&self->peer);
    pipe_open (&self->peer, self->loop, fd, on_peer);
    self->state = ZMTP_GREETING;
    put_greeting (&self->peer.out);
    pipe_flush (&self->peer);
}

void zmtp_bind (struct zmtp *self, struct loop *loop, const char *type, unsigned port,
                void (*fn) (void *arg, const struct slice *frames, size_t n), void *arg)
{
    *self = (struct zmtp){.loop = loop, .type = type, .message_fn = fn, .message_arg = arg};
    self->listener = (struct watcher){.fd = tcp_listen (port), .fn = on_listener};
    loop_add (loop, &self->listener, EPOLLIN);
}
