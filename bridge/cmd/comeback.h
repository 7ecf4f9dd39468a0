/* Does a client whose connection has ended come back, and when? (proto/README.md, "Closing") */
#ifndef CMD_COMEBACK_H
#define CMD_COMEBACK_H

#include "cmd/ws_client.h"

#include <jansson.h>

enum comeback {
    COMEBACK_DONE,       /* closed as it should be */
    COMEBACK_AGAIN,      /* after comeback_wait_ms */
    COMEBACK_WITH_TOKEN, /* only with another token */
    COMEBACK_LOST,       /* for good: would end the same way */
    COMEBACK_REFUSED     /* for good */
};

/* What this connection was told, and how often it was tried in vain. All 0 at first. */
struct comeback_state {
    unsigned attempts;
    bool told_wait, refused, retry_allowed, token_expired;
    int64_t wait_ms;     /* when told */
    char error_code[64]; /* when refused; any bytes */
};

/* A connection begins. */
void comeback_begin (struct comeback_state *self);

/* It was let in: the waits begin anew. */
void comeback_established (struct comeback_state *self);

/* Any message of the bridge. */
void comeback_note (struct comeback_state *self, const json_t *message);

enum comeback comeback_judge (const struct comeback_state *self, const struct ws_client_end *end);

/* How long to wait this time, milliseconds: what the bridge has said; nothing when it may come back at once; else by
 * chance up to a limit that doubles with every attempt (full jitter). Counts the attempt. */
int64_t comeback_wait_ms (struct comeback_state *self, const struct ws_client_end *end);

#endif
