/* Events with and without meta (core/downstream.c, publisher.c, run.c, history.c, session.c) in a hub whose clients
 * come, read, stall and go while runtimes do the same. Isolation: an event never reaches a connection of another user.
 * To see it, each event gets a first key `owner` with the user that it is for; what has none must be a notice of the
 * bridge. Offsets rise on every connection.
 *
 * The input is a list of steps: a byte that names the step, then what the step wants. */
#include "core/run_watch.h"
#include "hub.h"
#include "json.h"

#define N_SLOTS 6

static struct slot {
    struct conn *conn; /* NULL: nobody */
    uint64_t offset;   /* of the last event that it has read */
} slots[N_SLOTS];

static const char *const users[] = {"alice", "bob", "carol", "dave"}; /* dave never has a connection */
static bool foreign_runs;                                             /* an event named a run that is not its user's */

/* --- what clients read --------------------------------------------------------------------------------------- */

static const char *const notices[] = {"connection_established", "connection_error", "resync",
                                      "runs_snapshot",          "run_stalled",      "agent_error"};

static void check_runs (const json_t *runs, const char *user)
{
    size_t i;
    const json_t *run;
    json_array_foreach (runs, i, run)
        CHECK (foreign_runs || strncmp (json_string_value (json_object_get (run, "run_id")), user, strlen (user)) == 0);
}

/* The bridge's own words: about nobody else. */
static void check_notice (const struct conn *conn, struct slice text)
{
    char *user = text_of (user_id (conn->user));
    json_t *tree = json_tree (text, 0), *data = json_object_get (tree, "data");
    const char *type = json_string_value (json_object_get (tree, "type"));
    bool known = false;
    CHECK (type);
    for (size_t i = 0; i < COUNT_OF (notices); i++)
        known = known || strcmp (type, notices[i]) == 0;
    CHECK (known);
    const json_t *named = json_object_get (json_object_get (data, "user_id") ? data : tree, "user_id");
    CHECK (!named || strcmp (json_string_value (named), user) == 0);
    check_runs (json_object_get (data, "runs"), user);
    json_decref (tree);
    free (user);
}

/* On a raw connection an `_offset` is the runtime's own. */
static void check_offset (const struct conn *conn, struct slice text)
{
    json_t *tree = json_tree (text, 0);
    const json_t *offset = json_object_get (tree, "_offset");
    struct slot *slot = slots;
    CHECK (json_is_object (tree));
    while (slot->conn != conn)
        slot++;
    if (offset && conn->form != FORM_RAW) {
        CHECK ((uint64_t) json_integer_value (offset) > slot->offset);
        slot->offset = (uint64_t) json_integer_value (offset);
    }
    json_decref (tree);
}

static void check_json (const struct conn *conn, struct slice text)
{
    static const char begin[] = "{\"owner\":\"";
    struct slice user = user_id (conn->user);
    size_t n = sizeof begin - 1;
    if (text.n < n || memcmp (text.p, begin, n) != 0) {
        check_notice (conn, text);
        return;
    }
    CHECK (text.n > n + user.n && memcmp (text.p + n, user.p, user.n) == 0 && text.p[n + user.n] == '"');
    check_offset (conn, text);
}

static void check_read (struct conn *conn, const struct frame *frame)
{
    struct buf text;
    if (frame->opcode != WS_TEXT && frame->opcode != WS_BINARY)
        return;
    CHECK ((frame->opcode == WS_TEXT) == (conn->form == FORM_JSON));
    if (frame->opcode == WS_TEXT) {
        check_json (conn, frame->payload);
        return;
    }
    CHECK (mp_check (frame->payload) == MP_OK);
    buf_init (&text, 0);
    mp_json_write (&text, frame->payload);
    check_json (conn, buf_slice (&text));
    buf_fini (&text);
}

/* --- events -------------------------------------------------------------------------------------------------- */

static void put_owner (msgpack_packer *packer, struct slice user)
{
    mp_put_cstr (packer, "owner");
    mp_put_str (packer, user);
}

/* Any bytes; a map gets its owner. The runs that it names may be called anything. */
static void put_any_event (struct buf *out, struct slice user, struct slice *rest)
{
    struct slice bytes = input_piece (rest);
    struct mp_token head;
    msgpack_packer packer;
    size_t pos = 0;
    mp_writer_init (&packer, out);
    if (mp_read (bytes, &pos, &head) == MP_OK && head.kind == MP_MAP) {
        mp_put_map (&packer, head.count + 1);
        put_owner (&packer, user);
    } else
        pos = 0;
    buf_put (out, bytes.p + pos, bytes.n - pos);
    piece_free (bytes);
    foreign_runs = true;
}

