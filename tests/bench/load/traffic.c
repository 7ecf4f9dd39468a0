/* Events down, and messages up: closed loop (so many under way at once) or at a fixed rate. */
#include "report.h"
#include "scenario.h"

/* One direction of traffic. */
struct traffic {
    struct load *load;
    void (*send) (struct load *load, uint64_t i); /* the i-th */
    const uint64_t *arrived;
    uint64_t copies; /* arrivals per unit that is sent */
    uint64_t sent;
    uint64_t flooded;
};

static size_t active_users (const struct load *load)
{
    return load->options.active ? (size_t) load->options.active : (size_t) load->options.users;
}

static void send_event (struct load *load, uint64_t i)
{
    load_publish (load, &load->users[i % active_users (load)]);
}

static void send_message (struct load *load, uint64_t i)
{
    load_send (&load->clients[i % active_users (load) * (size_t) load->options.per_user]);
}

/* How many may have been sent by now. */
static uint64_t allowance (const struct traffic *self, uint64_t base, int64_t since)
{
    const struct options *options = &self->load->options;
    if (options->rate)
        return base + (uint64_t) ((double) (now_ns () - since) * 1e-9 * (double) options->rate);
    return *self->arrived / self->copies + (uint64_t) options->in_flight;
}

/* The other user's events, by the clock. */
static void send_flood (struct traffic *self, int64_t since)
{
    const struct options *options = &self->load->options;
    uint64_t due = (uint64_t) ((double) (now_ns () - since) * 1e-9 * (double) options->flood);
    for (; self->flooded < due; self->flooded++)
        load_publish (self->load, &self->load->users[self->load->n_users - 1]);
}

/* Send n more and wait until all have arrived. */
static void pump (struct traffic *self, uint64_t n)
{
    struct load *load = self->load;
    uint64_t base = self->sent, end = base + n;
    int64_t since = now_ns (), tick = load->options.rate ? S_NS / load->options.rate : MS_NS;
    self->flooded = 0;
    while (*self->arrived < end * self->copies && load_faults (load) == 0) {
        uint64_t most = allowance (self, base, since);
        for (; self->sent < end && self->sent < most; self->sent++)
            self->send (load, self->sent);
        send_flood (self, since);
        load->wire->flush (load);
        load_turn (load, tick < MS_NS ? tick / 2 : MS_NS);
    }
}

/* Fill the history of users who are not there. Nothing shows when it has arrived, but the warm-up comes behind it. */
static void publish_to_absent (struct load *load)
{
    for (long i = 0; i < load->options.absent * 10; i++) {
        struct user user = {.published = (uint64_t) (i / load->options.absent)};
        snprintf (user.name, sizeof user.name, "a%06ld", i % load->options.absent);
        load_publish (load, &user);
        if (i % 100 == 0 || i == load->options.absent * 10 - 1)
            load_drain_publisher (load);
    }
}

static void run (struct traffic *self, const char *unit)
{
    struct load *load = self->load;
    load_open_all (load, 64);
    publish_to_absent (load);
    pump (self, (uint64_t) load->options.warm);
    uint64_t before = *self->arrived;
    report_begin (load);
    pump (self, (uint64_t) load->options.events);
    report_end (load);
    if (load->options.flood)
        report_figure ("flooded_events", (double) load->clients[load->n_clients - 1].seq);
    report_print (load, unit, *self->arrived - before);
}

void events_run (struct load *load)
{
    struct traffic traffic = {
        .load = load, .send = send_event, .arrived = &load->delivered, .copies = (uint64_t) load->options.per_user};
    run (&traffic, "delivery");
}

void messages_run (struct load *load)
{
    struct traffic traffic = {.load = load, .send = send_message, .arrived = &load->upstream, .copies = 1};
    run (&traffic, "message");
}
