/* Runs and their tools: what has begun ends, once.
 *
 *   NEW ── abr_run_started ──▶ OPEN ── complete, fail, cancel, ABANDONED, destroy ──▶ ENDED        */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define CANCELLED_TEXT "The run was cancelled."

static const char *const course[] = {"agent_started",  "agent_thinking",  "tool_executing",
                                     "tool_completed", "agent_completed", "agent_error"};

/* --- life ---------------------------------------------------------------------------------------------------- */

static void run_free (abr_run_t *self)
{
    free (self->user);
    free (self->run_id);
    free (self->thread_id);
    free (self->agent_name);
    free (self);
}

static char *new_run_id (void)
{
    char id[ABR_ID_SIZE], text[4 + ABR_ID_SIZE];
    abr_new_id (id);
    snprintf (text, sizeof text, "run_%s", id);
    return strdup (text);
}

abr_run_t *abr_run_new (abr_t *self, const char *user)
{
    if (!self || !user || !abr_is_user (abr_bytes_of (user))) {
        abr_failed (self, EINVAL, "a user id has 1 to 128 bytes of UTF-8 without control characters");
        return NULL;
    }
    abr_run_t *run = calloc (1, sizeof *run);
    if (run) {
        run->user = strdup (user);
        run->run_id = new_run_id ();
        run->agent_name = strdup (self->name);
    }
    if (!run || !run->user || !run->run_id || !run->agent_name) {
        if (run)
            run_free (run);
        abr_failed (self, ENOMEM, "no memory for a run");
        return NULL;
    }
    run->abr = self;
    run->next = self->runs;
    self->runs = run;
    return run;
}

static int set_text (abr_run_t *self, char **option, const char *value, size_t most)
{
    if (!self)
        return abr_failed (NULL, EINVAL, "no run");
    if (self->state != ABR_RUN_NEW)
        return abr_failed (self->abr, EBUSY, "a run is named before abr_run_started()");
    if (!value || !*value || strlen (value) > most || !abr_utf8 (abr_bytes_of (value)))
        return abr_failed (self->abr, EINVAL, "the names of a run have 1 to %zu bytes of UTF-8", most);
    char *copy = strdup (value);
    if (!copy)
        return abr_failed (self->abr, ENOMEM, "no memory");
    free (*option);
    *option = copy;
    return 0;
}

int abr_run_set_id (abr_run_t *self, const char *run_id)
{
    return set_text (self, self ? &self->run_id : NULL, run_id, 255);
}

int abr_run_set_thread (abr_run_t *self, const char *thread_id)
{
    return set_text (self, self ? &self->thread_id : NULL, thread_id, 255);
}

int abr_run_set_agent (abr_run_t *self, const char *agent_name)
{
    return set_text (self, self ? &self->agent_name : NULL, agent_name, 255);
}

const char *abr_run_id (const abr_run_t *self)
{
    return self ? self->run_id : NULL;
}

const char *abr_run_user (const abr_run_t *self)
{
    return self ? self->user : NULL;
}

bool abr_run_ended (const abr_run_t *self)
{
    return self && self->state == ABR_RUN_ENDED;
}

bool abr_run_cancelled (const abr_run_t *self)
{
    return self && self->cancelled;
}

size_t abr_runs (const abr_t *self)
{
    size_t n = 0;
    for (const abr_run_t *run = self ? self->runs : NULL; run; run = run->next)
        n += run->state == ABR_RUN_OPEN;
    return n;
}

/* --- emitting ------------------------------------------------------------------------------------------------ */

/* Compose and publish, whatever the state. */
static int publish (abr_run_t *self, const char *type, const abr_field_t *own, const abr_field_t *more)
{
    char id[ABR_ID_SIZE];
    abr_field_t base[8] = {abr_str ("type", type), abr_end ()};
    size_t n = 1;
    abr_new_id (id);
    base[n++] = abr_str ("event_id", id);
    base[n++] = abr_float ("timestamp", abr_unix_time ());
    base[n++] = abr_str ("user_id", self->user);
    if (self->thread_id)
        base[n++] = abr_str ("thread_id", self->thread_id);
    base[n++] = abr_str ("run_id", self->run_id);
    base[n++] = abr_str ("agent_name", self->agent_name);
    base[n] = abr_end ();
    return abr_compose (self->abr, base, own, more, true) == 0 ? abr_publish (self->abr, self->user) : -1;
}

/* Why nothing may be emitted in an ended run. */
static int over (abr_t *abr, bool cancelled)
{
    return cancelled ? abr_failed (abr, ECANCELED, "the run was cancelled; stop working on it")
                     : abr_failed (abr, ESHUTDOWN, "the run has ended; a new one is made with abr_run_new()");
}

/* Let bridges have their say, which may end the run; then: is it open? */
static int open_run (abr_run_t *self)
{
    if (!self)
        return abr_failed (NULL, EINVAL, "no run");
    if (self->state == ABR_RUN_ENDED)
        return over (self->abr, self->cancelled);
    if (!self->abr || abr_serve (self->abr) != 0)
        return abr_failed (self->abr, ENOTCONN, "not started: call abr_start() first");
    if (self->state == ABR_RUN_NEW)
        return abr_failed (self->abr, EPROTO, "the run has not begun: call abr_run_started() first");
    return self->state == ABR_RUN_OPEN ? 0 : over (self->abr, self->cancelled);
}

