/* When a client is over, and the words that it leaves with. */
#include "cmd/connect.h"
#include "cmd/printable.h"

#include <errno.h>
#include <stdarg.h>

#define GOODBYE_MS 2000 /* for the answer to our close frame */

/* --- words --------------------------------------------------------------------------------------------------- */

void client_note (struct client *self, const char *format, ...)
{
    char text[1024];
    struct buf line;
    va_list list;
    show_break (&self->show, &self->out);
    client_write (self);
    fflush (stdout);
    va_start (list, format);
    vsnprintf (text, sizeof text, format, list);
    va_end (list);
    buf_init (&line, 0);
    put_printable (&line, slice_str (text), 0); /* a reason is the peer's text */
    fprintf (stderr, "agentbridge " CONNECT ": %.*s\n", (int) line.n, line.n ? (const char *) line.p : "");
    buf_fini (&line);
}

/* --- the end ------------------------------------------------------------------------------------------------- */

void client_stop (struct client *self)
{
    if (self->stopped)
        return;
    self->stopped = true;
    uv_timer_stop (&self->quiet);
    uv_timer_stop (&self->limit);
    uv_timer_stop (&self->retry);
    lines_read (&self->input, false);
    uv_stop (&self->loop);
}

static void on_goodbye_over (uv_timer_t *timer)
{
    client_stop (timer->data);
}

void client_finish (struct client *self, int code)
{
    if (self->stopping)
        return;
    self->stopping = true;
    self->code = code == 0 && self->faulty ? EXIT_LOST : code;
    lines_read (&self->input, false);
    if (!self->connected) {
        client_stop (self);
        return;
    }
    uv_timer_stop (&self->quiet);
    uv_timer_stop (&self->limit);
    uv_timer_start (&self->retry, on_goodbye_over, GOODBYE_MS, 0);
    ws_client_close (self->wire);
}

/* Nobody reads what is printed: no note, which would print too. */
static void fail_output (struct client *self)
{
    if (self->stopping)
        return;
    self->stopping = true;
    self->code = EXIT_LOST;
    client_stop (self);
}

void client_write (struct client *self)
{
    bool ok = !self->out.failed && (!self->out.n || fwrite (self->out.p, 1, self->out.n, stdout) == self->out.n);
    buf_reset (&self->out);
    if (!ok)
        fail_output (self);
}

void client_flush (struct client *self)
{
    if (fflush (stdout) != 0) {
        fail_output (self);
        return;
    }
    if (!self->cursor_dirty || !self->args.cursor_file)
        return;
    self->cursor_dirty = false;
    if (!cursor_save (&self->cursor, self->args.cursor_file)) {
        client_note (self, "--cursor-file %s: cannot be written: %s", self->args.cursor_file, strerror (errno));
        client_finish (self, EXIT_LOST);
    }
}

/* --- when standard input has ended --------------------------------------------------------------------------- */

static void on_quiet (uv_timer_t *timer)
{
    client_finish (timer->data, 0);
}

void client_review (struct client *self)
{
    const struct client_args *args = &self->args;
    if (!self->input_ended || args->follow || args->until || args->for_s || self->stopping)
        return;
    uv_timer_stop (&self->quiet);
    if (!self->ready || json_object_size (self->runs) || ws_client_waiting (self->wire))
        return;
    if (self->asked && self->ended >= self->asked)
        client_finish (self, 0);
    else
        uv_timer_start (&self->quiet, on_quiet, (uint64_t) args->quiet_ms, 0);
}
