/* Why a connection is refused. One row: symbol, HTTP status in `http` mode, what the client is shown (`error_message`),
 * may the client simply try again, and is it the bridge (connection_error, close 1013) rather than the client's
 * credentials (authentication_error, close 1008). The symbol is the error_code on the wire; in lower case it is the
 * `result` label of agentbridge_handshakes_total. TOO_MANY_HANDSHAKES is told by status in both modes.
 *
 *        symbol                 status retry  ours   message */
ERROR_CODE (JWT_TOKEN_MISSING,     401, false, false, "No token was sent")
ERROR_CODE (JWT_FORMAT_INVALID,    401, false, false, "The token is not a well-formed JWT")
ERROR_CODE (TOKEN_EXPIRED,         401, true,  false, "The token has expired")
ERROR_CODE (TOKEN_NOT_YET_VALID,   401, true,  false, "The token is not valid yet")
ERROR_CODE (VALIDATION_FAILED,     401, false, false, "The token was not accepted")
ERROR_CODE (MISSING_USER_ID,       401, false, false, "The token names no usable user")
ERROR_CODE (ORIGIN_DENIED,         403, false, false, "This origin is not allowed to connect")
ERROR_CODE (AUTH_KEYS_UNAVAILABLE, 503, true,  false, "Tokens cannot be checked at the moment")
ERROR_CODE (TOO_MANY_CONNECTIONS,  503, true,  true,  "The bridge is full")
ERROR_CODE (USER_CONNECTION_LIMIT, 503, true,  true,  "This user has too many connections")
ERROR_CODE (ADDRESS_CONNECTION_LIMIT, 503, true, true,  "This address has too many connections")
ERROR_CODE (TOO_MANY_HANDSHAKES,   429, true,  true,  "This address connects too often")
ERROR_CODE (SERVICE_NOT_READY,     503, true,  true,  "The agent runtime is not ready")
ERROR_CODE (DRAINING,              503, true,  true,  "The bridge is shutting down")
