#include "cmd/connect.h"
#include "cmd/http_call.h"

#define PROBE_MS 10000

/* NULL when memory is out. */
static char *join (const char *a, const char *b, const char *c, const char *d)
{
    char *text = NULL;
    return asprintf (&text, "%s%s%s%s", a, b, c, d) < 0 ? NULL : text;
}

static void read_code (const struct http_answer *answer, char *code, size_t room)
{
    json_t *body = answer->body.n ? json_loadb ((const char *) answer->body.p, answer->body.n, 0, NULL) : NULL;
    const char *text = json_string_value (json_object_get (body, "error_code"));
    snprintf (code, room, "%s", text ? text : "");
    json_decref (body);
}

/* The headers that libwebsockets has sent, but for the key. */
static size_t put_headers (const struct client *self, const char *protocols, const char *origin, const char **headers)
{
    static const char *const upgrade[] = {"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                                          "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="};
    size_t n = 0;
    for (size_t i = 0; i < COUNT_OF (upgrade); i++)
        headers[n++] = upgrade[i];
    for (size_t i = 0; i < self->args.headers.n; i++)
        headers[n++] = self->args.headers.items[i];
    if (protocols)
        headers[n++] = protocols;
    if (origin)
        headers[n++] = origin;
    return n;
}

static void ask (const struct client *self, struct http_answer *answer)
{
    const char *headers[ARG_LIST_MAX + 8];
    const struct client_args *args = &self->args;
    char *url = join (self->url.tls ? "https://" : "http://", self->url.authority, self->url.slash, self->url.path);
    char *protocols = self->protocols ? join ("Sec-WebSocket-Protocol: ", self->protocols, "", "") : NULL;
    char *origin = args->origin ? join ("Origin: ", args->origin, "", "") : NULL;
    struct http_call call = {.url = url,
                             .headers = headers,
                             .n_headers = put_headers (self, protocols, origin, headers),
                             .ca_file = args->ca_file,
                             .insecure = args->insecure,
                             .no_proxy = true,
                             .timeout_ms = PROBE_MS};
    *answer = (struct http_answer){.status = 0};
    if (url)
        http_call (&call, answer);
    free (url);
    free (protocols);
    free (origin);
}

void client_probe (struct client *self, struct ws_client_end *end)
{
    struct http_answer answer;
    ask (self, &answer);
    if (end->status && answer.status == (long) end->status)
        read_code (&answer, self->comeback.error_code, sizeof self->comeback.error_code);
    if (!end->status && !answer.status && answer.why[0])
        snprintf (end->why, sizeof end->why, "%s", answer.why);
    http_answer_fini (&answer);
}
