#include "cmd/connect.h"
#include "cmd/cmd.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#define TOKEN_VARIABLE "AGENTBRIDGE_TOKEN"
#define TOKEN_MAX      49152 /* bytes; the request has room for so much */

static const char usage[] = "Usage: agentbridge connect --url URL [--token-file FILE] [...]\n"
                            "\n"
                            "A client of a bridge: prints messages as they come, sends the lines of standard input. A "
                            "line that is a JSON object\n"
                            "goes as it is, any other as {\"type\":\"user_message\",\"text\":LINE,\"message_id\":...}; "
                            "on `raw` every line as it is.\n"
                            "\n";

static const char closing[] =
    "\n"
    "The token is that of --token-file, --token, or the variable AGENTBRIDGE_TOKEN; the last keeps it out of `ps` and "
    "files.\n"
    "\n"
    "When standard input has ended, it ends as soon as all lines are answered: as many runs (or refusals) have ended "
    "as lines\n"
    "were sent, and none is open; or no run is open and nothing has come for --quiet-ms. Not so with --follow, --until "
    "or "
    "--for.\n"
    "\n"
    "With --resume it comes back when the connection is lost, after a while (by chance, up to 30 s), or when the "
    "bridge has\n"
    "asked for; what came meanwhile is printed then, nothing twice, and what is lost for good is said. The first "
    "connection\n"
    "has to succeed. Lines that were on their way when a connection broke are not sent again; those that had not even "
    "left are\n"
    "counted on standard error.\n"
    "\n"
    "Exit code: 0 the end that was asked for, or the runtime closed (1000); 1 not connected, connection lost, --until "
    "not\n"
    "seen in time, or a line that could not be sent; 2 wrong arguments; 3 refused (the error_code is printed).\n";

#define TEXT_ARG(name, value, field, help)                                                                             \
    {                                                                                                                  \
        name, value, ARG_TEXT, false, offsetof (struct client_args, field), 0, 0, help                                 \
    }
#define SWITCH_ARG(name, field, help)                                                                                  \
    {                                                                                                                  \
        name, NULL, ARG_SWITCH, false, offsetof (struct client_args, field), 0, 0, help                                \
    }

static const struct arg_row rows[] = {
    TEXT_ARG ("url", "URL", url, "ws://HOST[:PORT]/PATH or wss://...; must be given"),
    {"token", "T", ARG_TEXT, true, offsetof (struct client_args, token), 0, 0, "JWT, sent as subprotocol jwt.T"},
    TEXT_ARG ("token-file", "FILE", token_file, "file with the token; read again when the bridge wants another one"),
    TEXT_ARG ("subprotocol", "NAME", subprotocol, "agent_chat (default), agent_chat.msgpack, raw, ...; \"\" for none"),
    TEXT_ARG ("origin", "ORIGIN", origin, "header Origin, as a browser would send it"),
    {"header", "'NAME: VALUE'", ARG_LIST, true, offsetof (struct client_args, headers), 0, 0,
     "further header; may be given several times"},
    TEXT_ARG ("ca-file", "FILE", ca_file, "PEM file with the only authorities to trust for wss://"),
    SWITCH_ARG ("insecure", insecure, "take any certificate: for tests only"),
    SWITCH_ARG ("resume", resume, "come back after a loss, and go on where it was"),
    TEXT_ARG ("cursor-file", "FILE", cursor_file,
              "keep the place in this file, also between two calls (means --resume)"),
    SWITCH_ARG ("json", json, "each message as one line of JSON, as it came (MessagePack as the JSON that it means)"),
    TEXT_ARG ("until", "TYPE", until, "end after the first message of this type"),
    {"for", "SECONDS", ARG_NUMBER, false, offsetof (struct client_args, for_s), 1, 8640000, "end after so long"},
    {"quiet-ms", "N", ARG_NUMBER, false, offsetof (struct client_args, quiet_ms), 1, 86400000,
     "silence that counts as the end of the answers (default 2000)"},
    SWITCH_ARG ("follow", follow, "stay when standard input ends"),
    {.name = NULL},
};

/* --- arguments ----------------------------------------------------------------------------------------------- */

/* What fits an entry of Sec-WebSocket-Protocol. */
static bool is_entry (const char *text)
{
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == ',' || *c == '"')
            return false;
    return strlen (text) <= TOKEN_MAX;
}

