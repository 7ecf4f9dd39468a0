#include "cmd/show.h"
#include "cmd/printable.h"

#include <math.h>
#include <time.h>
#include <unistd.h>

#define INDENT     4    /* of further lines of a text */
#define TEXT_MAX   4000 /* bytes of one value on a line; the rest stands in --json */
#define TYPE_WIDTH 16
#define RUN_WIDTH  12

#define RED    "31"
#define GREEN  "32"
#define YELLOW "33"
#define BLUE   "34"
#define GREY   "90"

void show_init (struct show *self, int fd)
{
    const char *none = getenv ("NO_COLOR"), *term = getenv ("TERM");
    *self = (struct show){.terminal = isatty (fd) == 1};
    self->colours = self->terminal && !(none && *none) && !(term && strcmp (term, "dumb") == 0);
}

void show_fini (struct show *self)
{
    free (self->streaming);
    self->streaming = NULL;
}

void show_break (struct show *self, struct buf *out)
{
    if (self->streaming)
        buf_putc (out, '\n');
    show_fini (self);
}

/* --- pieces -------------------------------------------------------------------------------------------------- */

static void colour (const struct show *self, struct buf *out, const char *code)
{
    if (self->colours)
        buf_printf (out, "\033[%sm", code);
}

static struct slice text_of (const json_t *value)
{
    return slice_of (json_string_value (value), json_string_length (value));
}

static struct slice field_text (const json_t *message, const char *key)
{
    return text_of (json_object_get (message, key));
}

static void put_clipped (struct buf *out, struct slice text, unsigned indent)
{
    size_t n = text.n;
    if (n > TEXT_MAX)
        for (n = TEXT_MAX; n && ((uint8_t) text.p[n] & 0xC0) == 0x80;)
            n--; /* not within a character */
    put_printable (out, slice_of (text.p, n), indent);
    if (n < text.n)
        buf_printf (out, "… (%zu bytes more)", text.n - n);
}

