/* The bridge, and the limit. */
#include "load.h"
#include "token.h"

/* --- what both have in common: they connect to the publisher over ZMTP --- */

static bool zmtp_is_ready (const struct load *load)
{
    return load->subscribed;
}

static void on_subscription (void *arg, UNUSED const struct slice *frames, UNUSED size_t n)
{
    struct load *load = arg;
    load->subscribed = true;
}

static void put_meta (struct load *load)
{
    static uint64_t seq;
    char meta[] = "\x82\xa9publisher\xa5"
                  "bench\xa3seq\xcf________";
    seq++;
    for (int i = 0; i < 8; i++)
        meta[sizeof meta - 9 + (size_t) i] = (char) (seq >> (56 - 8 * i));
    zmtp_put (&load->events, slice_of (meta, sizeof meta - 1), false);
}

static void zmtp_publish (struct load *load, const struct user *user, struct slice body)
{
    zmtp_put (&load->events, slice_str (user->name), true);
    zmtp_put (&load->events, body, load->options.meta);
    if (load->options.meta)
        put_meta (load);
}

static void zmtp_flush (struct load *load)
{
    pipe_flush (&load->events.peer);
}

static void frame_is_event (struct client *client, struct slice payload)
{
    load_event (client, payload);
}

/* --- bridge -------------------------------------------------------------------------------------------------- */

/* [command][connection][user][headers][body] */
static void on_command (void *arg, const struct slice *frames, size_t n)
{
    struct load *load = arg;
    if (n != 5)
        die ("the bridge sent a command of %zu frames", n);
    if (slice_is (frames[0], "MESSAGE"))
        load_message (load, frames[2], frames[4]);
    bool hello = slice_is (frames[0], "HELLO");
    if (!hello && !slice_is (frames[0], "PING"))
        return;
    static const char about[] = "\x84\xa8protocol\x01\xa7runtime\xa5"
                                "bench\xa9publisher\xa5"
                                "bench\xa3seq\x00";
    zmtp_put (&load->commands, slice_str (hello ? "HELLO" : "PONG"), true);
    zmtp_put (&load->commands, slice_str (""), true);
    zmtp_put (&load->commands, slice_str (""), true);
    zmtp_put (&load->commands, hello ? slice_of (about, sizeof about - 1) : frames[3], true);
    zmtp_put (&load->commands, slice_str (""), false);
}

static void bridge_open (struct load *load)
{
    zmtp_bind (&load->events, &load->loop, "PUB", (unsigned) load->options.events_port, on_subscription, load);
    zmtp_bind (&load->commands, &load->loop, "ROUTER", (unsigned) load->options.commands_port, on_command, load);
}

static void bridge_request (const struct client *client, struct buf *target, struct buf *headers)
{
    const struct options *options = &client->load->options;
    buf_printf (target, "/ws%s", client->resume);
    if (*options->subprotocol)
        buf_printf (headers, "Sec-WebSocket-Protocol: %s\r\n", options->subprotocol);
    if (!*options->secret)
        return;
    buf_puts (headers, "Authorization: Bearer ");
    token_write (headers, client->user->name, options->secret);
    buf_puts (headers, "\r\n");
}

static void wait_for_welcome (UNUSED struct client *client)
{
}

/* The string at `key` of a JSON text without escapes. */
static struct slice string_at (struct slice json, const char *key)
{
    const char *at = memmem (json.p, json.n, key, strlen (key));
    if (!at)
        return slice_str ("");
    at += strlen (key);
    return slice_of (at, strcspn (at, "\",}"));
}

/* connection_established says where to resume. */
static void on_welcome (struct client *client, struct slice payload)
{
    static const char type[] = "connection_established";
    bool welcome = memmem (payload.p, payload.n, type, sizeof type - 1);
    if (!welcome && client->load->options.refusals)
        return; /* the close frame comes next, and is counted */
    if (!welcome)
        die ("the first frame for %s is %.*s", client->user->name, (int) payload.n, payload.p);
    struct slice epoch = string_at (payload, "\"epoch\":\""), offset = string_at (payload, "\"offset\":");
    if (*client->resume && !memmem (payload.p, payload.n, "\"recovered\":true", 16))
        client->load->lost++;
    if (!*client->resume) /* later rounds begin at the same place */
        snprintf (client->resume, sizeof client->resume, "?epoch=%.*s&offset=%.*s", (int) epoch.n, epoch.p,
                  (int) offset.n, offset.p);
    client_ready (client);
}

static void bridge_frame (struct client *client, struct slice payload)
{
    static const char draining[] = "bridge_draining";
    if (client->state == CLIENT_GREETING)
        on_welcome (client, payload);
    else if (!memmem (payload.p, payload.n < 64 ? payload.n : 64, draining, sizeof draining - 1))
        load_event (client, payload);
}

const struct wire wire_bridge = {.name = "bridge",
                                 .publishes = BODY_MSGPACK,
                                 .open = bridge_open,
                                 .ready = zmtp_is_ready,
                                 .publish = zmtp_publish,
                                 .flush = zmtp_flush,
                                 .request = bridge_request,
                                 .upgraded = wait_for_welcome,
                                 .frame = bridge_frame};

/* --- limit --------------------------------------------------------------------------------------------------- */

/* [user][body] */
static void on_pushed (void *arg, const struct slice *frames, size_t n)
{
    if (n != 2)
        die ("a message of %zu frames", n);
    load_message (arg, frames[0], frames[1]);
}

static void limit_open (struct load *load)
{
    zmtp_bind (&load->events, &load->loop, "PUB", (unsigned) load->options.events_port, on_subscription, load);
    zmtp_bind (&load->commands, &load->loop, "PULL", (unsigned) load->options.commands_port, on_pushed, load);
}

static void limit_request (const struct client *client, struct buf *target, UNUSED struct buf *headers)
{
    buf_printf (target, "/ws?user=%s", client->user->name);
}

const struct wire wire_limit = {.name = "limit",
                                .publishes = BODY_JSON,
                                .open = limit_open,
                                .ready = zmtp_is_ready,
                                .publish = zmtp_publish,
                                .flush = zmtp_flush,
                                .request = limit_request,
                                .upgraded = client_ready,
                                .frame = frame_is_event};
