/* What a bridge sends: judged, then answered or put into the inbox. Outside bytes cost at most the command. */
#include "internal.h"

#include <string.h>

#define MAX_RUNS 1000 /* in ABANDONED; a bridge follows 256 of a user */

enum command {
#define COMMAND(name, to_runtime, to_bridge) COMMAND_##name,
#include "commands.h"
#undef COMMAND
    COMMAND_COUNT
};

static const struct {
    const char *name;
    bool to_runtime;
} commands[] = {
#define COMMAND(name, to_runtime, to_bridge) {#name, to_runtime},
#include "commands.h"
#undef COMMAND
};

/* The frames as bytes, named. */
struct incoming {
    struct abr_bytes frames[ABR_COMMAND_FRAMES];
    struct abr_bytes bridge, connection, user, headers, body;
    enum command command;
};

/* --- judging: each check returns what is wrong, or NULL ---------------------------------------------------------- */

static const char *find_command (struct incoming *in)
{
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (abr_bytes_eq (in->frames[1], commands[i].name)) {
            in->command = (enum command) i;
            return commands[i].to_runtime ? NULL : "a command for bridges";
        }
    return "an unknown command";
}

static const char *check_headers (const struct incoming *in)
{
    struct abr_mp_token token;
    size_t pos = 0;
    if (in->headers.n == 0)
        return NULL;
    if (!abr_mp_check (in->headers, 0))
        return "headers are not one whole MessagePack value";
    return abr_mp_read (in->headers, &pos, &token) && token.kind == ABR_MP_MAP ? NULL : "headers are not a map";
}

static const char *check_ids (const struct incoming *in)
{
    bool conn = in->command == COMMAND_CONNECT || in->command == COMMAND_MESSAGE || in->command == COMMAND_DISCONNECT;
    if (conn && !abr_is_name (in->connection, 128))
        return "the connection id is none";
    if ((conn || in->command == COMMAND_ABANDONED) && !abr_is_user (in->user))
        return "the user id is none";
    return NULL;
}

static const char *check_opcode (const struct incoming *in)
{
    struct abr_bytes opcode;
    if (!abr_mp_get (in->headers, "opcode").p)
        return NULL;
    return abr_mp_get_str (in->headers, "opcode", &opcode) &&
                   (abr_bytes_eq (opcode, "text") || abr_bytes_eq (opcode, "binary"))
               ? NULL
               : "opcode is neither text nor binary";
}

static const char *check_runs (const struct incoming *in)
{
    struct abr_bytes runs = abr_mp_get (in->headers, "runs");
    struct abr_mp_token token;
    size_t pos = 0;
    if (!runs.p || !abr_mp_read (runs, &pos, &token) || token.kind != ABR_MP_ARRAY)
        return "runs is not a list";
    if (token.v.count > MAX_RUNS)
        return "runs is longer than any bridge makes it";
    for (uint64_t left = token.v.count; left; left--)
        if (!abr_mp_read (runs, &pos, &token) || token.kind != ABR_MP_STR ||
            (token.v.bytes.n && memchr (token.v.bytes.p, 0, token.v.bytes.n)))
            return "runs holds what is no run_id";
    return NULL;
}

static const char *check_replay (const struct incoming *in)
{
    struct abr_bytes publisher;
    uint64_t from, to;
    if (!abr_mp_get_str (in->headers, "publisher", &publisher) || !abr_mp_get_uint (in->headers, "from", &from) ||
        !abr_mp_get_uint (in->headers, "to", &to))
        return "publisher, from and to are not all there";
    return from >= 1 && from <= to ? NULL : "from is 0 or above to";
}

static const char *judge (struct incoming *in, const zmq_msg_t *frames, size_t n)
{
    const char *wrong;
    if (n != ABR_COMMAND_FRAMES)
        return "not five frames";
    for (size_t i = 0; i < n; i++)
        in->frames[i] = (struct abr_bytes){zmq_msg_data ((zmq_msg_t *) &frames[i]), zmq_msg_size (&frames[i])};
    in->bridge = in->frames[0], in->connection = in->frames[2], in->user = in->frames[3];
    in->headers = in->frames[4], in->body = in->frames[5];
    if ((wrong = find_command (in)) || (wrong = check_headers (in)) || (wrong = check_ids (in)))
        return wrong;
    return in->command == COMMAND_MESSAGE     ? check_opcode (in)
           : in->command == COMMAND_ABANDONED ? check_runs (in)
           : in->command == COMMAND_REPLAY    ? check_replay (in)
                                              : NULL;
}

/* --- bridges ----------------------------------------------------------------------------------------------------- */

