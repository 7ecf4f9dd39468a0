#include "edge/tls.h"
#include "base/log.h"
#include "base/metrics.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORD_BYTES   16384      /* of clear text, at most, in one TLS record */
#define MAX_HANDSHAKES 1024       /* at a time; OpenSSL needs some 40 KiB for each. Who comes later waits */
#define STEP_BATCH     16         /* steps of handshakes in one turn of the loop; a signature takes up to 1 ms */
#define PAIR_BYTES     32768      /* what the kernel holds between relay and bridge (it doubles this) */
#define LINGER         (5 * S_NS) /* for the client to take the rest and close, when the bridge has closed */
#define LOOK_EVERY     (1 * S_NS) /* at the files */

struct tls {
    uv_loop_t *loop;
    struct hub *hub;
    struct tls_identity identity;
    tls_opened *opened;
    tls_plain_http *plain_http;
    void *owner;
    struct list relays;  /* struct relay: those that have an SSL object */
    struct list waiting; /* for their turn to have one */
    size_t n_waiting;
    size_t n_shaking;
    unsigned steps_left; /* in this turn of the loop */
    uv_prepare_t turn;
    struct timer look;
    uint8_t scratch[RECORD_BYTES];
};

/* Bytes that one side has sent and the other does not take yet. */
struct held {
    uint8_t *bytes; /* owned; NULL when there are none */
    size_t at, n;
};

struct relay {
    uv_poll_t net, pair;
    int net_events, pair_events; /* what is polled for */
    unsigned n_handles;
    struct tls *tls;
    struct list link;
    struct timer timer; /* ends the handshake; later, what is left of the connection */
    SSL *ssl;
    int fd;     /* the client's */
    int inside; /* our end of the pair */
    enum {
        WAITING,
        SHAKING,
        OPEN,
        GONE
    } state;
    struct held up, down;
    bool up_over;          /* the client sends no more */
    bool up_told;          /* and the bridge has been told */
    bool down_ended;       /* the bridge sends no more */
    bool down_over;        /* and all of it, with close_notify, is out */
    bool deaf;             /* the bridge has closed: what the client sends is thrown away */
    bool left;             /* the bridge has closed or ended its side; there may be bytes still to be read */
    bool read_wants_write; /* OpenSSL has something to send before it reads on */
    bool write_wants_read; /* the rest of a key update has to come before it writes on */
    struct ip peer;
};

/* --- the life of a relay ------------------------------------------------------------------------------------- */

static void on_handle_closed (uv_handle_t *handle)
{
    struct relay *self = handle->data;
    if (--self->n_handles == 0)
        free (self);
}

static void drop_held (struct held *self)
{
    free (self->bytes);
    *self = (struct held){0};
}

static void leave_handshake (struct relay *self)
{
    if (self->state == WAITING)
        self->tls->n_waiting--;
    else if (self->state == SHAKING)
        self->tls->n_shaking--;
}

/* Everything but the socket. */
static void forget (struct relay *self)
{
    leave_handshake (self);
    self->state = GONE;
    wheel_cancel (&self->timer);
    list_remove (&self->link);
    drop_held (&self->up);
    drop_held (&self->down);
    SSL_free (self->ssl);
    self->ssl = NULL;
    uv_close ((uv_handle_t *) &self->net, on_handle_closed);
    if (self->inside >= 0) {
        uv_close ((uv_handle_t *) &self->pair, on_handle_closed);
        close (self->inside);
    }
    metric_add (M_TLS_CONNECTIONS, 0, -1);
}

static void end (struct relay *self)
{
    forget (self);
    close (self->fd);
}

static void poll_for (uv_poll_t *poll, int *polled, int wanted, uv_poll_cb callback)
{
    if (*polled == wanted)
        return;
    *polled = wanted;
    if (wanted)
        (void) uv_poll_start (poll, wanted, callback); /* fails for handles that are closing, which these are not */
    else
        uv_poll_stop (poll);
}

/* --- OpenSSL's word ------------------------------------------------------------------------------------------ */

enum step {
    STEP_DONE,
    STEP_READ,  /* again when the socket can be read */
    STEP_WRITE, /* again when it can be written */
    STEP_ENDED, /* the peer sends no more */
    STEP_LOST,  /* the socket is dead */
    STEP_HTTP,  /* plain HTTP where a handshake should be */
    STEP_FAULT
};

