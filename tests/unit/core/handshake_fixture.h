/* A hub with keys and a runtime that is up or down as the test wants it, requests made of text, and the log in memory.
 */
#ifndef TESTS_HANDSHAKE_FIXTURE_H
#define TESTS_HANDSHAKE_FIXTURE_H

#include "base/metrics.h"
#include "core/handshake.h"
#include "core/hub.h"
#include "jwt_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <cmocka.h>

#define EXP  "4102444800" /* the year 2100 */
#define LATE INT64_C (4102444800)

static struct config *config;
static struct keys *keys;
static struct hub hub;
static int log_fd = -1;

/* What the fake runtime says. */
static struct {
    bool lane[2];
    bool events;
} links;

/* --- the runtime --------------------------------------------------------------------------------------------- */

static int fake_lanes (void *self)
{
    (void) self;
    return (int) COUNT_OF (links.lane);
}

static bool fake_lane_up (void *self, int lane)
{
    (void) self;
    return links.lane[lane];
}

static bool fake_events_up (void *self)
{
    (void) self;
    return links.events;
}

static bool fake_send (void *self, int lane, const struct command *command)
{
    (void) self;
    (void) lane;
    (void) command;
    return true;
}

/* --- the log ------------------------------------------------------------------------------------------------- */

/* Everything since hub_up(); the caller frees it. */
static char *log_text (void)
{
    off_t n = lseek (log_fd, 0, SEEK_END);
    char *out = calloc (1, (size_t) n + 1);
    CHECK (out && pread (log_fd, out, (size_t) n, 0) == n);
    return out;
}

UNUSED static bool log_has (const char *part)
{
    char *all = log_text ();
    bool has = strstr (all, part) != NULL;
    free (all);
    return has;
}

/* --- the hub ------------------------------------------------------------------------------------------------- */

/* With these flags (up to NULL) beside a secret and `environment` test. */
static void hub_up (char *flags[])
{
    char *argv[40] = {"--jwt-secret", SECRET, "--environment", "test", "--bridge-id", "unit"}, *env[] = {NULL};
    struct buf error;
    int argc = 6;
    while (flags[argc - 6])
        argc++;
    CHECK (argc <= (int) COUNT_OF (argv));
    memcpy (argv + 6, flags, (size_t) (argc - 6) * sizeof *flags);
    buf_init (&error, 0);
    config = config_new (argc, argv, env, &error);
    if (!config)
        fail_msg ("%.*s", (int) error.n, (char *) error.p);
    struct keys_sources sources = {.secret = config->jwt_secret};
    keys = keys_load (&sources, &error, &error);
    assert_non_null (keys);
    buf_fini (&error);
    metrics_reset ();
    log_fd = memfd_create ("log", 0);
    log_configure (log_fd, LOG_LEVEL_ERROR, true); /* lines have a budget; see log_set_level() */
    clock_refresh ();
    hub_init (&hub, config);
    hub.keys = keys;
    hub.runtime = (struct runtime_port){
        .lanes = fake_lanes, .lane_up = fake_lane_up, .events_up = fake_events_up, .send = fake_send};
    links.lane[0] = links.lane[1] = links.events = true;
}

#define HUB_UP(...) hub_up ((char *[]){__VA_ARGS__ __VA_OPT__ (, ) NULL})

static void hub_down (void)
{
    hub_fini (&hub);
    keys_destroy (&keys);
    config_destroy (&config);
    log_configure (2, LOG_LEVEL_INFO, true);
    close (log_fd);
}

/* --- requests and connections -------------------------------------------------------------------------------- */

#define HEAD(target, headers)                                                                                          \
    "GET " target " HTTP/1.1\r\nHost: bridge.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                 \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" headers "\r\n"

UNUSED static struct request request_of (const char *head)
{
    struct request request;
    size_t n;
    if (request_parse (&request, slice_str (head), &n) != REQUEST_OK)
        fail_msg ("not a head: %s", head);
    return request;
}

/* Takes the claims as JSON; a token that the hub's keys accept. */
UNUSED static char *token_of (const char *claims)
{
    return make_token ("{\"alg\":\"HS256\"}", claims);
}

/* The connection that asks with this head (taken). */
UNUSED static struct conn *admit (char *head)
{
    struct request request = request_of (head);
    struct conn *conn = conn_new (&hub);
    struct ip client;
    assert_true (ip_parse (slice_str ("192.0.2.7"), &client));
    assert_non_null (conn);
    handshake_admit (conn, &request, &client);
    free (head);
    return conn;
}

UNUSED static void drop (struct conn *conn)
{
    conn_gone (conn, CLOSE_PEER_LOST);
    hub_reap (&hub);
}

#endif
