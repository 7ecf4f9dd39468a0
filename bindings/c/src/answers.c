/* What the library says to bridges by itself. An answer that cannot be sent is counted: the bridge asks again, or gives
 * up. */
#include "internal.h"

/* `pairs` headers follow. */
static msgpack_packer begin (abr_t *self, size_t pairs)
{
    msgpack_packer packer;
    abr_buf_reset (&self->headers);
    abr_mp_writer (&packer, &self->headers);
    msgpack_pack_map (&packer, pairs);
    return packer;
}

static void put_uint (msgpack_packer *packer, const char *name, uint64_t value)
{
    abr_mp_put_cstr (packer, name);
    msgpack_pack_uint64 (packer, value);
}

static void put_text (msgpack_packer *packer, const char *name, struct abr_bytes value)
{
    abr_mp_put_cstr (packer, name);
    abr_mp_put_str (packer, value.p, value.n);
}

/* With the headers made; `body` is taken. */
static bool answer (abr_t *self, struct abr_bytes bridge, const char *command, const char *user, zmq_msg_t *body)
{
    const struct abr_outgoing out = {bridge, command, "", user, {self->headers.p, self->headers.n}};
    if (self->headers.failed) {
        if (body)
            zmq_msg_close (body);
        abr_failed (self, ENOMEM, "no memory for an answer");
    } else if (abr_route (self, &out, body) == 0)
        return true;
    self->counters[ABR_ANSWERS_UNSENT]++;
    abr_log (self, "%s for a bridge was not sent: %s", command, abr_error (self));
    return false;
}

void abr_answer_hello (abr_t *self, struct abr_bytes bridge)
{
    msgpack_packer packer = begin (self, 5);
    put_uint (&packer, "protocol", 1);
    put_text (&packer, "runtime", abr_bytes_of (self->name));
    put_text (&packer, "publisher", abr_bytes_of (self->publisher));
    put_uint (&packer, "seq", self->seq);
    put_text (&packer, "sdk", abr_bytes_of ("agentbridge-c/" ABR_VERSION));
    answer (self, bridge, "HELLO", "", NULL);
}

void abr_answer_ping (abr_t *self, struct abr_bytes bridge, struct abr_bytes headers)
{
    struct abr_bytes t = abr_mp_get (headers, "t");
    msgpack_packer packer = begin (self, t.p ? 2 : 1);
    if (t.p) {
        abr_mp_put_cstr (&packer, "t");
        abr_buf_put (&self->headers, t.p, t.n); /* whatever it is */
    }
    put_uint (&packer, "seq", self->seq);
    answer (self, bridge, "PONG", "", NULL);
}

static bool answer_lost (abr_t *self, struct abr_bytes bridge, struct abr_bytes publisher, uint64_t from, uint64_t to)
{
    msgpack_packer packer = begin (self, 3);
    put_text (&packer, "publisher", publisher);
    put_uint (&packer, "from", from);
    put_uint (&packer, "to", to);
    if (!answer (self, bridge, "LOST", "", NULL))
        return false;
    self->counters[ABR_EVENTS_LOST] += to - from + 1;
    return true;
}

static bool answer_event (abr_t *self, struct abr_bytes bridge, uint64_t seq)
{
    struct abr_held *held = abr_replay_at (&self->replay, self->seq - seq);
    msgpack_packer packer = begin (self, 2);
    char user[129]; /* as abr_publish() has let in */
    zmq_msg_t body;
    put_text (&packer, "publisher", abr_bytes_of (self->publisher));
    put_uint (&packer, "seq", seq);
    snprintf (user, sizeof user, "%.*s", (int) zmq_msg_size (&held->user), (const char *) zmq_msg_data (&held->user));
    zmq_msg_init (&body);
    zmq_msg_copy (&body, &held->event);
    if (!answer (self, bridge, "EVENT", user, &body))
        return false;
    self->counters[ABR_EVENTS_REPLAYED]++;
    return true;
}

/* In ascending order: what is gone, what is held, what has never been. */
void abr_answer_replay (abr_t *self, struct abr_bytes bridge, struct abr_bytes publisher, uint64_t from, uint64_t to)
{
    bool ours = abr_bytes_eq (publisher, self->publisher);
    uint64_t oldest = self->seq - self->replay.n + 1;
    uint64_t first = from > oldest ? from : oldest; /* of those held; first > last: none */
    uint64_t last = to < self->seq ? to : self->seq;
    if (!ours || first > last) {
        answer_lost (self, bridge, publisher, from, to);
        return;
    }
    if (from < first && !answer_lost (self, bridge, publisher, from, first - 1))
        return;
    for (uint64_t seq = first; seq <= last; seq++)
        if (!answer_event (self, bridge, seq)) /* it does not read: the rest would not go either */
            return;
    if (to > last)
        answer_lost (self, bridge, publisher, last + 1, to);
}
