/* NATS (docs.nats.io, "Client Protocol"): lines of text, the same over TCP and in WebSocket frames.
 * A user's events have its name as subject, its messages `up.` and its name. */
#include "wire_tcp.h"

#define CONNECT "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"bench\",\"version\":\"1\"}\r\n"
#define UP      "up."

struct op {
    struct slice line, body;
    size_t n; /* bytes of both, with their ends */
};

static bool begins (struct slice line, const char *start)
{
    size_t n = strlen (start);
    return line.n >= n && memcmp (line.p, start, n) == 0;
}

/* The number that the line ends with. */
static size_t last_number (struct slice line)
{
    size_t value = 0, scale = 1;
    for (size_t i = line.n; i && line.p[i - 1] >= '0' && line.p[i - 1] <= '9'; i--, scale *= 10)
        value += scale * (size_t) (line.p[i - 1] - '0');
    return value;
}

/* False when it is not whole. */
static bool read_op (struct slice in, struct op *op)
{
    const char *end = memmem (in.p, in.n, "\r\n", 2);
    if (!end)
        return false;
    *op = (struct op){.line = slice_of (in.p, (size_t) (end - in.p)), .n = (size_t) (end + 2 - in.p)};
    if (begins (op->line, "-ERR"))
        die ("NATS: %.*s", (int) op->line.n, op->line.p);
    if (!begins (op->line, "MSG "))
        return true;
    op->body = slice_of (in.p + op->n, last_number (op->line));
    op->n += op->body.n + 2;
    return op->n <= in.n;
}

static void put_pub (struct buf *out, const char *prefix, const char *user, struct slice body)
{
    buf_printf (out, "PUB %s%s %zu\r\n", prefix, user, body.n);
    buf_put (out, body.p, body.n);
    buf_puts (out, "\r\n");
}

/* --- publisher ----------------------------------------------------------------------------------------------- */

static void nats_open (struct load *load)
{
    wire_tcp_open (load);
    buf_puts (&load->publisher.out, CONNECT "SUB " UP "* 1\r\nPING\r\n");
    pipe_flush (&load->publisher);
}

/* `MSG up.u000017 1 250` */
static void on_message (struct load *load, const struct op *op)
{
    struct slice rest = op->line, subject;
    if (!slice_cut (&rest, ' ', &subject) || !slice_cut (&rest, ' ', &subject) || !begins (subject, UP))
        die ("NATS: %.*s", (int) op->line.n, op->line.p);
    load_message (load, slice_of (subject.p + strlen (UP), subject.n - strlen (UP)), op->body);
}

static size_t publisher_take (struct load *load, struct slice in)
{
    struct op op;
    if (!read_op (in, &op))
        return 0;
    if (op.body.p)
        on_message (load, &op);
    else if (slice_is (op.line, "PING"))
        buf_puts (&load->publisher.out, "PONG\r\n");
    else if (slice_is (op.line, "PONG"))
        load->subscribed = true;
    return op.n;
}

static void nats_publish (struct load *load, const struct user *user, struct slice body)
{
    put_pub (&load->publisher.out, "", user->name, body);
}

/* --- clients ------------------------------------------------------------------------------------------------- */

static void nats_request (UNUSED const struct client *client, struct buf *target, UNUSED struct buf *headers)
{
    buf_puts (target, "/");
}

/* All in one; the PONG says that the subscription is there. */
static void nats_upgraded (struct client *client)
{
    char hello[160];
    int n = snprintf (hello, sizeof hello, CONNECT "SUB %s 1\r\nPING\r\n", client->user->name);
    client_send (client, 2, slice_of (hello, (size_t) n));
}

static size_t client_take (struct client *client, struct slice in)
{
    struct op op;
    if (!read_op (in, &op))
        return 0;
    if (op.body.p)
        load_event (client, op.body);
    else if (slice_is (op.line, "PING"))
        client_send (client, 2, slice_str ("PONG\r\n"));
    else if (slice_is (op.line, "PONG") && client->state == CLIENT_GREETING)
        client_ready (client);
    return op.n;
}

static void nats_wrap (const struct client *client, struct slice body, struct buf *out)
{
    put_pub (out, UP, client->user->name, body);
}

const struct wire wire_nats = {.name = "nats",
                               .can = CAN_MESSAGES,
                               .publishes = BODY_JSON,
                               .open = nats_open,
                               .ready = wire_tcp_is_ready,
                               .publisher_take = publisher_take,
                               .publish = nats_publish,
                               .flush = wire_tcp_flush,
                               .request = nats_request,
                               .upgraded = nats_upgraded,
                               .frame = wire_tcp_frame,
                               .client_take = client_take,
                               .wrap = nats_wrap};
