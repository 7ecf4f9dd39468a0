/* What has come in, and the connection that it came from: copies of the bytes. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static char *put (char *to, struct abr_bytes bytes)
{
    if (bytes.n)
        memcpy (to, bytes.p, bytes.n);
    to[bytes.n] = 0;
    return to + bytes.n + 1;
}

static abr_conn_t *conn_new (struct abr_bytes bridge, struct abr_bytes id, struct abr_bytes user)
{
    abr_conn_t *self = malloc (sizeof *self + bridge.n + id.n + user.n + 3);
    if (!self)
        return NULL;
    char *at = self->text;
    self->bridge = (struct abr_bytes){at, bridge.n};
    self->id = at = put (at, bridge);
    self->user = at = put (at, id);
    put (at, user);
    return self;
}

abr_conn_t *abr_conn_dup (const abr_conn_t *self)
{
    if (!self) {
        errno = EINVAL;
        return NULL;
    }
    return conn_new (self->bridge, abr_bytes_of (self->id), abr_bytes_of (self->user));
}

void abr_conn_destroy (abr_conn_t **self_p)
{
    if (!self_p)
        return;
    free (*self_p);
    *self_p = NULL;
}

const char *abr_conn_id (const abr_conn_t *self)
{
    return self->id;
}

const char *abr_conn_user (const abr_conn_t *self)
{
    return self->user;
}

abr_item_t *abr_item_new (abr_kind_t kind, const struct abr_bytes frames[ABR_COMMAND_FRAMES])
{
    abr_item_t *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    self->kind = kind;
    self->conn = conn_new (frames[0], frames[2], frames[3]);
    self->headers = (struct abr_bytes){abr_copy (frames[4]), frames[4].n};
    self->body = (struct abr_bytes){abr_copy (frames[5]), frames[5].n};
    if (!self->conn || !self->headers.p || !self->body.p)
        abr_item_destroy (&self);
    return self;
}

void abr_item_destroy (abr_item_t **self_p)
{
    if (!self_p || !*self_p)
        return;
    abr_item_t *self = *self_p;
    while (self->strings) {
        struct abr_string *string = self->strings;
        self->strings = string->next;
        free (string->text);
        free (string);
    }
    abr_conn_destroy (&self->conn);
    free ((char *) self->headers.p);
    free ((char *) self->body.p);
    free (self);
    *self_p = NULL;
}

size_t abr_item_size (const abr_item_t *self)
{
    return sizeof *self + sizeof *self->conn + self->headers.n + self->body.n;
}

abr_kind_t abr_item_kind (const abr_item_t *self)
{
    return self->kind;
}

const char *abr_item_user (const abr_item_t *self)
{
    return self->conn->user;
}

const abr_conn_t *abr_item_conn (const abr_item_t *self)
{
    return self->kind == ABR_ABANDONED ? NULL : self->conn;
}

const char *abr_item_body (const abr_item_t *self, size_t *size)
{
    if (size)
        *size = self->body.n;
    return self->body.p;
}

bool abr_item_is_text (const abr_item_t *self)
{
    struct abr_bytes opcode;
    if (self->kind != ABR_MESSAGE)
        return false;
    return !abr_mp_get_str (self->headers, "opcode", &opcode) || abr_bytes_eq (opcode, "text");
}

static uint64_t number (const abr_item_t *self, const char *name)
{
    uint64_t value = 0;
    return abr_mp_get_uint (self->headers, name, &value) ? value : 0;
}

uint64_t abr_item_seq (const abr_item_t *self)
{
    return number (self, "seq");
}

double abr_item_time (const abr_item_t *self)
{
    return abr_mp_get_number (self->headers, "ts");
}

bool abr_item_resumed (const abr_item_t *self)
{
    return abr_mp_get_bool (self->headers, "resumed");
}

int abr_item_code (const abr_item_t *self)
{
    uint64_t code = number (self, "code");
    return code <= 4999 ? (int) code : 0;
}

uint64_t abr_item_remaining (const abr_item_t *self)
{
    return number (self, "remaining");
}

const void *abr_item_headers (const abr_item_t *self, size_t *size)
{
    if (size)
        *size = self->headers.n;
    return self->headers.p;
}

/* A copy that ends with NUL and lives as long as the item; a NUL within would cut it into something else. */
static const char *keep (abr_item_t *self, struct abr_bytes source)
{
    struct abr_string *string;
    if (source.n && memchr (source.p, 0, source.n))
        return NULL;
    for (string = self->strings; string; string = string->next)
        if (string->source.p == source.p)
            return string->text;
    string = malloc (sizeof *string);
    char *text = string ? abr_copy (source) : NULL;
    if (!text) {
        free (string);
        return NULL;
    }
    *string = (struct abr_string){self->strings, source, text};
    self->strings = string;
    return text;
}

const char *abr_item_header (abr_item_t *self, const char *name)
{
    struct abr_bytes value;
    return abr_mp_get_str (self->headers, name, &value) ? keep (self, value) : NULL;
}

const char *abr_item_claim (abr_item_t *self, const char *name)
{
    struct abr_bytes value;
    return abr_mp_get_str (abr_mp_get (self->headers, "claims"), name, &value) ? keep (self, value) : NULL;
}

const char *abr_item_run_id (abr_item_t *self, size_t index)
{
    struct abr_bytes runs = abr_mp_get (self->headers, "runs");
    struct abr_mp_token token;
    size_t pos = 0;
    if (self->kind != ABR_ABANDONED || !runs.p || !abr_mp_read (runs, &pos, &token) || index >= token.v.count)
        return NULL;
    for (size_t i = 0; i <= index; i++)
        if (!abr_mp_read (runs, &pos, &token)) /* all are strings */
            return NULL;
    return keep (self, token.v.bytes);
}
