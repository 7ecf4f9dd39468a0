/* The load: users with their WebSocket clients, and the publisher, in one thread. */
#ifndef LOAD_LOAD_H
#define LOAD_LOAD_H

#include "body.h"
#include "options.h"
#include "samples.h"
#include "zmtp.h"

struct user {
    char name[24]; /* u000017 */
    uint64_t published;
    uint64_t arrived; /* messages of its first client at the publisher's side */
};

enum client_state {
    CLIENT_IDLE,
    CLIENT_CONNECTING,
    CLIENT_UPGRADING,
    CLIENT_GREETING, /* upgraded; what the server wants to hear first is under way */
    CLIENT_READY,
    CLIENT_CLOSING, /* its own close frame is out */
    CLIENT_CLOSED
};

struct client {
    struct watcher watcher;
    struct load *load;
    struct user *user;
    enum client_state state;
    uint16_t close_code; /* of the server's close frame; 0: none */
    uint64_t seq;        /* of the last event */
    uint64_t sent;       /* messages */
    int64_t began;       /* now_ns() at connect */
    char resume[96];     /* query that resumes; empty: begins anew */
    struct buf rest;     /* of an incomplete frame; lent while there is one */
    struct buf stream;   /* the same within frames, for protocols whose messages span them */
};

/* What not every server can do. */
enum ability {
    CAN_MESSAGES = 1, /* of clients, handed on to the publisher's side */
    CAN_RESUME = 2,
    CAN_DRAIN = 4
};

/* What differs from server to server. */
struct wire {
    const char *name;
    unsigned can;             /* enum ability, or'ed */
    enum body_form publishes; /* the form of what `publish` takes */
    /* Open the publisher's side. It is there when `ready` says so. */
    void (*open) (struct load *load);
    bool (*ready) (const struct load *load);
    /* Servers that are connected to: what the publisher has got begins with `in`. How many bytes the first message has;
     * 0 when it is not whole. */
    size_t (*publisher_take) (struct load *load, struct slice in);
    /* One event for one user, and what has been put out to the server. */
    void (*publish) (struct load *load, const struct user *user, struct slice body);
    void (*flush) (struct load *load);
    /* Target and subprotocols of the upgrade request, e.g. "/ws" and "Sec-WebSocket-Protocol: a\r\n". */
    void (*request) (const struct client *client, struct buf *target, struct buf *headers);
    /* 101 has come: client_ready(), or say first what the server wants to hear. */
    void (*upgraded) (struct client *client);
    /* A data frame: load_event() for each event in it. */
    void (*frame) (struct client *client, struct slice payload);
    /* The same as publisher_take, for protocols whose messages span frames. */
    size_t (*client_take) (struct client *client, struct slice in);
    /* Wrap a message of the client, where the server wants more than the frame; NULL: it does not. */
    void (*wrap) (const struct client *client, struct slice body, struct buf *out);
};

extern const struct wire wire_bridge, wire_limit, wire_mqtt, wire_nats, wire_nchan;

struct load {
    struct options options;
    struct loop loop;
    const struct wire *wire;
    struct user *users;
    size_t n_users;
    struct client *clients; /* users.n * per_user; those of one user side by side */
    size_t n_clients;
    struct zmtp events;    /* PUB */
    struct zmtp commands;  /* ROUTER or PULL */
    struct pipe publisher; /* of servers that are connected to */
    bool subscribed;
    struct buf scratch;

    /* How many clients are in each state, and how many were closed with 1012. */
    size_t in_state[CLIENT_CLOSED + 1];
    size_t restarts;

    uint64_t delivered; /* events at clients */
    uint64_t upstream;  /* messages at the publisher's side */
    struct samples latency;
    struct samples setup;

    /* Each of these makes the run a failure. */
    uint64_t malformed, foreign, repeated, lost, refused;
};

/* An event, as JSON or msgpack, has reached the client; a message of `user` the runtime. Counted and checked. */
void load_event (struct client *client, struct slice body);
void load_message (struct load *load, struct slice user, struct slice body);

/* --- clients (client.c) --- */

void client_open (struct client *self);
void client_set_state (struct client *self, enum client_state state);
void client_ready (struct client *self);

/* Send one frame, masked. */
void client_send (struct client *self, unsigned opcode, struct slice payload);

/* Send a close frame and wait for the answer; or cut the socket (RST). */
void client_close (struct client *self);
void client_cut (struct client *self);

/* --- what scenarios share (load.c) --- */

/* Find the wire. */
void load_choose_wire (struct load *self);

/* Make users and clients, and connect with the server. */
void load_init (struct load *self);

/* One turn of the loop; dies when nothing has moved for `patience-s`. */
void load_turn (struct load *self, int64_t timeout_ns);

/* Open all clients, so many at a time; returns when all are ready. */
void load_open_all (struct load *self, size_t parallel);

/* Clients that are not ready yet. */
size_t load_under_way (const struct load *self);

/* Publish the next event of a user; send the next message of a client. */
void load_publish (struct load *self, struct user *user);
void load_send (struct client *client);

/* Flush, and wait until the socket has taken everything. */
void load_drain_publisher (struct load *self);

/* The sum of the faults, without the refusals that are allowed. */
uint64_t load_faults (const struct load *self);

#endif
