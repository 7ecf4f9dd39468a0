/* The bridge. */
#include "token.h"
#include "wire_zmtp.h"

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
    wire_zmtp_open (load, "ROUTER", on_command);
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
                                 .can = CAN_MESSAGES | CAN_RESUME | CAN_DRAIN,
                                 .publishes = BODY_MSGPACK,
                                 .open = bridge_open,
                                 .ready = wire_zmtp_is_ready,
                                 .publish = wire_zmtp_publish,
                                 .flush = wire_zmtp_flush,
                                 .request = bridge_request,
                                 .upgraded = wait_for_welcome,
                                 .frame = bridge_frame};
