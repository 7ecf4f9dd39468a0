/* nginx with nchan (nchan.io): WebSocket subscribers at /sub/USER, events posted to /pub/USER one behind the other on
 * one connection. Nothing comes back from the clients. */
#include "wire_tcp.h"

static void nchan_open (struct load *load)
{
    wire_tcp_open (load);
    buf_puts (&load->publisher.out, "GET /ready HTTP/1.1\r\nHost: bench\r\n\r\n");
    pipe_flush (&load->publisher);
}

static void nchan_publish (struct load *load, const struct user *user, struct slice body)
{
    struct buf *out = &load->publisher.out;
    buf_printf (out, "POST /pub/%s HTTP/1.1\r\nHost: bench\r\nContent-Length: %zu\r\n\r\n", user->name, body.n);
    buf_put (out, body.p, body.n);
}

/* How long the body is of which this is the head. */
static size_t content_length (struct slice head)
{
    static const char name[] = "\r\nContent-Length: ";
    const char *at = memmem (head.p, head.n, name, sizeof name - 1);
    if (!at)
        die ("nchan: an answer without length: %.*s", (int) head.n, head.p);
    return strtoul (at + sizeof name - 1, NULL, 10);
}

static size_t publisher_take (struct load *load, struct slice in)
{
    static const char success[] = "HTTP/1.1 2";
    const char *end = memmem (in.p, in.n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    struct slice head = slice_of (in.p, (size_t) (end + 4 - in.p));
    if (memcmp (head.p, success, sizeof success - 1) != 0)
        die ("nchan: %.*s", (int) strcspn (head.p, "\r"), head.p);
    load->subscribed = true;
    size_t n = head.n + content_length (head);
    return n <= in.n ? n : 0;
}

static void nchan_request (const struct client *client, struct buf *target, UNUSED struct buf *headers)
{
    buf_printf (target, "/sub/%s", client->user->name);
}

static void frame_is_event (struct client *client, struct slice payload)
{
    load_event (client, payload);
}

const struct wire wire_nchan = {.name = "nchan",
                                .publishes = BODY_JSON,
                                .open = nchan_open,
                                .ready = wire_tcp_is_ready,
                                .publisher_take = publisher_take,
                                .publish = nchan_publish,
                                .flush = wire_tcp_flush,
                                .request = nchan_request,
                                .upgraded = client_ready,
                                .frame = frame_is_event};
