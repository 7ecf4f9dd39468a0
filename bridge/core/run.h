/* The runs of one user: begun by agent_started, ended once by agent_completed or agent_error. All open runs of all
 * users stand in one table as well, the longest silent first. */
#ifndef CORE_RUN_H
#define CORE_RUN_H

#include "core/event.h"
#include "base/list.h"

#define RUNS_MAX      256    /* followed per user; the longest silent one is given up for one more */
#define RUNS_MAX_ALL  100000 /* the same for all users together */
#define RUN_ID_MAX    255    /* bytes; longer ids are delivered but not followed */
#define RUN_TEXT_MAX  255    /* bytes of thread_id, agent_name and type; longer ones are cut off as unknown */
#define RUN_ENDS_MAX  64     /* ended runs remembered per user */
#define RUN_TOOLS_MAX 32     /* open tools remembered per run */

struct user;
struct publisher;

struct run {
    struct list link;           /* in runs.open */
    struct list publisher_link; /* in publisher.runs */
    struct list age_link;       /* in run_table.active or .stalled */
    struct user *user;
    struct list tools; /* struct run_tool, those executing */
    uint32_t n_tools;
    double started_at;         /* Unix seconds */
    int64_t began, last_event; /* monotonic ns */
    uint64_t touched;          /* table.touches at its last event */
    bool stalled;
    bool told; /* ABANDONED has named it */
    uint8_t last_type_n, id_n, thread_n, agent_n;
    char last_type[RUN_TEXT_MAX];
    char text[]; /* id, thread_id, agent_name */
};

struct run_tool {
    struct list link;
    uint8_t id_n, name_n;
    char text[]; /* execution_id, tool_name */
};

/* All open runs of the bridge. */
struct run_table {
    struct list active; /* by last event, the longest silent first */
    struct list stalled;
    size_t n;
    uint64_t touches; /* events of runs so far: tells which of two runs was heard later */
};

struct runs {
    struct run_table *table;
    struct list open; /* oldest first */
    uint32_t n;
    uint64_t *ends; /* hashes of the ids that ended last; NULL before the first */
    uint32_t n_ends;
};

void run_table_init (struct run_table *self);

void runs_init (struct runs *self, struct run_table *table);
void runs_fini (struct runs *self);

/* Is the event the end of a run that has ended before? */
bool runs_is_second_end (const struct runs *self, const struct event *event);

/* Take an event of `user`, whose runs these are, into account; `publisher` sent it (NULL when memory is out
 * for that one, or when it is the bridge's own). */
void runs_note (struct runs *self, struct user *user, struct publisher *publisher, const struct event *event,
                int64_t now);

/* Follow the longest silent run of all no longer. Whose it was: nothing may keep that user now. */
struct user *runs_forget_oldest (struct run_table *self);

/* No event of it for too long. Until its next one. */
void run_set_stalled (struct run *self);

static inline struct slice run_id (const struct run *self)
{
    return slice_of (self->text, self->id_n);
}

static inline struct slice run_thread_id (const struct run *self)
{
    return slice_of (self->text + self->id_n, self->thread_n);
}

static inline struct slice run_agent_name (const struct run *self)
{
    return slice_of (self->text + self->id_n + self->thread_n, self->agent_n);
}

static inline struct slice run_last_type (const struct run *self)
{
    return slice_of (self->last_type, self->last_type_n);
}

static inline struct slice run_tool_id (const struct run_tool *self)
{
    return slice_of (self->text, self->id_n);
}

static inline struct slice run_tool_name (const struct run_tool *self)
{
    return slice_of (self->text + self->id_n, self->name_n);
}

#endif
