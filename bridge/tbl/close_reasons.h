/* Why a connection ended. One row: symbol, label of agentbridge_connections_closed_total, code and text of the close
 * frame (RFC 6455 section 7.4; 0 = the peer's or none), and what becomes of the close frame: AFTER the frames that are
 * still queued, NOW instead of them, or NEVER by us (the peer or libwebsockets sends it, or nobody can).
 *
 *           symbol           label              code  frame  text */
CLOSE_REASON (PEER_CLOSED,    "peer_closed",        0, NEVER, "")
CLOSE_REASON (PEER_LOST,      "peer_lost",          0, NEVER, "")
CLOSE_REASON (PROTOCOL_ERROR, "protocol_error",  1002, NEVER, "")
CLOSE_REASON (INVALID_TEXT,   "invalid_text",    1007, AFTER, "Not UTF-8")
CLOSE_REASON (AUTH_FAILED,    "auth_failed",     1008, AFTER, "Authentication failed")
CLOSE_REASON (TOKEN_EXPIRED,  "token_expired",   1008, AFTER, "Token expired")
CLOSE_REASON (RATE_LIMITED,   "rate_limited",    1008, AFTER, "Rate limited")
CLOSE_REASON (TRY_LATER,      "try_later",       1013, AFTER, "Try again later")
CLOSE_REASON (EVENTS_LOST,    "events_lost",     1013, AFTER, "Events lost")
CLOSE_REASON (TOO_BIG,        "message_too_big", 1009, AFTER, "Message too big")
CLOSE_REASON (PONG_TIMEOUT,   "pong_timeout",    1001, NOW,   "No answer to ping")
CLOSE_REASON (SEND_TIMEOUT,   "send_timeout",    4008, NOW,   "Slow consumer")
CLOSE_REASON (SLOW_CONSUMER,  "slow_consumer",   4008, NOW,   "Slow consumer")
CLOSE_REASON (DRAINING,       "draining",        1012, AFTER, "Service restart")
CLOSE_REASON (KICKED,         "kicked",          4009, AFTER, "Kicked")
CLOSE_REASON (RUNTIME_CLOSE,  "runtime_close",   1000, AFTER, "")
CLOSE_REASON (INTERNAL,       "internal_error",  1011, AFTER, "Internal error")
