#include "cmd/lines.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CHUNK 65536

static void finish (struct lines *self, bool too_long)
{
    if (!too_long && self->line.n)
        self->on_line (self->arg, buf_slice (&self->line));
    lines_read (self, false);
    self->fd = -1;
    self->on_end (self->arg, too_long);
}

/* One chunk; a line can be told only when it has ended. */
static void take (struct lines *self, struct slice chunk)
{
    struct slice part;
    while (slice_cut (&chunk, '\n', &part)) {
        buf_put (&self->line, part.p, part.n);
        if (self->line.failed)
            break;
        self->on_line (self->arg, buf_slice (&self->line));
        buf_reset (&self->line);
    }
    buf_put (&self->line, chunk.p, chunk.n);
    if (self->line.failed)
        finish (self, true);
}

static void read_chunk (struct lines *self)
{
    char chunk[CHUNK];
    ssize_t n = read (self->fd, chunk, sizeof chunk);
    if (n > 0)
        take (self, slice_of (chunk, (size_t) n));
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        finish (self, false);
}

static void on_ready (uv_poll_t *poll, UNUSED int status, UNUSED int events)
{
    read_chunk (CONTAINER_OF (poll, struct lines, poll));
}

static void on_idle (uv_idle_t *idle)
{
    read_chunk (CONTAINER_OF (idle, struct lines, idle));
}

/* libuv would make `fd` itself non-blocking; of an epoll descriptor that has it, nobody else knows. epoll refuses files
 * with EPERM. */
bool lines_init (struct lines *self, uv_loop_t *loop, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    self->loop = loop;
    self->fd = fd;
    self->reading = false;
    buf_init (&self->line, LINE_MAX_BYTES);
    self->epoll = epoll_create1 (EPOLL_CLOEXEC);
    if (self->epoll < 0)
        return false;
    if (epoll_ctl (self->epoll, EPOLL_CTL_ADD, fd, &event) == 0)
        return uv_poll_init (loop, &self->poll, self->epoll) == 0;
    int fault = errno;
    close (self->epoll);
    self->epoll = -1;
    errno = fault;
    return (fault == EPERM || fault == EBADF) && uv_idle_init (loop, &self->idle) == 0; /* a closed one ends at once */
}

void lines_read (struct lines *self, bool on)
{
    if (on == self->reading || self->fd < 0)
        return;
    self->reading = on;
    if (self->epoll < 0)
        on ? uv_idle_start (&self->idle, on_idle) : uv_idle_stop (&self->idle);
    else
        on ? uv_poll_start (&self->poll, UV_READABLE, on_ready) : uv_poll_stop (&self->poll);
}

void lines_close (struct lines *self)
{
    lines_read (self, false);
    uv_close (self->epoll < 0 ? (uv_handle_t *) &self->idle : (uv_handle_t *) &self->poll, NULL);
}

void lines_fini (struct lines *self)
{
    if (self->epoll >= 0)
        close (self->epoll);
    buf_fini (&self->line);
}
