#include "edge/http.h"
#include "base/metrics.h"
#include "base/pages.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_BATCH 8 /* in one turn of the loop: a set-up takes as long as many events */
#define BACKLOG      4096
#define ACCEPT_PAUSE (200 * MS_NS) /* after accept(2) has failed for want of descriptors */
#define LINGER       (2 * S_NS)    /* for the peer to read the answer and close */
#define DEFER_S      1             /* accept(2) waits so long for the first bytes of a request */

struct http_server {
    uv_poll_t poll;
    uv_loop_t *loop;
    struct hub *hub;
    const char *name;
    int fd;
    struct tls *tls; /* NULL: plain */
    http_handler *handler;
    void *owner;
    struct list conns; /* struct http_conn */
    size_t n_conns;
    struct timer pause;
};

struct http_conn {
    uv_poll_t poll;
    struct http_server *server;
    struct list link;
    struct timer timer;
    int fd;
    enum {
        READING_HEAD,
        WAITING_FOR_ANSWER,
        WRITING,
        LINGERING,
        GONE
    } state;
    struct buf in;
    struct buf out;
    size_t head_n;
    size_t written;
    void (*gone_fn) (void *arg);
    void *gone_arg;
    bool watched; /* `poll` has been made: the whole head was not there at once */
    bool hasty;   /* closes right behind the answer */
    struct ip peer;
    char remote[IP_TEXT_LEN];
};

static void read_head (struct http_conn *self);
static void write_out (struct http_conn *self);

/* --- one request --------------------------------------------------------------------------------------------- */

static void free_conn (struct http_conn *self)
{
    buf_fini (&self->in);
    buf_fini (&self->out);
    free (self);
}

static void on_closed (uv_handle_t *handle)
{
    free_conn (handle->data);
}

/* One that is not watched yet is still in the hands of add_conn, which frees it. */
static void forget (struct http_conn *self)
{
    self->state = GONE;
    wheel_cancel (&self->timer);
    list_remove (&self->link);
    self->server->n_conns--;
    if (!self->watched)
        return;
    uv_poll_stop (&self->poll);
    uv_close ((uv_handle_t *) &self->poll, on_closed);
}

static void drop (struct http_conn *self)
{
    if (self->state == WAITING_FOR_ANSWER && self->gone_fn)
        self->gone_fn (self->gone_arg);
    close (self->fd);
    forget (self);
}

static void set_timer (struct http_conn *self, int64_t ns)
{
    wheel_set (&self->server->hub->wheel, &self->timer, clock_now () + ns);
}

/* The answer is out. Wait for the peer to close, as closing with unread input would cut the answer off (RST). */
static void linger (struct http_conn *self)
{
    self->state = LINGERING;
    shutdown (self->fd, SHUT_WR);
    set_timer (self, LINGER);
}

