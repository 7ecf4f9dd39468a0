/* The frames that the bridge itself says to a client (proto/README.md, "Messages"), in the connection's own form.
 * A raw connection gets none of them. */
#ifndef CORE_NOTICE_H
#define CORE_NOTICE_H

#include "core/conn.h"

enum client_error {
#define CLIENT_ERROR(symbol, message) CLIENT_ERROR_##symbol,
#include "tbl/client_errors.h"
#undef CLIENT_ERROR
    CLIENT_ERROR_COUNT
};

const char *client_error_text (enum client_error code);

void notice_established (struct conn *conn);

/* The runs that its user has in progress. */
void notice_runs (struct conn *conn);

/* Events are lost for good; the epoch is another one from here on. */
void notice_resync (struct conn *conn);

/* Why the connection is refused: authentication_error or connection_error. */
void notice_refusal (struct conn *conn, enum error_code code);

/* `message_id` is a whole value in the connection's form, or empty. */
void notice_error (struct conn *conn, enum client_error code, struct slice message_id);

/* `id` is a whole value in the connection's form, or empty. */
void notice_pong (struct conn *conn, struct slice id);

void notice_draining (struct conn *conn, uint64_t reconnect_after_ms);
void notice_token_expired (struct conn *conn);
void notice_token_refreshed (struct conn *conn);
void notice_heartbeat_ack (struct conn *conn);

#endif