static enum step judge_fault (const char **why)
{
    unsigned long error = ERR_peek_error ();
    bool tls = ERR_GET_LIB (error) == ERR_LIB_SSL;
    *why = ERR_reason_error_string (error);
    return tls && ERR_GET_REASON (error) == SSL_R_HTTP_REQUEST ? STEP_HTTP : STEP_FAULT;
}

/* What a call has come to. Its error queue, which must be empty before each call, is empty afterwards. `why` is a
 * fixed text of OpenSSL's, or NULL. */
static enum step judge (SSL *ssl, int result, const char **why)
{
    enum step step = STEP_LOST;
    *why = NULL;
    if (result > 0)
        return STEP_DONE;
    int kind = SSL_get_error (ssl, result);
    if (kind == SSL_ERROR_WANT_READ)
        step = STEP_READ;
    else if (kind == SSL_ERROR_WANT_WRITE)
        step = STEP_WRITE;
    else if (kind == SSL_ERROR_ZERO_RETURN)
        step = STEP_ENDED;
    else if (kind == SSL_ERROR_SSL)
        step = judge_fault (why);
    ERR_clear_error ();
    return step;
}

/* --- carrying bytes ------------------------------------------------------------------------------------------ */

static void cut (struct relay *self, enum step step, const char *why)
{
    if (step == STEP_FAULT || step == STEP_HTTP) {
        char remote[IP_TEXT_LEN];
        ip_format (&self->peer, remote);
        metric_inc (M_TLS_FAULTS, 0);
        LOG (TLS_BROKEN, NULL, KV_S ("why", why ? why : "fault"), KV_S ("remote", remote));
    }
    end (self);
}

static void run_out_of_memory (struct relay *self)
{
    char remote[IP_TEXT_LEN];
    ip_format (&self->peer, remote);
    LOG (NO_MEMORY, NULL, KV_S ("for", "tls"), KV_S ("remote", remote));
    end (self);
}

/* Of these bytes, held ones or fresh ones, so many were taken: hold the rest. */
static void keep_rest (struct relay *self, struct held *held, const uint8_t *bytes, size_t n, size_t taken)
{
    if (held->bytes)
        held->at += taken;
    if (held->bytes && taken == n)
        drop_held (held);
    if (held->bytes || taken == n)
        return;
    held->bytes = malloc (n - taken);
    if (!held->bytes) {
        run_out_of_memory (self);
        return;
    }
    held->n = n - taken;
    memcpy (held->bytes, bytes + taken, held->n);
}

static void give_bridge (struct relay *self, const uint8_t *bytes, size_t n)
{
    size_t taken = 0;
    while (taken < n && !self->deaf) {
        ssize_t sent = send (self->inside, bytes + taken, n - taken, MSG_NOSIGNAL);
        if (sent >= 0)
            taken += (size_t) sent;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            self->deaf = true;
    }
    keep_rest (self, &self->up, bytes, n, self->deaf ? n : taken);
}

static void give_client (struct relay *self, const uint8_t *bytes, size_t n)
{
    size_t taken = 0;
    const char *why;
    while (taken < n) {
        ERR_clear_error ();
        int written = SSL_write (self->ssl, bytes + taken, (int) (n - taken));
        enum step step = judge (self->ssl, written, &why);
        self->write_wants_read = step == STEP_READ;
        if (step == STEP_DONE)
            taken += (size_t) written;
        else if (step == STEP_WRITE || step == STEP_READ)
            break;
        else {
            cut (self, step, why);
            return;
        }
    }
    keep_rest (self, &self->down, bytes, n, taken);
}

/* The client sends no more: nor does our end of the pair. Not while the client takes nothing either: libwebsockets asks
 * again and again for what an ended socket has, as long as it cannot write. send-timeout-s ends such a connection. */
static void tell_end (struct relay *self)
{
    if (!self->up_over || self->up_told || self->down.n)
        return;
    self->up_told = true;
    shutdown (self->inside, SHUT_WR);
}

/* One record from the client to the bridge. False when there is no more for now. */
static bool read_client (struct relay *self)
{
    const char *why;
    ERR_clear_error ();
    int n = SSL_read (self->ssl, self->tls->scratch, sizeof self->tls->scratch);
    enum step step = judge (self->ssl, n, &why);
    self->read_wants_write = step == STEP_WRITE;
    if (step == STEP_DONE)
        give_bridge (self, self->tls->scratch, (size_t) n);
    else if (step == STEP_ENDED)
        self->up_over = true;
    else if (step != STEP_READ && step != STEP_WRITE)
        cut (self, step, why);
    return step == STEP_DONE;
}

