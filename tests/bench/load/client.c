/* A WebSocket client (RFC 6455). */
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define CHUNK 262144

static uint8_t shared[CHUNK + (4 << 20)]; /* what is left of a frame, and what is read behind it */

void client_set_state (struct client *self, enum client_state state)
{
    self->load->in_state[self->state]--;
    self->load->in_state[state]++;
    self->state = state;
}

void client_ready (struct client *self)
{
    samples_add (&self->load->setup, now_ns () - self->began);
    client_set_state (self, CLIENT_READY);
}

/* --- out ----------------------------------------------------------------------------------------------------- */

/* Small writes: a socket that does not take one whole is a server that does not read. */
static void send_all (struct client *self, struct slice bytes)
{
    ssize_t n = send (self->watcher.fd, bytes.p, bytes.n, MSG_NOSIGNAL);
    if (n != (ssize_t) bytes.n && errno != EPIPE && errno != ECONNRESET)
        die ("client %s: the server does not read", self->user->name);
}

void client_send (struct client *self, unsigned opcode, struct slice payload)
{
    static const uint8_t mask[4] = {0x5a, 0xc3, 0x17, 0x88};
    struct buf *out = &self->load->scratch;
    CHECK (payload.n < 65536);
    buf_reset (out);
    buf_putc (out, (char) (0x80 | opcode));
    buf_putc (out, (char) (0x80 | (payload.n < 126 ? payload.n : 126)));
    if (payload.n >= 126) {
        buf_putc (out, (char) (payload.n >> 8));
        buf_putc (out, (char) payload.n);
    }
    buf_put (out, mask, sizeof mask);
    size_t start = out->n;
    buf_put (out, payload.p, payload.n);
    for (size_t i = 0; i < payload.n; i++)
        out->p[start + i] ^= mask[i % 4];
    send_all (self, buf_slice (out));
}

static void send_request (struct client *self)
{
    struct buf *out = &self->load->scratch, target = {0}, headers = {0};
    self->load->wire->request (self, &target, &headers);
    buf_reset (out);
    buf_printf (out,
                "GET %.*s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%.*s\r\n",
                (int) target.n, (char *) target.p, self->load->options.server, (int) headers.n, (char *) headers.p);
    buf_fini (&target);
    buf_fini (&headers);
    send_all (self, buf_slice (out));
    client_set_state (self, CLIENT_UPGRADING);
}

/* --- in ------------------------------------------------------------------------------------------------------ */

static void gone (struct client *self)
{
    if (self->state != CLIENT_CLOSING && self->close_code == 0)
        self->load->refused++;
    loop_close (&self->load->loop, &self->watcher);
    buf_fini (&self->rest);
    buf_fini (&self->stream);
    client_set_state (self, CLIENT_CLOSED);
}

static void on_close_frame (struct client *self, struct slice payload)
{
    self->close_code = 1005;
    if (payload.n >= 2)
        self->close_code = (uint16_t) ((uint8_t) payload.p[0] << 8 | (uint8_t) payload.p[1]);
    if (self->state == CLIENT_CLOSING)
        return;
    self->load->restarts += self->close_code == 1012;
    self->load->refused += self->close_code != 1012;
    client_send (self, 8, slice_of (payload.p, payload.n < 2 ? 0 : 2));
}

static void on_frame (struct client *self, unsigned opcode, struct slice payload)
{
    if (opcode == 8)
        on_close_frame (self, payload);
    else if (opcode == 9)
        client_send (self, 10, payload);
    else if (opcode < 8)
        self->load->wire->frame (self, payload);
}

static size_t take_refusal (struct client *self, struct slice in)
{
    if (self->load->options.refusals == 0)
        die ("client %s was refused: %.*s", self->user->name, (int) strcspn (in.p, "\r"), in.p);
    gone (self);
    return in.n;
}

/* The 101 at the front of `in`; how many bytes, 0 when it is not whole. */
static size_t take_response (struct client *self, struct slice in)
{
    const char *end = memmem (in.p, in.n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (in.n < 12 || memcmp (in.p, "HTTP/1.1 101", 12) != 0)
        return take_refusal (self, in);
    client_set_state (self, CLIENT_GREETING);
    self->load->wire->upgraded (self);
    return (size_t) (end + 4 - in.p);
}

/* The frame at the front of `in`; how many bytes, 0 when it is not whole. Servers do not mask. */
static size_t take_frame (struct client *self, struct slice in)
{
    const uint8_t *p = (const uint8_t *) in.p;
    size_t head = in.n < 2 ? 2 : p[1] < 126 ? 2 : p[1] == 126 ? 4 : 10;
    if (in.n < head)
        return 0;
    uint64_t n = head == 2 ? p[1] : 0;
    for (size_t i = 2; i < head; i++)
        n = n << 8 | p[i];
    if (in.n - head < n)
        return 0;
    on_frame (self, p[0] & 0x0f, slice_of (p + head, n));
    return head + n;
}

/* What was not used is kept. */
static void take_all (struct client *self, struct slice in)
{
    size_t n = 1;
    while (in.n && n && self->watcher.fd >= 0) {
        n = self->state == CLIENT_UPGRADING ? take_response (self, in) : take_frame (self, in);
        in = slice_of (in.p + n, in.n - n);
    }
    if (in.n == 0)
        buf_fini (&self->rest);
    else {
        buf_reset (&self->rest);
        buf_put (&self->rest, in.p, in.n);
    }
}

/* A short read ends it, except when the end that comes behind has been told already. */
static void read_all (struct client *self, bool ended)
{
    ssize_t n = CHUNK;
    while ((n == CHUNK || (ended && n > 0)) && self->watcher.fd >= 0) {
        size_t kept = self->rest.n;
        CHECK (kept + CHUNK <= sizeof shared);
        slice_copy (shared, buf_slice (&self->rest));
        n = recv (self->watcher.fd, shared + kept, CHUNK, 0);
        if (n > 0)
            take_all (self, slice_of (shared, kept + (size_t) n));
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            gone (self);
    }
}

static void on_ready (struct watcher *watcher, uint32_t events)
{
    struct client *self = CONTAINER_OF (watcher, struct client, watcher);
    if (self->state == CLIENT_CONNECTING && events & EPOLLOUT && !(events & EPOLLERR))
        send_request (self);
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP))
        read_all (self, events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP));
}

/* --- life ---------------------------------------------------------------------------------------------------- */

/* Edge-triggered, for both directions: one epoll_ctl a connection. */
void client_open (struct client *self)
{
    self->began = now_ns ();
    self->watcher = (struct watcher){.fd = tcp_connect (self->load->options.server), .fn = on_ready};
    self->close_code = 0;
    client_set_state (self, CLIENT_CONNECTING);
    loop_add (&self->load->loop, &self->watcher, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

void client_close (struct client *self)
{
    client_send (self, 8, slice_of ("\x03\xe8", 2));
    client_set_state (self, CLIENT_CLOSING);
}

void client_cut (struct client *self)
{
    struct linger at_once = {.l_onoff = 1};
    setsockopt (self->watcher.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    client_set_state (self, CLIENT_CLOSING);
    gone (self);
}
