/* bench_limit, and whatever else has its interface: the user's name is in the query, what it sends are the events. */
#include "wire_zmtp.h"

/* [user][body] */
static void on_pushed (void *arg, const struct slice *frames, size_t n)
{
    if (n != 2)
        die ("a message of %zu frames", n);
    load_message (arg, frames[0], frames[1]);
}

static void limit_open (struct load *load)
{
    wire_zmtp_open (load, "PULL", on_pushed);
}

static void limit_request (const struct client *client, struct buf *target, UNUSED struct buf *headers)
{
    buf_printf (target, "/ws?user=%s", client->user->name);
}

static void frame_is_event (struct client *client, struct slice payload)
{
    load_event (client, payload);
}

const struct wire wire_limit = {.name = "limit",
                                .can = CAN_MESSAGES,
                                .publishes = BODY_JSON,
                                .open = limit_open,
                                .ready = wire_zmtp_is_ready,
                                .publish = wire_zmtp_publish,
                                .flush = wire_zmtp_flush,
                                .request = limit_request,
                                .upgraded = client_ready,
                                .frame = frame_is_event};
