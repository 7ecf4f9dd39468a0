/* A runtime for test_c_binding.py: does what messages and lines of standard input say, and tells on standard output,
 * one JSON object a line, what has come in.
 *
 *     ordered_runtime COMMANDS EVENTS [replay=N] [keep-abandoned] [curve=PUBLIC,SECRET] */
#include <agentbridge.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stopped;
static abr_t *abr;
static abr_run_t *held; /* a run that stays open */

static void stop (int number)
{
    (void) number;
    stopped = 1;
}

static void check (int status, const char *what)
{
    if (status != 0) {
        fprintf (stderr, "%s: %s\n", what, abr_error (abr));
        exit (3);
    }
}

/* --- what is done in runs ---------------------------------------------------------------------------------------- */

static abr_run_t *begin (const char *user, const char *task)
{
    abr_run_t *run = abr_run_new (abr, user);
    check (abr_run_set_thread (run, "t-1"), "set_thread");
    check (abr_run_started (run, task, NULL), "started");
    return run;
}

static void golden (const char *user)
{
    abr_run_t *run = begin (user, "add");
    check (abr_run_thinking (run,
                             "n\xc3\xa4her \xc3\xbc"
                             "berlegen",
                             1),
           "thinking");
    abr_tool_t *tool = abr_tool_new (run, "calculator", ABR_FIELDS (abr_int ("a", 1), abr_nil ("b")));
    check (abr_tool_complete (&tool, ABR_FIELDS (abr_int ("sum", 3))), "tool");
    check (abr_run_complete (run, "3", NULL), "complete");
    abr_run_destroy (&run);
}

/* Every way to end, each tried after the other: only the first counts. */
static void end (const char *user, const char *how)
{
    abr_run_t *run = begin (user, how);
    if (strcmp (how, "complete") == 0)
        check (abr_run_complete (run, "x", NULL), how);
    else if (strcmp (how, "fail") == 0)
        check (abr_run_fail (run, "NO_MODEL", "The model is away."), how);
    else if (strcmp (how, "cancel") == 0)
        check (abr_run_cancel (run), how);
    if (strcmp (how, "destroy") != 0 && (abr_run_complete (run, "y", NULL) == 0 || abr_run_fail (run, "Y", "y") == 0))
        exit (4);
    abr_run_destroy (&run);
}

static void burst (const char *user, unsigned long n)
{
    abr_run_t *run = begin (user, "burst");
    for (unsigned long i = 1; i <= n; i++)
        check (abr_run_emit (run, "counted", ABR_FIELDS (abr_uint ("n", i))), "emit");
    check (abr_run_complete (run, "done", NULL), "complete");
    abr_run_destroy (&run);
}

static void hold (const char *user)
{
    abr_run_destroy (&held);
    held = begin (user, "hold");
}

/* --- orders ------------------------------------------------------------------------------------------------------ */

static void obey_message (const abr_item_t *item, const char *order)
{
    const abr_conn_t *conn = abr_item_conn (item);
    const char *user = abr_item_user (item), *rest = strchr (order, ' ') ? strchr (order, ' ') + 1 : "";
    if (strcmp (order, "golden") == 0)
        golden (user);
    else if (strncmp (order, "end ", 4) == 0)
        end (user, rest);
    else if (strncmp (order, "burst ", 6) == 0)
        burst (user, strtoul (rest, NULL, 10));
    else if (strcmp (order, "hold") == 0)
        hold (user);
    else if (strcmp (order, "send") == 0)
        check (abr_send (abr, conn, "note", ABR_FIELDS (abr_str ("text", "for you alone"))), order);
    else if (strcmp (order, "frame") == 0)
        check (abr_send_text (abr, conn, "as it is"), order);
    else if (strcmp (order, "binary") == 0)
        check (abr_send_frame (abr, conn, "\0\xff", 2, false), order);
    else if (strncmp (order, "close ", 6) == 0)
        check (abr_close (abr, conn, atoi (rest), "as you say"), order);
    else if (strcmp (order, "kick") == 0)
        check (abr_kick (abr, user, "out"), order);
}

