/* One HTTP request, waited for. The only user of libcurl outside edge/jwks_fetch.c. */
#ifndef CMD_HTTP_CALL_H
#define CMD_HTTP_CALL_H

#include "base/buf.h"

struct http_call {
    const char *url;
    const char *const *headers; /* "Name: value" */
    size_t n_headers;
    bool post;
    const char *ca_file; /* the only authorities that are trusted; NULL: the system's */
    bool insecure;       /* take any certificate */
    bool no_proxy;       /* whatever http_proxy says */
    int64_t timeout_ms;
    void (*on_second) (void *arg, unsigned seconds); /* every second of waiting; may be NULL */
    void *arg;
};

struct http_answer {
    long status; /* 0: none came */
    bool timed_out;
    struct buf body; /* owned; at most 64 KiB of it */
    char why[192];   /* when none came */
};

/* `answer` is filled in any case; free it with http_answer_fini. */
void http_call (const struct http_call *call, struct http_answer *answer);
void http_answer_fini (struct http_answer *answer);

#endif
