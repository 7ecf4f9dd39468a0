#include "core/registry.h"
#include "base/hash.h"
#include "base/metrics.h"
#include "base/check.h"

#define EXPIRE_BATCH 1000

static struct slice conn_key (const void *value)
{
    const struct conn *conn = value;
    return slice_of (conn->id, CONN_ID_LEN);
}

static struct slice user_key (const void *value)
{
    return user_id (value);
}

void registry_init (struct registry *self)
{
    *self = (struct registry){0};
    map_init (&self->conns, conn_key);
    map_init (&self->users, user_key);
    list_init (&self->by_age);
    list_init (&self->absent);
    run_table_init (&self->runs);
}

/* What a user with history takes, itself included, so that many users with little history are bounded too. */
static size_t user_cost (const struct user *user)
{
    return user->history.bytes + sizeof *user + user->id_n;
}

static void forget_history (struct registry *self, struct user *user, unsigned reason)
{
    if (list_empty (&user->age_link))
        return;
    self->history_bytes -= user_cost (user);
    list_remove (&user->age_link);
    history_clear (&user->history, reason);
}

static size_t slot_of (struct slice id)
{
    return hash_bytes (id) % FORGOTTEN_SLOTS;
}

static void destroy_user (struct registry *self, struct user *user)
{
    if (user->offset) /* its count begins anew when it comes back */
        self->forgotten[slot_of (user_id (user))]++;
    forget_history (self, user, EVICTION_total);
    runs_fini (&user->runs);
    list_remove (&user->absent_link);
    map_remove (&self->users, user_id (user));
    free (user);
}

void registry_fini (struct registry *self)
{
    size_t cursor = 0;
    for (struct user *user; (user = map_next (&self->users, &cursor)); cursor = 0)
        destroy_user (self, user);
    CHECK (map_size (&self->conns) == 0);
    map_fini (&self->users);
    map_fini (&self->conns);
}

struct conn *registry_conn (const struct registry *self, struct slice id)
{
    return map_get (&self->conns, id);
}

struct user *registry_user (const struct registry *self, struct slice id)
{
    return map_get (&self->users, id);
}

struct user *registry_user_get (struct registry *self, struct slice id)
{
    struct user *user = registry_user (self, id);
    if (user)
        return user;
    CHECK (id.n > 0 && id.n <= UINT8_MAX);
    user = calloc (1, sizeof *user + id.n);
    if (!user) {
        self->forgotten[slot_of (id)]++; /* its event, if this is for one, is lost */
        return NULL;
    }
    list_init (&user->conns);
    list_init (&user->age_link);
    list_init (&user->absent_link);
    history_init (&user->history);
    runs_init (&user->runs, &self->runs);
    user->incarnation = self->forgotten[slot_of (id)];
    user->lane = LANE_NONE;
    user->id_n = (uint8_t) id.n;
    memcpy (user->id, id.p, id.n);
    if (!map_put (&self->users, user)) {
        self->forgotten[slot_of (id)]++;
        free (user);
        return NULL;
    }
    return user;
}

void registry_epoch (const struct registry *self, const struct user *user, char *out)
{
    ident_epoch (out, user_id (user), user->incarnation, self->losses);
}

void registry_user_release (struct registry *self, struct user *user)
{
    if (user->refs == 0 && user->runs.n == 0 && list_empty (&user->age_link))
        destroy_user (self, user);
}

void registry_user_arrived (struct user *user)
{
    user->absent_since = 0;
    list_remove (&user->absent_link);
}

void registry_user_left (struct registry *self, struct user *user)
{
    user->absent_since = clock_now ();
    LIST_FOREACH (&user->runs.open, link)
        LIST_ENTRY (link, struct run, link)->told = false;
    registry_runs_changed (self, user);
}

/* A user that has been away for some time when its run begins comes behind those that left later: it is looked at a
 * little late, never early. */
void registry_runs_changed (struct registry *self, struct user *user)
{
    if (!user->absent_since)
        return;
    if (user->runs.n == 0)
        list_remove (&user->absent_link);
    else if (list_empty (&user->absent_link))
        list_append (&self->absent, &user->absent_link);
}

/* The oldest users go first. */
static void enforce_total (struct registry *self, size_t total_bytes)
{
    while (self->history_bytes > total_bytes && !list_empty (&self->by_age)) {
        struct user *oldest = LIST_ENTRY (self->by_age.next, struct user, age_link);
        forget_history (self, oldest, EVICTION_total);
        registry_user_release (self, oldest);
    }
}

uint64_t registry_record (struct registry *self, struct user *user, const struct history_limits *limits,
                          size_t total_bytes, const struct event *event, int64_t now)
{
    uint64_t offset = ++user->offset;
    if (list_empty (&user->age_link))
        self->history_bytes += user_cost (user);
    else
        list_remove (&user->age_link);
    list_append (&self->by_age, &user->age_link);

    size_t before = user->history.bytes;
    bool kept = history_append (&user->history, limits, event, offset, now);
    self->history_bytes += user->history.bytes - before; /* wraps back when it has shrunk */
    user->last_event = now;
    if (!kept) {
        forget_history (self, user, EVICTION_bytes);
        registry_user_release (self, user);
    }
    enforce_total (self, total_bytes);
    return offset;
}

void registry_expire_user (struct registry *self, struct user *user, const struct history_limits *limits, int64_t now)
{
    size_t before = user->history.bytes;
    history_expire (&user->history, limits, now);
    self->history_bytes -= before - user->history.bytes;
}

void registry_expire (struct registry *self, const struct history_limits *limits, int64_t now)
{
    for (int i = 0; i < EXPIRE_BATCH && !list_empty (&self->by_age); i++) {
        struct user *oldest = LIST_ENTRY (self->by_age.next, struct user, age_link);
        if (oldest->last_event + limits->ttl_ns > now)
            return;
        forget_history (self, oldest, EVICTION_age);
        registry_user_release (self, oldest);
    }
}
