#include "core/run.h"
#include "base/metrics.h"

struct run {
    struct list link;
    uint8_t n;
    char id[];
};

void runs_init (struct runs *self)
{
    list_init (&self->open);
    self->n = 0;
}

static void end_run (struct runs *self, struct run *run)
{
    list_remove (&run->link);
    self->n--;
    metric_add (M_RUNS_ACTIVE, 0, -1);
    free (run);
}

void runs_fini (struct runs *self)
{
    LIST_FOREACH (&self->open, link)
        end_run (self, LIST_ENTRY (link, struct run, link));
}

static struct run *find (const struct runs *self, struct slice id)
{
    LIST_FOREACH (&self->open, link) {
        struct run *run = LIST_ENTRY (link, struct run, link);
        if (slice_eq (slice_of (run->id, run->n), id))
            return run;
    }
    return NULL;
}

static void begin_run (struct runs *self, struct slice id)
{
    if (self->n >= RUNS_MAX || id.n > RUN_ID_MAX)
        return;
    struct run *run = malloc (sizeof *run + id.n);
    if (!run)
        return; /* the event itself is delivered all the same */
    run->n = (uint8_t) id.n;
    memcpy (run->id, id.p, id.n);
    list_append (&self->open, &run->link);
    self->n++;
    metric_add (M_RUNS_ACTIVE, 0, 1);
}

void runs_note (struct runs *self, const struct event *event)
{
    bool begins = event->type == EVENT_agent_started;
    bool ends = event->type == EVENT_agent_completed || event->type == EVENT_agent_error;
    if (event->run_id.n == 0 || !(begins || ends))
        return;
    struct run *run = find (self, event->run_id);
    if (begins && !run)
        begin_run (self, event->run_id);
    else if (ends && run)
        end_run (self, run);
}
