/* bench_load: see --help. The way of an event: traffic.c (when) -> load.c, body.c (what) -> wire_*.c, zmtp.c (how) ->
 * server -> client.c -> wire_*.c -> load.c (is it right?) -> report.c. */
#include "load.h"
#include "scenario.h"

const struct scenario scenarios[] = {
    {"events", events_run, 0, "events from the publisher to the users' clients"},
    {"messages", messages_run, CAN_MESSAGES, "messages from the clients to the publisher's side"},
    {"setups", setups_run, 0, "connections set up; with --events over --users, the oldest are closed for it"},
    {"idle", idle_run, 0, "memory and CPU time of connections that do nothing"},
    {"resume", resume_run, CAN_RESUME, "clients that come back at once and get what they have missed"},
    {"drain", drain_run, CAN_DRAIN, "connections sent away by the bridge's /drain"},
    {0},
};

int main (int argc, char **argv)
{
    static struct load load;
    options_read (&load.options, argc, argv);
    const struct scenario *scenario = scenarios;
    while (scenario->name && strcmp (scenario->name, load.options.scenario) != 0)
        scenario++;
    if (!scenario->name) {
        fprintf (stderr, "bench_load: unknown scenario %s; see --help\n", load.options.scenario);
        return 2;
    }
    load_choose_wire (&load);
    if (scenario->needs & ~load.wire->can) {
        fprintf (stderr, "bench_load: %s: not with this server (--wire %s)\n", scenario->name, load.wire->name);
        return 3;
    }
    load_init (&load);
    scenario->run (&load);
    return load_faults (&load) ? 1 : 0;
}
