/* Why a connection ended. One row: symbol, label of agentbridge_connections_closed_total, code and text of the close
 * frame (RFC 6455 section 7.4; 0 = no frame can be sent or the peer chose the code), and whether frames that are
 * still queued are sent first.
 *
 *           symbol           label              code  flush  text */
CLOSE_REASON (PEER_CLOSED,    "peer_closed",        0, false, "")
CLOSE_REASON (PEER_LOST,      "peer_lost",          0, false, "")
CLOSE_REASON (AUTH_FAILED,    "auth_failed",     1008, true,  "Authentication failed")
CLOSE_REASON (TOKEN_EXPIRED,  "token_expired",   1008, true,  "Token expired")
CLOSE_REASON (RATE_LIMITED,   "rate_limited",    1008, true,  "Rate limited")
CLOSE_REASON (TRY_LATER,      "try_later",       1013, true,  "Try again later")
CLOSE_REASON (TOO_BIG,        "message_too_big", 1009, true,  "Message too big")
CLOSE_REASON (PONG_TIMEOUT,   "pong_timeout",    1001, false, "No answer to ping")
CLOSE_REASON (SEND_TIMEOUT,   "send_timeout",    4008, false, "Slow consumer")
CLOSE_REASON (SLOW_CONSUMER,  "slow_consumer",   4008, false, "Slow consumer")
CLOSE_REASON (DRAINING,       "draining",        1012, true,  "Service restart")
CLOSE_REASON (KICKED,         "kicked",          4009, true,  "Kicked")
CLOSE_REASON (RUNTIME_CLOSE,  "runtime_close",   1000, true,  "")
CLOSE_REASON (INTERNAL,       "internal_error",  1011, true,  "Internal error")
