#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 256

static struct epoll_event ready[BATCH]; /* of this turn; one loop per process */
static int n_ready;

int64_t now_ns (void)
{
    struct timespec t;
    clock_gettime (CLOCK_MONOTONIC, &t);
    return t.tv_sec * S_NS + t.tv_nsec;
}

void die (const char *format, ...)
{
    va_list args;
    va_start (args, format);
    fputs ("bench_load: ", stderr);
    vfprintf (stderr, format, args);
    fputc ('\n', stderr);
    va_end (args);
    exit (1);
}

void loop_init (struct loop *self)
{
    self->epoll = epoll_create1 (EPOLL_CLOEXEC);
    if (self->epoll < 0)
        die ("epoll_create1: %s", strerror (errno));
}

static void control (struct loop *self, int op, struct watcher *watcher, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watcher};
    if (epoll_ctl (self->epoll, op, watcher->fd, &event) != 0)
        die ("epoll_ctl: %s", strerror (errno));
}

void loop_add (struct loop *self, struct watcher *watcher, uint32_t events)
{
    control (self, EPOLL_CTL_ADD, watcher, events);
}

void loop_change (struct loop *self, struct watcher *watcher, uint32_t events)
{
    control (self, EPOLL_CTL_MOD, watcher, events);
}

void loop_close (UNUSED struct loop *self, struct watcher *watcher)
{
    if (watcher->fd < 0)
        return;
    close (watcher->fd);
    watcher->fd = -1;
    for (int i = 0; i < n_ready; i++)
        if (ready[i].data.ptr == watcher)
            ready[i].data.ptr = NULL;
}

void loop_turn (struct loop *self, int64_t timeout_ns)
{
    struct timespec timeout = {.tv_sec = timeout_ns / S_NS, .tv_nsec = timeout_ns % S_NS};
    n_ready = epoll_pwait2 (self->epoll, ready, BATCH, &timeout, NULL);
    for (int i = 0; i < n_ready; i++) {
        struct watcher *watcher = ready[i].data.ptr;
        if (watcher)
            watcher->fn (watcher, ready[i].events);
    }
    n_ready = 0;
}

/* --- TCP ----------------------------------------------------------------------------------------------------- */

static int tcp_socket (void)
{
    int on = 1, fd = socket (AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die ("socket: %s", strerror (errno));
    setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return fd;
}

int tcp_listen (unsigned port)
{
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = htons ((uint16_t) port), .sin_addr.s_addr = htonl (INADDR_LOOPBACK)};
    int fd = tcp_socket ();
    if (bind (fd, (struct sockaddr *) &name, sizeof name) != 0 || listen (fd, 16) != 0)
        die ("cannot listen on port %u: %s", port, strerror (errno));
    return fd;
}

int tcp_connect (const char *address)
{
    char host[64];
    const char *colon = strrchr (address, ':');
    if (!colon || (size_t) (colon - address) >= sizeof host)
        die ("no address: %s", address);
    snprintf (host, sizeof host, "%.*s", (int) (colon - address), address);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons ((uint16_t) atoi (colon + 1))};
    if (inet_pton (AF_INET, host, &name.sin_addr) != 1)
        die ("no IPv4 address: %s", address);
    int fd = tcp_socket ();
    if (connect (fd, (struct sockaddr *) &name, sizeof name) != 0 && errno != EINPROGRESS)
        die ("cannot connect to %s: %s", address, strerror (errno));
    return fd;
}

/* --- pipes --------------------------------------------------------------------------------------------------- */

void pipe_open (struct pipe *self, struct loop *loop, int fd, void (*fn) (struct watcher *watcher, uint32_t events))
{
    *self = (struct pipe){.watcher = {.fd = fd, .fn = fn}, .loop = loop};
    loop_add (loop, &self->watcher, EPOLLIN);
}

void pipe_close (struct pipe *self)
{
    loop_close (self->loop, &self->watcher);
    buf_fini (&self->in);
    buf_fini (&self->out);
    self->sent = 0;
}

static void set_blocked (struct pipe *self, bool blocked)
{
    if (self->blocked == blocked)
        return;
    self->blocked = blocked;
    loop_change (self->loop, &self->watcher, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void pipe_flush (struct pipe *self)
{
    while (self->sent < self->out.n) {
        ssize_t n = send (self->watcher.fd, self->out.p + self->sent, self->out.n - self->sent, MSG_NOSIGNAL);
        if (n < 0) {
            set_blocked (self, true); /* an error shows when it is read */
            return;
        }
        self->sent += (size_t) n;
    }
    buf_reset (&self->out);
    self->sent = 0;
    set_blocked (self, false);
}

bool pipe_read (struct pipe *self)
{
    CHECK (buf_reserve (&self->in, 65536));
    ssize_t n = recv (self->watcher.fd, self->in.p + self->in.n, self->in.cap - self->in.n, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    self->in.n += (size_t) n;
    return n > 0;
}

void pipe_consume (struct pipe *self, size_t n)
{
    memmove (self->in.p, self->in.p + n, self->in.n - n);
    self->in.n -= n;
}