static void discard_input (struct http_conn *self)
{
    char scrap[4096];
    ssize_t n = recv (self->fd, scrap, sizeof scrap, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        drop (self);
}

static void on_ready (uv_poll_t *poll, int status, int events)
{
    struct http_conn *self = poll->data;
    clock_refresh ();
    if (status < 0) {
        drop (self);
        return;
    }
    if (self->state == READING_HEAD)
        read_head (self);
    else if (self->state == WRITING && (events & UV_WRITABLE))
        write_out (self);
    else if (events & UV_READABLE)
        discard_input (self);
}

static void refuse_socket (const struct http_server *server, int fd, enum accept_failure reason, const char *why)
{
    metric_inc (M_ACCEPT_FAILURES, reason);
    LOG (ACCEPT_FAILED, NULL, KV_S ("listener", server->name), KV_S ("why", why));
    close (fd);
}

static void watch (struct http_conn *self, int events)
{
    if (!self->watched && uv_poll_init (self->server->loop, &self->poll, self->fd) != 0) {
        refuse_socket (self->server, self->fd, ACCEPT_FAILURE_memory, "poll");
        forget (self);
        return;
    }
    self->watched = true;
    if (uv_poll_start (&self->poll, events, on_ready) != 0)
        drop (self);
}

static void write_out (struct http_conn *self)
{
    while (self->written < self->out.n) {
        ssize_t n = send (self->fd, self->out.p + self->written, self->out.n - self->written, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            watch (self, UV_WRITABLE);
            return;
        }
        if (n < 0 && errno != EINTR) {
            drop (self);
            return;
        }
        self->written += n > 0 ? (size_t) n : 0;
    }
    if (self->hasty) {
        drop (self);
        return;
    }
    linger (self);
    watch (self, UV_READABLE);
}

static const char *status_text (int status)
{
    switch (status) {
#define STATUS(code, text)                                                                                             \
    case code:                                                                                                         \
        return text;
        STATUS (200, "OK")
        STATUS (400, "Bad Request")
        STATUS (401, "Unauthorized")
        STATUS (403, "Forbidden")
        STATUS (404, "Not Found")
        STATUS (405, "Method Not Allowed")
        STATUS (408, "Request Timeout")
        STATUS (426, "Upgrade Required")
        STATUS (429, "Too Many Requests")
        STATUS (431, "Request Header Fields Too Large")
        STATUS (503, "Service Unavailable")
#undef STATUS
    default:
        return "Internal Server Error";
    }
}

void http_respond (struct http_conn *self, int status, const char *headers, const char *content_type, struct slice body)
{
    metric_inc (M_HTTP_REQUESTS, (unsigned) (status / 100 - 2));
    buf_printf (&self->out,
                "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n"
                "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n%s\r\n",
                status, status_text (status), content_type, body.n, headers);
    buf_put (&self->out, body.p, body.n);
    self->state = WRITING;
    self->gone_fn = NULL;
    set_timer (self, self->server->hub->config->http_timeout_s * S_NS);
    if (self->out.failed) {
        LOG (NO_MEMORY, NULL, KV_S ("for", "answer"), KV_S ("remote", self->remote));
        drop (self);
    } else
        write_out (self);
}

void http_turn_away (struct http_conn *self, int status, const char *headers, const char *content_type,
                     struct slice body)
{
    self->hasty = true;
    http_respond (self, status, headers, content_type, body);
}

void http_respond_error (struct http_conn *self, int status, const char *headers, const char *message)
{
    char body[256];
    int n = snprintf (body, sizeof body, "{\"error\":\"%s\",\"message\":\"%s\"}\n", status_text (status), message);
    http_respond (self, status, headers, "application/json", slice_of (body, (size_t) n));
}

void http_respond_document (struct http_conn *self, int (*write) (const struct hub *hub, struct buf *out))
{
    struct buf body;
    buf_init (&body, 0);
    int status = write (self->server->hub, &body);
    http_respond (self, body.failed ? 500 : status, "", "application/json", buf_slice (&body));
    buf_fini (&body);
}

int http_detach (struct http_conn *self, struct buf *rest)
{
    int fd = self->fd;
    buf_put (rest, self->in.p + self->head_n, self->in.n - self->head_n);
    if (rest->failed)
        close (fd);
    forget (self);
    return rest->failed ? -1 : fd;
}

void http_on_gone (struct http_conn *self, void (*fn) (void *arg), void *arg)
{
    self->gone_fn = fn;
    self->gone_arg = arg;
}

struct slice http_remote (const struct http_conn *self)
{
    return slice_str (self->remote);
}

void http_set_remote (struct http_conn *self, const struct ip *ip)
{
    ip_format (ip, self->remote);
}

const struct ip *http_peer (const struct http_conn *self)
{
    return &self->peer;
}

bool http_is_loopback (const struct http_conn *self)
{
    return ip_is_loopback (&self->peer);
}

/* --- reading ------------------------------------------------------------------------------------------------- */

static void refuse (struct http_conn *self, int status, const char *why)
{
    LOG (REQUEST_BAD, NULL, KV_S ("listener", self->server->name), KV_U ("status", status), KV_S ("why", why),
         KV_S ("remote", self->remote));
    http_respond_error (self, status, "", why);
}

static void parse_head (struct http_conn *self)
{
    struct request request;
    size_t limit = (size_t) self->server->hub->config->max_header_bytes;
    enum request_status status = request_parse (&request, buf_slice (&self->in), &self->head_n);
    if (status == REQUEST_BAD)
        refuse (self, 400, request.fault);
    else if ((status == REQUEST_INCOMPLETE && self->in.n >= limit) || (status == REQUEST_OK && self->head_n > limit))
        refuse (self, 431, "the request head is too large");
    else if (status == REQUEST_OK) {
        self->state = WAITING_FOR_ANSWER;
        wheel_cancel (&self->timer);
        self->server->handler (self->server->owner, self, &request);
    }
}

/* One read a wake: what did not fit makes the socket readable again. Whoever has sent nothing yet holds no buffer. */
static void read_head (struct http_conn *self)
{
    char chunk[4096];
    size_t limit = (size_t) self->server->hub->config->max_header_bytes;
    size_t room = limit > self->in.n ? limit - self->in.n : 1;
    ssize_t n = recv (self->fd, chunk, room < sizeof chunk ? room : sizeof chunk, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        buf_put (&self->in, chunk, (size_t) n);
    if (self->in.failed)
        LOG (NO_MEMORY, NULL, KV_S ("for", "request"), KV_S ("remote", self->remote));
    if (n <= 0 || self->in.failed)
        drop (self);
    else
        parse_head (self);
}

static void cut_off (struct http_conn *self, enum http_timeout phase, const char *why)
{
    metric_inc (M_HTTP_TIMEOUTS, phase);
    LOG (REQUEST_TIMEOUT, NULL, KV_S ("listener", self->server->name), KV_S ("why", why),
         KV_S ("remote", self->remote));
    drop (self);
}

static void on_timeout (struct timer *timer)
{
    struct http_conn *self = CONTAINER_OF (timer, struct http_conn, timer);
    if (self->state == READING_HEAD && self->in.n) {
        metric_inc (M_HTTP_TIMEOUTS, HTTP_TIMEOUT_head);
        refuse (self, 408, "the request head did not arrive in time");
    } else if (self->state == READING_HEAD)
        cut_off (self, HTTP_TIMEOUT_silent, "no request came");
    else if (self->state == WRITING)
        cut_off (self, HTTP_TIMEOUT_answer, "the answer was not read");
    else
        drop (self);
}

/* --- accepting ----------------------------------------------------------------------------------------------- */

static struct http_conn *new_conn (struct http_server *server, int fd, const struct ip *peer)
{
    struct http_conn *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    self->poll.data = self;
    self->server = server;
    self->fd = fd;
    self->peer = *peer;
    ip_format (peer, self->remote);
    timer_init (&self->timer, on_timeout);
    set_timer (self, server->hub->config->http_timeout_s * S_NS);
    list_append (&server->conns, &self->link);
    server->n_conns++;
    return self;
}

/* In a storm many connect before the first of them sends. */
static bool has_room (const struct http_server *self)
{
    size_t pending = self->n_conns + (self->tls ? tls_pending (self->tls) : 0);
    size_t taken = pending + map_size (&self->hub->registry.conns);
    return pending < (size_t) self->hub->config->max_open_requests ||
           taken < (size_t) self->hub->config->max_connections;
}

static struct http_conn *admit (struct http_server *server, int fd, const struct ip *peer)
{
    bool room = has_room (server);
    struct http_conn *self = room ? new_conn (server, fd, peer) : NULL;
    if (!self)
        refuse_socket (server, fd, room ? ACCEPT_FAILURE_memory : ACCEPT_FAILURE_requests,
                       room ? "out of memory" : "too many open requests");
    return self;
}

/* It has been read or answered for the first time. */
static void keep_on (struct http_conn *self)
{
    if (self->state != GONE && !self->watched)
        watch (self, UV_READABLE);
    if (self->state == GONE && !self->watched)
        free_conn (self);
}

/* As a rule the whole head is there by now (TCP_DEFER_ACCEPT), and the loop never hears of this descriptor. */
static void add_conn (void *owner, int fd, const struct ip *peer)
{
    struct http_conn *self = admit (owner, fd, peer);
    if (!self)
        return;
    read_head (self);
    keep_on (self);
}

/* Nothing of what it has sent is left to be read. */
static void refuse_plain (void *owner, int fd, const struct ip *peer)
{
    struct http_conn *self = admit (owner, fd, peer);
    if (!self)
        return;
    refuse (self, 400, "this port speaks TLS");
    keep_on (self);
}

static void add_socket (struct http_server *server, int fd, const struct sockaddr_storage *address)
{
    struct ip peer = ip_of_socket (address);
    if (!server->tls)
        add_conn (server, fd, &peer);
    else if (has_room (server))
        tls_accept (server->tls, fd, &peer);
    else
        refuse_socket (server, fd, ACCEPT_FAILURE_requests, "too many open requests");
}

static void on_connection (uv_poll_t *poll, int status, int events);

static void resume_accept (struct timer *timer)
{
    struct http_server *self = CONTAINER_OF (timer, struct http_server, pause);
    uv_poll_start (&self->poll, UV_READABLE, on_connection);
}

/* Out of descriptors: the connection stays in the backlog, and the loop must not spin on it. */
static void pause_accept (struct http_server *self)
{
    metric_inc (M_ACCEPT_FAILURES, ACCEPT_FAILURE_descriptors);
    LOG (ACCEPT_FAILED, NULL, KV_S ("listener", self->name), KV_S ("why", strerror (errno)));
    uv_poll_stop (&self->poll);
    wheel_set (&self->hub->wheel, &self->pause, clock_now () + ACCEPT_PAUSE);
}

static void on_connection (uv_poll_t *poll, UNUSED int status, UNUSED int events)
{
    struct http_server *self = poll->data;
    clock_refresh ();
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t n = sizeof peer;
        int fd = accept4 (self->fd, (struct sockaddr *) &peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            pages_warm_heap ();
            add_socket (self, fd, &peer);
        } else if (errno == EAGAIN)
            return;
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accept (self);
            return;
        }
    }
}