/* Until one of the two has had enough. The pair has little room and nobody empties it meanwhile, so this ends soon; one
 * that has gone deaf is bounded by a record a turn. */
static void pump_up (struct relay *self)
{
    if (self->up.n)
        give_bridge (self, self->up.bytes + self->up.at, self->up.n - self->up.at);
    while (self->state == OPEN && !self->up_over && !self->up.n && read_client (self) && !self->deaf)
        ;
}

/* All of it is out: say so, and send no more. */
static void end_down (struct relay *self)
{
    const char *why;
    ERR_clear_error ();
    if (judge (self->ssl, SSL_shutdown (self->ssl), &why) == STEP_WRITE)
        return;
    self->down_over = true;
    shutdown (self->fd, SHUT_WR);
}

/* One record from the bridge to the client. False when there is no more for now. */
static bool read_bridge (struct relay *self)
{
    ssize_t n = recv (self->inside, self->tls->scratch, sizeof self->tls->scratch, 0);
    if (n > 0)
        give_client (self, self->tls->scratch, (size_t) n);
    else if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return errno == EINTR;
    else /* closed with unread bytes of the client's is an end, too */
        self->left = self->down_ended = true;
    return n > 0;
}

static void pump_down (struct relay *self)
{
    if (self->down.n)
        give_client (self, self->down.bytes + self->down.at, self->down.n - self->down.at);
    while (self->state == OPEN && !self->down_ended && !self->down.n && read_bridge (self))
        ;
    if (self->state == OPEN && self->down_ended && !self->down_over && !self->down.n)
        end_down (self);
}

static void on_net (uv_poll_t *poll, int status, int events);
static void on_pair (uv_poll_t *poll, int status, int events);

/* After every pump: what is waited for now? */
static void settle (struct relay *self)
{
    if (self->state != OPEN)
        return;
    if (self->up_over && self->down_over) {
        end (self);
        return;
    }
    tell_end (self);
    if (self->left && !timer_armed (&self->timer))
        wheel_set (&self->tls->hub->wheel, &self->timer, clock_now () + LINGER);
    bool to_read = (!self->up_over && !self->up.n) || self->write_wants_read;
    bool held = self->down.n && !self->write_wants_read;
    bool to_send = held || self->read_wants_write || (self->down_ended && !self->down.n && !self->down_over);
    int net = (to_read ? UV_READABLE : 0) | (to_send ? UV_WRITABLE : 0);
    int pair = (!self->down_ended && !self->down.n ? UV_READABLE : 0) | (self->up.n ? UV_WRITABLE : 0) |
               (!self->left ? UV_DISCONNECT : 0);
    poll_for (&self->net, &self->net_events, net, on_net);
    poll_for (&self->pair, &self->pair_events, pair, on_pair);
}

/* --- the handshake ------------------------------------------------------------------------------------------- */

static void count_handshake (enum tls_result result)
{
    metric_inc (M_TLS_HANDSHAKES, result);
}

static void tell_failure (const struct ip *peer, enum tls_result result, const char *why)
{
    char remote[IP_TEXT_LEN];
    ip_format (peer, remote);
    count_handshake (result);
    if (result != TLS_RESULT_gone) /* probes of load balancers come and go */
        LOG (TLS_HANDSHAKE_FAILED, NULL, KV_S ("why", why), KV_S ("remote", remote));
}

static void fail_handshake (struct relay *self, enum tls_result result, const char *why)
{
    tell_failure (&self->peer, result, why);
    end (self);
}

static void hand_over_plain (struct relay *self)
{
    struct tls *tls = self->tls;
    struct ip peer = self->peer;
    int fd = self->fd;
    count_handshake (TLS_RESULT_plain_http);
    forget (self);
    tls->plain_http (tls->owner, fd, &peer);
}

