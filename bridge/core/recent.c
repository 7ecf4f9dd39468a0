#include "core/recent.h"
#include "base/clock.h"
#include "core/conn.h"

void recent_init (struct recent *self, int64_t now)
{
    CHECK (metric_histogram (M_EVENT_DELIVERY).n < RECENT_BUCKETS);
    *self = (struct recent){.last_at = now};
}

static double take (enum metric id, double *before)
{
    double total = metric_total (id), since = total - *before;
    *before = total;
    return since;
}

static double live_connections (void)
{
    double live = 0;
    for (unsigned i = 0; i < metric_labels (M_CONNECTIONS); i++)
        live += i < CONN_closing ? metric_get (M_CONNECTIONS, i) : 0;
    return live;
}

void recent_take (struct recent *self, int64_t now)
{
    struct metric_histogram delivery = metric_histogram (M_EVENT_DELIVERY);
    struct recent_sample *sample = &self->ring[self->made++ % RECENT_SAMPLES];
    *sample = (struct recent_sample){.at = clock_wall (),
                                     .seconds = (double) (now - self->last_at) / (double) S_NS,
                                     .received = take (M_EVENTS_RECEIVED, &self->received),
                                     .delivered = take (M_EVENTS_DELIVERED, &self->delivered),
                                     .connections = live_connections (),
                                     .runs = metric_get (M_RUNS_ACTIVE, 0)};
    self->last_at = now;
    for (unsigned i = 0; i <= delivery.n; i++) {
        sample->delays[i] = (uint32_t) (delivery.counts[i] - self->delays[i]);
        self->delays[i] = delivery.counts[i];
    }
}

/* --- quantiles ----------------------------------------------------------------------------------------------- */

double recent_quantile (const double *bounds, const double *counts, unsigned n, double q)
{
    double total = 0, below = 0;
    unsigned i = 0;
    for (unsigned b = 0; b <= n; b++)
        total += counts[b];
    if (!(total > 0))
        return -1;
    while (i < n && below + counts[i] < q * total)
        below += counts[i++];
    if (i == n)
        return bounds[n - 1];
    double from = i ? bounds[i - 1] : 0;
    return from + (bounds[i] - from) * (q * total - below) / counts[i];
}

void recent_put_quantiles (struct doc *doc, const double *bounds, const double *counts, unsigned n)
{
    static const double quantiles[] = {0.5, 0.95, 0.99};
    doc_array (doc, COUNT_OF (quantiles));
    for (size_t i = 0; i < COUNT_OF (quantiles); i++) {
        double value = recent_quantile (bounds, counts, n, quantiles[i]);
        doc_item (doc);
        if (value < 0)
            doc_nil (doc);
        else
            doc_double (doc, value);
    }
    doc_array_end (doc);
}

/* --- writing ------------------------------------------------------------------------------------------------- */

/* Of the sample with this number, from 1. */
static const struct recent_sample *sample_of (const struct recent *self, uint64_t number)
{
    return &self->ring[(number - 1) % RECENT_SAMPLES];
}

/* The number before the oldest sample that is held. */
static uint64_t forgotten (const struct recent *self)
{
    return self->made > RECENT_SAMPLES ? self->made - RECENT_SAMPLES : 0;
}

static void add_delays (double *counts, const struct recent_sample *sample, unsigned n)
{
    for (unsigned i = 0; i <= n; i++)
        counts[i] += sample->delays[i];
}

static void put_sample (struct doc *doc, const struct recent_sample *sample)
{
    struct metric_histogram delivery = metric_histogram (M_EVENT_DELIVERY);
    const double numbers[] = {sample->at,        sample->seconds,     sample->received,
                              sample->delivered, sample->connections, sample->runs};
    double counts[RECENT_BUCKETS] = {0};
    add_delays (counts, sample, delivery.n);
    doc_array (doc, COUNT_OF (numbers) + 1);
    for (size_t i = 0; i < COUNT_OF (numbers); i++) {
        doc_item (doc);
        doc_double (doc, numbers[i]);
    }
    doc_item (doc);
    recent_put_quantiles (doc, delivery.bounds, counts, delivery.n);
    doc_array_end (doc);
}

void recent_put (const struct recent *self, struct doc *doc, uint64_t after)
{
    uint64_t first = after > self->made || after < forgotten (self) ? forgotten (self) : after;
    doc_map (doc, 2);
    doc_key (doc, "last");
    doc_uint (doc, self->made);
    doc_key (doc, "samples");
    doc_array (doc, (uint32_t) (self->made - first));
    for (uint64_t number = first + 1; number <= self->made; number++) {
        doc_item (doc);
        put_sample (doc, sample_of (self, number));
    }
    doc_array_end (doc);
    doc_end (doc);
}

void recent_put_delivery (const struct recent *self, struct doc *doc, unsigned samples)
{
    struct metric_histogram delivery = metric_histogram (M_EVENT_DELIVERY);
    double counts[RECENT_BUCKETS] = {0};
    uint64_t first = self->made > samples ? self->made - samples : 0;
    first = first < forgotten (self) ? forgotten (self) : first;
    for (uint64_t number = first + 1; number <= self->made; number++)
        add_delays (counts, sample_of (self, number), delivery.n);
    recent_put_quantiles (doc, delivery.bounds, counts, delivery.n);
}