/* A text as it is, anything else as JSON. */
static void put_value (struct buf *out, const json_t *value)
{
    if (json_is_string (value)) {
        put_clipped (out, text_of (value), INDENT);
        return;
    }
    char *json = value ? json_dumps (value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (json)
        put_clipped (out, slice_str (json), 0);
    free (json);
}

static void put_padded (struct buf *out, struct slice text, size_t width)
{
    size_t start = out->n;
    put_printable (out, slice_of (text.p, text.n < 64 ? text.n : 64), 0);
    do
        buf_putc (out, ' ');
    while (!out->failed && out->n - start < width);
}

/* HH:MM:SS.mmm, local; now when the message does not say. */
static void put_clock (const struct show *self, struct buf *out, const json_t *message)
{
    struct timespec now;
    struct tm tm;
    double at = json_number_value (json_object_get (message, "timestamp"));
    clock_gettime (CLOCK_REALTIME, &now);
    if (!(at > 0 && at < 1e11)) /* NaN too */
        at = (double) now.tv_sec + (double) now.tv_nsec / 1e9;
    time_t seconds = (time_t) floor (at);
    localtime_r (&seconds, &tm);
    colour (self, out, GREY);
    buf_printf (out, "%02d:%02d:%02d.%03d  ", tm.tm_hour, tm.tm_min, tm.tm_sec, (int) ((at - floor (at)) * 1000));
    colour (self, out, "0");
}

static void put_head (const struct show *self, struct buf *out, const json_t *message, const char *code)
{
    put_clock (self, out, message);
    colour (self, out, code);
    put_padded (out, field_text (message, "type"), TYPE_WIDTH + 1);
    colour (self, out, "0");
    struct slice run = field_text (message, "run_id");
    colour (self, out, GREY);
    put_padded (out, slice_of (run.p, run.n < RUN_WIDTH ? run.n : RUN_WIDTH), RUN_WIDTH + 1);
    colour (self, out, "0");
}

/* --- what matters in each type ------------------------------------------------------------------------------- */

static void put_started (struct buf *out, const json_t *message)
{
    struct slice agent = field_text (message, "agent_name");
    put_clipped (out, agent, 0);
    buf_puts (out, agent.n ? ": " : "");
    put_value (out, json_object_get (message, "task_description"));
}

static void put_tool (struct buf *out, const json_t *message)
{
    put_clipped (out, field_text (message, "tool_name"), 0);
    buf_putc (out, ' ');
    put_value (out, json_object_get (message, "tool_args"));
}

static void put_seconds (struct buf *out, const json_t *seconds)
{
    if (json_is_number (seconds))
        buf_printf (out, " (%.3g s)", json_number_value (seconds));
}

static void put_tool_end (struct buf *out, const json_t *message)
{
    put_clipped (out, field_text (message, "tool_name"), 0);
    buf_puts (out, json_is_false (json_object_get (message, "success")) ? " failed: " : ": ");
    put_value (out, json_object_get (message, "results"));
    put_seconds (out, json_object_get (message, "execution_time"));
}

static void put_completed (struct buf *out, const json_t *message)
{
    const json_t *answer = json_object_get (message, "final_response");
    put_clipped (out, field_text (message, "status"), 0);
    if (answer) {
        buf_puts (out, ": ");
        put_value (out, answer);
    }
    if (json_is_number (json_object_get (message, "duration_ms")))
        buf_printf (out, " (%.3g s)", json_number_value (json_object_get (message, "duration_ms")) / 1000);
}

static void put_error (struct buf *out, const json_t *message)
{
    const json_t *details = json_object_get (message, "details");
    put_clipped (out, field_text (message, "error_code"), 0);
    buf_puts (out, ": ");
    put_value (out, json_object_get (message, "error_message"));
    if (json_object_size (details)) {
        buf_putc (out, ' ');
        put_value (out, details);
    }
}

static void put_established (struct buf *out, const json_t *message)
{
    const json_t *data = json_object_get (message, "data");
    struct slice fault = field_text (data, "recovery_error");
    buf_puts (out, "as ");
    put_clipped (out, field_text (data, "user_id"), 0);
    buf_puts (out, ", bridge ");
    put_clipped (out, field_text (data, "bridge"), 0);
    buf_puts (out, ", ");
    put_clipped (out, field_text (data, "connection_id"), 0);
    if (json_is_true (json_object_get (data, "recovered")))
        buf_puts (out, ", nothing was lost");
    else if (fault.n) {
        buf_puts (out, ", events may be lost: ");
        put_clipped (out, fault, 0);
    }
}

static void put_data (struct buf *out, const json_t *message)
{
    put_value (out, json_object_get (message, "data"));
}

/* Everything that the head does not show. */
static void put_rest (struct buf *out, const json_t *message)
{
    static const char *const shown[] = {"type",     "timestamp", "run_id",     "user_id",
                                        "event_id", "thread_id", "agent_name", "_offset"};
    json_t *rest = json_copy ((json_t *) (uintptr_t) message);
    for (size_t i = 0; rest && i < COUNT_OF (shown); i++)
        json_object_del (rest, shown[i]);
    if (json_object_size (rest))
        put_value (out, rest);
    json_decref (rest);
}

static const struct kind {
    const char *type, *colour;
    void (*put) (struct buf *out, const json_t *message);
} kinds[] = {
    {"connection_established", GREEN, put_established},
    {"agent_started", BLUE, put_started},
    {"tool_executing", YELLOW, put_tool},
    {"tool_completed", YELLOW, put_tool_end},
    {"agent_completed", GREEN, put_completed},
    {"agent_error", RED, put_error},
    {"error_message", RED, put_error},
    {"authentication_error", RED, put_error},
    {"connection_error", RED, put_error},
    {"bridge_draining", YELLOW, put_data},
    {"resync", RED, put_data},
    {"runs_snapshot", BLUE, put_data},
};

static const struct kind *kind_of (struct slice type)
{
    static const struct kind other = {"", GREY, put_rest};
    for (size_t i = 0; i < COUNT_OF (kinds); i++)
        if (slice_is (type, kinds[i].type))
            return &kinds[i];
    return &other;
}

/* --- deltas -------------------------------------------------------------------------------------------------- */

/* The text that goes on where the last message of its run and type stopped; or the whole of a thought. */
static bool put_thought (struct show *self, struct buf *out, const json_t *message)
{
    const json_t *delta = json_object_get (message, "delta"), *whole = json_object_get (message, "reasoning");
    struct slice type = field_text (message, "type"), run = field_text (message, "run_id");
    struct buf name;
    if (!json_is_string (delta) && !(slice_is (type, "agent_thinking") && json_is_string (whole)))
        return false;
    buf_init (&name, 0);
    buf_put (&name, type.p, type.n);
    buf_putc (&name, '\n');
    put_printable (&name, run, 0);
    char *stream = self->terminal && json_is_string (delta) ? buf_steal_str (&name) : NULL;
    buf_fini (&name);
    if (!stream || !self->streaming || strcmp (stream, self->streaming) != 0) {
        show_break (self, out);
        put_head (self, out, message, GREY);
    }
    put_clipped (out, text_of (json_is_string (delta) ? delta : whole), INDENT);
    if (!stream)
        buf_putc (out, '\n');
    show_fini (self);
    self->streaming = stream;
    return true;
}

void show_message (struct show *self, struct buf *out, const json_t *message)
{
    if (put_thought (self, out, message))
        return;
    const struct kind *kind = kind_of (field_text (message, "type"));
    show_break (self, out);
    put_head (self, out, message, kind->colour);
    kind->put (out, message);
    buf_putc (out, '\n');
}

void show_frame (struct show *self, struct buf *out, bool text, struct slice bytes)
{
    show_break (self, out);
    put_clock (self, out, NULL);
    put_padded (out, slice_str (text ? "text" : "binary"), TYPE_WIDTH + 1);
    if (text)
        put_clipped (out, bytes, INDENT);
    else
        buf_printf (out, "%zu bytes", bytes.n);
    buf_putc (out, '\n');
}
