#include "cmd/http_call.h"
#include "base/clock.h"
#include "version.h"

#include <curl/curl.h>

#define BODY_MAX 65536

struct job {
    const struct http_call *call;
    struct http_answer *answer;
    int64_t begun;
    unsigned seconds; /* told so far */
};

/* What is over the limit is read and forgotten. */
static size_t on_body (char *bytes, size_t size, size_t n, void *arg)
{
    struct buf *body = arg;
    size_t room = BODY_MAX - body->n;
    buf_put (body, bytes, size * n < room ? size * n : room);
    return body->failed ? 0 : size * n;
}

static int on_progress (void *arg, UNUSED curl_off_t a, UNUSED curl_off_t b, UNUSED curl_off_t c, UNUSED curl_off_t d)
{
    struct job *job = arg;
    unsigned seconds = (unsigned) ((clock_read () - job->begun) / S_NS);
    if (seconds > job->seconds && job->call->on_second)
        job->call->on_second (job->call->arg, seconds);
    job->seconds = seconds;
    return 0;
}

static void set_options (CURL *easy, struct job *job, struct curl_slist *headers)
{
    const struct http_call *call = job->call;
    curl_easy_setopt (easy, CURLOPT_URL, call->url);
    curl_easy_setopt (easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt (easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
    curl_easy_setopt (easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt (easy, CURLOPT_POST, (long) call->post);
    if (call->post)
        curl_easy_setopt (easy, CURLOPT_POSTFIELDS, "");
    if (call->no_proxy)
        curl_easy_setopt (easy, CURLOPT_NOPROXY, "*");
    if (call->ca_file) {
        curl_easy_setopt (easy, CURLOPT_CAINFO, call->ca_file);
        curl_easy_setopt (easy, CURLOPT_CAPATH, NULL);
    }
    curl_easy_setopt (easy, CURLOPT_SSL_VERIFYPEER, (long) !call->insecure);
    curl_easy_setopt (easy, CURLOPT_SSL_VERIFYHOST, call->insecure ? 0L : 2L);
    curl_easy_setopt (easy, CURLOPT_TIMEOUT_MS, (long) call->timeout_ms);
    curl_easy_setopt (easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt (easy, CURLOPT_USERAGENT, "agentbridge/" AGENTBRIDGE_VERSION);
    curl_easy_setopt (easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt (easy, CURLOPT_WRITEDATA, &job->answer->body);
    curl_easy_setopt (easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt (easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt (easy, CURLOPT_XFERINFODATA, job);
}

static bool make_headers (const struct http_call *call, struct curl_slist **list)
{
    for (size_t i = 0; i < call->n_headers; i++) {
        struct curl_slist *longer = curl_slist_append (*list, call->headers[i]);
        if (!longer)
            return false;
        *list = longer;
    }
    return true;
}

void http_call (const struct http_call *call, struct http_answer *answer)
{
    char why[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = NULL;
    struct job job = {.call = call, .answer = answer, .begun = clock_read ()};
    *answer = (struct http_answer){.status = 0};
    buf_init (&answer->body, BODY_MAX);
    CURL *easy = curl_global_init (CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_easy_init () : NULL;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (easy && make_headers (call, &headers)) {
        set_options (easy, &job, headers);
        curl_easy_setopt (easy, CURLOPT_ERRORBUFFER, why);
        code = curl_easy_perform (easy);
        curl_easy_getinfo (easy, CURLINFO_RESPONSE_CODE, &answer->status);
    }
    if (code != CURLE_OK)
        answer->status = 0;
    answer->timed_out = code == CURLE_OPERATION_TIMEDOUT;
    snprintf (answer->why, sizeof answer->why, "%.*s", (int) sizeof answer->why - 1,
              why[0] ? why : curl_easy_strerror (code));
    curl_slist_free_all (headers);
    curl_easy_cleanup (easy);
    curl_global_cleanup ();
}

void http_answer_fini (struct http_answer *answer)
{
    buf_fini (&answer->body);
}