/* A byte for the type, one for the run and for what else it has. */
static void put_made_event (struct buf *out, struct slice user, struct slice *rest)
{
    static const char *const types[] = {"agent_started", "agent_thinking",  "tool_executing",  "tool_completed",
                                        "stream_chunk",  "progress_update", "agent_completed", "agent_error"};
    uint8_t type = input_byte (rest), what = input_byte (rest);
    bool delta = what & 4, narrow = what & 8, from = what & 16;
    const struct conn *conn = slots[(what >> 5) % N_SLOTS].conn;
    char run[32];
    msgpack_packer packer;
    snprintf (run, sizeof run, "%.*s-%d", (int) user.n, user.p, what & 3);
    narrow = narrow && conn;
    mp_writer_init (&packer, out);
    mp_put_map (&packer, 3u + delta + narrow + from);
    put_owner (&packer, user);
    mp_put_cstr (&packer, "type");
    mp_put_cstr (&packer, types[type % COUNT_OF (types)]);
    mp_put_cstr (&packer, "run_id");
    mp_put_cstr (&packer, run);
    if (delta) {
        mp_put_cstr (&packer, "delta");
        mp_put_str (&packer, slice_of ("0123456789abcdef", type % 16));
    }
    if (narrow) {
        mp_put_cstr (&packer, "connection_id");
        mp_put_cstr (&packer, conn->id);
    }
    if (from) {
        mp_put_cstr (&packer, "user_id");
        mp_put_str (&packer, user);
    }
}

static struct slice take_user (struct slice *rest)
{
    return slice_str (users[input_byte (rest) % COUNT_OF (users)]);
}

/* Bit 0 of `how`: whose bytes the event is made of. */
static void put_event (struct buf *out, struct slice user, uint8_t how, struct slice *rest)
{
    if (how & 1)
        put_any_event (out, user, rest);
    else
        put_made_event (out, user, rest);
}

/* A byte for the publisher, one for the number. */
static void put_meta (struct buf *out, struct slice *rest)
{
    static const char *const names[] = {"p", "q", "restarted"};
    msgpack_packer packer;
    mp_writer_init (&packer, out);
    mp_put_map (&packer, 2);
    mp_put_cstr (&packer, "publisher");
    mp_put_cstr (&packer, names[input_byte (rest) % COUNT_OF (names)]);
    mp_put_cstr (&packer, "seq");
    mp_put_uint (&packer, input_byte (rest) % 32);
}

/* Bits of `how`: 0 see put_event, 1 with meta, 2 meta is any bytes, 3 the user is any bytes. */
static void step_event (uint8_t how, struct slice *rest)
{
    struct slice user = how & 8 ? input_piece (rest) : piece_of (take_user (rest));
    struct buf event, meta;
    buf_init (&event, 0);
    buf_init (&meta, 0);
    put_event (&event, user, how, rest);
    if (how & 2)
        put_meta (&meta, rest);
    struct slice any = how & 4 ? input_piece (rest) : piece_of (buf_slice (&meta));
    struct slice frames[] = {user, piece_of (buf_slice (&event)), any};
    downstream_event (&fx.hub, frames, how & 6 ? 3 : 2);
    for (size_t i = 0; i < COUNT_OF (frames); i++)
        piece_free (frames[i]);
    buf_fini (&meta);
    buf_fini (&event);
}

/* --- the runtimes ------------------------------------------------------------------------------------------- */

static void run_command (const char *name, int lane, struct slice user, struct slice headers, struct slice body)
{
    struct slice frames[] = {slice_str (name), slice_str (NULL), user, headers, body};
    downstream_command (&fx.hub, lane, frames, COUNT_OF (frames));
}

static void step_answer (int lane, struct slice *rest)
{
    struct slice user = take_user (rest);
    struct buf headers, event;
    buf_init (&headers, 0);
    buf_init (&event, 0);
    put_meta (&headers, rest);
    put_event (&event, user, 0, rest);
    run_command ("EVENT", lane, user, buf_slice (&headers), buf_slice (&event));
    buf_fini (&headers);
    buf_fini (&event);
}

