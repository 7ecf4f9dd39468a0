/* error_code of `error_message` frames: the connection lives on. */
CLIENT_ERROR (JSON_PARSE_ERROR,    "The message is not valid JSON")
CLIENT_ERROR (INVALID_MESSAGE,     "A message is an object with a string \"type\"")
CLIENT_ERROR (RATE_LIMITED,        "Too many messages; this one was not handed over")
CLIENT_ERROR (RUNTIME_UNAVAILABLE, "The agent runtime cannot be reached; the message was not handed over")
CLIENT_ERROR (TOKEN_REFUSED,       "The new token was not accepted; the old one still counts")
