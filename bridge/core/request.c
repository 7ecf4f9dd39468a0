#include "core/request.h"

#include <strings.h>

/* RFC 9110 section 5.6.2 */
static bool is_token_char (char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr ("!#$%&'*+-.^_`|~", c));
}

static bool is_token (struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token_char (s.p[i]))
            return false;
    return s.n > 0;
}

/* Visible ASCII only: a target never holds anything else (RFC 3986). */
static bool is_target (struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char) s.p[i];
        if (c <= ' ' || c >= 127)
            return false;
    }
    return s.n > 0 && s.p[0] == '/' && !memchr (s.p, '#', s.n);
}

static bool is_field_value (struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char) s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 127)
            return false;
    return true;
}

/* A line up to CRLF; a bare CR or LF is a fault. */
static enum request_status next_line (struct slice *rest, struct slice *line)
{
    const char *lf = rest->n ? memchr (rest->p, '\n', rest->n) : NULL;
    if (!lf)
        return REQUEST_INCOMPLETE;
    size_t n = (size_t) (lf - rest->p);
    if (n == 0 || rest->p[n - 1] != '\r' || memchr (rest->p, '\r', n - 1))
        return REQUEST_BAD;
    *line = slice_of (rest->p, n - 1);
    *rest = slice_of (lf + 1, rest->n - n - 1);
    return REQUEST_OK;
}

static enum request_status bad (struct request *self, const char *fault)
{
    self->fault = fault;
    return REQUEST_BAD;
}

static enum request_status parse_request_line (struct request *self, struct slice line)
{
    struct slice target;
    if (!slice_cut (&line, ' ', &self->method) || !is_token (self->method))
        return bad (self, "method");
    if (!slice_cut (&line, ' ', &target) || !is_target (target))
        return bad (self, "target");
    if (line.n != 8 || memcmp (line.p, "HTTP/1.", 7) != 0 || (line.p[7] != '0' && line.p[7] != '1'))
        return bad (self, "version");
    self->minor = line.p[7] - '0';
    if (slice_cut (&target, '?', &self->path))
        self->query = target;
    else
        self->path = target;
    return REQUEST_OK;
}

static enum request_status parse_header (struct request *self, struct slice line)
{
    struct request_header header;
    if (!slice_cut (&line, ':', &header.name) || !is_token (header.name))
        return bad (self, "header name");
    header.value = slice_trim (line);
    if (!is_field_value (header.value))
        return bad (self, "header value");
    if (self->n_headers == REQUEST_MAX_HEADERS)
        return bad (self, "too many headers");
    self->headers[self->n_headers++] = header;
    return REQUEST_OK;
}

enum request_status request_parse (struct request *self, struct slice text, size_t *head_n)
{
    struct slice rest = text, line;
    self->n_headers = 0;
    self->query = slice_str (NULL);
    enum request_status status = next_line (&rest, &line);
    if (status == REQUEST_OK)
        status = parse_request_line (self, line);
    else if (status == REQUEST_BAD)
        bad (self, "line end");
    while (status == REQUEST_OK) {
        status = next_line (&rest, &line);
        if (status == REQUEST_BAD)
            bad (self, "line end");
        if (status != REQUEST_OK || line.n == 0)
            break;
        status = parse_header (self, line);
    }
    *head_n = text.n - rest.n;
    return status;
}

static bool name_is (struct slice name, const char *wanted)
{
    return name.n == strlen (wanted) && strncasecmp (name.p, wanted, name.n) == 0;
}

size_t request_header (const struct request *self, const char *name, struct slice *value)
{
    size_t count = 0;
    for (size_t i = 0; i < self->n_headers; i++)
        if (name_is (self->headers[i].name, name) && count++ == 0 && value)
            *value = self->headers[i].value;
    return count;
}

void request_header_join (const struct request *self, const char *name, struct buf *out)
{
    bool first = true;
    for (size_t i = 0; i < self->n_headers; i++) {
        if (!name_is (self->headers[i].name, name))
            continue;
        if (!first)
            buf_puts (out, ", ");
        buf_put (out, self->headers[i].value.p, self->headers[i].value.n);
        first = false;
    }
}

static bool list_has (struct slice list, const char *token)
{
    struct slice item;
    while (slice_next_item (&list, &item))
        if (name_is (item, token))
            return true;
    return false;
}

bool request_header_has (const struct request *self, const char *name, const char *token)
{
    for (size_t i = 0; i < self->n_headers; i++)
        if (name_is (self->headers[i].name, name) && list_has (self->headers[i].value, token))
            return true;
    return false;
}

bool request_query (const struct request *self, const char *name, struct slice *value)
{
    struct slice rest = self->query, pair, key;
    while (rest.n) {
        if (!slice_cut (&rest, '&', &pair)) {
            pair = rest;
            rest = slice_str (NULL);
        }
        if (!slice_cut (&pair, '=', &key)) {
            key = pair;
            pair = slice_str (NULL);
        }
        if (slice_is (key, name)) {
            *value = pair;
            return true;
        }
    }
    return false;
}

static int hex_digit (char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool request_percent_decode (struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != '%') {
            buf_putc (out, text.p[i]);
            continue;
        }
        int high = i + 2 <= text.n - 1 ? hex_digit (text.p[i + 1]) : -1;
        int low = i + 2 <= text.n - 1 ? hex_digit (text.p[i + 2]) : -1;
        if (high < 0 || low < 0)
            return false;
        buf_putc (out, (char) (high << 4 | low));
        i += 2;
    }
    return !out->failed;
}
