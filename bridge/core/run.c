#include "core/run.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/metrics.h"
#include "core/publisher.h"
#include "core/registry.h"

void run_table_init (struct run_table *self)
{
    *self = (struct run_table){.n = 0};
    list_init (&self->active);
    list_init (&self->stalled);
}

void runs_init (struct runs *self, struct run_table *table)
{
    *self = (struct runs){.table = table};
    list_init (&self->open);
}

/* --- tools --------------------------------------------------------------------------------------------------- */

static struct slice short_text (struct slice text)
{
    return text.n <= RUN_TEXT_MAX ? text : slice_str (NULL);
}

static void close_tool (struct run *run, struct run_tool *tool)
{
    list_remove (&tool->link);
    run->n_tools--;
    free (tool);
}

/* Without execution_id the name has to do. */
static struct run_tool *find_tool (const struct run *run, const struct event *event)
{
    LIST_FOREACH (&run->tools, link) {
        struct run_tool *tool = LIST_ENTRY (link, struct run_tool, link);
        if (event->execution_id.n ? slice_eq (run_tool_id (tool), event->execution_id)
                                  : slice_eq (run_tool_name (tool), event->tool_name))
            return tool;
    }
    return NULL;
}

static void open_tool (struct run *run, const struct event *event)
{
    struct slice id = short_text (event->execution_id), name = short_text (event->tool_name);
    struct run_tool *tool = run->n_tools < RUN_TOOLS_MAX ? malloc (sizeof *tool + id.n + name.n) : NULL;
    if (!tool)
        return; /* only the snapshot misses it */
    tool->id_n = (uint8_t) id.n;
    tool->name_n = (uint8_t) name.n;
    slice_copy (tool->text, id);
    slice_copy (tool->text + id.n, name);
    list_append (&run->tools, &tool->link);
    run->n_tools++;
}

static void note_tool (struct run *run, const struct event *event)
{
    struct run_tool *tool = find_tool (run, event);
    if (event->type == EVENT_tool_executing && !tool)
        open_tool (run, event);
    else if (event->type == EVENT_tool_completed && tool)
        close_tool (run, tool);
}

/* --- one run ------------------------------------------------------------------------------------------------- */

static void clear_stalled (struct run *run)
{
    if (run->stalled)
        metric_add (M_RUNS_STALLED, 0, -1);
    run->stalled = false;
}

static void free_run (struct runs *self, struct run *run)
{
    LIST_FOREACH (&run->tools, link)
        close_tool (run, LIST_ENTRY (link, struct run_tool, link));
    clear_stalled (run);
    list_remove (&run->link);
    list_remove (&run->publisher_link);
    list_remove (&run->age_link);
    self->n--;
    self->table->n--;
    metric_add (M_RUNS_ACTIVE, 0, -1);
    free (run);
}

static struct run *find (const struct runs *self, struct slice id)
{
    LIST_FOREACH (&self->open, link) {
        struct run *run = LIST_ENTRY (link, struct run, link);
        if (slice_eq (run_id (run), id))
            return run;
    }
    return NULL;
}

static double seconds_between (int64_t from, int64_t to)
{
    return (double) (to - from) / (double) S_NS;
}

static void touch (struct runs *self, struct run *run, const struct event *event, int64_t now)
{
    struct slice type = short_text (event->type_name);
    clear_stalled (run);
    run->last_event = now;
    run->touched = ++self->table->touches;
    run->last_type_n = (uint8_t) type.n;
    slice_copy (run->last_type, type);
    list_remove (&run->age_link);
    list_append (&self->table->active, &run->age_link);
}

/* No longer followed: its events are delivered all the same. */
static void give_up (struct runs *self, struct run *run)
{
    LOG (RUN_UNTRACKED, NULL, KV_SL ("run", run_id (run)));
    metric_inc (M_RUNS, RUN_OUTCOME_untracked);
    free_run (self, run);
}

static struct run *longest_silent (const struct runs *self)
{
    struct run *silent = NULL;
    LIST_FOREACH (&self->open, link) {
        struct run *run = LIST_ENTRY (link, struct run, link);
        if (!silent || run->touched < silent->touched)
            silent = run;
    }
    return silent;
}

struct user *runs_forget_oldest (struct run_table *self)
{
    struct list *oldest = list_empty (&self->stalled) ? self->active.next : self->stalled.next;
    struct run *run = LIST_ENTRY (oldest, struct run, age_link);
    struct user *user = run->user;
    give_up (&user->runs, run);
    return user;
}

