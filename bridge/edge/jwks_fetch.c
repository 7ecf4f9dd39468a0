#include "edge/jwks_fetch.h"
#include "core/freshness.h"
#include "edge/actor.h"
#include "version.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <sys/resource.h>

#define REDIRECTS_MAX    3
#define HEADER_BYTES_MAX 65536 /* of all answers on the way */
#define POLL_MS          1000
#define THREAD_NICE      5 /* like ZeroMQ's: where it shares a core with the loop, TLS can wait */

/* One fetch, in the hands of one thread at a time. */
struct job {
    const char *url, *ca_file; /* borrowed from the configuration, which keeps them */
    bool direct;               /* by no proxy: the host is loopback */
    int64_t timeout_ms;
    size_t max_bytes;
    bool held; /* there is a set at hand: */
    struct jwks_mark at_hand;
    struct jwks_answer answer;

    struct buf body;
    struct freshness freshness;
    size_t header_bytes;
    bool too_large;
};

struct jwks_fetch {
    struct hub *hub;
    struct jwks *jwks;
    zactor_t *actor;
    uv_poll_t poll;
    CURLM *multi; /* the thread's, but for its wake-up */
    struct job job;
    atomic_bool handed; /* the job is the thread's */
    atomic_bool stop;
};

/* --- what the server says ------------------------------------------------------------------------------------ */

static size_t on_body (char *bytes, size_t size, size_t n, void *arg)
{
    struct job *job = arg;
    job->too_large = size * n > job->max_bytes - job->body.n;
    buf_put (&job->body, bytes, size * n);
    return job->body.failed ? 0 : size * n;
}

/* Printable, and nothing that would end the header that it goes back in. */
static void keep_etag (struct jwks_mark *mark, struct slice etag)
{
    etag = slice_trim (etag);
    if (etag.n >= sizeof mark->etag)
        return;
    for (size_t i = 0; i < etag.n; i++)
        if ((unsigned char) etag.p[i] < ' ' || etag.p[i] == 0x7F)
            return;
    slice_copy (mark->etag, etag);
    mark->etag[etag.n] = '\0';
}

/* A status line begins another answer: what a redirect said does not count. */
static size_t on_header (char *bytes, size_t size, size_t n, void *arg)
{
    struct job *job = arg;
    struct slice value = slice_of (bytes, size * n), name;
    job->header_bytes += value.n;
    job->too_large = job->header_bytes > HEADER_BYTES_MAX;
    if (job->too_large)
        return 0;
    while (value.n && (value.p[value.n - 1] == '\r' || value.p[value.n - 1] == '\n'))
        value.n--;
    if (value.n >= 5 && memcmp (value.p, "HTTP/", 5) == 0) {
        freshness_init (&job->freshness);
        job->answer.mark.etag[0] = '\0';
    } else if (slice_cut (&value, ':', &name)) {
        freshness_header (&job->freshness, name, value);
        if (name.n == 4 && strncasecmp (name.p, "etag", 4) == 0)
            keep_etag (&job->answer.mark, value);
    }
    return size * n;
}

/* --- one fetch ----------------------------------------------------------------------------------------------- */

static void fill_job (struct job *job, const struct config *config, const struct jwks_mark *at_hand)
{
    job->url = config->jwks_url;
    job->ca_file = config->jwks_ca_file;
    job->direct = config_jwks_is_local (config);
    job->timeout_ms = config->jwks_timeout_ms;
    job->max_bytes = (size_t) config->jwks_max_bytes;
    job->held = at_hand != NULL;
    job->at_hand = at_hand ? *at_hand : (struct jwks_mark){0};
}

/* `self` NULL: nobody stops it. */
static CURLcode perform (struct jwks_fetch *self, CURLM *multi, CURL *easy)
{
    int running = 1, left;
    if (curl_multi_add_handle (multi, easy) != CURLM_OK)
        return CURLE_OUT_OF_MEMORY;
    CURLMcode ok = CURLM_OK;
    while (ok == CURLM_OK && running && !(self && atomic_load (&self->stop))) {
        ok = curl_multi_perform (multi, &running);
        if (ok == CURLM_OK && running)
            ok = curl_multi_poll (multi, NULL, 0, POLL_MS, NULL);
    }
    CURLMsg *message = curl_multi_info_read (multi, &left);
    CURLcode code = message && message->msg == CURLMSG_DONE ? message->data.result : CURLE_ABORTED_BY_CALLBACK;
    curl_multi_remove_handle (multi, easy);
    return ok == CURLM_OK ? code : CURLE_OUT_OF_MEMORY;
}

static enum jwks_result result_of (CURLcode code, const struct job *job)
{
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return JWKS_RESULT_timeout;
    case CURLE_UNSUPPORTED_PROTOCOL: /* the first one has been checked: this is where a redirect led */
    case CURLE_TOO_MANY_REDIRECTS:
        return JWKS_RESULT_redirect;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
        return JWKS_RESULT_tls;
    case CURLE_OUT_OF_MEMORY:
        return JWKS_RESULT_no_memory;
    case CURLE_FILESIZE_EXCEEDED:
        return JWKS_RESULT_too_large;
    case CURLE_WRITE_ERROR:
        return job->too_large ? JWKS_RESULT_too_large : JWKS_RESULT_no_memory;
    default:
        return JWKS_RESULT_unreachable;
    }
}

