/* A small HTTP/1.1 server on the loop: one request a connection, answered with Connection: close, or handed over whole
 * to another protocol.
 *
 * Why not libwebsockets' own: it copies the client's list of subprotocols into 128 bytes and drops the connection when
 * a token in it is longer, it accepts h2c and other upgrades on plain listeners, and its handshake checks are lax. With
 * this in front it sees only upgrade requests that the bridge itself has written. */
#ifndef EDGE_HTTP_H
#define EDGE_HTTP_H

#include "base/ip.h"
#include "core/hub.h"
#include "core/request.h"
#include "edge/tls.h"

#include <uv.h>

struct http_server;

/* One request, from accept until it is answered or handed over. */
struct http_conn;

/* A whole request head has arrived. The handler answers now (http_respond), later (it keeps `conn` until then and
 * sets http_on_gone), or takes the socket over (http_detach). `request` is valid during the call. */
typedef void http_handler (void *owner, struct http_conn *conn, const struct request *request);

/* Listen on `address` (host:port). `name` stands in the log; `tls` (borrowed) is what connections come through, NULL
 * for plain HTTP. NULL with one line in `error` when that fails. */
NODISCARD struct http_server *http_server_new (uv_loop_t *loop, struct hub *hub, const char *name, const char *address,
                                               struct tls *tls, http_handler *handler, void *owner, struct buf *error);

/* The port that it listens on. */
unsigned http_server_port (const struct http_server *self);

/* Close the listener and every request that is still open. The loop has to run once more to free them. */
void http_server_destroy (struct http_server **self_p);

/* Answer and close. `headers`: further header lines, each with CRLF, or "". Ends the life of `conn` for the caller. */
void http_respond (struct http_conn *conn, int status, const char *headers, const char *content_type,
                   struct slice body);

/* The same for those who come too often: does not wait for the peer to read the answer, which holds a descriptor. What
 * the peer has sent behind the request may cost it the answer. */
void http_turn_away (struct http_conn *conn, int status, const char *headers, const char *content_type,
                     struct slice body);

/* Answer {"error":code,"message":text}. */
void http_respond_error (struct http_conn *conn, int status, const char *headers, const char *message);

/* Answer with the JSON document that `write` appends; it returns the status. */
void http_respond_document (struct http_conn *conn, int (*write) (const struct hub *hub, struct buf *out));

/* Take over: the socket (owned by the caller then) and the bytes behind the head, appended to `rest`. -1 when memory
 * is out; the socket is closed then. Ends the life of `conn` either way. */
NODISCARD int http_detach (struct http_conn *conn, struct buf *rest);

/* Tell `fn` when the peer goes away before the answer. */
void http_on_gone (struct http_conn *conn, void (*fn) (void *arg), void *arg);

/* Whom log lines name: the peer, unless http_set_remote has said better. */
struct slice http_remote (const struct http_conn *conn);
void http_set_remote (struct http_conn *conn, const struct ip *ip);

/* The other end of the TCP connection, whatever headers say. */
const struct ip *http_peer (const struct http_conn *conn);
bool http_is_loopback (const struct http_conn *conn);

#endif
