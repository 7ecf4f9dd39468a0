/* The opening handshake of RFC 6455 section 4.2: is the request a proper upgrade, and may this client come in? */
#ifndef CORE_HANDSHAKE_H
#define CORE_HANDSHAKE_H

#include "core/conn.h"
#include "core/request.h"

#define WS_KEY_LEN 24 /* base64 of 16 bytes */

/* Is it one of ws-paths? */
bool handshake_is_ws_path (const struct hub *hub, struct slice path);

/* The HTTP status that refuses a malformed upgrade (400, 405, 426), with a static text in *fault; 0 when it is
 * well-formed. */
int handshake_check (const struct request *request, const char **fault);

/* Has this connection's user all the connections that are allowed? */
bool handshake_user_is_full (const struct hub *hub, const struct user *user);

/* Who is it, and is there room? Fills in what the connection has to know: subprotocol, user, headers of CONNECT,
 * expiry, resume; or `refusal`. `client` is the client's address. Logs the refusal. */
void handshake_admit (struct conn *conn, const struct request *request, const struct ip *client);

/* May this address ask once more? Otherwise it is counted and logged. Before anything else is done for a request. */
NODISCARD bool handshake_within_rate (struct hub *hub, const struct ip *client);

/* The client's address: the peer's, or what a trusted proxy says. Unusable headers are counted and logged. */
struct ip handshake_client (const struct hub *hub, const struct request *request, const struct ip *peer);

#endif
