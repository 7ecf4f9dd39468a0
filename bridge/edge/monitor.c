#include "edge/monitor.h"

#include <czmq.h>

#define RETRY_CHECK (500 * MS_NS) /* libzmq announces its next try at once */

#define FAILURES                                                                                                       \
    (ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
#define RETRIES (ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_CONNECT_DELAYED | ZMQ_EVENT_CONNECTED)

struct monitor {
    void *zmq;     /* watched */
    zsock_t *pair; /* where its monitor speaks */
    uv_poll_t poll;
    struct wheel *wheel;
    struct timer retry;
    const struct monitor_events *events;
    void *arg;
    size_t peers;
    size_t failed; /* handshakes whose DISCONNECTED is still to come */
};

/* The first frame is the event's number and value, the second the endpoint. False when there is no more. */
static bool read_event (struct monitor *self, uint16_t *event)
{
    zmq_msg_t frame;
    void *pair = zsock_resolve (self->pair);
    zmq_msg_init (&frame);
    bool ok = zmq_msg_recv (&frame, pair, ZMQ_DONTWAIT) >= (int) sizeof *event;
    if (ok)
        memcpy (event, zmq_msg_data (&frame), sizeof *event);
    while (ok && zmq_msg_more (&frame))
        if (zmq_msg_recv (&frame, pair, 0) < 0)
            break;
    zmq_msg_close (&frame);
    return ok;
}

static void on_no_retry (struct timer *timer)
{
    struct monitor *self = CONTAINER_OF (timer, struct monitor, retry);
    self->events->given_up (self->arg);
}

static void on_gone (struct monitor *self)
{
    wheel_set (self->wheel, &self->retry, clock_now () + RETRY_CHECK);
    if (self->failed)
        self->failed--;
    else if (self->peers)
        self->events->peers (self->arg, --self->peers, false);
}

static void handle (struct monitor *self, uint16_t event)
{
    if (event & RETRIES)
        wheel_cancel (&self->retry);
    else if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
        self->events->peers (self->arg, ++self->peers, true);
    else if (event == ZMQ_EVENT_DISCONNECTED)
        on_gone (self);
    else {
        self->failed++;
        self->events->refused (self->arg);
    }
}

/* ZMQ_FD is edge-triggered: read until there is nothing more. */
static void on_ready (uv_poll_t *poll, int status, int events)
{
    struct monitor *self = poll->data;
    uint16_t event;
    (void) status;
    (void) events;
    clock_refresh ();
    while (zsock_events (self->pair) & ZMQ_POLLIN)
        while (read_event (self, &event))
            handle (self, event);
}

struct monitor *monitor_new (uv_loop_t *loop, struct wheel *wheel, void *zmq, const struct monitor_events *events,
                             void *arg)
{
    struct monitor *self = calloc (1, sizeof *self);
    char endpoint[64];
    if (!self)
        return NULL;
    *self = (struct monitor){.zmq = zmq, .wheel = wheel, .events = events, .arg = arg};
    timer_init (&self->retry, on_no_retry);
    snprintf (endpoint, sizeof endpoint, "inproc://monitor-%p", (void *) self);
    self->pair = zmq_socket_monitor (zmq, endpoint,
                                     FAILURES | RETRIES | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) == 0
                     ? zsock_new (ZMQ_PAIR)
                     : NULL;
    if (!self->pair || zsock_connect (self->pair, "%s", endpoint) != 0 ||
        uv_poll_init (loop, &self->poll, (int) zsock_fd (self->pair)) != 0) {
        zsock_destroy (&self->pair);
        free (self);
        return NULL;
    }
    self->poll.data = self;
    CHECK (uv_poll_start (&self->poll, UV_READABLE, on_ready) == 0);
    on_ready (&self->poll, 0, 0);
    return self;
}

static void on_closed (uv_handle_t *handle)
{
    struct monitor *self = handle->data;
    zsock_destroy (&self->pair);
    free (self);
}

void monitor_destroy (struct monitor **self_p)
{
    struct monitor *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    wheel_cancel (&self->retry);
    zmq_socket_monitor (self->zmq, NULL, 0);
    uv_poll_stop (&self->poll);
    uv_close ((uv_handle_t *) &self->poll, on_closed);
}
