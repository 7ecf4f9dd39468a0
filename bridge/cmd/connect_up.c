/* Up: lines of standard input to the bridge. */
#include "cmd/connect.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "core/json_mp.h"

#include <unistd.h>

#define WAITING_MAX 1048576 /* bytes that wait to be sent; then standard input waits */

static json_t *message_of (struct slice line)
{
    uint8_t random[12];
    char id[2 * sizeof random + 1];
    random_bytes (random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf (id + 2 * i, 3, "%02x", random[i]);
    return json_pack ("{s:s, s:s%, s:s}", "type", "user_message", "text", line.p, line.n, "message_id", id);
}

/* The line as a frame of this connection; false when it is not UTF-8, or memory is out. */
static bool put_frame (const struct client *self, struct slice line, struct buf *out)
{
    json_t *json = json_loadb (line.p, line.n, JSON_ALLOW_NUL, NULL);
    bool object = json_is_object (json);
    if (self->form == FORM_RAW || (self->form == FORM_JSON && object)) {
        json_decref (json);
        buf_put (out, line.p, line.n);
        return !out->failed && utf8_valid (line);
    }
    if (!object) {
        json_decref (json);
        json = message_of (line);
    }
    if (json && self->form == FORM_MSGPACK) {
        msgpack_packer packer;
        mp_writer_init (&packer, out);
        json_mp_put (&packer, json);
    } else if (json) {
        char *text = json_dumps (json, JSON_COMPACT);
        buf_puts (out, text ? text : "");
        free (text);
    }
    bool ok = json && out->n && !out->failed;
    json_decref (json);
    return ok;
}

static void on_line (void *arg, struct slice line)
{
    struct client *self = arg;
    struct buf frame;
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    if (line.n == 0 || self->stopping)
        return;
    buf_init (&frame, 0);
    if (!put_frame (self, line, &frame)) {
        client_note (self, "a line was not sent: it is not UTF-8");
        self->faulty = true;
    } else if (ws_client_send (self->wire, self->form != FORM_MSGPACK, buf_slice (&frame)))
        self->asked++;
    else {
        client_note (self, "memory is out");
        client_finish (self, EXIT_LOST);
    }
    buf_fini (&frame);
    lines_read (&self->input, ws_client_waiting (self->wire) < WAITING_MAX);
}

static void on_input_end (void *arg, bool too_long)
{
    struct client *self = arg;
    self->input_ended = true;
    if (too_long) {
        client_note (self, "a line of standard input is longer than 64 MiB");
        client_finish (self, EXIT_LOST);
    }
    client_review (self);
}

void client_sent (void *arg)
{
    struct client *self = arg;
    lines_read (&self->input, self->ready && !self->stopping);
    client_review (self);
}

bool client_open_input (struct client *self)
{
    if (!lines_init (&self->input, &self->loop, STDIN_FILENO))
        return false;
    self->input.on_line = on_line;
    self->input.on_end = on_input_end;
    self->input.arg = self;
    return true;
}
