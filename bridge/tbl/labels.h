/* Label values that no other table names, as enumerated by base/metrics.h (CLIENT_RESULT_forwarded, ...).
 * Define the list that is wanted before the include; the others stay silent. */
#ifndef CLIENT_RESULT
#define CLIENT_RESULT(symbol)
#endif
#ifndef EVICTION
#define EVICTION(symbol)
#endif
#ifndef RESUME
#define RESUME(symbol)
#endif
#ifndef LINK
#define LINK(symbol)
#endif
#ifndef RUN_OUTCOME
#define RUN_OUTCOME(symbol)
#endif
#ifndef TLS_RESULT
#define TLS_RESULT(symbol)
#endif
#ifndef TLS_RELOAD
#define TLS_RELOAD(symbol)
#endif
#ifndef JWKS_RESULT
#define JWKS_RESULT(symbol)
#endif
#ifndef COMMAND_DROP
#define COMMAND_DROP(symbol)
#endif
#ifndef ACCEPT_FAILURE
#define ACCEPT_FAILURE(symbol)
#endif
#ifndef HTTP_TIMEOUT
#define HTTP_TIMEOUT(symbol)
#endif
#ifndef LIMITED
#define LIMITED(symbol)
#endif
#ifndef TOKEN_RESULT
#define TOKEN_RESULT(symbol)
#endif
#ifndef RELOAD_RESULT
#define RELOAD_RESULT(symbol)
#endif

/* What became of a client's message. */
CLIENT_RESULT (forwarded)    /* handed to the runtime */
CLIENT_RESULT (answered)     /* by the bridge itself: ping and the like */
CLIENT_RESULT (parse_error)
CLIENT_RESULT (invalid)
CLIENT_RESULT (rate_limited)
CLIENT_RESULT (unavailable)  /* the runtime could not be reached */
CLIENT_RESULT (user_rate_limited) /* over the rate of all the user's connections together */

/* Which limit of the history an event fell to. */
EVICTION (events)
EVICTION (bytes)
EVICTION (age)
EVICTION (total)             /* all users together */
EVICTION (memory)            /* there was none for a new event; the user's older ones go with it */

/* What became of a client's wish to resume. */
RESUME (recovered)
RESUME (unknown_epoch)
RESUME (expired)

/* The two ways to the runtime. */
LINK (commands)
LINK (events)

/* How a run ended. */
RUN_OUTCOME (completed)
RUN_OUTCOME (error)
RUN_OUTCOME (runtime_lost)   /* the bridge ended it: the runtime has gone */
RUN_OUTCOME (untracked)      /* there are too many: it is no longer followed */

/* What became of a TLS handshake. */
TLS_RESULT (ok)
TLS_RESULT (failed)          /* version, cipher, ALPN, an alert of the client, or no TLS at all */
TLS_RESULT (plain_http)      /* answered 400 */
TLS_RESULT (timeout)
TLS_RESULT (gone)            /* the client has gone meanwhile */
TLS_RESULT (resources)       /* out of memory or descriptors */

/* What became of a certificate that was read again. */
TLS_RELOAD (ok)
TLS_RELOAD (failed)          /* the old one stays in force */

/* What became of a fetch of jwks-url. */
JWKS_RESULT (ok)             /* a set, or the same one once more */
JWKS_RESULT (not_modified)   /* 304: the set at hand is still the newest */
JWKS_RESULT (unreachable)    /* no address, no connection, or it broke */
JWKS_RESULT (timeout)
JWKS_RESULT (tls)            /* the certificate, or TLS itself */
JWKS_RESULT (redirect)       /* not to https, or too many */
JWKS_RESULT (http_status)    /* neither 200 nor 304 */
JWKS_RESULT (too_large)
JWKS_RESULT (malformed)      /* not a JSON Web Key Set */
JWKS_RESULT (no_keys)        /* none in it that can be used */
JWKS_RESULT (no_memory)

/* Why a command was not carried out or not handed over. */
COMMAND_DROP (malformed)
COMMAND_DROP (unknown_command)
COMMAND_DROP (unknown_connection)
COMMAND_DROP (isolation)     /* connection and user do not belong together */
COMMAND_DROP (backpressure)  /* the runtime does not read */
COMMAND_DROP (link_down)
COMMAND_DROP (unsolicited)   /* an answer to no question */
COMMAND_DROP (repeat)        /* an answer that came already */
COMMAND_DROP (no_memory)

/* Why a TCP connection was not taken. */
ACCEPT_FAILURE (descriptors)  /* accept(2) has failed; it is tried again */
ACCEPT_FAILURE (requests)     /* max-open-requests */
ACCEPT_FAILURE (memory)

/* What a peer did not do within http-timeout-s. */
HTTP_TIMEOUT (silent)         /* send anything: cut without an answer */
HTTP_TIMEOUT (head)           /* finish its request: answered 408 */
HTTP_TIMEOUT (answer)         /* read the answer: cut */

/* Whose rate is limited. */
LIMITED (addresses)
LIMITED (users)

/* What became of a reload. */
RELOAD_RESULT (ok)
RELOAD_RESULT (failed)       /* what was in force stays */

/* What became of a wish for a token at the admin port. */
TOKEN_RESULT (made)
TOKEN_RESULT (forbidden)     /* neither a loopback peer that names this host by its address, nor drain-key */
TOKEN_RESULT (invalid)       /* no user id, or a life that is too long */

#undef CLIENT_RESULT
#undef EVICTION
#undef RESUME
#undef LINK
#undef RUN_OUTCOME
#undef TLS_RESULT
#undef TLS_RELOAD
#undef TOKEN_RESULT
#undef JWKS_RESULT
#undef COMMAND_DROP
#undef HTTP_TIMEOUT
#undef LIMITED
#undef ACCEPT_FAILURE
#undef RELOAD_RESULT
