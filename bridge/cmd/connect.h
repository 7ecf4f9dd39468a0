/* Private to connect*.c: one run of `agentbridge connect`.
 *
 *   stdin  -> lines.c -> connect_up.c    JSON object as it is, other text as a user_message -> ws_client.c
 *   stdout <- show.c  <- connect_down.c  cursor, runs, --until                              <- ws_client.c
 *   connect_end.c   when is it over?     connect.c   arguments, connections, coming back (comeback.c)
 */
#ifndef CMD_CONNECT_H
#define CMD_CONNECT_H

#include "cmd/comeback.h"
#include "cmd/args.h"
#include "cmd/lines.h"
#include "cmd/show.h"
#include "core/subprotocol.h"

#define CONNECT      "connect"
#define EXIT_LOST    1
#define EXIT_USAGE   2
#define EXIT_REFUSED 3

struct client_args {
    const char *url, *token, *token_file, *subprotocol, *origin, *ca_file, *cursor_file, *until;
    struct arg_list headers;
    int64_t for_s, quiet_ms;
    bool resume, json, follow, insecure;
};

struct client {
    struct client_args args;
    struct ws_url url;
    struct cursor cursor;
    char *token;     /* owned; NULL: none */
    char *protocols; /* owned: what is offered; NULL: nothing */
    enum form form;

    uv_loop_t loop;
    uv_timer_t retry, limit, quiet;
    uv_signal_t interrupt, terminate;
    uv_prepare_t flush;
    struct lines input;
    struct ws_client_options options;
    struct ws_client *wire;
    struct comeback_state comeback;

    struct show show;
    struct buf out;
    json_t *runs;          /* set of the runs in progress */
    uint64_t asked, ended; /* lines sent; runs that ended, and refusals */
    bool ready;            /* it may be spoken: the bridge has let us in */
    bool was_ready;        /* once */
    bool connected;        /* there is a connection, or one is being made */
    bool input_ended, cursor_dirty, faulty, stopping, stopped;
    int code;
};

/* connect_end.c */

/* A line on stderr; where deltas stand on a line of the terminal, that ends first. */
void client_note (struct client *self, const char *format, ...) PRINTF_LIKE (2, 3);

/* Write `out` to stdout. */
void client_write (struct client *self);

/* What has been printed leaves, and then only the cursor moves on: after a crash an event may come twice, but none is
 * left out. */
void client_flush (struct client *self);

/* Say goodbye, wait a moment for the answer, and end with this code. Only the first call counts. */
void client_finish (struct client *self, int code);

/* End at once. */
void client_stop (struct client *self);

/* Is everything said and answered? Then finish; while only an answer may still be on its way, after a while without a
 * word. To be called whenever something has happened. */
void client_review (struct client *self);

/* connect_up.c */

bool client_open_input (struct client *self);
void client_sent (void *arg);

/* connect_down.c */

/* The bridge listens from now on. */
void client_begin (struct client *self);
void client_message (void *arg, bool text, struct slice bytes);

/* probe.c */

/* Why did it not become a WebSocket? libwebsockets keeps most of that to itself, so the same is asked for once more
 * with libcurl, which takes up to 10 s: the error_code goes into `comeback`, other words into *end. */
void client_probe (struct client *self, struct ws_client_end *end);

#endif