/* Our end of a new pair is `self->inside` then. The other end, or -1. */
static int open_pair (struct relay *self)
{
    int fds[2], n = PAIR_BYTES;
    if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        return -1;
    if (uv_poll_init (self->tls->loop, &self->pair, fds[0]) != 0) {
        close (fds[0]);
        close (fds[1]);
        return -1;
    }
    for (int i = 0; i < 2; i++)
        setsockopt (fds[i], SOL_SOCKET, SO_SNDBUF, &n, sizeof n);
    self->pair.data = self;
    self->n_handles++;
    self->inside = fds[0];
    return fds[1];
}

/* What came behind the handshake is in the pair before anybody looks for it there. */
static void open_relay (struct relay *self)
{
    int fd = open_pair (self);
    if (fd < 0) {
        fail_handshake (self, TLS_RESULT_resources, "out of descriptors or memory");
        return;
    }
    count_handshake (TLS_RESULT_ok);
    leave_handshake (self);
    self->state = OPEN;
    wheel_cancel (&self->timer);
    pump_up (self);
    if (self->state == OPEN)
        self->tls->opened (self->tls->owner, fd, &self->peer);
    else
        close (fd);
    settle (self);
}

/* When this turn's budget is spent the socket wakes us in the next one. */
static void shake (struct relay *self)
{
    const char *why;
    if (self->tls->steps_left == 0)
        return;
    self->tls->steps_left--;
    ERR_clear_error ();
    enum step step = judge (self->ssl, SSL_accept (self->ssl), &why);
    if (step == STEP_DONE)
        open_relay (self);
    else if (step == STEP_READ || step == STEP_WRITE)
        poll_for (&self->net, &self->net_events, step == STEP_READ ? UV_READABLE : UV_WRITABLE, on_net);
    else if (step == STEP_HTTP)
        hand_over_plain (self);
    else if (step == STEP_FAULT)
        fail_handshake (self, TLS_RESULT_failed, why ? why : "fault");
    else
        fail_handshake (self, TLS_RESULT_gone, NULL);
}

/* Its turn has come. */
static void begin (struct relay *self)
{
    struct tls *tls = self->tls;
    list_remove (&self->link);
    list_append (&tls->relays, &self->link);
    leave_handshake (self);
    self->state = SHAKING;
    tls->n_shaking++;
    ERR_clear_error ();
    self->ssl = SSL_new (tls->identity.context);
    bool ok = self->ssl && SSL_set_fd (self->ssl, self->fd) == 1;
    ERR_clear_error ();
    if (!ok) {
        fail_handshake (self, TLS_RESULT_resources, "out of memory");
        return;
    }
    SSL_set_accept_state (self->ssl);
    poll_for (&self->net, &self->net_events, UV_READABLE, on_net);
}

/* --- the loop ------------------------------------------------------------------------------------------------ */

/* A socket with an error is reported once, and polled no more. */
static void on_net (uv_poll_t *poll, int status, int events)
{
    struct relay *self = poll->data;
    clock_refresh ();
    if (self->state == SHAKING && status < 0)
        fail_handshake (self, TLS_RESULT_gone, NULL);
    else if (self->state == SHAKING)
        shake (self);
    else if (status < 0)
        end (self);
    else {
        if ((events & UV_READABLE) || self->read_wants_write)
            pump_up (self);
        if (self->state == OPEN && ((events & UV_WRITABLE) || self->write_wants_read))
            pump_down (self);
        settle (self);
    }
}

static void on_pair (uv_poll_t *poll, int status, int events)
{
    struct relay *self = poll->data;
    clock_refresh ();
    if (status < 0)
        self->pair_events = 0;
    if (status < 0 || (events & UV_DISCONNECT))
        self->left = true;
    if (status < 0 || (events & UV_WRITABLE))
        pump_up (self);
    if (self->state == OPEN)
        pump_down (self);
    settle (self);
}

static void on_timer (struct timer *timer)
{
    struct relay *self = CONTAINER_OF (timer, struct relay, timer);
    if (self->state == OPEN)
        end (self);
    else
        fail_handshake (self, TLS_RESULT_timeout, "it did not end in time");
}

static struct relay *new_relay (struct tls *tls, int fd, const struct ip *peer)
{
    struct relay *self = calloc (1, sizeof *self);
    if (!self || uv_poll_init (tls->loop, &self->net, fd) != 0) {
        free (self);
        return NULL;
    }
    self->net.data = self;
    self->n_handles = 1;
    self->tls = tls;
    self->fd = fd;
    self->inside = -1;
    self->peer = *peer;
    timer_init (&self->timer, on_timer);
    wheel_set (&tls->hub->wheel, &self->timer, clock_now () + tls->hub->config->http_timeout_s * S_NS);
    list_append (&tls->waiting, &self->link);
    tls->n_waiting++;
    metric_inc (M_TLS_CONNECTIONS, 0);
    return self;
}