static bool check_token (const char *token)
{
    return (*token && is_entry (token)) ||
           args_fault (CONNECT, "the token is empty, or holds other than visible ASCII characters without commas");
}

/* The first line of the file; owned. NULL with a line on stderr. */
static char *read_token_file (const char *file)
{
    char line[TOKEN_MAX + 2] = "";
    FILE *in = fopen (file, "re");
    bool read = in && (fgets (line, sizeof line, in) || feof (in));
    int fault = errno;
    if (in)
        fclose (in);
    if (!read) {
        args_fault (CONNECT, "--token-file %s: cannot be read: %s", file, strerror (fault));
        return NULL;
    }
    line[strcspn (line, "\r\n")] = '\0';
    return check_token (line) ? strdup (line) : NULL;
}

/* False with a line on stderr. No token is fine: the bridge says what it thinks of that. */
static bool load_token (struct client *self)
{
    const struct client_args *args = &self->args;
    const char *variable = getenv (TOKEN_VARIABLE);
    if (args->token_file)
        self->token = read_token_file (args->token_file);
    else if (args->token)
        self->token = check_token (args->token) ? strdup (args->token) : NULL;
    else if (variable && *variable)
        self->token = check_token (variable) ? strdup (variable) : NULL;
    else
        return true;
    return self->token != NULL;
}

static bool check_headers (const struct arg_list *headers)
{
    for (size_t i = 0; i < headers->n; i++) {
        const char *header = headers->items[i], *colon = strchr (header, ':');
        bool good = colon && colon != header;
        for (const char *c = header; good && *c; c++)
            good = (unsigned char) *c >= ' ' && *c != 0x7F && (c > colon || *c != ' ');
        if (!good)
            return args_fault (CONNECT, "--header: header %zu is not 'NAME: VALUE' without control characters", i + 1);
    }
    return true;
}

static enum form form_of (const char *subprotocol)
{
    return strcmp (subprotocol, "raw") == 0                  ? FORM_RAW
           : strcmp (subprotocol, "agent_chat.msgpack") == 0 ? FORM_MSGPACK
                                                             : FORM_JSON;
}

static bool check_args (struct client *self)
{
    struct client_args *args = &self->args;
    const char *fault = args->url ? ws_url_parse (&self->url, args->url) : NULL;
    args->subprotocol = args->subprotocol ? args->subprotocol : "agent_chat";
    args->resume |= args->cursor_file != NULL;
    self->form = form_of (args->subprotocol);
    if (!args->url)
        return args_fault (CONNECT, "--url must be given, e.g. --url ws://127.0.0.1:8080/ws");
    if (fault)
        return args_fault (CONNECT, "--url: %s", fault);
    if (args->token && args->token_file)
        return args_fault (CONNECT, "--token and --token-file do not go together; give one of them");
    if (!is_entry (args->subprotocol))
        return args_fault (CONNECT, "--subprotocol: no name of a subprotocol");
    if (args->resume && self->form == FORM_RAW)
        return args_fault (CONNECT, "--resume: raw connections have no offsets; take another --subprotocol");
    if (args->ca_file && access (args->ca_file, R_OK) != 0)
        return args_fault (CONNECT, "--ca-file %s: cannot be read: %s", args->ca_file, strerror (errno));
    if (args->insecure && self->url.tls)
        fputs (
            "agentbridge connect: WARNING: --insecure: the server's certificate is NOT checked; whoever is on the way "
            "can read and change everything, the token too\n",
            stderr);
    return check_headers (&args->headers);
}

static bool load_cursor (struct client *self)
{
    const char *fault = self->args.cursor_file ? cursor_load (&self->cursor, self->args.cursor_file) : NULL;
    return !fault || args_fault (CONNECT, "--cursor-file %s: %s", self->args.cursor_file, fault);
}

/* The token first: the bridge takes the first entry that it can speak, and echoes no token. */
static bool make_protocols (struct client *self)
{
    const char *name = self->args.subprotocol, *token = self->token;
    char *text = NULL;
    if (asprintf (&text, "%s%s%s%s", token ? "jwt." : "", token ? token : "", token && *name ? ", " : "", name) < 0)
        return args_fault (CONNECT, "memory is out");
    free (self->protocols);
    self->protocols = text;
    if (*text == '\0') {
        free (text);
        self->protocols = NULL;
    }
    return true;
}