static int emit (abr_run_t *self, const char *type, const abr_field_t *own, const abr_field_t *more)
{
    return open_run (self) == 0 ? publish (self, type, own, more) : -1;
}

int abr_run_started (abr_run_t *self, const char *task, const abr_field_t *fields)
{
    if (!self)
        return abr_failed (NULL, EINVAL, "no run");
    if (self->state == ABR_RUN_ENDED)
        return over (self->abr, self->cancelled);
    if (self->state == ABR_RUN_OPEN)
        return abr_failed (self->abr, EPROTO, "the run has begun already");
    if (!self->abr || abr_serve (self->abr) != 0)
        return abr_failed (self->abr, ENOTCONN, "not started: call abr_start() first");
    const abr_field_t *own = task ? ABR_FIELDS (abr_str ("task_description", task)) : NULL;
    if (publish (self, "agent_started", own, fields) != 0)
        return -1;
    self->began = zclock_mono ();
    self->state = ABR_RUN_OPEN;
    return 0;
}

static int think (abr_run_t *self, const char *name, const char *text, unsigned step_number)
{
    const abr_field_t fields[] = {abr_str (name, text),
                                  step_number ? abr_uint ("step_number", step_number) : abr_end (), abr_end ()};
    return emit (self, "agent_thinking", fields, NULL);
}

int abr_run_thinking (abr_run_t *self, const char *reasoning, unsigned step_number)
{
    return think (self, "reasoning", reasoning, step_number);
}

int abr_run_thinking_delta (abr_run_t *self, const char *delta, unsigned step_number)
{
    return think (self, "delta", delta, step_number);
}

int abr_run_chunk (abr_run_t *self, const char *delta)
{
    return emit (self, "stream_chunk", ABR_FIELDS (abr_str ("delta", delta)), NULL);
}

int abr_run_progress (abr_run_t *self, const abr_field_t *fields)
{
    return emit (self, "progress_update", NULL, fields);
}

int abr_run_emit (abr_run_t *self, const char *type, const abr_field_t *fields)
{
    if (open_run (self) != 0)
        return -1;
    if (!type || !*type || !abr_utf8 (abr_bytes_of (type)))
        return abr_failed (self->abr, EINVAL, "an event's type is UTF-8 and not empty");
    for (size_t i = 0; i < sizeof course / sizeof *course; i++)
        if (strcmp (type, course[i]) == 0)
            return abr_failed (self->abr, EINVAL, "%s has a function of its own", type);
    return publish (self, type, NULL, fields);
}

/* --- the end ------------------------------------------------------------------------------------------------- */

static double seconds_since (int64_t us)
{
    return (double) (zclock_usecs () - us) / 1e6;
}

static int publish_tool (abr_tool_t *tool, bool success, abr_field_t results)
{
    results.name = "results";
    return publish (tool->run, "tool_completed",
                    ABR_FIELDS (abr_str ("tool_name", tool->name), results,
                                abr_float ("execution_time", seconds_since (tool->began)),
                                abr_bool ("success", success), abr_str ("execution_id", tool->id)),
                    NULL);
}

/* The tools that are open are completed without success, and from now on belong to nobody but the caller. */
static void end_tools (abr_run_t *self)
{
    while (self->tools) {
        abr_tool_t *tool = self->tools;
        if (publish_tool (tool, false, abr_nil ("results")) != 0)
            abr_log (self->abr, "tool_completed of run %s was not sent: %s", self->run_id, abr_error (self->abr));
        self->tools = tool->next;
        tool->run = NULL;
        tool->cancelled = self->cancelled;
    }
}

/* The run stays open when its last event cannot be sent, but not its tools. */
static int end (abr_run_t *self, const char *type, const abr_field_t *own, const abr_field_t *more)
{
    if (open_run (self) != 0)
        return -1;
    if (self->tools) /* what the end says must be fine before they are given up */
        if (abr_compose (self->abr, NULL, own, more, true) != 0)
            return -1;
    end_tools (self);
    if (publish (self, type, own, more) != 0)
        return -1;
    self->state = ABR_RUN_ENDED;
    return 0;
}

int abr_run_complete_as (abr_run_t *self, const char *status, const char *final_response, const abr_field_t *fields)
{
    int64_t duration = self ? zclock_mono () - self->began : 0;
    return end (self, "agent_completed",
                ABR_FIELDS (abr_str ("status", status), abr_str ("final_response", final_response),
                            abr_int ("duration_ms", duration)),
                fields);
}

int abr_run_complete (abr_run_t *self, const char *final_response, const abr_field_t *fields)
{
    return abr_run_complete_as (self, "completed", final_response, fields);
}

