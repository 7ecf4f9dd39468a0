/* Connections: what it costs to set them up, to hold them, to resume them, to send them away. */
#include "report.h"
#include "scenario.h"
#include "server.h"

#include <sys/epoll.h>

static void wait_until_closed (struct load *load)
{
    while (load->in_state[CLIENT_CLOSED] < load->n_clients)
        load_turn (load, MS_NS);
}

/* --- set-ups: each client once, and again when it was closed, until enough have been made --- */

struct round {
    struct load *load;
    uint64_t opened, closed; /* counted along the clients, round and round */
};

static void open_more (struct round *self)
{
    const struct options *options = &self->load->options;
    uint64_t most = (uint64_t) options->events;
    if (options->rate) {
        uint64_t due = (uint64_t) ((double) report_elapsed () * 1e-9 * (double) options->rate);
        most = due < most ? due : most;
    }
    while (self->opened < most && self->opened - self->closed < self->load->n_clients &&
           load_under_way (self->load) < (size_t) options->in_flight)
        client_open (&self->load->clients[self->opened++ % self->load->n_clients]);
}

/* With more set-ups than clients the oldest make room. */
static void close_some (struct round *self)
{
    struct load *load = self->load;
    if ((uint64_t) load->options.events <= load->n_clients)
        return;
    for (; self->closed < self->opened; self->closed++) {
        struct client *oldest = &load->clients[self->closed % load->n_clients];
        if (oldest->state == CLIENT_READY)
            client_close (oldest);
        if (oldest->state != CLIENT_CLOSED)
            return;
    }
}

void setups_run (struct load *load)
{
    struct round round = {.load = load};
    uint64_t n = (uint64_t) load->options.events;
    report_begin (load);
    while (load->setup.n + load->refused < n && load_faults (load) == 0) {
        open_more (&round);
        load_turn (load, load->options.rate ? 100 * US_NS : MS_NS);
        close_some (&round);
    }
    report_end (load);
    report_print (load, "setup", load->setup.n);
}

/* --- idle ---------------------------------------------------------------------------------------------------- */

/* The first hundred clients warm the server up; what the others add is counted. */
void idle_run (struct load *load)
{
    size_t all = load->n_clients, first = all < 200 ? all / 2 : 100;
    load->n_clients = first;
    load_open_all (load, 64);
    int64_t before = server_rss ((int) load->options.pid);
    load->n_clients = all;
    for (size_t next = first; load->in_state[CLIENT_READY] < all;) {
        while (next < all && load_under_way (load) < 64)
            client_open (&load->clients[next++]);
        load_turn (load, MS_NS);
    }
    report_begin (load);
    while (report_elapsed () < load->options.idle_s * S_NS)
        load_turn (load, 100 * MS_NS);
    report_end (load);
    int64_t after = server_rss ((int) load->options.pid);
    report_figure ("kib_per_connection", (double) (after - before) / 1024 / (double) (all - first));
    report_print (load, "connection", all);
}

/* --- resume -------------------------------------------------------------------------------------------------- */

static void cut_all (struct load *load)
{
    for (size_t i = 0; i < load->n_clients; i++)
        client_cut (&load->clients[i]);
}

static void publish_backlog (struct load *load)
{
    for (long round = 0; round < load->options.backlog; round++) {
        for (size_t i = 0; i < load->n_users; i++)
            load_publish (load, &load->users[i]);
        load_drain_publisher (load);
    }
}

/* All come back at once from the same place. Each must get what it has missed. */
static void resume_all (struct load *load)
{
    uint64_t wanted = load->delivered + load->n_clients * (uint64_t) load->options.backlog;
    for (size_t next = 0; load->delivered < wanted && load_faults (load) == 0;) {
        for (; next < load->n_clients && load_under_way (load) < (size_t) load->options.in_flight; next++) {
            load->clients[next].seq = 0;
            client_open (&load->clients[next]);
        }
        load_turn (load, MS_NS);
    }
}

void resume_run (struct load *load)
{
    load_open_all (load, 64);
    cut_all (load);
    publish_backlog (load);
    load->setup.n = 0;
    load->delivered = 0;
    report_begin (load);
    for (long round = 0; round < load->options.rounds; round++) {
        resume_all (load);
        cut_all (load);
    }
    report_end (load);
    report_figure ("replayed_events", (double) load->delivered);
    report_print (load, "resume", load->n_clients * (uint64_t) load->options.rounds);
}

/* --- drain --------------------------------------------------------------------------------------------------- */

static void ignore_answer (struct watcher *watcher, UNUSED uint32_t events)
{
    struct pipe *self = CONTAINER_OF (watcher, struct pipe, watcher);
    if (!pipe_read (self))
        pipe_close (self);
}

/* Every client must be told 1012. */
void drain_run (struct load *load)
{
    char address[32];
    struct pipe admin;
    load_open_all (load, 64);
    snprintf (address, sizeof address, "127.0.0.1:%ld", load->options.admin_port);
    report_begin (load);
    pipe_open (&admin, &load->loop, tcp_connect (address), ignore_answer);
    buf_puts (&admin.out, "POST /drain HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n");
    pipe_flush (&admin);
    wait_until_closed (load);
    report_end (load);
    report_figure ("closed_1012", (double) load->restarts);
    report_print (load, "connection", load->n_clients);
}
