/* Every option: one row yields the flag (--listen), the variable (AGENTBRIDGE_LISTEN), the key of the configuration
 * file (listen), the field of struct config, the line of --help and the line of the reference.
 *
 * Kinds: STR text, SECRET text that is never shown, FILE a path that must be readable, INT with range, BOOL, CHOICE of a list.
 * RELOAD means that SIGHUP applies a new value.
 *
 *      kind    field                        name                          default              min      max / choices         reload  help */
OPTION (STR,    listen,                      "listen",                     "0.0.0.0:8080",        1,     255,                  false,
        "Public HTTP and WebSocket address, host:port ([::]:8080 for IPv6, port 0 takes a free one)")
OPTION (STR,    admin_listen,                "admin-listen",               "0.0.0.0:9090",        1,     255,                  false,
        "Address of probes, metrics and drain")
OPTION (FILE,   tls_cert_file,               "tls-cert-file",              "",                    0,     4096,                 true,
        "PEM file with the certificate of the public port and its chain: makes it speak TLS. Read again when the file changes")
OPTION (FILE,   tls_key_file,                "tls-key-file",               "",                    0,     4096,                 true,
        "PEM file with the private key of tls-cert-file, without a passphrase. Read again when the file changes")
OPTION (CHOICE, tls_min_version,             "tls-min-version",            "1.2",                 0,     "1.2|1.3",            true,
        "Oldest version of TLS that clients may speak")
OPTION (STR,    ws_paths,                    "ws-paths",                   "/ws,/api/v1/websocket", 1,   1024,                 false,
        "Paths on which WebSockets are accepted, comma list")
OPTION (STR,    bridge_id,                   "bridge-id",                  "",                    0,     128,                  false,
        "ZeroMQ routing id and `bridge` field; the host name when not set")
OPTION (CHOICE, environment,                 "environment",                "production",          0,     "production|staging|development|test", false,
        "Where this runs; production refuses everything meant for tests")
OPTION (SECRET, e2e_bypass_key,              "e2e-bypass-key",             "",                    0,     255,                  false,
        "Key of the bypass for tests of a deployment (16 bytes or more): who sends it comes in as any user; refused in production")
OPTION (STR,    runtime_commands,            "runtime-commands",           ">tcp://127.0.0.1:5555", 1,   4096,                 false,
        "Command endpoints (the runtime's ROUTER): > connects, @ binds, comma list")
OPTION (STR,    runtime_events,              "runtime-events",             ">tcp://127.0.0.1:5556", 1,   4096,                 false,
        "Event endpoints (the runtime's PUB): > connects, @ binds, comma list")
OPTION (INT,    runtime_wait_ms,             "runtime-wait-ms",            "5000",                0,     600000,               true,
        "How long a new connection waits for the runtime, milliseconds")
OPTION (INT,    runtime_ping_s,              "runtime-ping-s",             "5",                   1,     3600,                 true,
        "Seconds between PING commands to the runtime")
OPTION (INT,    runtime_queue_messages,      "runtime-queue-messages",     "10000",               10,    1000000,              false,
        "Commands held for a runtime that does not read (ZMQ_SNDHWM); beyond it clients get RUNTIME_UNAVAILABLE")
OPTION (FILE,   curve_secret_file,           "curve-secret-file",          "",                    0,     4096,                 false,
        "The bridge's own CURVE certificate with its secret key (czmq zcert file); needed when an endpoint is not loopback or ipc")
OPTION (FILE,   curve_runtime_file,          "curve-runtime-file",         "",                    0,     4096,                 false,
        "The runtime's public CURVE certificate (zcert file): the server to connect to, or the only client let in on bound endpoints")
OPTION (SECRET, jwt_secret,                  "jwt-secret",                 "",                    0,     4096,                 true,
        "HMAC key of the tokens; production wants 32 bytes or more")
OPTION (FILE,   jwt_secret_file,             "jwt-secret-file",            "",                    0,     4096,                 true,
        "File with the HMAC key (one trailing newline is not part of it)")
OPTION (FILE,   jwt_secret_previous_file,    "jwt-secret-previous-file",   "",                    0,     4096,                 true,
        "File with a second HMAC key that is accepted too, while the keys are rotated; an empty file holds none")
OPTION (FILE,   jwt_public_key_file,         "jwt-public-key-file",        "",                    0,     4096,                 true,
        "PEM file with RSA, EC or Ed25519 public keys")
OPTION (FILE,   jwks_file,                   "jwks-file",                  "",                    0,     4096,                 true,
        "JSON Web Key Set (RFC 7517)")
OPTION (STR,    jwks_url,                    "jwks-url",                   "",                    0,     2048,                 false,
        "Key set that is fetched and kept fresh: https://, or http:// (in production only to loopback); its keys count beside those of the files")
OPTION (FILE,   jwks_ca_file,                "jwks-ca-file",               "",                    0,     4096,                 false,
        "PEM file with the only authorities that the server of jwks-url is trusted by; the system's when not set")
