#include "cmd/comeback.h"
#include "base/hash.h"

#define WAIT_FIRST_MS 500
#define WAIT_MAX_MS   30000
#define WAIT_TOLD_MAX 600000 /* what the bridge may ask for */

void comeback_begin (struct comeback_state *self)
{
    *self = (struct comeback_state){.attempts = self->attempts};
}

void comeback_established (struct comeback_state *self)
{
    self->attempts = 0;
}

static void note_refusal (struct comeback_state *self, const json_t *message)
{
    const char *code = json_string_value (json_object_get (message, "error_code"));
    self->refused = true;
    self->retry_allowed = json_is_true (json_object_get (message, "retry_allowed"));
    snprintf (self->error_code, sizeof self->error_code, "%s", code ? code : "?");
    self->token_expired = strcmp (self->error_code, "TOKEN_EXPIRED") == 0;
}

void comeback_note (struct comeback_state *self, const json_t *message)
{
    const char *type = json_string_value (json_object_get (message, "type"));
    if (!type)
        return;
    if (strcmp (type, "authentication_error") == 0 || strcmp (type, "connection_error") == 0)
        note_refusal (self, message);
    if (strcmp (type, "token_expired") == 0) {
        self->refused = self->token_expired = true;
        snprintf (self->error_code, sizeof self->error_code, "TOKEN_EXPIRED");
    }
    if (strcmp (type, "bridge_draining") == 0) {
        json_int_t ms = json_integer_value (json_object_get (json_object_get (message, "data"), "reconnect_after_ms"));
        self->told_wait = ms >= 0;
        self->wait_ms = ms < WAIT_TOLD_MAX ? ms : WAIT_TOLD_MAX;
    }
}

/* The upgrade was answered with a status, or not at all. */
static enum comeback judge_status (unsigned status)
{
    switch (status) {
    case 0:   /* no answer */
    case 101: /* one that broke off */
    case 429:
    case 502: /* of what stands before the bridge */
    case 503:
    case 504:
        return COMEBACK_AGAIN;
    case 401:
        return COMEBACK_WITH_TOKEN;
    case 403:
        return COMEBACK_REFUSED;
    default:
        return COMEBACK_LOST;
    }
}

static enum comeback judge_policy (const struct comeback_state *self)
{
    if (self->token_expired)
        return COMEBACK_WITH_TOKEN;
    return self->refused && self->retry_allowed ? COMEBACK_AGAIN : COMEBACK_REFUSED;
}

enum comeback comeback_judge (const struct comeback_state *self, const struct ws_client_end *end)
{
    if (!end->opened)
        return judge_status (end->status);
    switch (end->code) {
    case 1000:
        return COMEBACK_DONE;
    case 1002:
    case 4009:
        return COMEBACK_LOST;
    case 1008:
        return judge_policy (self);
    default:
        return COMEBACK_AGAIN;
    }
}

int64_t comeback_wait_ms (struct comeback_state *self, const struct ws_client_end *end)
{
    unsigned attempt = self->attempts++;
    bool at_once = end->opened && (end->code == 1001 || end->code == 4008);
    if (self->told_wait && attempt == 0)
        return self->wait_ms;
    if (at_once && attempt == 0)
        return 0;
    int64_t most = attempt < 6 ? (int64_t) WAIT_FIRST_MS << attempt : WAIT_MAX_MS;
    return (int64_t) random_below ((uint64_t) most + 1);
}
