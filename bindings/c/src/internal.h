/* What the files of the library share.
 *
 *   in    abr_recv ─▶ abr_serve_some ─▶ abr_command_take ─┬▶ answers: HELLO, PONG, EVENT, LOST ─▶ abr_route
 *         (links.c)   (links.c)          (command.c)      └▶ item ─▶ inbox ─▶ abr_recv
 *   out   abr_run_* ─▶ abr_compose ─▶ abr_publish ─▶ PUB, replay
 *         (run.c)      (event.c)      (links.c)       (replay.c)          */
#ifndef ABR_INTERNAL_H
#define ABR_INTERNAL_H

#include "agentbridge.h"
#include "mp.h"
#include "replay.h"
#include "text.h"

#include <czmq.h>

#define ABR_MAX_BRIDGES    64  /* that kick() reaches; of more, those silent for the longest time are forgotten */
#define ABR_BRIDGE_ID_MAX  255 /* ZeroMQ's routing id */
#define ABR_COMMAND_FRAMES 6   /* routing id and five */

struct abr_conn {
    struct abr_bytes bridge; /* routing id */
    const char *id;          /* empty with ABANDONED */
    const char *user;
    char text[]; /* all three */
};

/* A string that a getter has handed out. */
struct abr_string {
    struct abr_string *next;
    struct abr_bytes source; /* where it was read from */
    char *text;
};

struct abr_item {
    struct abr_item *next; /* in the inbox */
    abr_kind_t kind;
    abr_conn_t *conn;
    struct abr_bytes headers; /* owned */
    struct abr_bytes body;    /* owned, NUL behind it */
    struct abr_string *strings;
};

struct abr_bridge {
    char id[ABR_BRIDGE_ID_MAX];
    size_t n;
    uint64_t turn; /* of its last word */
};

struct abr_options {
    char *commands, *events;
    size_t inbox_items, inbox_bytes;
    int events_hwm, commands_hwm, linger;
    size_t max_command, max_event;
    bool cancel_abandoned;
    char *curve_public, *curve_secret, *curve_server;
};

struct abr {
    char *name;
    char publisher[4 + ABR_ID_SIZE];
    struct abr_options options;
    zsock_t *commands, *events; /* NULL before the start */
    void *router, *pub;         /* their ZeroMQ sockets */
    int epoll_fd, event_fd;     /* what abr_fd() shows, and the part of it that says "something is left" */
    bool armed;                 /* event_fd is readable */

    uint64_t seq;
    struct abr_replay replay;
    struct abr_buf event, headers; /* being made */

    struct abr_item *inbox, **inbox_end;
    size_t inbox_n, inbox_bytes;
    struct abr_bridge bridges[ABR_MAX_BRIDGES];
    size_t bridges_n;
    uint64_t turn;
    abr_run_t *runs; /* all that exist, ended ones too */

    uint64_t counters[ABR_COUNTERS];
    void (*log) (void *arg, const char *line);
    void *log_arg;
    char error[512];
};

struct abr_run {
    abr_t *abr; /* NULL when that is gone */
    abr_run_t *next;
    char *user, *run_id, *thread_id, *agent_name;
    enum {
        ABR_RUN_NEW,
        ABR_RUN_OPEN,
        ABR_RUN_ENDED
    } state;
    bool cancelled;
    int64_t began; /* ms, monotonic */
    abr_tool_t *tools;
};

struct abr_tool {
    abr_run_t *run; /* NULL when it was completed with its run */
    abr_tool_t *next;
    char *name;
    char id[ABR_ID_SIZE];
    int64_t began;  /* us, monotonic */
    bool cancelled; /* why its run is over */
};

/* Fail: errno and the text for abr_error(); `self` may be NULL. Always -1. */
int abr_failed (abr_t *self, int code, const char *format, ...) __attribute__ ((format (printf, 3, 4)));
void abr_log (abr_t *self, const char *format, ...) __attribute__ ((format (printf, 2, 3)));

/* event.c: make an event in self->event. `base` are fields that the library gives, `own` those of the call, `more` the
 * caller's, which are checked. 0, or -1 and errno. */
int abr_compose (abr_t *self, const abr_field_t *base, const abr_field_t *own, const abr_field_t *more, bool in_run);

/* links.c: number, publish and hold self->event. 0, or -1 and errno. */
int abr_publish (abr_t *self, const char *user);

/* A command for a bridge: five frames; `body` is taken, NULL for none. 0, or -1 and errno with nothing sent. */
struct abr_outgoing {
    struct abr_bytes bridge;
    const char *command, *connection, *user;
    struct abr_bytes headers;
};
int abr_route (abr_t *self, const struct abr_outgoing *out, zmq_msg_t *body);

/* Read up to `most` commands, as long as the inbox has room. */
void abr_serve_some (abr_t *self, unsigned most);
void abr_links_close (abr_t *self);

/* command.c: judge and carry out what has come in. */
void abr_command_take (abr_t *self, zmq_msg_t *frames, size_t n);
void abr_bridge_forget (abr_t *self, struct abr_bytes id);

/* answers.c: headers are made in self->headers. */
void abr_answer_hello (abr_t *self, struct abr_bytes bridge);
void abr_answer_ping (abr_t *self, struct abr_bytes bridge, struct abr_bytes headers);
void abr_answer_replay (abr_t *self, struct abr_bytes bridge, struct abr_bytes publisher, uint64_t from, uint64_t to);

/* item.c: copies everything; NULL when memory is out. */
abr_item_t *abr_item_new (abr_kind_t kind, const struct abr_bytes frames[ABR_COMMAND_FRAMES]);
size_t abr_item_size (const abr_item_t *self); /* bytes that it takes */

/* run.c: ABANDONED names this run; end all and let go of them. */
void abr_runs_abandoned (abr_t *self, const char *user, const char *run_id);
void abr_runs_release (abr_t *self);

#endif
