#include "load.h"

#include <inttypes.h>

#define EVENT_TYPE   "agent_thinking"
#define MESSAGE_TYPE "user_message"

/* --- events and messages -------------------------------------------------------------------------------------- */

static enum body_form arriving_form (const struct load *self)
{
    bool msgpack = self->wire == &wire_bridge && strstr (self->options.subprotocol, "msgpack");
    return msgpack ? BODY_MSGPACK : BODY_JSON;
}

void load_publish (struct load *self, struct user *user)
{
    struct buf *out = &self->scratch;
    buf_reset (out);
    body_write (out, self->wire->publishes, EVENT_TYPE, user->name, (struct stamp){++user->published, now_ns ()});
    self->wire->publish (self, user, buf_slice (out));
}

void load_drain_publisher (struct load *self)
{
    self->wire->flush (self);
    while (self->events.peer.out.n || self->publisher.out.n)
        load_turn (self, MS_NS);
}

static bool is_flooded (const struct client *client)
{
    return client->load->options.flood && client->user == &client->load->users[client->load->n_users - 1];
}

static void count_fault (struct load *self, enum body_fault fault)
{
    self->malformed += fault == BODY_MALFORMED;
    self->foreign += fault == BODY_FOREIGN;
}

void load_event (struct client *client, struct slice body)
{
    struct load *self = client->load;
    struct stamp stamp;
    enum body_fault fault = body_read (arriving_form (self), EVENT_TYPE, client->user->name, body, &stamp);
    if (fault != BODY_OK) {
        count_fault (self, fault);
        return;
    }
    if (stamp.seq <= client->seq) {
        self->repeated++;
        return;
    }
    self->lost += stamp.seq - client->seq - 1;
    client->seq = stamp.seq;
    if (is_flooded (client))
        return;
    self->delivered++;
    samples_add (&self->latency, now_ns () - stamp.ts);
}

static struct user *user_named (const struct load *self, struct slice name)
{
    size_t index = 0;
    for (size_t i = 1; i < name.n; i++)
        index = index * 10 + (size_t) (name.p[i] - '0');
    index -= (size_t) self->options.first_user;
    return index < self->n_users && slice_is (name, self->users[index].name) ? &self->users[index] : NULL;
}

void load_message (struct load *self, struct slice name, struct slice body)
{
    struct user *user = user_named (self, name);
    struct stamp stamp;
    enum body_fault fault = user ? body_read (BODY_JSON, MESSAGE_TYPE, user->name, body, &stamp) : BODY_FOREIGN;
    if (fault != BODY_OK) {
        count_fault (self, fault);
        return;
    }
    self->repeated += stamp.seq <= user->arrived;
    self->lost += stamp.seq > user->arrived ? stamp.seq - user->arrived - 1 : 0;
    user->arrived = stamp.seq;
    self->upstream++;
    samples_add (&self->latency, now_ns () - stamp.ts);
}

void load_send (struct client *client)
{
    static struct buf body, wrapped; /* apart from `scratch`, which client_send uses */
    const struct wire *wire = client->load->wire;
    buf_reset (&body);
    body_write (&body, BODY_JSON, MESSAGE_TYPE, client->user->name, (struct stamp){++client->sent, now_ns ()});
    if (wire->wrap) {
        buf_reset (&wrapped);
        wire->wrap (client, buf_slice (&body), &wrapped);
    }
    client_send (client, wire->wrap ? 2 : 1, buf_slice (wire->wrap ? &wrapped : &body));
}

uint64_t load_faults (const struct load *self)
{
    uint64_t allowed = (uint64_t) self->options.refusals,
             refused = self->refused > allowed ? self->refused - allowed : 0;
    return self->malformed + self->foreign + self->repeated + self->lost + refused;
}

/* --- life ---------------------------------------------------------------------------------------------------- */

static const struct wire *wire_named (const char *name)
{
    static const struct wire *const wires[] = {&wire_bridge, &wire_limit, &wire_mqtt, &wire_nats, &wire_nchan};
    for (size_t i = 0; i < COUNT_OF (wires); i++)
        if (strcmp (name, wires[i]->name) == 0)
            return wires[i];
    die ("unknown --wire %s", name);
}

static void make_users (struct load *self)
{
    const struct options *options = &self->options;
    self->n_users = (size_t) (options->users + (options->flood > 0));
    self->n_clients = self->n_users * (size_t) options->per_user;
    self->users = calloc (self->n_users, sizeof *self->users);
    self->clients = calloc (self->n_clients, sizeof *self->clients);
    CHECK (self->users && self->clients);
    for (size_t i = 0; i < self->n_users; i++)
        snprintf (self->users[i].name, sizeof self->users[i].name, "u%06zu", i + (size_t) options->first_user);
    for (size_t i = 0; i < self->n_clients; i++)
        self->clients[i] =
            (struct client){.load = self, .user = &self->users[i / (size_t) options->per_user], .watcher.fd = -1};
    self->in_state[CLIENT_IDLE] = self->n_clients;
}

void load_choose_wire (struct load *self)
{
    self->wire = wire_named (self->options.wire);
}

void load_init (struct load *self)
{
    loop_init (&self->loop);
    body_set_size ((size_t) self->options.size);
    make_users (self);
    self->wire->open (self);
    while (!self->wire->ready (self))
        load_turn (self, MS_NS);
    self->wire->flush (self);
}

/* What shows that things go on. */
static uint64_t progress (const struct load *self)
{
    uint64_t sum = self->delivered + self->upstream + load_faults (self) + self->subscribed;
    for (int state = 0; state <= CLIENT_CLOSED; state++)
        sum += self->in_state[state] * (uint64_t) (state + 1) * 1000003;
    return sum + self->restarts;
}

void load_turn (struct load *self, int64_t timeout_ns)
{
    static uint64_t last;
    static int64_t since;
    loop_turn (&self->loop, self->options.spin ? 0 : timeout_ns);
    uint64_t now = progress (self);
    if (now != last || !since) {
        last = now;
        since = now_ns ();
    } else if (now_ns () - since > self->options.patience_s * S_NS)
        die ("nothing has moved for %ld s: %" PRIu64 " delivered, %zu of %zu clients ready, %" PRIu64 " faults",
             self->options.patience_s, self->delivered, self->in_state[CLIENT_READY], self->n_clients,
             load_faults (self));
}

size_t load_under_way (const struct load *self)
{
    return self->in_state[CLIENT_CONNECTING] + self->in_state[CLIENT_UPGRADING] + self->in_state[CLIENT_GREETING];
}

void load_open_all (struct load *self, size_t parallel)
{
    for (size_t next = 0; self->in_state[CLIENT_READY] < self->n_clients;) {
        while (next < self->n_clients && load_under_way (self) < parallel)
            client_open (&self->clients[next++]);
        load_turn (self, MS_NS);
        if (self->refused)
            die ("a client was turned away");
    }
}
