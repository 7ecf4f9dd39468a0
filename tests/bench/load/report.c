#include "report.h"
#include "server.h"

#include <inttypes.h>
#include <time.h>

#define FIGURES_MAX 16

static struct {
    const char *name;
    double value;
} figures[FIGURES_MAX];
static int n_figures;

static int64_t begun, ended, cpu_begun, cpu_ended, own_begun, own_ended;

static int64_t own_cpu (void)
{
    struct timespec t;
    clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * S_NS + t.tv_nsec;
}

void report_begin (struct load *load)
{
    load->latency.n = 0;
    own_begun = own_cpu ();
    cpu_begun = server_cpu_ns ((int) load->options.pid);
    begun = now_ns ();
}

int64_t report_elapsed (void)
{
    return now_ns () - begun;
}

void report_end (struct load *load)
{
    ended = now_ns ();
    cpu_ended = server_cpu_ns ((int) load->options.pid);
    own_ended = own_cpu ();
}

void report_figure (const char *name, double value)
{
    CHECK (n_figures < FIGURES_MAX);
    figures[n_figures].name = name;
    figures[n_figures++].value = value;
}

static void print_percentiles (const char *name, struct samples *samples)
{
    if (samples->n)
        printf (", \"%s_p50_us\": %.1f, \"%s_p99_us\": %.1f, \"%s_p999_us\": %.1f, \"%s_max_us\": %.1f", name,
                samples_us (samples, 0.5), name, samples_us (samples, 0.99), name, samples_us (samples, 0.999), name,
                samples_us (samples, 1));
}

void report_print (struct load *load, const char *unit, uint64_t units)
{
    double n = units ? (double) units : 1;
    printf ("{\"%s\": %" PRIu64 ", \"seconds\": %.3f, \"cpu_us_per_%s\": %.3f, \"load_cpu_share\": %.2f", unit, units,
            (double) (ended - begun) / 1e9, unit, (double) (cpu_ended - cpu_begun) / 1e3 / n,
            (double) (own_ended - own_begun) / (double) (ended - begun + 1));
    print_percentiles ("latency", &load->latency);
    print_percentiles ("setup", &load->setup);
    for (int i = 0; i < n_figures; i++)
        printf (", \"%s\": %.3f", figures[i].name, figures[i].value);
    printf (", \"malformed\": %" PRIu64 ", \"foreign\": %" PRIu64 ", \"repeated\": %" PRIu64 ", \"lost\": %" PRIu64
            ", \"refused\": %" PRIu64 "}\n",
            load->malformed, load->foreign, load->repeated, load->lost, load->refused);
}
