/* A WebSocket client, one connection at a time, on a libuv loop. The only user of libwebsockets outside edge/ws.c. */
#ifndef CMD_WS_CLIENT_H
#define CMD_WS_CLIENT_H

#include "cmd/ws_url.h"

#include <uv.h>

#define WS_CLIENT_MESSAGE_MAX (96 * 1024 * 1024) /* bytes of a message that is taken: more than any bridge sends */

struct ws_client;

/* How a connection has ended. */
struct ws_client_end {
    bool opened;     /* it was a WebSocket before */
    unsigned code;   /* of the close frame; 1006 when there was none */
    unsigned status; /* of an answer that refused the upgrade; 0 when there was none */
    size_t unsent;   /* messages that had been taken along and are lost */
    char why[192];   /* the reason in the close frame, or the library's word; may hold any bytes */
};

/* All borrowed for as long as the client lives. */
struct ws_client_options {
    const struct ws_url *url;
    const char *protocols;      /* what is offered, comma list; NULL: nothing */
    const char *origin;         /* NULL: none */
    const char *const *headers; /* "Name: value" */
    size_t n_headers;
    const char *ca_file; /* the only authorities that are trusted; NULL: the system's */
    bool insecure;       /* take any certificate */
};

/* Called from the loop. `on_end` comes exactly once after each ws_client_open() that returned true. */
struct ws_client_events {
    void (*on_open) (void *arg);
    void (*on_message) (void *arg, bool text, struct slice bytes);
    void (*on_sent) (void *arg); /* nothing waits to be sent any more */
    void (*on_end) (void *arg, const struct ws_client_end *end);
};

/* NULL when memory is out or `ca_file` cannot be read. */
NODISCARD struct ws_client *ws_client_new (uv_loop_t *loop, const struct ws_client_options *options,
                                           const struct ws_client_events *events, void *arg);

/* Begin a connection. False when it could not even begin; the reason is in *end then, and on_end does not come. */
NODISCARD bool ws_client_open (struct ws_client *self, const char *path, struct ws_client_end *end);

/* Other protocols from the next connection on; borrowed. */
void ws_client_offer (struct ws_client *self, const char *protocols);

/* Take one message along; it is sent as soon as the socket allows. Only while a connection is open. False when memory
 * is out. */
NODISCARD bool ws_client_send (struct ws_client *self, bool text, struct slice bytes);

/* Bytes that wait to be sent. */
size_t ws_client_waiting (const struct ws_client *self);

/* Say goodbye (1000) behind what waits, and end. Harmless when there is no connection. */
void ws_client_close (struct ws_client *self);

/* First half of the end: lets go of the loop, which has to run until nothing is left. */
void ws_client_stop (struct ws_client *self);
void ws_client_destroy (struct ws_client **self_p);

#endif
