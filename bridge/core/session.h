/* A connection's life beyond its socket: welcome, timers, the runtime's comings and goings, farewell. */
#ifndef CORE_SESSION_H
#define CORE_SESSION_H

#include "core/conn.h"
#include "core/hub.h"

/* The 101 has been sent. Goes on to welcome or refuse the client. */
void session_accepted (struct conn *conn);

/* Refuse a connection that has been accepted: counts, tells the client, closes 1008 or 1013. */
void session_refuse (struct conn *conn, enum error_code code);

/* Count and log a refusal (also of an upgrade that is refused by HTTP status). `check` may be NULL. */
void session_count_refusal (const struct conn *conn, enum error_code code, const char *check);

/* The connection has begun to end: tells the runtime. Called by conn_close alone. */
void session_ended (struct conn *conn);

/* Something about the runtime links has changed. `lost_lane`: the runtime there has gone and knows nothing any more
 * (LANE_NONE: none has). Brings every connection in line. */
void session_links_changed (struct hub *hub, int lost_lane);

/* Events were lost for good: every live connection is told to fetch its state anew. */
void session_resync_all (struct hub *hub);

/* A run of this user has begun or ended: its connections are processing while one is in progress, then idle. */
void session_runs_changed (struct user *user);

/* Until when the token counts: `exp` (Unix seconds, 0 = for ever), or with the leeway when it was taken past its `exp`.
 */
void session_set_expiry (struct conn *conn, int64_t exp);

/* Draining: is it too early to close this connection, because its user has runs in progress? */
bool session_waits_for_runs (const struct conn *conn);

/* A deadline of the connection has changed: set its timer anew. */
void session_rearm (struct conn *conn);

/* Put events from history on the queue of a connection that is behind, until the queue is half full or the
 * turn's share is used up; in that case the next turn goes on (the connection is dirty). */
void session_catch_up (struct conn *conn);

/* The client asked to resume behind `offset` of `epoch` (empty: did not ask). */
void session_set_resume (struct conn *conn, struct slice epoch, struct slice offset);

/* The connection's one timer has fired. */
void session_on_timer (struct timer *timer);

#endif