void tls_accept (struct tls *self, int fd, const struct ip *peer)
{
    struct relay *relay = new_relay (self, fd, peer);
    if (!relay) {
        tell_failure (peer, TLS_RESULT_resources, "out of memory");
        close (fd);
        return;
    }
    if (self->n_shaking >= MAX_HANDSHAKES)
        return;
    begin (relay);
    if (relay->state == SHAKING)
        shake (relay); /* as a rule the client's first message is there (TCP_DEFER_ACCEPT) */
}

static void on_turn (uv_prepare_t *handle)
{
    struct tls *self = handle->data;
    self->steps_left = STEP_BATCH;
    while (self->n_shaking < MAX_HANDSHAKES && !list_empty (&self->waiting))
        begin (LIST_ENTRY (self->waiting.next, struct relay, link));
}

size_t tls_pending (const struct tls *self)
{
    return self->n_waiting + self->n_shaking;
}

/* --- the identity -------------------------------------------------------------------------------------------- */

void tls_set_identity (struct tls *self, struct tls_identity *identity)
{
    tls_identity_fini (&self->identity);
    self->identity = *identity;
    *identity = (struct tls_identity){0};
    metric_set (M_TLS_EXPIRY, 0, (double) self->identity.expires);
    LOG (TLS_LOADED, NULL, KV_I ("expires", self->identity.expires));
}

/* The pair on disk is another one. One that cannot be used, perhaps because it is only half there, changes nothing and
 * is not looked at again before it changes. */
static void load_again (struct tls *self)
{
    struct tls_identity next;
    struct buf error;
    buf_init (&error, 0);
    bool ok = tls_identity_load (&next, self->hub->config, &error);
    metric_inc (M_TLS_RELOADS, ok ? TLS_RELOAD_ok : TLS_RELOAD_failed);
    if (ok)
        tls_set_identity (self, &next);
    else
        LOG (TLS_RELOAD_FAILED, NULL, KV_SL ("why", error.n ? buf_slice (&error) : slice_str ("out of memory")));
    buf_fini (&error);
}

static void on_look (struct timer *timer)
{
    struct tls *self = CONTAINER_OF (timer, struct tls, look);
    if (file_watch_look (&self->identity.files))
        load_again (self);
    wheel_set (&self->hub->wheel, &self->look, clock_now () + LOOK_EVERY);
}

/* --- the whole ----------------------------------------------------------------------------------------------- */

struct tls *tls_new (uv_loop_t *loop, struct hub *hub, struct buf *error)
{
    struct tls_identity identity;
    struct tls *self = calloc (1, sizeof *self);
    if (!self || !tls_identity_load (&identity, hub->config, error)) {
        free (self);
        return NULL;
    }
    self->loop = loop;
    self->hub = hub;
    list_init (&self->relays);
    list_init (&self->waiting);
    tls_set_identity (self, &identity);
    CHECK (uv_prepare_init (loop, &self->turn) == 0);
    self->turn.data = self;
    CHECK (uv_prepare_start (&self->turn, on_turn) == 0);
    timer_init (&self->look, on_look);
    wheel_set (&hub->wheel, &self->look, clock_now () + LOOK_EVERY);
    return self;
}

void tls_serve (struct tls *self, tls_opened *opened, tls_plain_http *plain_http, void *owner)
{
    self->opened = opened;
    self->plain_http = plain_http;
    self->owner = owner;
}

static void free_tls (uv_handle_t *handle)
{
    free (handle->data);
}

void tls_destroy (struct tls **self_p)
{
    struct tls *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    wheel_cancel (&self->look);
    list_move_all (&self->relays, &self->waiting);
    while (!list_empty (&self->relays)) {
        struct relay *relay = LIST_ENTRY (self->relays.next, struct relay, link);
        if (relay->state == OPEN)
            pump_down (relay);
        if (relay->state != GONE)
            end (relay);
    }
    tls_identity_fini (&self->identity);
    uv_close ((uv_handle_t *) &self->turn, free_tls);
}