int abr_run_fail (abr_run_t *self, const char *error_code, const char *error_message)
{
    if (self && self->abr && (!error_code || !error_message))
        return abr_failed (self->abr, EINVAL, "an error has a code and a message");
    return end (self, "agent_error",
                ABR_FIELDS (abr_str ("error_code", error_code), abr_str ("error_message", error_message)), NULL);
}

/* End an open run without a word to bridges before; nothing keeps it open. */
static void cancel (abr_run_t *self)
{
    self->cancelled = true;
    end_tools (self);
    if (publish (self, "agent_error",
                 ABR_FIELDS (abr_str ("error_code", "CANCELLED"), abr_str ("error_message", CANCELLED_TEXT)),
                 NULL) != 0)
        abr_log (self->abr, "the end of run %s was not sent: %s", self->run_id, abr_error (self->abr));
    self->state = ABR_RUN_ENDED;
}

int abr_run_cancel (abr_run_t *self)
{
    if (open_run (self) != 0)
        return -1;
    cancel (self);
    return 0;
}

static void unlink_run (abr_run_t *self)
{
    abr_run_t **at = &self->abr->runs;
    while (*at != self)
        at = &(*at)->next;
    *at = self->next;
}

void abr_run_destroy (abr_run_t **self_p)
{
    if (!self_p || !*self_p)
        return;
    abr_run_t *self = *self_p;
    if (self->state == ABR_RUN_OPEN)
        cancel (self);
    if (self->abr)
        unlink_run (self);
    run_free (self);
    *self_p = NULL;
}

void abr_runs_abandoned (abr_t *self, const char *user, const char *run_id)
{
    for (abr_run_t *run = self->runs; run; run = run->next)
        if (run->state == ABR_RUN_OPEN && strcmp (run->user, user) == 0 && strcmp (run->run_id, run_id) == 0) {
            abr_log (self, "run %s was cancelled: nobody reads it", run_id);
            self->counters[ABR_RUNS_ABANDONED]++;
            cancel (run);
        }
}

void abr_runs_release (abr_t *self)
{
    while (self->runs) {
        abr_run_t *run = self->runs;
        self->runs = run->next;
        if (run->state == ABR_RUN_OPEN)
            cancel (run);
        run->state = ABR_RUN_ENDED;
        run->abr = NULL;
    }
}

/* --- tools --------------------------------------------------------------------------------------------------- */

static void tool_free (abr_tool_t **self_p)
{
    abr_tool_t *self = *self_p;
    if (self->run) {
        abr_tool_t **at = &self->run->tools;
        while (*at != self)
            at = &(*at)->next;
        *at = self->next;
    }
    free (self->name);
    free (self);
    *self_p = NULL;
}

abr_tool_t *abr_tool_new (abr_run_t *run, const char *name, const abr_field_t *args)
{
    if (open_run (run) != 0)
        return NULL;
    if (!name || !*name) {
        abr_failed (run->abr, EINVAL, "a tool has a name");
        return NULL;
    }
    abr_tool_t *self = calloc (1, sizeof *self);
    char *copy = self ? strdup (name) : NULL;
    if (!copy) {
        free (self);
        abr_failed (run->abr, ENOMEM, "no memory for a tool");
        return NULL;
    }
    self->name = copy;
    abr_new_id (self->id);
    if (publish (
            run, "tool_executing",
            ABR_FIELDS (abr_str ("tool_name", name), abr_map ("tool_args", args), abr_str ("execution_id", self->id)),
            NULL) != 0) {
        tool_free (&self);
        return NULL;
    }
    self->began = zclock_usecs ();
    self->run = run;
    self->next = run->tools;
    run->tools = self;
    return self;
}

static int complete (abr_tool_t **self_p, bool success, abr_field_t results)
{
    if (!self_p || !*self_p)
        return abr_failed (NULL, EINVAL, "no tool");
    abr_tool_t *self = *self_p;
    int status = self->run ? open_run (self->run) : 0; /* which may end the run, and this tool with it */
    if (!self->run) {
        bool cancelled = self->cancelled;
        tool_free (self_p);
        return over (NULL, cancelled);
    }
    if (status != 0 || publish_tool (self, success, results) != 0)
        return -1;
    tool_free (self_p);
    return 0;
}

int abr_tool_complete (abr_tool_t **self_p, const abr_field_t *results)
{
    return complete (self_p, true, abr_map ("results", results));
}

int abr_tool_complete_value (abr_tool_t **self_p, abr_field_t results)
{
    return complete (self_p, true, results);
}

int abr_tool_fail (abr_tool_t **self_p, const char *text)
{
    return complete (self_p, false, abr_map ("results", ABR_FIELDS (abr_str ("error", text))));
}

void abr_tool_destroy (abr_tool_t **self_p)
{
    if (!self_p || !*self_p)
        return;
    abr_tool_t *self = *self_p;
    if (self->run && publish_tool (self, false, abr_nil ("results")) != 0)
        abr_log (self->run->abr, "tool_completed of run %s was not sent: %s", self->run->run_id,
                 abr_error (self->run->abr));
    tool_free (self_p);
}

const char *abr_tool_id (const abr_tool_t *self)
{
    return self ? self->id : NULL;
}