static struct abr_bridge *find_bridge (abr_t *self, struct abr_bytes id)
{
    for (size_t i = 0; i < self->bridges_n; i++)
        if (self->bridges[i].n == id.n && memcmp (self->bridges[i].id, id.p, id.n) == 0)
            return &self->bridges[i];
    return NULL;
}

/* A place for one more; when all are taken, that of the one that was silent for the longest time. */
static struct abr_bridge *place_for_bridge (abr_t *self)
{
    struct abr_bridge *oldest = &self->bridges[0];
    if (self->bridges_n < ABR_MAX_BRIDGES)
        return &self->bridges[self->bridges_n++];
    for (size_t i = 1; i < self->bridges_n; i++)
        if (self->bridges[i].turn < oldest->turn)
            oldest = &self->bridges[i];
    abr_log (self, "more than %d bridges: abr_kick() no longer reaches the one that was silent for the longest time",
             ABR_MAX_BRIDGES);
    return oldest;
}

static void note_bridge (abr_t *self, struct abr_bytes id)
{
    struct abr_bridge *bridge = find_bridge (self, id);
    if (!bridge && id.n <= ABR_BRIDGE_ID_MAX) {
        bridge = place_for_bridge (self);
        memcpy (bridge->id, id.p, id.n);
        bridge->n = id.n;
    }
    if (bridge)
        bridge->turn = ++self->turn;
}

void abr_bridge_forget (abr_t *self, struct abr_bytes id)
{
    struct abr_bridge *bridge = find_bridge (self, id);
    if (bridge)
        *bridge = self->bridges[--self->bridges_n];
}

/* --- carrying out ------------------------------------------------------------------------------------------------ */

static void enqueue (abr_t *self, abr_item_t *item)
{
    *self->inbox_end = item;
    self->inbox_end = &item->next;
    self->inbox_n++;
    self->inbox_bytes += abr_item_size (item);
}

static void take_abandoned (abr_t *self, abr_item_t *item)
{
    const char *run_id;
    for (size_t i = 0; self->options.cancel_abandoned && (run_id = abr_item_run_id (item, i)); i++)
        abr_runs_abandoned (self, abr_item_user (item), run_id);
}

static void take_item (abr_t *self, const struct incoming *in, abr_kind_t kind)
{
    abr_item_t *item = abr_item_new (kind, in->frames);
    if (!item) {
        self->counters[ABR_COMMANDS_DROPPED]++;
        abr_log (self, "%s dropped: no memory", commands[in->command].name);
        return;
    }
    if (kind == ABR_ABANDONED)
        take_abandoned (self, item);
    enqueue (self, item);
}

static void take_hello (abr_t *self, const struct incoming *in)
{
    uint64_t protocol = 1;
    if (abr_mp_get (in->headers, "protocol").p &&
        (!abr_mp_get_uint (in->headers, "protocol", &protocol) || protocol != 1))
        abr_log (self, "a bridge speaks protocol %" PRIu64 ", this library 1", protocol);
    abr_answer_hello (self, in->bridge);
}

static void take_replay (abr_t *self, const struct incoming *in)
{
    struct abr_bytes publisher;
    uint64_t from, to;
    if (abr_mp_get_str (in->headers, "publisher", &publisher) && abr_mp_get_uint (in->headers, "from", &from) &&
        abr_mp_get_uint (in->headers, "to", &to)) /* as check_replay() has seen */
        abr_answer_replay (self, in->bridge, publisher, from, to);
}

static void carry_out (abr_t *self, const struct incoming *in)
{
    switch (in->command) {
    case COMMAND_HELLO:
        return take_hello (self, in);
    case COMMAND_PING:
        return abr_answer_ping (self, in->bridge, in->headers);
    case COMMAND_REPLAY:
        return take_replay (self, in);
    case COMMAND_CONNECT:
        return take_item (self, in, ABR_CONNECT);
    case COMMAND_MESSAGE:
        return take_item (self, in, ABR_MESSAGE);
    case COMMAND_DISCONNECT:
        return take_item (self, in, ABR_DISCONNECT);
    case COMMAND_ABANDONED:
        return take_item (self, in, ABR_ABANDONED);
    default: /* PONG: this library asks nothing */
        return;
    }
}

void abr_command_take (abr_t *self, zmq_msg_t *frames, size_t n)
{
    struct incoming in;
    const char *wrong = judge (&in, frames, n);
    if (wrong) {
        self->counters[ABR_COMMANDS_MALFORMED]++;
        abr_log (self, "a malformed command was dropped: %s", wrong);
        return;
    }
    self->counters[ABR_COMMANDS_RECEIVED]++;
    note_bridge (self, in.bridge);
    carry_out (self, &in);
}
