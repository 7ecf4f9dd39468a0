#include "edge/link.h"
#include "base/metrics.h"
#include "core/downstream.h"
#include "core/session.h"
#include "core/lanes.h"
#include "edge/actor.h"
#include "edge/monitor.h"
#include "edge/outbox.h"
#include "version.h"

#include <czmq.h>
#include <pthread.h>
#include <sys/resource.h>

#define MAX_FRAMES     8      /* of one message; a message with more is malformed */
#define BATCH          500    /* messages of one socket in one pulse */
#define EVENT_HWM      100000 /* events waiting in ZeroMQ */
#define RECONNECT_MS   50
#define RECONNECT_MAX  500
#define LINGER_MS      1000
#define ZMQ_NICE       5
#define COMMAND_MARGIN 65536 /* for headers, on top of max-event-bytes */

/* One ZeroMQ socket with its place in the loop. */
struct port {
    struct link *link;
    struct log_ctx log;
    char *endpoint;
    zsock_t *sock;
    void *zmq; /* of sock */
    uv_poll_t poll;
    struct monitor *monitor;
    struct outbox *outbox; /* of a command socket */
    int lane;              /* LANE_NONE for an event socket */
    bool up;
    bool touched; /* its events have to be looked at (ZMQ_FD is edge-triggered) */
};

struct link {
    uv_loop_t *loop;
    struct hub *hub;
    struct port lanes[LANES_MAX]; /* a DEALER each */
    int n_lanes;
    struct port events[LANES_MAX]; /* a SUB each */
    int n_events;
    struct timer ping;
    void (*change_fn) (void *arg);
    void *change_arg;
    zcert_t *own;
    zcert_t *runtime;
    zactor_t *auth; /* lets in only the runtime's key, on bound endpoints */
    int n_open;     /* ports whose descriptors the loop still holds, and one for ourselves */
};

/* --- up: commands to the runtime ----------------------------------------------------------------------------- */

static int try_send (struct port *port, const struct command *command)
{
    return port && port->up ? outbox_put (port->outbox, port->zmq, command) : COMMAND_DROP_link_down;
}

static bool link_send (void *arg, int lane, const struct command *command)
{
    struct link *self = arg;
    struct port *port = lane >= 0 && lane < self->n_lanes ? &self->lanes[lane] : NULL;
    int dropped = try_send (port, command);
    if (dropped == OUTBOX_OK) {
        metric_inc (M_RUNTIME_COMMANDS, command->name);
        return true;
    }
    command_not_sent (command, (unsigned) dropped);
    return false;
}

static int link_lanes (void *arg)
{
    return ((struct link *) arg)->n_lanes;
}

static bool link_lane_up (void *arg, int lane)
{
    return ((struct link *) arg)->lanes[lane].up;
}

static int count_up (const struct port *ports, int n)
{
    int up = 0;
    for (int i = 0; i < n; i++)
        up += ports[i].up;
    return up;
}

static bool link_events_up (void *arg)
{
    struct link *self = arg;
    return count_up (self->events, self->n_events) > 0;
}

/* A command whose headers stand in the scratch buffer; they are only half there when memory was out for them. */
static void send_own (struct link *self, int lane, enum command_name name)
{
    const struct buf *headers = &self->hub->scratch;
    struct command command = {.name = name, .headers = buf_slice (headers)};
    if (headers->failed)
        command_not_sent (&command, COMMAND_DROP_no_memory);
    else
        (void) link_send (self, lane, &command); /* counted when it fails */
}

static void send_hello (struct link *self, int lane)
{
    struct buf *out = &self->hub->scratch;
    msgpack_packer packer;
    buf_reset (out);
    mp_writer_init (&packer, out);
    mp_put_map (&packer, 3);
    mp_put_cstr (&packer, "protocol");
    mp_put_uint (&packer, 1);
    mp_put_cstr (&packer, "bridge");
    mp_put_cstr (&packer, self->hub->config->bridge_id);
    mp_put_cstr (&packer, "sdk");
    mp_put_cstr (&packer, "agentbridge/" AGENTBRIDGE_VERSION);
    send_own (self, lane, COMMAND_HELLO);
}