OPTION (INT,    jwks_timeout_ms,             "jwks-timeout-ms",            "5000",                10,    60000,                true,
        "Milliseconds for one fetch of jwks-url as a whole, redirects too")
OPTION (INT,    jwks_max_bytes,              "jwks-max-bytes",             "262144",              1024,  1048576,              true,
        "Largest key set taken from jwks-url, bytes")
OPTION (INT,    jwks_min_age_s,              "jwks-min-age-s",             "60",                  1,     86400,                true,
        "Seconds that a fetched set is fresh at least, whatever Cache-Control and Expires say (300 when they say nothing)")
OPTION (INT,    jwks_max_age_s,              "jwks-max-age-s",             "3600",                1,     604800,               true,
        "Seconds that a fetched set is fresh at most; it is fetched again when four fifths have passed")
OPTION (INT,    jwks_stale_s,                "jwks-stale-s",               "86400",               1,     2592000,              true,
        "Seconds that a fetched set counts while fetching fails; then tokens are refused with AUTH_KEYS_UNAVAILABLE")
OPTION (INT,    jwks_kid_refresh_s,          "jwks-kid-refresh-s",         "10",                  1,     3600,                 true,
        "Seconds between two fetches because a token names a kid that no key has; so long before it signs with it an issuer should publish a key")
OPTION (INT,    jwks_retry_ms,               "jwks-retry-ms",              "1000",                10,    60000,                true,
        "Milliseconds before a fetch that failed is tried again, doubled each time up to 60 s, jittered down to half")
OPTION (INT,    jwks_breaker_failures,       "jwks-breaker-failures",      "5",                   1,     1000,                 true,
        "Failures in a row that open the breaker: jwks-url is left alone then")
OPTION (INT,    jwks_breaker_open_s,         "jwks-breaker-open-s",        "30",                  1,     3600,                 true,
        "Seconds that the open breaker waits before it lets one fetch try")
OPTION (STR,    jwt_algorithms,              "jwt-algorithms",             "",                    0,     255,                  true,
        "Allowed algorithms, comma list (HS256, RS256, PS256, ES256, EdDSA, ...); those that the keys serve when not set")
OPTION (STR,    jwt_issuer,                  "jwt-issuer",                 "",                    0,     1024,                 true,
        "Required `iss` of the tokens")
OPTION (STR,    jwt_audience,                "jwt-audience",               "",                    0,     1024,                 true,
        "Required `aud` of the tokens (or one of them)")
OPTION (STR,    jwt_user_claim,              "jwt-user-claim",             "sub",                 1,     128,                  true,
        "Claim that holds the user id")
OPTION (INT,    jwt_leeway_s,                "jwt-leeway-s",               "30",                  0,     600,                  true,
        "Clock skew allowed for exp, nbf and iat, seconds")
OPTION (BOOL,   jwt_require_exp,             "jwt-require-exp",            "true",                0,     0,                    true,
        "Refuse tokens without `exp`")
OPTION (BOOL,   allow_query_token,           "allow-query-token",          "false",               0,     0,                    true,
        "Also take the token from the query parameter `token` (it ends up in proxies' logs)")
OPTION (CHOICE, auth_failure,                "auth-failure",               "close",               0,     "close|http",         true,
        "How a refusal is told: close = accept, error frame, close 1008; http = 401/403/503 with JSON")
OPTION (STR,    allowed_origins,             "allowed-origins",            "",                    0,     4096,                 true,
        "Origins of browsers that may connect, comma list, * for all; the same host only when not set")
OPTION (INT,    max_connections,             "max-connections",            "10000",               1,     1000000,              true,
        "WebSocket connections of the whole bridge")
OPTION (INT,    max_connections_per_user,    "max-connections-per-user",   "10",                  1,     100000,               true,
        "WebSocket connections of one user")
OPTION (INT,    max_connections_per_address, "max-connections-per-address", "0",                  0,     1000000,              true,
        "WebSocket connections of one client address (IPv6: of one /64); 0 = no limit. Behind a proxy only with trusted-proxies")
OPTION (INT,    handshakes_per_second_per_address, "handshakes-per-second-per-address", "0",      0,     1000000,              true,
        "Upgrade requests of one client address (IPv6: of one /64) per second, burst ten times that; over it answers 429; 0 = no limit. Behind a proxy only with trusted-proxies")
OPTION (STR,    trusted_proxies,             "trusted-proxies",            "",                    0,     4096,                 true,
        "Proxies that may say who the client is (Forwarded, X-Forwarded-For), comma list of addresses and networks (10.0.0.0/8, fd00::/8); nobody may when not set")
OPTION (CHOICE, proxy_header,                "proxy-header",               "any",                 0,     "any|forwarded|x-forwarded-for", true,
        "Header in which trusted proxies say so; any = Forwarded, or X-Forwarded-For when there is none. Name the one that your proxy writes unless it removes the other")
