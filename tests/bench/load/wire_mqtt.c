/* MQTT 3.1.1 (docs.oasis-open.org/mqtt), QoS 0: the same over TCP and in WebSocket frames. A user's events have its
 * name as topic, its messages `up/` and its name. */
#include "wire_tcp.h"

#include <unistd.h>

#define UP         "up/"
#define KEEP_ALIVE 3600 /* s; longer than a run, so that nobody needs to ping */
#define ID_BYTES   48

enum type {
    CONNECT = 0x10,
    CONNACK = 0x20,
    PUBLISH = 0x30,
    SUBSCRIBE = 0x82, /* with the bit that it must have */
    SUBACK = 0x90
};

struct packet {
    uint8_t type;
    struct slice content;
    size_t n; /* bytes of all of it */
};

/* --- packets ------------------------------------------------------------------------------------------------- */

static void put_head (struct buf *out, enum type type, size_t n)
{
    buf_putc (out, (char) type);
    for (; n > 127; n >>= 7)
        buf_putc (out, (char) (n | 0x80));
    buf_putc (out, (char) n);
}

static void put_u16 (struct buf *out, size_t value)
{
    buf_putc (out, (char) (value >> 8));
    buf_putc (out, (char) value);
}

static void put_text (struct buf *out, const char *text)
{
    put_u16 (out, strlen (text));
    buf_puts (out, text);
}

/* Begin a clean session and subscribe, without waiting for what lies between. */
static void put_hello (struct buf *out, const char *id, const char *topic)
{
    put_head (out, CONNECT, 10 + 2 + strlen (id));
    put_text (out, "MQTT");
    buf_put (out, "\x04\x02", 2);
    put_u16 (out, KEEP_ALIVE);
    put_text (out, id);
    put_head (out, SUBSCRIBE, 2 + 2 + strlen (topic) + 1);
    put_u16 (out, 1);
    put_text (out, topic);
    buf_putc (out, 0);
}

static void put_publish (struct buf *out, const char *prefix, const char *user, struct slice body)
{
    size_t topic_n = strlen (prefix) + strlen (user);
    put_head (out, PUBLISH, 2 + topic_n + body.n);
    put_u16 (out, topic_n);
    buf_puts (out, prefix);
    buf_puts (out, user);
    buf_put (out, body.p, body.n);
}

/* False when it is not whole. */
static bool read_packet (struct slice in, struct packet *packet)
{
    const uint8_t *p = (const uint8_t *) in.p;
    size_t n = 0, head = 1;
    for (unsigned shift = 0; head == 1 || p[head - 1] & 0x80; shift += 7, head++) {
        if (head >= in.n)
            return false;
        if (shift > 21)
            die ("MQTT: a length of more than four bytes");
        n |= (size_t) (p[head] & 0x7f) << shift;
    }
    *packet = (struct packet){.type = p[0], .content = slice_of (p + head, n), .n = head + n};
    return packet->n <= in.n;
}

/* CONNACK and SUBACK end with a code. */
static void check_accepted (const struct packet *packet)
{
    if (packet->content.n == 0 || packet->content.p[packet->content.n - 1] != 0)
        die ("MQTT: the server has refused (packet %02x)", packet->type);
}

static void split_publish (struct slice content, struct slice *topic, struct slice *body)
{
    const uint8_t *p = (const uint8_t *) content.p;
    size_t n = content.n < 2 ? 0 : (size_t) (p[0] << 8 | p[1]);
    if (content.n < 2 + n)
        die ("MQTT: a PUBLISH of %zu bytes", content.n);
    *topic = slice_of (p + 2, n);
    *body = slice_of (p + 2 + n, content.n - 2 - n);
}

/* --- publisher ----------------------------------------------------------------------------------------------- */

static void mqtt_open (struct load *load)
{
    char id[ID_BYTES];
    snprintf (id, sizeof id, "publisher-%d", (int) getpid ());
    wire_tcp_open (load);
    put_hello (&load->publisher.out, id, UP "+");
    pipe_flush (&load->publisher);
}

static void on_message (struct load *load, struct slice content)
{
    struct slice topic, body;
    split_publish (content, &topic, &body);
    if (topic.n < strlen (UP))
        die ("MQTT: topic %.*s", (int) topic.n, topic.p);
    load_message (load, slice_of (topic.p + strlen (UP), topic.n - strlen (UP)), body);
}

static size_t publisher_take (struct load *load, struct slice in)
{
    struct packet packet;
    if (!read_packet (in, &packet))
        return 0;
    if (packet.type == PUBLISH)
        on_message (load, packet.content);
    else
        check_accepted (&packet);
    load->subscribed |= packet.type == SUBACK;
    return packet.n;
}

static void mqtt_publish (struct load *load, const struct user *user, struct slice body)
{
    put_publish (&load->publisher.out, "", user->name, body);
}

/* --- clients ------------------------------------------------------------------------------------------------- */

static void mqtt_request (UNUSED const struct client *client, struct buf *target, struct buf *headers)
{
    buf_puts (target, "/mqtt");
    buf_puts (headers, "Sec-WebSocket-Protocol: mqtt\r\n");
}

static void mqtt_upgraded (struct client *client)
{
    static struct buf hello;
    char id[ID_BYTES];
    snprintf (id, sizeof id, "%s-%zu", client->user->name, (size_t) (client - client->load->clients));
    buf_reset (&hello);
    put_hello (&hello, id, client->user->name);
    client_send (client, 2, buf_slice (&hello));
}

static size_t client_take (struct client *client, struct slice in)
{
    struct packet packet;
    struct slice topic, body;
    if (!read_packet (in, &packet))
        return 0;
    if (packet.type == PUBLISH) {
        split_publish (packet.content, &topic, &body);
        load_event (client, body);
    } else
        check_accepted (&packet);
    if (packet.type == SUBACK)
        client_ready (client);
    return packet.n;
}

static void mqtt_wrap (const struct client *client, struct slice body, struct buf *out)
{
    put_publish (out, UP, client->user->name, body);
}

const struct wire wire_mqtt = {.name = "mqtt",
                               .can = CAN_MESSAGES,
                               .publishes = BODY_JSON,
                               .open = mqtt_open,
                               .ready = wire_tcp_is_ready,
                               .publisher_take = publisher_take,
                               .publish = mqtt_publish,
                               .flush = wire_tcp_flush,
                               .request = mqtt_request,
                               .upgraded = mqtt_upgraded,
                               .frame = wire_tcp_frame,
                               .client_take = client_take,
                               .wrap = mqtt_wrap};
