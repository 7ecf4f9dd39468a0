/* The two sockets. Nothing here waits but abr_recv(). */
#include "internal.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SERVE_AT_ONCE 64 /* commands that one call reads before it does what it was called for */
#define MAX_FRAMES    (ABR_COMMAND_FRAMES + 1)

/* --- start and end ------------------------------------------------------------------------------------------- */

static void apply_curve (zsock_t *socket, const struct abr_options *options)
{
    if (!options->curve_public)
        return;
    zsock_set_zap_domain (socket, "agentbridge");
    zsock_set_curve_publickey (socket, options->curve_public);
    zsock_set_curve_secretkey (socket, options->curve_secret);
    if (options->curve_server)
        zsock_set_curve_serverkey (socket, options->curve_server);
    else
        zsock_set_curve_server (socket, 1);
}

static zsock_t *make_socket (const struct abr_options *options, int type, int hwm)
{
    zsock_t *socket = zsock_new (type);
    if (!socket)
        return NULL;
    zsock_set_linger (socket, options->linger);
    zsock_set_sndhwm (socket, hwm);
    zsock_set_ipv6 (socket, 1);
    zsock_set_maxmsgsize (socket, (int) options->max_command);
    if (type == ZMQ_ROUTER) {
        zsock_set_router_handover (socket, 1);  /* a bridge that restarts takes its routing id back */
        zsock_set_router_mandatory (socket, 1); /* a command for a bridge that is gone fails */
    }
    apply_curve (socket, options);
    return socket;
}

static int attach_one (abr_t *self, zsock_t *socket, const char *endpoint)
{
    bool connects = *endpoint == '>';
    const char *address = *endpoint == '>' || *endpoint == '@' ? endpoint + 1 : endpoint;
    errno = 0;
    if (connects ? zsock_connect (socket, "%s", address) == 0 : zsock_bind (socket, "%s", address) >= 0)
        return 0;
    int code = errno ? errno : EINVAL;
    return abr_failed (self, code, "cannot %s \"%s\": %s", connects ? "connect" : "bind", address, zmq_strerror (code));
}

static int attach (abr_t *self, zsock_t *socket, const char *endpoints)
{
    char *list = strdup (endpoints), *rest = list, *one;
    int status = list ? 0 : abr_failed (self, ENOMEM, "no memory");
    while (status == 0 && (one = strsep (&rest, ","))) {
        one += strspn (one, " ");
        one[strcspn (one, " ")] = 0;
        status = attach_one (self, socket, one);
    }
    free (list);
    return status;
}

/* One descriptor for other event loops: ZeroMQ's own, which is edge-triggered and is not readable for what ZeroMQ has
 * read already, beside one that says that something is left. */
static int open_descriptors (abr_t *self)
{
    struct epoll_event readable = {.events = EPOLLIN};
    int socket_fd = zsock_fd (self->commands);
    self->epoll_fd = epoll_create1 (EPOLL_CLOEXEC);
    self->event_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->epoll_fd < 0 || self->event_fd < 0 ||
        epoll_ctl (self->epoll_fd, EPOLL_CTL_ADD, socket_fd, &readable) != 0 ||
        epoll_ctl (self->epoll_fd, EPOLL_CTL_ADD, self->event_fd, &readable) != 0)
        return abr_failed (self, errno, "no descriptor to wait on: %s", strerror (errno));
    return 0;
}

void abr_links_close (abr_t *self)
{
    zsock_destroy (&self->commands);
    zsock_destroy (&self->events);
    if (self->epoll_fd >= 0)
        close (self->epoll_fd);
    if (self->event_fd >= 0)
        close (self->event_fd);
    self->epoll_fd = self->event_fd = -1;
    self->armed = false;
}

/* There is something for abr_recv(): in the inbox, or read by ZeroMQ. */
static bool something_left (abr_t *self)
{
    int events = 0;
    size_t size = sizeof events;
    return self->inbox || (zmq_getsockopt (self->router, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN));
}

/* Make abr_fd() say so; to be called after everything that touches the ROUTER. */
static void settle (abr_t *self)
{
    uint64_t one = 1;
    int code = errno; /* of what was done before */
    bool left = something_left (self);
    if (left != self->armed) {
        ssize_t done = left ? write (self->event_fd, &one, sizeof one) : read (self->event_fd, &one, sizeof one);
        self->armed = done == sizeof one ? left : self->armed;
    }
    errno = code;
}