static void step_lost (int lane, struct slice *rest)
{
    static const char *const keys[] = {"from", "to"};
    struct buf headers;
    msgpack_packer packer;
    buf_init (&headers, 0);
    put_meta (&headers, rest);
    headers.p[0] = 0x84; /* its two pairs and two more */
    mp_writer_init (&packer, &headers);
    for (size_t i = 0; i < COUNT_OF (keys); i++) {
        mp_put_cstr (&packer, keys[i]);
        mp_put_uint (&packer, input_byte (rest) % 32);
    }
    run_command ("LOST", lane, slice_str (NULL), buf_slice (&headers), slice_str (NULL));
    buf_fini (&headers);
}

static void step_hello (const char *name, int lane, struct slice *rest)
{
    struct buf headers;
    msgpack_packer packer;
    buf_init (&headers, 0);
    put_meta (&headers, rest);
    headers.p[0] = 0x83;
    mp_writer_init (&packer, &headers);
    mp_put_cstr (&packer, "t");
    mp_put_uint (&packer, 0);
    run_command (name, lane, slice_str (NULL), buf_slice (&headers), slice_str (NULL));
    buf_fini (&headers);
}

/* The link comes or goes, as edge/link.c tells it. */
static void step_link (int lane)
{
    fx.lane_up[lane] = !fx.lane_up[lane];
    if (fx.lane_up[lane])
        publishers_lane_up (&fx.hub.publishers, lane);
    else
        publishers_lane_down (&fx.hub.publishers, lane);
    session_links_changed (&fx.hub, fx.lane_up[lane] ? LANE_NONE : lane);
}

/* Twentieths of a second, and what the bridge does meanwhile. */
static void step_time (uint8_t n)
{
    struct history_limits limits = hub_history_limits (&fx.hub);
    fuzz_clock_advance (n * WHEEL_TICK);
    wheel_advance (&fx.hub.wheel, clock_now ());
    run_watch (&fx.hub);
    registry_expire (&fx.hub.registry, &limits, clock_now ());
}

/* --- clients ------------------------------------------------------------------------------------------------- */

static void forget_gone (void)
{
    for (struct slot *slot = slots; slot < slots + N_SLOTS; slot++)
        if (slot->conn && conn_is_ending (slot->conn))
            *slot = (struct slot){0};
    hub_turn ();
}

/* It comes back behind an offset of its user: bits of `how` say how far back, 0 asks for nothing. */
static void step_connect (struct slot *slot, uint8_t how, struct slice *rest)
{
    char epoch[EPOCH_LEN + 1] = "", offset[32] = "";
    const char *name = users[input_byte (rest) % (COUNT_OF (users) - 1)];
    const struct user *user = registry_user (&fx.hub.registry, slice_str (name));
    uint64_t back = how / FORM_COUNT;
    if (slot->conn)
        return;
    *slot = (struct slot){0};
    if (user && back && back <= user->offset) {
        registry_epoch (&fx.hub.registry, user, epoch);
        snprintf (offset, sizeof offset, "%llu", (unsigned long long) (user->offset - back + 1));
    }
    slot->conn = hub_connect (name, how % FORM_COUNT, slice_str (epoch), slice_str (offset));
}

static void step_read (struct slot *slot)
{
    hub_begin_turn (&fx.hub);
    if (slot->conn)
        read_frames (slot->conn, check_read);
}

static void step_leave (struct slot *slot)
{
    if (slot->conn)
        conn_gone (slot->conn, CLOSE_PEER_CLOSED);
}

/* The low four bits of a byte name the step, the others say more. */
static void step (struct slice *rest)
{
    uint8_t first = input_byte (rest), more = first >> 4;
    struct slot *slot = &slots[more % N_SLOTS];
    int lane = more & 1;
    switch (first & 15) {
    case 0:
        step_connect (slot, input_byte (rest), rest);
        break;
    case 1:
        step_leave (slot);
        break;
    case 2:
    case 3:
        step_read (slot);
        break;
    case 4:
        step_time ((uint8_t) (1 << (more & 7)));
        break;
    case 5:
        step_link (lane);
        break;
    case 6:
        step_hello (more & 2 ? "HELLO" : "PONG", lane, rest);
        break;
    case 7:
        step_answer (lane, rest);
        break;
    case 8:
        step_lost (lane, rest);
        break;
    default:
        step_event (more, rest);
    }
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    struct slice rest = slice_of (data, size);
    hub_up ();
    memset (slots, 0, sizeof slots);
    foreign_runs = false;
    for (int lane = 0; lane < HUB_LANES; lane++)
        publishers_lane_up (&fx.hub.publishers, lane);
    while (rest.n) {
        step (&rest);
        forget_gone ();
    }
    for (struct slot *slot = slots; slot < slots + N_SLOTS; slot++)
        step_read (slot);
    hub_down ();
    return 0;
}