static struct run *new_run (const struct event *event)
{
    struct slice thread = short_text (event->thread_id), agent = short_text (event->agent_name);
    struct run *run = malloc (sizeof *run + event->run_id.n + thread.n + agent.n);
    if (!run)
        return NULL;
    *run =
        (struct run){.id_n = (uint8_t) event->run_id.n, .thread_n = (uint8_t) thread.n, .agent_n = (uint8_t) agent.n};
    slice_copy (run->text, event->run_id);
    slice_copy (run->text + run->id_n, thread);
    slice_copy (run->text + run->id_n + run->thread_n, agent);
    list_init (&run->tools);
    list_init (&run->age_link);
    return run;
}

static void forget_end (struct runs *self, struct slice id);

static void begin (struct runs *self, struct user *user, struct publisher *publisher, const struct event *event,
                   int64_t now)
{
    if (event->run_id.n > RUN_ID_MAX || !publisher)
        return;
    if (self->n >= RUNS_MAX)
        give_up (self, longest_silent (self));
    struct run *run = new_run (event);
    if (!run)
        return; /* the event itself is delivered all the same */
    run->user = user;
    run->began = now;
    run->started_at = event->timestamp > 0 ? event->timestamp : clock_wall ();
    list_append (&self->open, &run->link);
    list_append (&publisher->runs, &run->publisher_link);
    self->n++;
    self->table->n++;
    metric_add (M_RUNS_ACTIVE, 0, 1);
    forget_end (self, event->run_id);
    touch (self, run, event, now);
}

void run_set_stalled (struct run *self)
{
    struct run_table *table = self->user->runs.table;
    if (self->stalled)
        return;
    self->stalled = true;
    metric_add (M_RUNS_STALLED, 0, 1);
    list_remove (&self->age_link);
    list_append (&table->stalled, &self->age_link);
}

/* --- ends ---------------------------------------------------------------------------------------------------- */

static bool is_end (const struct event *event)
{
    return event->run_id.n && event->run_id.n <= RUN_ID_MAX &&
           (event->type == EVENT_agent_completed || event->type == EVENT_agent_error);
}

/* Ends are remembered by hash: 64 bits under a key that nobody outside knows. */
static uint64_t *find_end (const struct runs *self, struct slice id)
{
    uint64_t hash = hash_bytes (id);
    uint32_t held = self->n_ends < RUN_ENDS_MAX ? self->n_ends : RUN_ENDS_MAX;
    for (uint32_t i = 0; i < held; i++)
        if (self->ends[i] == hash)
            return &self->ends[i];
    return NULL;
}

static void forget_end (struct runs *self, struct slice id)
{
    uint64_t *end = find_end (self, id);
    if (end)
        *end = 0;
}

static void remember_end (struct runs *self, struct slice id)
{
    if (!self->ends)
        self->ends = calloc (RUN_ENDS_MAX, sizeof *self->ends);
    if (self->ends && !find_end (self, id))
        self->ends[self->n_ends++ % RUN_ENDS_MAX] = hash_bytes (id);
}

bool runs_is_second_end (const struct runs *self, const struct event *event)
{
    return is_end (event) && !find (self, event->run_id) && find_end (self, event->run_id);
}

static void end (struct runs *self, struct run *run, const struct event *event, int64_t now)
{
    enum run_outcome outcome = event->type == EVENT_agent_completed ? RUN_OUTCOME_completed : RUN_OUTCOME_error;
    metric_inc (M_RUNS, event->synthetic ? RUN_OUTCOME_runtime_lost : outcome);
    metric_observe (M_RUN_DURATION, seconds_between (run->began, now));
    free_run (self, run);
}

/* --- events -------------------------------------------------------------------------------------------------- */

static void note_progress (struct runs *self, struct run *run, struct publisher *publisher, const struct event *event,
                           int64_t now)
{
    metric_observe (M_RUN_EVENT_GAP, seconds_between (run->last_event, now));
    if (event->tool_name.n || event->execution_id.n)
        note_tool (run, event);
    if (publisher) { /* it may have come to another one */
        list_remove (&run->publisher_link);
        list_append (&publisher->runs, &run->publisher_link);
    }
    touch (self, run, event, now);
}

void runs_note (struct runs *self, struct user *user, struct publisher *publisher, const struct event *event,
                int64_t now)
{
    if (event->run_id.n == 0 || (event->synthetic && !is_end (event)))
        return;
    struct run *run = find (self, event->run_id);
    if (run && !event->synthetic)
        note_progress (self, run, publisher, event, now);
    if (is_end (event)) {
        if (run)
            end (self, run, event, now);
        remember_end (self, event->run_id);
    } else if (event->type == EVENT_agent_started && !run)
        begin (self, user, publisher, event, now);
}

void runs_fini (struct runs *self)
{
    LIST_FOREACH (&self->open, link)
        free_run (self, LIST_ENTRY (link, struct run, link));
    free (self->ends);
    self->ends = NULL;
    self->n_ends = 0;
}