/* --- listening ----------------------------------------------------------------------------------------------- */

/* host:port or [v6]:port; the configuration has checked the form. */
static struct addrinfo *resolve (const char *address, struct buf *error)
{
    char host[256] = "";
    const char *colon = strrchr (address, ':');
    size_t n = colon ? (size_t) (colon - address) : 0;
    if (n >= 2 && address[0] == '[' && address[n - 1] == ']')
        snprintf (host, sizeof host, "%.*s", (int) (n - 2), address + 1);
    else
        snprintf (host, sizeof host, "%.*s", (int) n, address);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int result = colon ? getaddrinfo (host[0] ? host : NULL, colon + 1, &hints, &found) : EAI_NONAME;
    if (result != 0)
        buf_printf (error, "cannot resolve %s: %s\n", address, gai_strerror (result));
    return result == 0 ? found : NULL;
}

static int open_listener (const char *address, bool cork, struct buf *error)
{
    struct addrinfo *found = resolve (address, error);
    if (!found)
        return -1;
    int on = 1, off = 0, defer = DEFER_S;
    int fd = socket (found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        /* What is accepted inherits both: the answer and the first frame go out in one segment, when ws.c says so.
         * Under TLS the relay has them together anyway, and nobody would take the cork out. */
        setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (cork)
            setsockopt (fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
        setsockopt (fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof defer);
        if (found->ai_family == AF_INET6)
            setsockopt (fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    if (fd < 0 || bind (fd, found->ai_addr, found->ai_addrlen) != 0 || listen (fd, BACKLOG) != 0) {
        buf_printf (error, "cannot listen on %s: %s\n", address, strerror (errno));
        if (fd >= 0)
            close (fd);
        fd = -1;
    }
    freeaddrinfo (found);
    return fd;
}

static unsigned port_of (int fd)
{
    struct sockaddr_storage name = {0};
    socklen_t n = sizeof name;
    getsockname (fd, (struct sockaddr *) &name, &n);
    return ntohs (name.ss_family == AF_INET6 ? ((struct sockaddr_in6 *) &name)->sin6_port
                                             : ((struct sockaddr_in *) &name)->sin_port);
}

struct http_server *http_server_new (uv_loop_t *loop, struct hub *hub, const char *name, const char *address,
                                     struct tls *tls, http_handler *handler, void *owner, struct buf *error)
{
    struct http_server *self = calloc (1, sizeof *self);
    int fd = self ? open_listener (address, !tls, error) : -1;
    if (fd < 0) {
        free (self);
        return NULL;
    }
    *self = (struct http_server){
        .loop = loop, .hub = hub, .name = name, .fd = fd, .tls = tls, .handler = handler, .owner = owner};
    if (tls)
        tls_serve (tls, add_conn, refuse_plain, self);
    list_init (&self->conns);
    timer_init (&self->pause, resume_accept);
    CHECK (uv_poll_init (loop, &self->poll, fd) == 0);
    self->poll.data = self;
    CHECK (uv_poll_start (&self->poll, UV_READABLE, on_connection) == 0);
    LOG (LISTENING, NULL, KV_S ("listener", name), KV_S ("address", address), KV_U ("port", port_of (fd)),
         KV_B ("tls", tls != NULL));
    return self;
}

unsigned http_server_port (const struct http_server *self)
{
    return port_of (self->fd);
}

static void free_server (uv_handle_t *handle)
{
    free (handle->data);
}

void http_server_destroy (struct http_server **self_p)
{
    struct http_server *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    LIST_FOREACH (&self->conns, link)
        drop (LIST_ENTRY (link, struct http_conn, link));
    wheel_cancel (&self->pause);
    uv_poll_stop (&self->poll);
    close (self->fd);
    uv_close ((uv_handle_t *) &self->poll, free_server);
}