/* --- connections --------------------------------------------------------------------------------------------- */

static void on_end (void *arg, const struct ws_client_end *end);

static void dial (struct client *self)
{
    struct ws_client_end end;
    struct buf path;
    comeback_begin (&self->comeback);
    buf_init (&path, 0);
    buf_puts (&path, self->url.slash);
    cursor_put_path (&self->cursor, self->url.path, &path);
    buf_putc (&path, '\0');
    self->connected = !path.failed;
    if (path.failed)
        client_finish (self, EXIT_LOST);
    else if (!ws_client_open (self->wire, (const char *) path.p, &end))
        on_end (self, &end);
    buf_fini (&path);
}

static void on_retry (uv_timer_t *timer)
{
    dial (timer->data);
}

static void on_open (void *arg)
{
    struct client *self = arg;
    if (self->form == FORM_RAW) /* the bridge says no word of its own */
        client_begin (self);
    client_review (self);
}

/* Does the file hold another token than the one that was refused? */
static bool renew_token (struct client *self)
{
    char *old = self->token, *now = self->args.token_file ? read_token_file (self->args.token_file) : NULL;
    if (!now || (old && strcmp (old, now) == 0)) {
        free (now);
        return false;
    }
    free (old);
    self->token = now;
    bool made = make_protocols (self);
    ws_client_offer (self->wire, self->protocols);
    return made;
}

static void say_unsent (struct client *self, const struct ws_client_end *end)
{
    if (!end->unsent)
        return;
    client_note (self, "%zu lines had not been sent when the connection ended; they are lost", end->unsent);
    self->faulty = true;
}

static void say_end (struct client *self, const struct ws_client_end *end)
{
    const char *code = self->comeback.error_code;
    const char *why = end->why[0] ? end->why : "no reason";
    if (code[0])
        client_note (self, "refused: %s", code);
    else if (end->status && end->status != 101)
        client_note (self, "the server answered with HTTP status %u, no WebSocket", end->status);
    else if (!end->opened)
        client_note (self, "cannot connect to %s: %s", self->url.authority, why);
    else if (end->code == 1006)
        client_note (self, "the connection is lost");
    else
        client_note (self, "closed with %u: %s", end->code, why);
}

static bool was_refused (const struct client *self, const struct ws_client_end *end)
{
    return self->comeback.error_code[0] ||
           (!end->opened && (end->status == 401 || end->status == 403 || end->status == 429 || end->status == 503));
}

/* Come back, or leave with the exit code that says why not. */
static void decide (struct client *self, const struct ws_client_end *end)
{
    enum comeback verdict = comeback_judge (&self->comeback, end);
    bool refused = was_refused (self, end);
    bool may = verdict == COMEBACK_AGAIN || (verdict == COMEBACK_WITH_TOKEN && renew_token (self));
    if (self->args.resume && self->was_ready && may) {
        int64_t wait = comeback_wait_ms (&self->comeback, end);
        say_end (self, end);
        client_note (self, "coming back in %.1f s", (double) wait / 1000);
        uv_timer_start (&self->retry, on_retry, (uint64_t) wait, 0);
        return;
    }
    if (verdict != COMEBACK_DONE || self->args.until)
        say_end (self, end);
    client_finish (self, refused ? EXIT_REFUSED : verdict == COMEBACK_DONE && !self->args.until ? 0 : EXIT_LOST);
}

static void on_end (void *arg, const struct ws_client_end *end)
{
    struct client *self = arg;
    self->connected = self->ready = false;
    lines_read (&self->input, false);
    uv_timer_stop (&self->quiet);
    say_unsent (self, end);
    if (self->stopping) {
        self->code = self->code == 0 && self->faulty ? EXIT_LOST : self->code;
        client_stop (self);
        return;
    }
    struct ws_client_end known = *end;
    bool refusal = end->status == 401 || end->status == 403 || end->status == 503;
    if (!end->opened && (refusal || (!end->status && !self->was_ready))) /* on the way back nobody waits for words */
        client_probe (self, &known);
    decide (self, &known);
}

/* --- life ---------------------------------------------------------------------------------------------------- */

static void on_signal (uv_signal_t *handle, UNUSED int number)
{
    struct client *self = handle->data;
    if (self->stopping)
        client_stop (self);
    client_finish (self, 0);
}

