/* The last minutes in samples of about a second, for the charts of the status page. Reads the metrics; whoever asks for
 * a page costs no more than what is here. */
#ifndef CORE_RECENT_H
#define CORE_RECENT_H

#include "base/metrics.h"
#include "core/doc.h"

#define RECENT_SAMPLES 300
#define RECENT_EVERY_S 1
#define RECENT_BUCKETS 32 /* room for those of event_delivery_seconds and the one above them */

struct recent_sample {
    double at;      /* Unix seconds, its end */
    double seconds; /* that it took */
    double received, delivered;
    double connections, runs;        /* at its end */
    uint32_t delays[RECENT_BUCKETS]; /* of deliveries, by bucket */
};

struct recent {
    struct recent_sample ring[RECENT_SAMPLES];
    uint64_t made; /* samples so far; the last one has this number */
    int64_t last_at;
    double received, delivered; /* at the last sample */
    double delays[RECENT_BUCKETS];
};

/* The first sample begins at `now` (monotonic ns). */
void recent_init (struct recent *self, int64_t now);

/* A sample ends at `now`. */
void recent_take (struct recent *self, int64_t now);

/* The value below which the share `q` of the observations lies, taken as even within each bucket, as Prometheus'
 * histogram_quantile does; those above the last bound count as that bound. `counts` has one more than `n`. Negative
 * when there are none. */
double recent_quantile (const double *bounds, const double *counts, unsigned n, double q);

/* Put the values at 0.5, 0.95 and 0.99 as a list; null each when there are none. */
void recent_put_quantiles (struct doc *doc, const double *bounds, const double *counts, unsigned n);

/* Put the samples behind number `after`, all that there are when nobody can have seen it yet. */
void recent_put (const struct recent *self, struct doc *doc, uint64_t after);

/* Put the quantiles of deliveries of the last `samples`. */
void recent_put_delivery (const struct recent *self, struct doc *doc, unsigned samples);

#endif
