/* Who is there: connections by id, users by id. A user is kept while it has connections, history or runs in progress.
 */
#ifndef CORE_REGISTRY_H
#define CORE_REGISTRY_H

#include "base/map.h"
#include "core/conn.h"
#include "core/history.h"
#include "core/run.h"

#define LANE_NONE       (-1)
#define FORGOTTEN_SLOTS 4096

struct user {
    struct list conns;    /* struct conn, user_link: those that events may go to */
    uint32_t n_conns;     /* their number */
    uint32_t refs;        /* connections that point here, ending ones too */
    int lane;             /* where its commands go; LANE_NONE until needed */
    uint64_t offset;      /* of the last event; 0 before the first */
    uint32_t incarnation; /* of the epoch, see registry_epoch */
    struct history history;
    struct runs runs;
    struct list absent_link; /* in registry.absent: without connection, with runs in progress */
    int64_t absent_since;    /* the last connection went, monotonic ns; 0: there is one, or there never was */
    int64_t asked_at;        /* a message went to the runtime that no run has begun for yet; 0: none */
    struct list age_link;    /* in registry.by_age: the user whose last event is oldest comes first */
    int64_t last_event;      /* monotonic ns */
    uint8_t id_n;
    char id[];
};

struct registry {
    struct map conns;
    struct map users;
    struct list by_age; /* users with history */
    struct list absent; /* users that are waited for, the longest absent first */
    struct run_table runs;
    uint64_t losses;                     /* how often events were lost for good: all epochs change */
    uint32_t forgotten[FORGOTTEN_SLOTS]; /* users that had events and are forgotten, by hash */
    size_t users_connected;
    size_t history_bytes; /* of all users, with what a user itself takes */
};

void registry_init (struct registry *self);

/* Frees users; connections must be gone. */
void registry_fini (struct registry *self);

struct conn *registry_conn (const struct registry *self, struct slice id);
struct user *registry_user (const struct registry *self, struct slice id);

/* The user, made anew when there is none. NULL when memory is out. */
NODISCARD struct user *registry_user_get (struct registry *self, struct slice id);

/* The epoch of the user's offsets, NUL-terminated, into EPOCH_LEN + 1 bytes. It is computed from what has happened, so
 * that a user without events costs nothing while it is away and finds its epoch again. */
void registry_epoch (const struct registry *self, const struct user *user, char *out);

/* The user's first connection has come; its last one has gone. Called by conn_move alone. */
void registry_user_arrived (struct user *user);
void registry_user_left (struct registry *self, struct user *user);

/* A run of the user may have begun or ended: keeps `absent` right. */
void registry_runs_changed (struct registry *self, struct user *user);

/* Free the user if nothing keeps it. */
void registry_user_release (struct registry *self, struct user *user);

/* Give the event the user's next offset and keep it in history, within the limits of the user and of all users.
 * A user without connections may be gone afterwards. */
uint64_t registry_record (struct registry *self, struct user *user, const struct history_limits *limits,
                          size_t total_bytes, const struct event *event, int64_t now);

/* Let go of what is too old in one user's history. */
void registry_expire_user (struct registry *self, struct user *user, const struct history_limits *limits, int64_t now);

/* Let go of what is too old. A bounded number of users a call. */
void registry_expire (struct registry *self, const struct history_limits *limits, int64_t now);

static inline struct slice user_id (const struct user *user)
{
    return slice_of (user->id, user->id_n);
}

#endif