static void set_options (CURL *easy, struct job *job)
{
    curl_easy_setopt (easy, CURLOPT_URL, job->url);
    curl_easy_setopt (easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt (easy, CURLOPT_REDIR_PROTOCOLS_STR, "https");
    curl_easy_setopt (easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt (easy, CURLOPT_MAXREDIRS, (long) REDIRECTS_MAX);
    curl_easy_setopt (easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt (easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
    if (job->ca_file[0]) {
        curl_easy_setopt (easy, CURLOPT_CAINFO, job->ca_file);
        curl_easy_setopt (easy, CURLOPT_CAPATH, NULL); /* the system's would count beside it */
    }
    if (job->direct)
        curl_easy_setopt (easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt (easy, CURLOPT_TIMEOUT_MS, (long) job->timeout_ms);
    curl_easy_setopt (easy, CURLOPT_CONNECTTIMEOUT_MS, (long) job->timeout_ms);
    curl_easy_setopt (easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t) job->max_bytes);
    curl_easy_setopt (easy, CURLOPT_FORBID_REUSE, 1L); /* the next fetch is minutes away */
    curl_easy_setopt (easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt (easy, CURLOPT_QUICK_EXIT, 1L); /* wait for no name server at the end */
    curl_easy_setopt (easy, CURLOPT_USERAGENT, "agentbridge/" AGENTBRIDGE_VERSION);
    curl_easy_setopt (easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt (easy, CURLOPT_WRITEDATA, job);
    curl_easy_setopt (easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt (easy, CURLOPT_HEADERDATA, job);
}

static bool add_header (struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = curl_slist_append (*list, text);
    *list = longer ? longer : *list;
    return longer != NULL;
}

static CURLcode request (struct jwks_fetch *self, CURLM *multi, CURL *easy, struct job *job, long *status)
{
    char condition[JWKS_ETAG_MAX + 32], why[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = NULL;
    snprintf (condition, sizeof condition, "If-None-Match: %s", job->at_hand.etag);
    bool ok = add_header (&headers, "Accept: application/jwk-set+json, application/json;q=0.9, */*;q=0.1") &&
              (!job->at_hand.etag[0] || add_header (&headers, condition));
    set_options (easy, job);
    curl_easy_setopt (easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt (easy, CURLOPT_ERRORBUFFER, why);
    CURLcode code = ok ? perform (self, multi, easy) : CURLE_OUT_OF_MEMORY;
    curl_easy_getinfo (easy, CURLINFO_RESPONSE_CODE, status);
    snprintf (job->answer.why, sizeof job->answer.why, "%s", why[0] ? why : curl_easy_strerror (code));
    curl_slist_free_all (headers);
    return code;
}

/* What stands in the body of a 200. Many servers name no ETag, and send the same set for months. */
static enum jwks_result read_set (struct job *job)
{
    struct jwks_answer *answer = &job->answer;
    struct buf error;
    if (!EVP_Digest (job->body.p, job->body.n, answer->mark.digest, NULL, EVP_sha256 (), NULL))
        return JWKS_RESULT_no_memory;
    if (job->held && memcmp (answer->mark.digest, job->at_hand.digest, JWKS_DIGEST_SIZE) == 0)
        return JWKS_RESULT_ok;
    buf_init (&error, 0);
    answer->keys = keys_parse_fetched (buf_slice (&job->body), &error, &answer->skipped);
    if (!answer->keys)
        snprintf (answer->why, sizeof answer->why, "%.*s", (int) error.n, error.n ? (const char *) error.p : "");
    buf_fini (&error);
    return answer->keys ? JWKS_RESULT_ok : JWKS_RESULT_malformed;
}

static enum jwks_result read_answer (struct job *job, long status)
{
    if (status == 200)
        return read_set (job);
    if (status == 304 && job->at_hand.etag[0]) {
        job->answer.mark = job->at_hand;
        return JWKS_RESULT_not_modified;
    }
    snprintf (job->answer.why, sizeof job->answer.why, "HTTP status %ld", status);
    return JWKS_RESULT_http_status;
}

static void run (struct jwks_fetch *self, CURLM *multi, struct job *job)
{
    long status = 0;
    CURL *easy = curl_easy_init ();
    job->answer = (struct jwks_answer){.fresh_s = FRESHNESS_UNKNOWN};
    job->header_bytes = 0;
    job->too_large = false;
    buf_init (&job->body, job->max_bytes);
    buf_init (&job->answer.skipped, 0);
    freshness_init (&job->freshness);
    CURLcode code = easy ? request (self, multi, easy, job, &status) : CURLE_OUT_OF_MEMORY;
    job->answer.result = code == CURLE_OK ? read_answer (job, status) : result_of (code, job);
    job->answer.fresh_s = freshness_left (&job->freshness, (int64_t) time (NULL));
    curl_easy_cleanup (easy);
    buf_fini (&job->body);
}

void jwks_answer_fini (struct jwks_answer *answer)
{
    keys_destroy (&answer->keys);
    buf_fini (&answer->skipped);
}

void jwks_fetch_once (const struct config *config, struct jwks_answer *answer)
{
    struct job job = {0};
    CURLM *multi = curl_global_init (CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_multi_init () : NULL;
    fill_job (&job, config, NULL);
    if (multi)
        run (NULL, multi, &job);
    else
        job.answer = (struct jwks_answer){.result = JWKS_RESULT_no_memory, .why = "cannot start libcurl"};
    *answer = job.answer;
    curl_multi_cleanup (multi);
    curl_global_cleanup ();
}

/* --- the thread ---------------------------------------------------------------------------------------------- */

/* "GO" has it fetch, "$TERM" (zactor's) end. */
static void thread_main (zsock_t *pipe, void *arg)
{
    struct jwks_fetch *self = arg;
    (void) setpriority (PRIO_PROCESS, (id_t) gettid (), THREAD_NICE);
    zsock_signal (pipe, 0);
    for (;;) {
        char *word = zstr_recv (pipe);
        bool go = word && strcmp (word, "GO") == 0 && !atomic_load (&self->stop);
        zstr_free (&word);
        if (!go)
            return;
        if (atomic_load (&self->handed))
            run (self, self->multi, &self->job);
        atomic_store (&self->handed, false);
        zstr_send (pipe, "DONE");
    }
}

/* --- the loop's side ----------------------------------------------------------------------------------------- */

/* Until the answer, nothing more is done on the pipe that could take its wake-up (ZMQ_FD is edge-triggered). */
static bool fetch (void *arg, const struct jwks_mark *at_hand)
{
    struct jwks_fetch *self = arg;
    fill_job (&self->job, self->hub->config, at_hand);
    atomic_store (&self->handed, true);
    bool begun = zstr_send (self->actor, "GO") == 0;
    if (!begun)
        atomic_store (&self->handed, false);
    return begun;
}

static bool take_done (struct jwks_fetch *self)
{
    zmq_msg_t frame;
    zmq_msg_init (&frame);
    bool got = zmq_msg_recv (&frame, zsock_resolve (self->actor), ZMQ_DONTWAIT) >= 0;
    zmq_msg_close (&frame);
    return got && !atomic_load (&self->handed);
}

static void on_ready (uv_poll_t *poll, UNUSED int status, UNUSED int events)
{
    struct jwks_fetch *self = poll->data;
    clock_refresh ();
    while (zsock_events (zactor_sock (self->actor)) & ZMQ_POLLIN)
        if (take_done (self)) {
            struct jwks_answer answer = self->job.answer;
            self->job.answer = (struct jwks_answer){0};
            jwks_done (self->jwks, &answer);
            jwks_answer_fini (&answer);
        }
}

/* --- life ---------------------------------------------------------------------------------------------------- */

static void free_all (struct jwks_fetch *self)
{
    if (self->multi) {
        atomic_store (&self->stop, true);
        curl_multi_wakeup (self->multi);
    }
    zactor_destroy (&self->actor);
    (void) atomic_load (&self->handed); /* what the thread has written is ours from here on */
    curl_multi_cleanup (self->multi);
    curl_global_cleanup ();
    jwks_answer_fini (&self->job.answer);
    free (self);
}

static void on_closed (uv_handle_t *handle)
{
    free_all (handle->data);
}

static bool open_all (struct jwks_fetch *self, uv_loop_t *loop)
{
    struct jwks_port port = {.self = self, .fetch = fetch};
    self->multi = curl_multi_init ();
    self->actor = self->multi ? actor_new (thread_main, self) : NULL;
    self->jwks = self->actor ? jwks_new (self->hub, &port) : NULL;
    return self->jwks && uv_poll_init (loop, &self->poll, (int) zsock_fd (zactor_sock (self->actor))) == 0;
}

struct jwks_fetch *jwks_fetch_new (uv_loop_t *loop, struct hub *hub, struct buf *error)
{
    struct jwks_fetch *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    self->hub = hub;
    if (curl_global_init (CURL_GLOBAL_DEFAULT) != CURLE_OK || !open_all (self, loop)) {
        buf_puts (error, "cannot start the fetch of jwks-url: memory or descriptors are out\n");
        jwks_destroy (&self->jwks);
        free_all (self);
        return NULL;
    }
    self->poll.data = self;
    CHECK (uv_poll_start (&self->poll, UV_READABLE, on_ready) == 0);
    on_ready (&self->poll, 0, 0);
    hub->jwks = self->jwks;
    return self;
}

void jwks_fetch_destroy (struct jwks_fetch **self_p)
{
    struct jwks_fetch *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    atomic_store (&self->stop, true);
    curl_multi_wakeup (self->multi);
    self->hub->jwks = NULL;
    jwks_destroy (&self->jwks);
    uv_poll_stop (&self->poll);
    uv_close ((uv_handle_t *) &self->poll, on_closed);
}
