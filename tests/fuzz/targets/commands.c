/* Commands of the runtime (core/command.c, commands_in.c) to a hub with four connections: whatever the frames say, SEND
 * and CLOSE reach the connection that they name and only together with its own user, KICK the connections of its user.
 *
 * The input is a list of commands: a byte (bit 0: lane; the rest, when not 0: another number of frames than five), then
 * the frames as pieces. Where a frame holds ws_aaaaaaaaaaaaaaaaaaaaaaaa, or the same of b, c or d, the id of one of the
 * connections takes its place. */
#include "hub.h"

#define N_CONNS    4
#define FRAMES_MAX 7

static struct conn *conns[N_CONNS];
static uint32_t waiting[N_CONNS]; /* frames on its queue before the command */

static void put_ids (struct slice frame)
{
    char name[CONN_ID_LEN + 1] = "ws_";
    for (int i = 0; i < N_CONNS; i++) {
        memset (name + 3, 'a' + i, CONN_ID_LEN - 3);
        for (char *at; (at = memmem (frame.p, frame.n, name, CONN_ID_LEN));)
            memcpy (at, conns[i]->id, CONN_ID_LEN);
    }
}

/* The connection has changed: was it meant? */
static void check_touched (const struct conn *conn, const struct slice *frames)
{
    struct slice user = user_id (conn->user);
    if (slice_is (frames[0], "SEND") || slice_is (frames[0], "CLOSE"))
        CHECK (slice_is (frames[1], conn->id) && slice_eq (frames[2], user));
    else if (slice_is (frames[0], "KICK"))
        CHECK (slice_eq (frames[2], user));
    else /* losses are everybody's, events that were held back anybody's */
        CHECK (slice_is (frames[0], "EVENT") || slice_is (frames[0], "LOST") || slice_is (frames[0], "HELLO") ||
               slice_is (frames[0], "PONG"));
}

static void run_command (int lane, const struct slice *frames, size_t n)
{
    bool ended[N_CONNS];
    for (int i = 0; i < N_CONNS; i++) {
        ended[i] = conn_is_ending (conns[i]);
        waiting[i] = conns[i]->outq.n;
    }
    downstream_command (&fx.hub, lane, frames, n);
    for (int i = 0; i < N_CONNS; i++)
        if (conn_is_ending (conns[i]) != ended[i] || conns[i]->outq.n != waiting[i]) {
            CHECK (n == COMMAND_FRAMES);
            check_touched (conns[i], frames);
        }
}

static void take_command (struct slice *rest)
{
    struct slice frames[FRAMES_MAX];
    uint8_t head = input_byte (rest);
    size_t n = head >> 1 ? (head >> 1) % (FRAMES_MAX + 1) : COMMAND_FRAMES;
    for (size_t i = 0; i < n; i++) {
        frames[i] = input_piece (rest);
        put_ids (frames[i]);
    }
    run_command (head & 1, frames, n);
    for (size_t i = 0; i < n; i++)
        piece_free (frames[i]);
    for (int i = 0; i < N_CONNS; i++)
        read_frames (conns[i], NULL);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    static const struct {
        const char *user;
        enum form form;
    } clients[N_CONNS] = {{"alice", FORM_JSON}, {"alice", FORM_MSGPACK}, {"bob", FORM_RAW}, {"bob", FORM_JSON}};
    struct slice rest = slice_of (data, size), none = {0};
    hub_up ();
    for (int lane = 0; lane < HUB_LANES; lane++)
        publishers_lane_up (&fx.hub.publishers, lane);
    fuzz_clock_advance (S_NS); /* nobody answers HELLO */
    wheel_advance (&fx.hub.wheel, clock_now ());
    for (int i = 0; i < N_CONNS; i++) {
        conns[i] = hub_connect (clients[i].user, clients[i].form, none, none);
        CHECK (conn_is_live (conns[i]));
        read_frames (conns[i], NULL);
    }
    while (rest.n)
        take_command (&rest);
    hub_down ();
    return 0;
}