static void on_limit (uv_timer_t *timer)
{
    struct client *self = timer->data;
    if (self->args.until)
        client_note (self, "%s has not come in %lld s", self->args.until, (long long) self->args.for_s);
    client_finish (self, self->args.until || !self->was_ready ? EXIT_LOST : 0);
}

static void on_flush (uv_prepare_t *prepare)
{
    client_flush (prepare->data);
}

static void start_handles (struct client *self)
{
    uv_timer_init (&self->loop, &self->retry);
    uv_timer_init (&self->loop, &self->limit);
    uv_timer_init (&self->loop, &self->quiet);
    uv_signal_init (&self->loop, &self->interrupt);
    uv_signal_init (&self->loop, &self->terminate);
    uv_prepare_init (&self->loop, &self->flush);
    self->retry.data = self->limit.data = self->quiet.data = self;
    self->interrupt.data = self->terminate.data = self->flush.data = self;
    uv_signal_start (&self->interrupt, on_signal, SIGINT);
    uv_signal_start (&self->terminate, on_signal, SIGTERM);
    uv_prepare_start (&self->flush, on_flush);
    if (self->args.for_s)
        uv_timer_start (&self->limit, on_limit, (uint64_t) self->args.for_s * 1000, 0);
}

static void close_handles (struct client *self)
{
    uv_handle_t *handles[] = {(uv_handle_t *) &self->retry,     (uv_handle_t *) &self->limit,
                              (uv_handle_t *) &self->quiet,     (uv_handle_t *) &self->interrupt,
                              (uv_handle_t *) &self->terminate, (uv_handle_t *) &self->flush};
    for (size_t i = 0; i < COUNT_OF (handles); i++)
        uv_close (handles[i], NULL);
    lines_close (&self->input);
}

static void run_loop (struct client *self)
{
    static const struct ws_client_events events = {
        .on_open = on_open, .on_message = client_message, .on_sent = client_sent, .on_end = on_end};
    self->wire = ws_client_new (&self->loop, &self->options, &events, self);
    if (!self->wire) {
        args_fault (CONNECT, "the WebSocket client cannot start: memory is out, or --ca-file holds no certificates");
        self->code = EXIT_USAGE;
        return;
    }
    dial (self);
    if (!self->stopped)
        uv_run (&self->loop, UV_RUN_DEFAULT);
    show_break (&self->show, &self->out);
    client_write (self);
    client_flush (self);
    if (ws_client_waiting (self->wire)) { /* not even the goodbye went out */
        client_note (self, "the bridge took nothing any more; lines that had not been sent are lost");
        self->code = self->code ? self->code : EXIT_LOST;
    }
    ws_client_stop (self->wire);
}

static void run (struct client *self)
{
    uv_loop_init (&self->loop);
    if (!client_open_input (self)) {
        args_fault (CONNECT, "standard input cannot be read: %s", strerror (errno));
        self->code = EXIT_LOST;
        return;
    }
    start_handles (self);
    run_loop (self);
    close_handles (self);
    while (uv_run (&self->loop, UV_RUN_NOWAIT) != 0)
        ;
    ws_client_destroy (&self->wire);
    lines_fini (&self->input);
    uv_loop_close (&self->loop);
}

static int connect_run (UNUSED const struct config *config, int argc, char **argv)
{
    struct client self = {.args = {.quiet_ms = 2000}, .runs = json_object (), .code = EXIT_USAGE};
    signal (SIGPIPE, SIG_IGN);
    buf_init (&self.out, 0);
    show_init (&self.show, STDOUT_FILENO);
    if (args_parse (CONNECT, rows, &self.args, argc, argv) && check_args (&self) && load_token (&self) &&
        load_cursor (&self) && make_protocols (&self)) {
        self.options = (struct ws_client_options){.url = &self.url,
                                                  .protocols = self.protocols,
                                                  .origin = self.args.origin,
                                                  .headers = self.args.headers.items,
                                                  .n_headers = self.args.headers.n,
                                                  .ca_file = self.args.ca_file,
                                                  .insecure = self.args.insecure};
        run (&self);
    }
    json_decref (self.runs);
    show_fini (&self.show);
    buf_fini (&self.out);
    cursor_fini (&self.cursor);
    free (self.protocols);
    free (self.token);
    return self.code;
}

const struct tool tool_connect = {
    .name = CONNECT, .rows = rows, .usage = usage, .closing = closing, .options = NULL, .run = connect_run};
