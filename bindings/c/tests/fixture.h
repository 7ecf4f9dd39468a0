/* An abr_t and, in the same thread, what a bridge is to it: a DEALER for commands and a SUB for events. Over inproc,
 * where everything that was sent is there. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "internal.h"

#define COUNT_OF(array) (sizeof (array) / sizeof *(array))
#define CONN            "ws_0123456789ab"

static struct {
    abr_t *abr;
    zsock_t *dealer, *sub;
    zmsg_t *heard;       /* the last message, owned here */
    zframe_t *frames[8]; /* its frames, borrowed */
    size_t frames_n;
    char log[4096]; /* all log lines */
} fx;

static inline void fixture_log (void *arg, const char *line)
{
    size_t n = strlen (fx.log);
    (void) arg;
    snprintf (fx.log + n, sizeof fx.log - n, "%s\n", line);
}

static inline zsock_t *fixture_connect (int type, const char *endpoint, const char *routing_id)
{
    zsock_t *socket = zsock_new (type);
    assert_non_null (socket);
    zsock_set_rcvtimeo (socket, 2000);
    zsock_set_sndtimeo (socket, 2000);
    if (routing_id)
        zsock_set_identity (socket, routing_id);
    if (type == ZMQ_SUB)
        zsock_set_subscribe (socket, "");
    assert_int_equal (zsock_connect (socket, "%s", endpoint), 0);
    return socket;
}

/* Start fx.abr, which may have been given options, and connect. */
static inline void fixture_start (void)
{
    static int number;
    char commands[64], events[64];
    snprintf (commands, sizeof commands, "inproc://commands-%d", ++number);
    snprintf (events, sizeof events, "inproc://events-%d", number);
    assert_int_equal (abr_set_commands (fx.abr, commands), 0);
    assert_int_equal (abr_set_events (fx.abr, events), 0);
    assert_int_equal (abr_start (fx.abr), 0);
    fx.dealer = fixture_connect (ZMQ_DEALER, commands, "pod-7");
    fx.sub = fixture_connect (ZMQ_SUB, events, NULL);
    zsock_events (fx.abr->events); /* let it see the subscription */
}

static inline int fixture_new (void **state)
{
    (void) state;
    zsys_handler_set (NULL);
    memset (&fx, 0, sizeof fx);
    fx.abr = abr_new ("tester");
    assert_non_null (fx.abr);
    return abr_set_logger (fx.abr, fixture_log, NULL);
}

static inline int fixture_up (void **state)
{
    fixture_new (state);
    fixture_start ();
    return 0;
}

static inline int fixture_down (void **state)
{
    (void) state;
    zmsg_destroy (&fx.heard);
    zsock_destroy (&fx.dealer);
    zsock_destroy (&fx.sub);
    abr_destroy (&fx.abr);
    return 0;
}

/* Send frames as they are. */
static inline void say_frames (const struct abr_bytes *frames, size_t n)
{
    zmsg_t *message = zmsg_new ();
    for (size_t i = 0; i < n; i++)
        zmsg_addmem (message, frames[i].p, frames[i].n);
    assert_int_equal (zmsg_send (&message, fx.dealer), 0);
}

#define BYTES(literal)                                                                                                 \
    (struct abr_bytes)                                                                                                 \
    {                                                                                                                  \
        (literal), sizeof (literal) - 1                                                                                \
    }

static inline void say (const char *command, const char *conn, const char *user, struct abr_bytes headers,
                        const char *body)
{
    const struct abr_bytes frames[] = {abr_bytes_of (command), abr_bytes_of (conn), abr_bytes_of (user), headers,
                                       abr_bytes_of (body)};
    say_frames (frames, 5);
}

static inline void say_message (const char *user, const char *text)
{
    say ("MESSAGE", CONN, user, BYTES ("\x82\xa3seq\x01\xa6opcode\xa4text"), text);
}

static inline size_t hear (zsock_t *socket)
{
    zmsg_destroy (&fx.heard);
    fx.heard = zmsg_recv (socket);
    assert_non_null (fx.heard);
    fx.frames_n = 0;
    for (zframe_t *frame = zmsg_first (fx.heard); frame; frame = zmsg_next (fx.heard))
        fx.frames[fx.frames_n++] = frame;
    return fx.frames_n;
}

static inline struct abr_bytes frame (size_t index)
{
    assert_true (index < fx.frames_n);
    return (struct abr_bytes){(const char *) zframe_data (fx.frames[index]), zframe_size (fx.frames[index])};
}

static inline void expect_bytes (struct abr_bytes found, const char *expected)
{
    assert_int_equal (found.n, strlen (expected));
    assert_memory_equal (found.p, expected, found.n);
}

/* The next command to the bridge is this one. */
static inline void expect_command (const char *name)
{
    assert_int_equal (hear (fx.dealer), 5);
    expect_bytes (frame (0), name);
}

static inline void expect_str (struct abr_bytes map, const char *key, const char *expected)
{
    struct abr_bytes value = {NULL, 0};
    assert_true (abr_mp_get_str (map, key, &value));
    expect_bytes (value, expected);
}

static inline void expect_uint (struct abr_bytes map, const char *key, uint64_t expected)
{
    uint64_t value = 0;
    assert_true (abr_mp_get_uint (map, key, &value));
    assert_int_equal (value, expected);
}

/* The next event is of this type; its map. */
static inline struct abr_bytes expect_event (const char *type)
{
    assert_int_equal (hear (fx.sub), 3);
    expect_str (frame (1), "type", type);
    return frame (1);
}

static inline void expect_silence (zsock_t *socket)
{
    zsock_set_rcvtimeo (socket, 0);
    assert_null (zmsg_recv (socket));
    zsock_set_rcvtimeo (socket, 2000);
}

/* The call failed with this code and says these words. */
static inline void expect_failure (int status, int code, const char *words)
{
    int seen = errno;
    assert_int_equal (status, -1);
    assert_int_equal (seen, code);
    if (!strstr (abr_error (fx.abr), words))
        fail_msg ("\"%s\" does not say \"%s\"", abr_error (fx.abr), words);
}

#define TEST(name)                                                                                                     \
    {                                                                                                                  \
#name, name, fixture_up, fixture_down, NULL                                                                    \
    }
#define TEST_UNSTARTED(name)                                                                                           \
    {                                                                                                                  \
#name, name, fixture_new, fixture_down, NULL                                                                   \
    }

#endif
