#include "core/run_watch.h"
#include "base/log.h"
#include "base/metrics.h"
#include "core/downstream.h"

/* --- events of our own --------------------------------------------------------------------------------------- */

static void put_pair (msgpack_packer *packer, const char *key, struct slice value)
{
    if (value.n == 0)
        return;
    mp_put_cstr (packer, key);
    mp_put_str (packer, value);
}

/* Begin an event of this run that will have `more` pairs besides. Goes to a buffer of its own: encoding the event for
 * the clients takes hub->scratch. */
static void begin_event (msgpack_packer *packer, struct buf *out, const struct run *run, const char *type,
                         uint32_t more)
{
    char event_id[33];
    ident_hex (event_id, 16);
    mp_writer_init (packer, out);
    mp_put_map (packer, 6u + (run->thread_n ? 1 : 0) + (run->agent_n ? 1 : 0) + more);
    put_pair (packer, "type", slice_str (type));
    put_pair (packer, "event_id", slice_str (event_id));
    mp_put_cstr (packer, "timestamp");
    mp_put_double (packer, clock_wall ());
    put_pair (packer, "user_id", user_id (run->user));
    put_pair (packer, "run_id", run_id (run));
    put_pair (packer, "thread_id", run_thread_id (run));
    put_pair (packer, "agent_name", run_agent_name (run));
    mp_put_cstr (packer, "_synthetic");
    mp_put_bool (packer, true);
}

/* False when memory is out; it is tried again at the next look. */
static bool emit (struct hub *hub, struct run *run, struct buf *bytes)
{
    struct event event;
    struct user *user = run->user;
    if (bytes->failed || event_parse (&event, buf_slice (bytes), user_id (user)) != DROP_NONE)
        return false;
    event.has_reserved = false;
    event.synthetic = true;
    return downstream_own (hub, user, &event);
}

/* --- stalled ------------------------------------------------------------------------------------------------- */

static bool tell_stalled (struct hub *hub, struct run *run)
{
    struct log_ctx ctx = {.user = user_id (run->user)};
    msgpack_packer packer;
    struct buf bytes;
    double silent = (double) (clock_now () - run->last_event) / (double) S_NS;
    buf_init (&bytes, 0);
    begin_event (&packer, &bytes, run, "run_stalled", 1);
    mp_put_cstr (&packer, "silent_s");
    mp_put_double (&packer, silent);
    bool told = emit (hub, run, &bytes);
    buf_fini (&bytes);
    if (!told)
        return false;
    run_set_stalled (run);
    LOG (RUN_STALLED, &ctx, KV_SL ("run", run_id (run)), KV_D ("silent_s", silent));
    return true;
}

static void watch_stalled (struct hub *hub)
{
    struct list *active = &hub->registry.runs.active;
    int64_t since = clock_now () - hub->config->run_stall_s * S_NS;
    while (hub->config->run_stall_s && !list_empty (active)) {
        struct run *run = LIST_ENTRY (active->next, struct run, age_link);
        if (run->last_event > since || !tell_stalled (hub, run))
            return;
    }
}

/* --- lost ---------------------------------------------------------------------------------------------------- */

/* Ends the run. */
static bool tell_lost (struct hub *hub, struct run *run)
{
    struct log_ctx ctx = {.user = user_id (run->user)};
    msgpack_packer packer;
    struct buf bytes;
    buf_init (&bytes, 0);
    begin_event (&packer, &bytes, run, "agent_error", 2);
    put_pair (&packer, "error_code", slice_str ("RUNTIME_LOST"));
    put_pair (&packer, "error_message", slice_str ("The agent runtime has gone; the run will not go on"));
    LOG (RUN_LOST, &ctx, KV_SL ("run", run_id (run)));
    bool told = emit (hub, run, &bytes);
    buf_fini (&bytes);
    return told;
}

static void end_runs (void *arg, struct publisher *publisher)
{
    while (!list_empty (&publisher->runs))
        if (!tell_lost (arg, LIST_ENTRY (publisher->runs.next, struct run, publisher_link)))
            return;
}

/* --- abandoned ----------------------------------------------------------------------------------------------- */

static uint32_t count_untold (const struct user *user)
{
    uint32_t n = 0;
    LIST_FOREACH (&user->runs.open, link)
        n += !LIST_ENTRY (link, struct run, link)->told;
    return n;
}

static bool send_abandoned (struct hub *hub, struct user *user, uint32_t n)
{
    struct buf *out = &hub->scratch;
    msgpack_packer packer;
    int lane = lanes_for_user (&hub->runtime, user);
    buf_reset (out);
    mp_writer_init (&packer, out);
    mp_put_map (&packer, 1);
    mp_put_cstr (&packer, "runs");
    mp_put_array (&packer, n);
    LIST_FOREACH (&user->runs.open, link) {
        const struct run *run = LIST_ENTRY (link, struct run, link);
        if (!run->told)
            mp_put_str (&packer, run_id (run));
    }
    struct command command = {.name = COMMAND_ABANDONED, .user_id = user_id (user), .headers = buf_slice (out)};
    return lane != LANE_NONE && !out->failed && hub->runtime.send (hub->runtime.self, lane, &command);
}

/* When it cannot be handed over it is tried again at the next look. */
static void tell_abandoned (struct hub *hub, struct user *user)
{
    struct log_ctx ctx = {.user = user_id (user)};
    uint32_t n = count_untold (user);
    if (n && !send_abandoned (hub, user, n))
        return;
    if (n)
        LOG (RUNS_ABANDONED, &ctx, KV_U ("runs", n));
    LIST_FOREACH (&user->runs.open, link)
        LIST_ENTRY (link, struct run, link)->told = true;
    list_remove (&user->absent_link);
}

static void watch_abandoned (struct hub *hub)
{
    int64_t since = clock_now () - hub->config->abandon_grace_s * S_NS;
    if (!hub->config->abandon_grace_s)
        return;
    LIST_FOREACH (&hub->registry.absent, link) {
        struct user *user = LIST_ENTRY (link, struct user, absent_link);
        if (user->absent_since > since)
            return;
        tell_abandoned (hub, user);
    }
}

void run_watch (struct hub *hub)
{
    watch_stalled (hub);
    publishers_each_gone (&hub->publishers, clock_now () - hub->config->runtime_lost_s * S_NS, end_runs, hub);
    watch_abandoned (hub);
}
