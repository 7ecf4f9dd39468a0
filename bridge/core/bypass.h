/* The bypass for tests of a deployment: who sends the key of `e2e-bypass-key` comes in as any user, without a token.
 *
 *   key    header X-E2E-Bypass-Key, else the subprotocol entry e2e.KEY
 *   user   header X-E2E-User-ID, else the subprotocol entry e2e-user.U (U may be percent-encoded)
 *
 * It is the last source: a token, good or bad, counts before it. Never in production: there the configuration refuses
 * the key (base/config_rules.c) and a reload cannot bring it (config_may_reload); it is looked at here once more. */
#ifndef CORE_BYPASS_H
#define CORE_BYPASS_H

#include "core/jwt.h"
#include "core/request.h"

/* May it be used at all? */
bool bypass_enabled (const struct config *config);

/* Does the request carry a key, right or wrong? `subprotocols` as in auth_request. */
bool bypass_asked (const struct request *request, struct slice subprotocols);

/* Judge a request that asked, where it is enabled. Sets `result` whole, as for a token that never expires and whose
 * claims are the user and `e2e_bypass`: true. A wrong key: VALIDATION_FAILED; no usable user: MISSING_USER_ID. */
void bypass_check (struct jwt_result *result, const struct config *config, const struct request *request,
                   struct slice subprotocols);

#endif