/* "emit USER FIRST LAST": events outside runs. "tell": counters. */
static void obey_line (const char *line)
{
    char user[64];
    unsigned long first, last;
    if (sscanf (line, "emit %63s %lu %lu", user, &first, &last) == 3)
        for (unsigned long i = first; i <= last; i++)
            check (abr_emit (abr, user, "counted", ABR_FIELDS (abr_uint ("n", i))), "emit");
    printf ("{\"seq\": %llu, \"runs\": %zu, \"held\": %s, \"counters\": [", (unsigned long long) abr_seq (abr),
            abr_runs (abr), held && !abr_run_ended (held) ? "true" : "false");
    for (int i = 0; i < ABR_COUNTERS; i++)
        printf ("%s%llu", i ? ", " : "", (unsigned long long) abr_counter (abr, (abr_counter_t) i));
    printf ("]}\n");
}

static void tell_item (abr_item_t *item)
{
    static const char *const kinds[] = {"message", "connect", "disconnect", "abandoned"};
    const char *subprotocol = abr_item_header (item, "subprotocol"), *run_id = abr_item_run_id (item, 0);
    size_t size;
    abr_item_body (item, &size);
    printf ("{\"item\": \"%s\", \"user\": \"%s\", \"connection\": \"%s\", \"size\": %zu, \"seq\": %llu, \"code\": %d, "
            "\"subprotocol\": \"%s\", \"sub\": \"%s\", \"run_id\": \"%s\"}\n",
            kinds[abr_item_kind (item)], abr_item_user (item),
            abr_item_conn (item) ? abr_conn_id (abr_item_conn (item)) : "", size,
            (unsigned long long) abr_item_seq (item), abr_item_code (item), subprotocol ? subprotocol : "",
            abr_item_claim (item, "sub") ? abr_item_claim (item, "sub") : "", run_id ? run_id : "");
}

/* The first string in {"order": "…"}; enough JSON for a test. */
static void take (abr_item_t *item)
{
    char order[64];
    tell_item (item);
    if (abr_item_kind (item) == ABR_MESSAGE &&
        sscanf (abr_item_body (item, NULL), "{\"type\": \"order\", \"order\": \"%63[^\"]", order) == 1)
        obey_message (item, order);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static void set_option (char *option)
{
    if (strncmp (option, "replay=", 7) == 0)
        check (abr_set_replay (abr, strtoul (option + 7, NULL, 10), 64 << 20), option);
    else if (strcmp (option, "keep-abandoned") == 0)
        check (abr_set_cancel_abandoned (abr, false), option);
    else if (strncmp (option, "curve=", 6) == 0) {
        char *public = option + 6, *secret = strchr (public, ',');
        *secret++ = 0;
        check (abr_set_curve (abr, public, secret, NULL), "curve");
    } else
        exit (2);
}

/* One loop for two descriptors, as an agent with other work would have it. */
static void serve (void)
{
    sigset_t open;
    struct pollfd fds[] = {{.fd = abr_fd (abr), .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    char line[256];
    sigemptyset (&open);
    while (!stopped) {
        if (ppoll (fds, 2, NULL, &open) < 0) /* SIGTERM comes here and nowhere else */
            continue;
        abr_item_t *item;
        while ((item = abr_recv (abr, 0))) {
            take (item);
            abr_item_destroy (&item);
        }
        if (fds[1].revents && fgets (line, sizeof line, stdin))
            obey_line (line);
        else if (fds[1].revents)
            return;
        fflush (stdout);
    }
}

int main (int argc, char **argv)
{
    struct sigaction action = {.sa_handler = stop};
    if (argc < 3)
        return 2;
    setvbuf (stdin, NULL, _IONBF, 0); /* what poll() says is all that there is */
    abr = abr_new ("ordered");
    check (abr_set_commands (abr, argv[1]), "commands");
    check (abr_set_events (abr, argv[2]), "events");
    for (int i = 3; i < argc; i++)
        set_option (argv[i]);
    check (abr_start (abr), "start");
    sigaction (SIGTERM, &action, NULL); /* behind czmq's own */
    sigset_t term;
    sigemptyset (&term);
    sigaddset (&term, SIGTERM);
    sigprocmask (SIG_BLOCK, &term, NULL);
    printf ("{\"ready\": \"%s\"}\n", abr_publisher (abr));
    fflush (stdout);
    serve ();
    abr_destroy (&abr);
    abr_run_destroy (&held);
    return 0;
}
