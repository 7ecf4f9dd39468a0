/* An agent that thinks aloud, uses a tool and streams its answer, with a "model" that is a list of sentences. Several
 * conversations go on at once, in one thread: each run is a small state machine that the loop advances.
 *
 *     streaming_agent [commands-endpoint events-endpoint]      default: tcp://127.0.0.1:5555 and :5556 */
#include <agentbridge.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_AT_ONCE 100
#define PACE_MS      20

enum step {
    THINK,
    USE_TOOL,
    ANSWER,
    DONE
};

struct work {
    abr_run_t *run;
    enum step step;
    char *question;
    const char *at; /* of the text that is being streamed */
    size_t words;
};

static struct work works[MOST_AT_ONCE];

/* The next word with the blanks before it, as a model would hand out tokens; NULL at the end. */
static const char *next_word (const char **at, char word[64])
{
    size_t n = strspn (*at, " ");
    n += strcspn (*at + n, " ");
    if (n == 0)
        return NULL;
    if (n > 63)
        n = 63;
    memcpy (word, *at, n);
    word[n] = 0;
    *at += n;
    return word;
}

static size_t count_words (const char *text)
{
    size_t n = 0;
    for (text += strspn (text, " "); *text; text += strspn (text, " ")) {
        text += strcspn (text, " ");
        n++;
    }
    return n;
}

/* A tool: tool_executing, the work, tool_completed. */
static int use_tool (struct work *work)
{
    abr_tool_t *tool = abr_tool_new (work->run, "word_count", ABR_FIELDS (abr_str ("text", work->question)));
    if (!tool)
        return -1;
    work->words = count_words (work->question);
    int status = abr_tool_complete (&tool, ABR_FIELDS (abr_uint ("words", work->words)));
    abr_tool_destroy (&tool); /* if it is still there */
    return status;
}

static int answer (struct work *work)
{
    char text[64];
    snprintf (text, sizeof text, "Your message has %zu words.", work->words);
    return abr_run_complete (work->run, text,
                             ABR_FIELDS (abr_map ("usage", ABR_FIELDS (abr_uint ("words", work->words)))));
}

/* One step of one run; -1 when it is over, because it has ended, was cancelled or cannot go on. */
static int advance (struct work *work)
{
    char word[64];
    switch (work->step) {
    case THINK:
        if (next_word (&work->at, word))
            return abr_run_thinking_delta (work->run, word, 1);
        work->step = USE_TOOL;
        return 0;
    case USE_TOOL:
        work->step = ANSWER;
        work->at = "I have counted them.";
        return use_tool (work);
    case ANSWER:
        if (next_word (&work->at, word))
            return abr_run_chunk (work->run, word);
        work->step = DONE;
        return answer (work);
    default:
        return -1;
    }
}

static void stop (struct work *work)
{
    abr_run_destroy (&work->run); /* CANCELLED, unless it has ended */
    free (work->question);
    *work = (struct work){0};
}

static struct work *place (void)
{
    for (size_t i = 0; i < MOST_AT_ONCE; i++)
        if (!works[i].run)
            return &works[i];
    return NULL;
}

/* `text` of {"type":"user_message","text":"…"}, for the caller to free; NULL when this is another message. */
static char *question_of (const abr_item_t *item)
{
    size_t size;
    const char *body = abr_item_body (item, &size);
    json_t *message = json_loadb (body, size, 0, NULL);
    const char *type = json_string_value (json_object_get (message, "type"));
    const char *text = json_string_value (json_object_get (message, "text"));
    char *question = type && text && strcmp (type, "user_message") == 0 ? strdup (text) : NULL;
    json_decref (message);
    return question;
}

static void begin (abr_t *abr, const char *user, char *question)
{
    struct work *work = place ();
    abr_run_t *run = abr_run_new (abr, user);
    if (abr_run_started (run, question, NULL) != 0)
        fprintf (stderr, "streaming_agent: %s\n", abr_error (abr));
    if (work) {
        *work = (struct work){run, THINK, question, "Let me count the words of this.", 0};
        return;
    }
    abr_run_fail (run, "BUSY", "Too many conversations at once. Try again in a moment.");
    abr_run_destroy (&run);
    free (question);
}

static void take (abr_t *abr, const abr_item_t *item)
{
    char *question = abr_item_kind (item) == ABR_MESSAGE && abr_item_is_text (item) ? question_of (item) : NULL;
    if (question)
        begin (abr, abr_item_user (item), question);
}

static bool advance_all (void)
{
    bool busy = false;
    for (size_t i = 0; i < MOST_AT_ONCE; i++) {
        if (works[i].run && advance (&works[i]) != 0)
            stop (&works[i]);
        busy |= works[i].run != NULL;
    }
    return busy;
}

int main (int argc, char **argv)
{
    abr_t *abr = abr_new ("word-counter");
    if (!abr || (argc == 3 && (abr_set_commands (abr, argv[1]) || abr_set_events (abr, argv[2]))) || abr_start (abr)) {
        fprintf (stderr, "streaming_agent: %s\n", abr_error (abr));
        abr_destroy (&abr);
        return 1;
    }
    bool busy = false;
    for (;;) {
        abr_item_t *item = abr_recv (abr, busy ? PACE_MS : -1);
        if (!item && errno != EAGAIN) /* SIGINT, SIGTERM */
            break;
        if (item)
            take (abr, item);
        abr_item_destroy (&item);
        busy = advance_all ();
    }
    for (size_t i = 0; i < MOST_AT_ONCE; i++)
        stop (&works[i]);
    abr_destroy (&abr);
    return 0;
}
