/* Down: messages of the bridge to standard output. */
#include "cmd/connect.h"
#include "cmd/printable.h"
#include "core/mp_json.h"

#define RUNS_MAX 4096 /* that are followed */

void client_begin (struct client *self)
{
    self->ready = self->was_ready = true;
    comeback_established (&self->comeback);
    lines_read (&self->input, !self->stopping);
}

static void set_cursor (struct client *self, const json_t *data)
{
    const char *epoch;
    json_int_t offset;
    if (json_unpack ((json_t *) (uintptr_t) data, "{s:{s:s, s:I}}", "resume", "epoch", &epoch, "offset", &offset) != 0)
        return;
    self->cursor_dirty = true;
    if (!cursor_set (&self->cursor, epoch, offset > 0 ? (uint64_t) offset : 0))
        client_finish (self, EXIT_LOST);
}

static void on_established (struct client *self, const json_t *data)
{
    bool asked = self->cursor.epoch != NULL, recovered = json_is_true (json_object_get (data, "recovered"));
    const char *fault = json_string_value (json_object_get (data, "recovery_error"));
    if (asked && !recovered)
        client_note (self, "events may be lost (%s): what came between is not in the bridge's history",
                     fault ? fault : "?");
    if (!recovered)
        json_object_clear (self->runs);
    if (self->args.resume)
        set_cursor (self, data);
    client_begin (self);
}

static void open_run (struct client *self, const json_t *message)
{
    const char *run = json_string_value (json_object_get (message, "run_id"));
    if (run && json_object_size (self->runs) < RUNS_MAX)
        json_object_set_new (self->runs, run, json_true ());
}

static void end_run (struct client *self, const json_t *message)
{
    const char *run = json_string_value (json_object_get (message, "run_id"));
    if (run)
        json_object_del (self->runs, run);
    self->ended++;
}

static void take_snapshot (struct client *self, const json_t *message)
{
    size_t i;
    json_t *run;
    json_array_foreach (json_object_get (json_object_get (message, "data"), "runs"), i, run) open_run (self, run);
}

/* What the tool itself does with a message. */
static void act_on (struct client *self, const char *type, const json_t *message)
{
    const json_t *data = json_object_get (message, "data");
    comeback_note (&self->comeback, message);
    if (strcmp (type, "connection_established") == 0)
        on_established (self, data);
    else if (strcmp (type, "agent_started") == 0)
        open_run (self, message);
    else if (strcmp (type, "agent_completed") == 0 || strcmp (type, "agent_error") == 0)
        end_run (self, message);
    else if (strcmp (type, "runs_snapshot") == 0)
        take_snapshot (self, message);
    else if (strcmp (type, "error_message") == 0)
        self->ended++;
    else if (strcmp (type, "resync") == 0) {
        client_note (self, "events are lost for good (resync)");
        if (self->args.resume)
            set_cursor (self, data);
    }
}

/* Has it been printed already? Then the cursor stays. */
static bool is_repeat (struct client *self, const json_t *message)
{
    const json_t *offset = json_object_get (message, "_offset");
    if (!self->args.resume || !self->cursor.epoch || !json_is_integer (offset))
        return false;
    uint64_t value = (uint64_t) json_integer_value (offset);
    if (value <= self->cursor.offset)
        return true;
    self->cursor.offset = value;
    self->cursor_dirty = true;
    return false;
}

/* One line of --json. What is no JSON stands in a string. */
static void put_json (struct client *self, const json_t *any, bool text, struct slice bytes)
{
    if (!any) {
        buf_puts (&self->out, text ? "{\"_text\":" : "{\"_binary\":");
        if (text)
            json_write_string (&self->out, bytes);
        else {
            buf_putc (&self->out, '"');
            for (size_t i = 0; i < bytes.n; i++)
                buf_printf (&self->out, "%02x", (unsigned) (uint8_t) bytes.p[i]);
            buf_putc (&self->out, '"');
        }
        buf_putc (&self->out, '}');
    } else if (self->show.terminal)
        put_printable_json (&self->out, bytes);
    else
        put_json_line (&self->out, bytes);
    buf_putc (&self->out, '\n');
}

static void print_message (struct client *self, const json_t *any, bool text, struct slice bytes)
{
    if (self->args.json)
        put_json (self, any, text, bytes);
    else if (json_is_object (any))
        show_message (&self->show, &self->out, any);
    else
        show_frame (&self->show, &self->out, text, bytes);
    client_write (self);
}

/* Numbers beyond 64 bits are read as floats, rather than not at all. */
static json_t *parse (struct slice json)
{
    int flags = JSON_ALLOW_NUL | JSON_DECODE_ANY;
    json_t *any = json_loadb (json.p, json.n, (size_t) flags, NULL);
    return any ? any : json_loadb (json.p, json.n, (size_t) flags | JSON_DECODE_INT_AS_REAL, NULL);
}

static void handle (struct client *self, bool text, struct slice bytes)
{
    if (self->stopping) /* it was not asked for any more; the cursor stays before it */
        return;
    json_t *any = text && bytes.n ? parse (bytes) : NULL;
    const char *type = json_string_value (json_object_get (any, "type"));
    bool repeat = is_repeat (self, any);
    if (type && !repeat)
        act_on (self, type, any);
    if (!repeat)
        print_message (self, any, text, bytes);
    if (type && self->args.until && strcmp (type, self->args.until) == 0 && !repeat)
        client_finish (self, 0);
    json_decref (any);
    client_review (self);
}

/* MessagePack is shown as the JSON that it means. */
void client_message (void *arg, bool text, struct slice bytes)
{
    struct client *self = arg;
    struct buf json;
    if (text || self->form == FORM_JSON || !mp_is_map (bytes) || mp_check (bytes) != MP_OK) {
        handle (self, text, bytes);
        return;
    }
    buf_init (&json, 0);
    mp_json_write (&json, bytes);
    if (json.failed)
        client_finish (self, EXIT_LOST);
    else
        handle (self, true, buf_slice (&json));
    buf_fini (&json);
}
