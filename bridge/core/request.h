/* The head of an HTTP/1.x request (RFC 9112), read strictly: CRLF, no folding, no blanks around names, origin-form
 * only. Why our own: see edge/http.c. */
#ifndef CORE_REQUEST_H
#define CORE_REQUEST_H

#include "base/buf.h"

#define REQUEST_MAX_HEADERS 100

enum request_status {
    REQUEST_OK,
    REQUEST_INCOMPLETE,
    REQUEST_BAD
};

struct request_header {
    struct slice name, value; /* value without blanks around it */
};

/* Slices borrow from the text that was parsed. */
struct request {
    struct slice method;
    struct slice path;  /* without the query, not decoded */
    struct slice query; /* behind `?`, not decoded */
    int minor;          /* HTTP/1.minor */
    size_t n_headers;
    struct request_header headers[REQUEST_MAX_HEADERS];
    const char *fault; /* REQUEST_BAD: what is wrong, static text */
};

/* Read the head at the start of `text`. REQUEST_OK: *head_n is its length with the empty line; what follows belongs to
 * the next protocol. REQUEST_INCOMPLETE: more bytes are needed. */
NODISCARD enum request_status request_parse (struct request *self, struct slice text, size_t *head_n);

/* How many lines of this name there are (case-insensitive); the first one's value in *value (may be NULL). */
size_t request_header (const struct request *self, const char *name, struct slice *value);

/* Append all lines of this name, joined by commas (RFC 9110 section 5.3). */
void request_header_join (const struct request *self, const char *name, struct buf *out);

/* Is `token` one of the comma-separated items of all lines of this name (case-insensitive)? */
bool request_header_has (const struct request *self, const char *name, const char *token);

/* A parameter of the query as it stands there; false when it is not there. The first one counts. */
bool request_query (const struct request *self, const char *name, struct slice *value);

/* Undo percent-encoding (RFC 3986 section 2.1) onto `out`; false when it is malformed. */
NODISCARD bool request_percent_decode (struct slice text, struct buf *out);

#endif