int abr_start (abr_t *self)
{
    if (!self)
        return abr_failed (NULL, EINVAL, "no abr_t");
    if (self->commands)
        return abr_failed (self, EBUSY, "started already");
    self->commands = make_socket (&self->options, ZMQ_ROUTER, self->options.commands_hwm);
    self->events = make_socket (&self->options, ZMQ_PUB, self->options.events_hwm);
    int status = self->commands && self->events ? 0 : abr_failed (self, errno, "no socket: %s", zmq_strerror (errno));
    if (status == 0)
        status = attach (self, self->commands, self->options.commands);
    if (status == 0)
        status = attach (self, self->events, self->options.events);
    if (status == 0)
        status = open_descriptors (self);
    if (status != 0) {
        int code = errno;
        abr_links_close (self);
        errno = code;
        return -1;
    }
    self->router = zsock_resolve (self->commands);
    self->pub = zsock_resolve (self->events);
    settle (self);
    return 0;
}

int abr_fd (const abr_t *self)
{
    return self ? self->epoll_fd : -1;
}

const char *abr_commands_endpoint (const abr_t *self)
{
    return self && self->commands ? zsock_endpoint (self->commands) : NULL;
}

const char *abr_events_endpoint (const abr_t *self)
{
    return self && self->events ? zsock_endpoint (self->events) : NULL;
}

/* --- in ------------------------------------------------------------------------------------------------------ */

/* One message, whole; frames beyond MAX_FRAMES are let go. How many are kept: 0 when there is none. */
static size_t read_message (abr_t *self, zmq_msg_t frames[MAX_FRAMES])
{
    size_t n = 0;
    bool more = true;
    while (more) {
        zmq_msg_t spare, *frame = n < MAX_FRAMES ? &frames[n] : &spare;
        zmq_msg_init (frame);
        int size;
        do
            size = zmq_msg_recv (frame, self->router, ZMQ_DONTWAIT);
        while (size < 0 && errno == EINTR);
        more = size >= 0 && zmq_msg_more (frame);
        if (size >= 0 && n < MAX_FRAMES)
            n++;
        else
            zmq_msg_close (frame);
    }
    return n;
}

static bool inbox_has_room (const abr_t *self)
{
    return self->inbox_n < self->options.inbox_items && self->inbox_bytes < self->options.inbox_bytes;
}

/* PUB does its housekeeping (who has subscribed, who is gone) only when it is called. */
static void look_after_pub (abr_t *self)
{
    int events = 0;
    size_t size = sizeof events;
    zmq_getsockopt (self->pub, ZMQ_EVENTS, &events, &size);
}

void abr_serve_some (abr_t *self, unsigned most)
{
    zmq_msg_t frames[MAX_FRAMES];
    size_t n;
    look_after_pub (self);
    while (most-- && inbox_has_room (self) && (n = read_message (self, frames))) {
        abr_command_take (self, frames, n);
        while (n)
            zmq_msg_close (&frames[--n]);
    }
    settle (self);
}

int abr_serve (abr_t *self)
{
    if (!self || !self->commands)
        return abr_failed (self, ENOTCONN, "not started: call abr_start() first");
    abr_serve_some (self, SERVE_AT_ONCE);
    return 0;
}

static abr_item_t *dequeue (abr_t *self)
{
    abr_item_t *item = self->inbox;
    if (!item)
        return NULL;
    self->inbox = item->next;
    if (!self->inbox)
        self->inbox_end = &self->inbox;
    self->inbox_n--;
    self->inbox_bytes -= abr_item_size (item);
    item->next = NULL;
    settle (self);
    return item;
}

/* Wait for the ROUTER, at most until `deadline` (ms, monotonic; -1: none). False: nothing came, errno says why. */
static bool wait_readable (abr_t *self, int64_t deadline)
{
    zmq_pollitem_t item = {.socket = self->router, .events = ZMQ_POLLIN};
    int64_t left = deadline < 0 ? -1 : deadline - zclock_mono ();
    if (deadline >= 0 && left <= 0) {
        errno = EAGAIN;
        return false;
    }
    int ready = zmq_poll (&item, 1, (long) left);
    if (ready == 0)
        errno = EAGAIN;
    return ready > 0 || (ready == 0 && left < 0);
}

abr_item_t *abr_recv (abr_t *self, int timeout_ms)
{
    if (abr_serve (self) != 0)
        return NULL;
    int64_t deadline = timeout_ms < 0 ? -1 : zclock_mono () + timeout_ms;
    abr_item_t *item;
    while (!(item = dequeue (self))) {
        if (zsys_interrupted)
            errno = EINTR;
        if (zsys_interrupted || !wait_readable (self, deadline)) {
            abr_failed (self, errno,
                        errno == EAGAIN ? "nothing has come in" : "interrupted, or czmq has been shut down");
            return NULL;
        }
        abr_serve_some (self, SERVE_AT_ONCE);
    }
    return item;
}