OPTION (CHOICE, default_subprotocol,         "default-subprotocol",        "agent_chat",          0,     "agent_chat|agent_chat.msgpack|raw", true,
        "How a client is treated that offers no known subprotocol")
OPTION (INT,    max_message_bytes,           "max-message-bytes",          "65536",               1,     67108864,             true,
        "Largest message from a client after reassembly, bytes; over it closes 1009")
OPTION (INT,    max_event_bytes,             "max-event-bytes",            "1048576",             64,    67108864,             false,
        "Largest event or command body from the runtime, bytes")
OPTION (INT,    client_messages_per_minute,  "client-messages-per-minute", "600",                 0,     10000000,             true,
        "Messages of one connection per minute, burst a tenth; 0 = no limit")
OPTION (INT,    client_messages_per_minute_per_user, "client-messages-per-minute-per-user", "0",  0,     10000000,             true,
        "Messages of all connections of one user per minute, burst a tenth; 0 = no limit")
OPTION (INT,    queue_messages,              "queue-messages",             "1000",                1,     1000000,              true,
        "Frames waiting for one connection; at the full queue it closes 4008")
OPTION (INT,    queue_bytes,                 "queue-bytes",                "1048576",             1024,  1073741824,           true,
        "Bytes waiting for one connection; at the full queue it closes 4008")
OPTION (INT,    send_timeout_s,              "send-timeout-s",             "30",                  1,     3600,                 true,
        "A connection whose socket takes nothing for so many seconds closes")
OPTION (INT,    history_events,              "history-events",             "1000",                0,     1000000,              true,
        "Events kept per user for resume; 0 = none")
OPTION (INT,    history_bytes,               "history-bytes",              "1048576",             0,     1073741824,           true,
        "Bytes of events kept per user for resume")
OPTION (INT,    history_ttl_s,               "history-ttl-s",              "300",                 1,     86400,                true,
        "Seconds that an event is kept for resume")
OPTION (INT,    history_total_bytes,         "history-total-bytes",        "268435456",           0,     68719476736,          true,
        "Bytes of events kept of all users; the oldest users go first")
OPTION (INT,    replay_timeout_ms,           "replay-timeout-ms",          "2000",                10,    60000,                true,
        "How long events wait for the answer to a REPLAY that brings nothing, milliseconds; then what is missing is lost")
OPTION (INT,    replay_events,               "replay-events",              "10000",               1,     1000000,              true,
        "Largest gap in a publisher's sequence that the runtime is asked to fill, events")
OPTION (INT,    replay_held_bytes,           "replay-held-bytes",          "16777216",            65536, 1073741824,           true,
        "Bytes of one publisher's events held back while a gap before them is filled")
OPTION (INT,    run_stall_s,                 "run-stall-s",                "120",                 0,     86400,                true,
        "Seconds without an event of a run before its user gets run_stalled; 0 = never")
OPTION (INT,    runtime_lost_s,              "runtime-lost-s",             "10",                  0,     3600,                 true,
        "Seconds that a runtime must be gone before its runs end with RUNTIME_LOST")
OPTION (INT,    abandon_grace_s,             "abandon-grace-s",            "0",                   0,     86400,                true,
        "Seconds without a connection before the runtime is told ABANDONED of the user's runs; 0 = never")
OPTION (INT,    ping_interval_s,             "ping-interval-s",            "25",                  1,     3600,                 true,
        "Seconds between WebSocket pings")
OPTION (INT,    pong_timeout_s,              "pong-timeout-s",             "10",                  1,     3600,                 true,
        "Seconds to wait for a sign of life after a ping")
OPTION (INT,    http_timeout_s,              "http-timeout-s",             "10",                  1,     600,                  true,
        "Seconds for a peer to send a complete request head, and for a TLS handshake before it")
OPTION (INT,    max_header_bytes,            "max-header-bytes",           "16384",               1024,  262144,               true,
        "Largest HTTP request head, bytes; over it answers 431")
OPTION (INT,    max_open_requests,           "max-open-requests",          "2048",                1,     1000000,              true,
        "HTTP requests on one port that are not answered yet; more only as long as all of them may become connections (max-connections)")
OPTION (INT,    drain_timeout_s,             "drain-timeout-s",            "30",                  0,     3600,                 true,
        "Seconds for a whole drain")
OPTION (SECRET, drain_key,                   "drain-key",                  "",                    0,     255,                  true,
        "When set, /drain wants it in X-Drain-Key from peers that are not loopback")
OPTION (CHOICE, log_level,                   "log-level",                  "info",                0,     "error|warn|info|debug", true,
        "Lines less severe than this are not written")
OPTION (CHOICE, log_format,                  "log-format",                 "json",                0,     "json|text",          false,
        "Form of the log lines on stderr")
OPTION (BOOL,   log_trace,                   "log-trace",                  "false",               0,     0,                    true,
        "Log lines name the W3C traceparent of the upgrade request, or of the message that they are about")