static void send_pings (struct timer *timer)
{
    struct link *self = CONTAINER_OF (timer, struct link, ping);
    struct buf *out = &self->hub->scratch;
    for (int lane = 0; lane < self->n_lanes; lane++) {
        msgpack_packer packer;
        if (!self->lanes[lane].up)
            continue;
        buf_reset (out);
        mp_writer_init (&packer, out);
        mp_put_map (&packer, 1);
        mp_put_cstr (&packer, "t");
        mp_put_uint (&packer, (uint64_t) clock_read ());
        send_own (self, lane, COMMAND_PING);
    }
    /* Those whose CONNECT could not be handed over while the runtime did not read. */
    if (metric_get (M_CONNECTIONS, CONN_degraded) > 0)
        session_links_changed (self->hub, LANE_NONE);
    wheel_set (&self->hub->wheel, &self->ping, clock_now () + self->hub->config->runtime_ping_s * S_NS);
}

/* --- down: what the runtime sends ---------------------------------------------------------------------------- */

/* Receive one message. How many frames it has, at most MAX_FRAMES + 1 (the rest is discarded); 0 when there is none. */
static size_t receive (struct port *port, zmq_msg_t *frames)
{
    size_t n = 0;
    zmq_msg_t spill;
    for (bool more = true; more;) {
        zmq_msg_t *frame = n < MAX_FRAMES ? &frames[n] : &spill;
        zmq_msg_init (frame);
        if (zmq_msg_recv (frame, port->zmq, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close (frame);
            return n;
        }
        more = zmq_msg_more (frame);
        if (n < MAX_FRAMES)
            n++;
        else {
            n = MAX_FRAMES + 1;
            zmq_msg_close (&spill);
        }
    }
    return n;
}

static bool take_one (struct port *port)
{
    zmq_msg_t frames[MAX_FRAMES];
    struct slice slices[MAX_FRAMES];
    size_t n = receive (port, frames);
    if (n == 0)
        return false;
    size_t held = n < MAX_FRAMES ? n : MAX_FRAMES;
    for (size_t i = 0; i < held; i++)
        slices[i] = slice_of (zmq_msg_data (&frames[i]), zmq_msg_size (&frames[i]));
    if (port->lane == LANE_NONE)
        downstream_event (port->link->hub, slices, n);
    else
        downstream_command (port->link->hub, port->lane, slices, n);
    for (size_t i = 0; i < held; i++)
        zmq_msg_close (&frames[i]);
    return true;
}

/* Until nothing is left, which also clears the edge of ZMQ_FD. */
static void take_batch (struct port *port)
{
    int taken = 0;
    while (port->touched && taken++ < BATCH)
        port->touched = take_one (port);
}

void link_pulse (struct link *self)
{
    for (int i = 0; i < self->n_events; i++)
        take_batch (&self->events[i]);
    for (int lane = 0; lane < self->n_lanes; lane++)
        take_batch (&self->lanes[lane]);
}

void link_flush (struct link *self)
{
    for (int lane = 0; lane < self->n_lanes; lane++) {
        struct port *port = &self->lanes[lane];
        if (!outbox_flush (port->outbox, port->zmq))
            continue;
        port->touched = true; /* a send takes the wake-up of what has arrived meanwhile */
        take_batch (port);
    }
}

bool link_has_work (const struct link *self)
{
    bool touched = false;
    for (int i = 0; i < self->n_events; i++)
        touched |= self->events[i].touched;
    for (int lane = 0; lane < self->n_lanes; lane++)
        touched |= self->lanes[lane].touched;
    return touched;
}

/* --- up and down --------------------------------------------------------------------------------------------- */

static void set_gauges (struct link *self)
{
    metric_set (M_RUNTIME_LINK_UP, LINK_commands, count_up (self->lanes, self->n_lanes) > 0);
    metric_set (M_RUNTIME_LINK_UP, LINK_events, count_up (self->events, self->n_events) > 0);
}

/* What ZeroMQ has not taken by now has nobody to go to. */
static void drop_waiting (struct port *port)
{
    if (!port->outbox)
        return;
    outbox_flush (port->outbox, port->zmq);
    int n = outbox_clear (port->outbox);
    if (n == 0)
        return;
    metric_add (M_COMMANDS_DROPPED, COMMAND_DROP_link_down, n);
    LOG (COMMAND_NOT_SENT, &port->log, KV_I ("commands", n), KV_S ("why", command_drop_text (COMMAND_DROP_link_down)));
}

/* The runtime of a lane has gone, or come, or another one has taken its place. */
static void on_runtime (struct link *self, int lane, bool was_up, bool renewed)
{
    if (was_up && (renewed || !self->lanes[lane].up))
        publishers_lane_down (&self->hub->publishers, lane);
    if (!renewed)
        return;
    send_hello (self, lane);
    publishers_lane_up (&self->hub->publishers, lane);
}

/* `renewed`: a peer has (again) arrived, also while another one is there. */
static void on_peers (void *arg, size_t peers, bool renewed)
{
    struct port *port = arg;
    struct link *self = port->link;
    bool was_up = port->up;
    clock_refresh ();
    port->up = peers > 0;
    port->touched = true;
    set_gauges (self);
    if (was_up && !port->up) {
        LOG (LINK_DOWN, &port->log, KV_I ("lane", port->lane));
        drop_waiting (port);
    }
    if (renewed)
        LOG (LINK_UP, &port->log, KV_I ("lane", port->lane));
    if (port->lane != LANE_NONE)
        on_runtime (self, port->lane, was_up, renewed);
    session_links_changed (self->hub, port->up && !renewed ? LANE_NONE : port->lane);
    if (self->change_fn)
        self->change_fn (self->change_arg);
}

static void on_refused (void *arg)
{
    struct port *port = arg;
    LOG (LINK_REFUSED, &port->log, KV_I ("lane", port->lane));
}

/* A bound endpoint needs nothing: the peer connects again. */
static void on_given_up (void *arg)
{
    struct port *port = arg;
    const char *endpoint = port->endpoint + (port->endpoint[0] == '>');
    if (endpoint[0] == '@')
        return;
    LOG (LINK_RECONNECT, &port->log, KV_I ("lane", port->lane));
    zmq_disconnect (port->zmq, endpoint);
    zmq_connect (port->zmq, endpoint);
}

static const struct monitor_events monitor_events = {.peers = on_peers, .refused = on_refused, .given_up = on_given_up};

void link_on_change (struct link *self, void (*fn) (void *arg), void *arg)
{
    self->change_fn = fn;
    self->change_arg = arg;
}

/* --- opening ------------------------------------------------------------------------------------------------- */

static zcert_t *load_cert (const char *option, const char *file, bool secret, struct buf *error)
{
    static const char no_secret[] = "0000000000000000000000000000000000000000"; /* what zcert_load leaves there */
    zcert_t *cert = zcert_load (file);
    if (cert && secret && strcmp (zcert_secret_txt (cert), no_secret) == 0)
        zcert_destroy (&cert);
    if (!cert)
        buf_printf (error, "option %s: %s is no CURVE certificate%s (make one with zcert)\n", option, file,
                    secret ? " with a secret key" : "");
    return cert;
}

/* The configuration has seen to it that both are given or none. */
static bool load_certs (struct link *self, struct buf *error)
{
    const struct config *config = self->hub->config;
    if (!config->curve_secret_file[0])
        return true;
    self->own = load_cert ("curve-secret-file", config->curve_secret_file, true, error);
    self->runtime = load_cert ("curve-runtime-file", config->curve_runtime_file, false, error);
    return self->own && self->runtime;
}

/* A bound socket is the CURVE server; only the runtime's key is let in (ZAP, RFC 27). */
static bool secure (struct link *self, struct port *port, bool bound)
{
    if (!self->own)
        return true;
    zcert_apply (self->own, port->sock);
    if (!bound) {
        zsock_set_curve_serverkey (port->sock, zcert_public_txt (self->runtime));
        return true;
    }
    zsock_set_curve_server (port->sock, 1);
    zsock_set_zap_domain (port->sock, "agentbridge");
    if (self->auth)
        return true;
    zcertstore_t *store = zcertstore_new (NULL);
    zcert_t *allowed = zcert_dup (self->runtime);
    if (!store || !allowed)
        return false;
    zcertstore_insert (store, &allowed);
    self->auth = actor_new (zauth, store); /* takes the store; what is not in it is turned away */
    return self->auth != NULL;
}

static void set_int (struct port *port, int option, int value)
{
    CHECK (zmq_setsockopt (port->zmq, option, &value, sizeof value) == 0);
}

static void set_limits (struct port *port)
{
    const struct config *config = port->link->hub->config;
    int64_t largest = config->max_event_bytes + COMMAND_MARGIN;
    CHECK (zmq_setsockopt (port->zmq, ZMQ_MAXMSGSIZE, &largest, sizeof largest) == 0);
    set_int (port, ZMQ_SNDHWM, (int) config->runtime_queue_messages);
    set_int (port, ZMQ_RCVHWM, EVENT_HWM);
    set_int (port, ZMQ_LINGER, LINGER_MS);
    set_int (port, ZMQ_IPV6, 1);
    set_int (port, ZMQ_RECONNECT_IVL, RECONNECT_MS);
    set_int (port, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX);
    set_int (port, ZMQ_TCP_KEEPALIVE, 1);
    set_int (port, ZMQ_TCP_KEEPALIVE_IDLE, 15);
    set_int (port, ZMQ_TCP_KEEPALIVE_INTVL, 5);
    set_int (port, ZMQ_TCP_KEEPALIVE_CNT, 3);
}

static void on_ready (uv_poll_t *poll, UNUSED int status, UNUSED int events)
{
    struct port *port = poll->data;
    clock_refresh ();
    port->touched = true; /* the pulse takes what is there */
}

static bool watch (struct link *self, struct port *port)
{
    if (uv_poll_init (self->loop, &port->poll, (int) zsock_fd (port->sock)) != 0)
        return false;
    self->n_open++;
    port->poll.data = port;
    port->touched = true;
    return uv_poll_start (&port->poll, UV_READABLE, on_ready) == 0;
}

static bool open_port (struct link *self, struct port *port, int type, int lane, const char *endpoint,
                       struct buf *error)
{
    const char *bridge_id = self->hub->config->bridge_id;
    *port = (struct port){.link = self,
                          .lane = lane,
                          .endpoint = strdup (endpoint),
                          .sock = zsock_new (type),
                          .outbox = type == ZMQ_DEALER ? outbox_new () : NULL};
    if (!port->sock || !port->endpoint || (type == ZMQ_DEALER && !port->outbox)) {
        buf_printf (error, "cannot make a ZeroMQ socket: %s\n", zmq_strerror (zmq_errno ()));
        return false;
    }
    port->zmq = zsock_resolve (port->sock);
    port->log.link = slice_str (port->endpoint);
    set_limits (port);
    if (type == ZMQ_DEALER)
        zmq_setsockopt (port->zmq, ZMQ_ROUTING_ID, bridge_id, strlen (bridge_id));
    else
        zmq_setsockopt (port->zmq, ZMQ_SUBSCRIBE, "",
                        0); /* everything: thousands of filters can get lost on reconnect */
    port->monitor = monitor_new (self->loop, &self->hub->wheel, port->zmq, &monitor_events, port);
    if (!port->monitor || !secure (self, port, endpoint[0] == '@') || !watch (self, port) ||
        zsock_attach (port->sock, endpoint, false) != 0) {
        buf_printf (error, "option %s: cannot use %s: %s\n", type == ZMQ_DEALER ? "runtime-commands" : "runtime-events",
                    endpoint, zmq_strerror (zmq_errno ()));
        return false;
    }
    return true;
}

/* ZeroMQ starts its threads with the first socket, and they inherit this. */
static void *start_zmq_threads (UNUSED void *arg)
{
    (void) setpriority (PRIO_PROCESS, (id_t) gettid (), ZMQ_NICE);
    zsock_t *first = zsock_new (ZMQ_PAIR);
    zsock_destroy (&first);
    return NULL;
}

/* Where they share a core with the loop, they shall not interrupt it for each command that it hands over, but take what
 * has come together when it waits or gives way (bridge.c). */
static void start_calmly (void)
{
    pthread_t starter;
    if (pthread_create (&starter, NULL, start_zmq_threads, NULL) == 0)
        pthread_join (starter, NULL);
}

/* One socket for each endpoint of the comma list. */
static bool open_ports (struct link *self, struct port *ports, int *n, int type, const char *list, struct buf *error)
{
    char *copy = strdup (list), *rest = copy;
    bool ok = copy != NULL;
    for (char *item; ok && (item = strsep (&rest, ","));) {
        item += strspn (item, " \t");
        item[strcspn (item, " \t")] = '\0';
        if (!item[0])
            continue;
        int i = (*n)++;
        ok = i < LANES_MAX && open_port (self, &ports[i], type, type == ZMQ_DEALER ? i : LANE_NONE, item, error);
        if (i == LANES_MAX) {
            *n = i;
            buf_printf (error, "more than %d runtime endpoints\n", LANES_MAX);
        }
    }
    free (copy);
    return ok;
}

struct link *link_new (uv_loop_t *loop, struct hub *hub, struct buf *error)
{
    struct link *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    zsys_handler_set (NULL); /* signals are the loop's */
    zsys_init ();
    start_calmly ();
    self->loop = loop;
    self->hub = hub;
    timer_init (&self->ping, send_pings);
    hub->runtime = (struct runtime_port){
        .self = self, .lanes = link_lanes, .lane_up = link_lane_up, .events_up = link_events_up, .send = link_send};
    if (!load_certs (self, error) ||
        !open_ports (self, self->lanes, &self->n_lanes, ZMQ_DEALER, hub->config->runtime_commands, error) ||
        !open_ports (self, self->events, &self->n_events, ZMQ_SUB, hub->config->runtime_events, error)) {
        link_destroy (&self);
        return NULL;
    }
    wheel_set (&hub->wheel, &self->ping, clock_now () + hub->config->runtime_ping_s * S_NS);
    return self;
}

/* --- closing ------------------------------------------------------------------------------------------------- */

static void free_when_closed (struct link *self)
{
    if (--self->n_open > 0)
        return;
    zactor_destroy (&self->auth);
    zcert_destroy (&self->own);
    zcert_destroy (&self->runtime);
    free (self);
}

static void free_port (struct port *port)
{
    outbox_destroy (&port->outbox);
    zsock_destroy (&port->sock);
    free (port->endpoint);
}

/* The loop has let go of the socket's descriptor: now the socket may go. */
static void on_closed (uv_handle_t *handle)
{
    struct port *port = handle->data;
    free_port (port);
    free_when_closed (port->link);
}

static void close_port (struct port *port)
{
    monitor_destroy (&port->monitor);
    if (port->poll.data) {
        uv_poll_stop (&port->poll);
        uv_close ((uv_handle_t *) &port->poll, on_closed);
        return;
    }
    free_port (port);
}

void link_destroy (struct link **self_p)
{
    struct link *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    wheel_cancel (&self->ping);
    link_flush (self);
    self->n_open++;
    for (int lane = 0; lane < self->n_lanes; lane++)
        close_port (&self->lanes[lane]);
    for (int i = 0; i < self->n_events; i++)
        close_port (&self->events[i]);
    free_when_closed (self);
}

void link_shutdown (void)
{
    zsys_shutdown ();
}