/* --- out ----------------------------------------------------------------------------------------------------- */

static bool init_bytes (zmq_msg_t *msg, struct abr_bytes bytes)
{
    if (zmq_msg_init_size (msg, bytes.n) != 0) {
        zmq_msg_init (msg);
        return false;
    }
    if (bytes.n)
        memcpy (zmq_msg_data (msg), bytes.p, bytes.n);
    return true;
}

static void close_all (zmq_msg_t *frames, size_t n)
{
    while (n)
        zmq_msg_close (&frames[--n]);
}

/* All frames are taken. ZeroMQ refuses a message with its first frame or not at all. */
static int send_all (void *socket, zmq_msg_t *frames, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int sent;
        do
            sent = zmq_msg_send (&frames[i], socket, ZMQ_DONTWAIT | (i + 1 < n ? ZMQ_SNDMORE : 0));
        while (sent < 0 && errno == EINTR);
        if (sent < 0) {
            int code = errno;
            close_all (frames + i, n - i);
            errno = code;
            return -1;
        }
    }
    return 0;
}

static int route_failed (abr_t *self, struct abr_bytes bridge)
{
    if (errno == EHOSTUNREACH) {
        abr_bridge_forget (self, bridge);
        return abr_failed (self, EHOSTUNREACH, "the bridge of this connection is gone; it comes back with CONNECT");
    }
    if (errno == EAGAIN)
        return abr_failed (self, EAGAIN, "the bridge does not read: %d commands wait for it (abr_set_hwm())",
                           self->options.commands_hwm);
    return abr_failed (self, errno, "the command was not sent: %s", zmq_strerror (errno));
}

int abr_route (abr_t *self, const struct abr_outgoing *out, zmq_msg_t *body)
{
    const struct abr_bytes parts[] = {out->bridge, abr_bytes_of (out->command), abr_bytes_of (out->connection),
                                      abr_bytes_of (out->user), out->headers};
    zmq_msg_t frames[ABR_COMMAND_FRAMES];
    bool made = true;
    for (size_t i = 0; i < ABR_COMMAND_FRAMES - 1; i++)
        made &= init_bytes (&frames[i], parts[i]);
    zmq_msg_init (&frames[ABR_COMMAND_FRAMES - 1]);
    if (body)
        zmq_msg_move (&frames[ABR_COMMAND_FRAMES - 1], body);
    if (!made) {
        close_all (frames, ABR_COMMAND_FRAMES);
        return abr_failed (self, ENOMEM, "no memory for a command");
    }
    int status = send_all (self->router, frames, ABR_COMMAND_FRAMES);
    if (status != 0)
        status = route_failed (self, out->bridge);
    settle (self);
    return status;
}

static bool make_meta (abr_t *self, zmq_msg_t *meta)
{
    msgpack_packer packer;
    abr_buf_reset (&self->headers);
    abr_mp_writer (&packer, &self->headers);
    msgpack_pack_map (&packer, 2);
    abr_mp_put_cstr (&packer, "publisher");
    abr_mp_put_cstr (&packer, self->publisher);
    abr_mp_put_cstr (&packer, "seq");
    msgpack_pack_uint64 (&packer, self->seq + 1);
    return init_bytes (meta, (struct abr_bytes){self->headers.p, self->headers.n}) && !self->headers.failed;
}

int abr_publish (abr_t *self, const char *user)
{
    zmq_msg_t frames[3], held[2];
    bool made = init_bytes (&frames[0], abr_bytes_of (user));
    made &= init_bytes (&frames[1], (struct abr_bytes){self->event.p, self->event.n});
    made &= make_meta (self, &frames[2]);
    if (!made || !abr_replay_reserve (&self->replay)) {
        close_all (frames, 3);
        return abr_failed (self, ENOMEM, "no memory for an event");
    }
    for (size_t i = 0; i < 2; i++) {
        zmq_msg_init (&held[i]);
        zmq_msg_copy (&held[i], &frames[i]);
    }
    int status = send_all (self->pub, frames, 3); /* PUB never says EAGAIN: it drops, and REPLAY repairs */
    if (status == 0) {
        self->seq++;
        abr_replay_push (&self->replay, &held[0], &held[1]);
    } else
        abr_failed (self, errno, "the event was not published: %s", zmq_strerror (errno));
    close_all (held, 2);
    return status;
}
