/* WebSocket subprotocols (RFC 6455 section 1.9) that the bridge speaks: symbol, token in the header, form of the frames. */
SUBPROTOCOL (AGENT_CHAT,         "agent_chat",         JSON)
SUBPROTOCOL (AGENT_CHAT_MSGPACK, "agent_chat.msgpack", MSGPACK)
SUBPROTOCOL (RAW,                "raw",                RAW)
SUBPROTOCOL (JWT_AUTH,           "jwt-auth",           JSON)
SUBPROTOCOL (JWT,                "jwt",                JSON)
SUBPROTOCOL (BEARER,             "bearer",             JSON)
SUBPROTOCOL (E2E_TESTING,        "e2e-testing",        JSON)
