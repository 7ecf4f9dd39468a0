/* Options of bench_load: one row each. */
#ifndef LOAD_OPTIONS_H
#define LOAD_OPTIONS_H

#include <stdbool.h>

/* TEXT, NUMBER or FLAG; name, default, help */
#define OPTIONS(ROW)                                                                                                   \
    ROW (TEXT, wire, "bridge", "what the server speaks: bridge, limit, mqtt, nats, nchan")                             \
    ROW (TEXT, server, "127.0.0.1:8080", "WebSocket address of the server")                                            \
    ROW (TEXT, publish, "127.0.0.1:0", "address to which a server wants the publisher to connect (nats, mqtt, nchan)") \
    ROW (NUMBER, pid, 0, "the server's process, whose CPU time and memory are read")                                   \
    ROW (NUMBER, events_port, 5556, "port on which events are published over ZMTP")                                    \
    ROW (NUMBER, commands_port, 5555, "port on which commands or messages arrive over ZMTP")                           \
    ROW (TEXT, secret, "", "HMAC key of the tokens; without it clients send none")                                     \
    ROW (TEXT, subprotocol, "agent_chat", "subprotocol that clients of the bridge offer")                              \
    ROW (NUMBER, users, 1000, "users")                                                                                 \
    ROW (NUMBER, per_user, 1, "clients of each user")                                                                  \
    ROW (NUMBER, active, 0, "users that take part in the traffic; 0: all")                                             \
    ROW (NUMBER, first_user, 0, "number of the first user, so that two loads do not share any")                        \
    ROW (NUMBER, events, 100000, "events, messages or set-ups that are measured")                                      \
    ROW (NUMBER, warm, 10000, "events or messages before that")                                                        \
    ROW (NUMBER, size, 250, "bytes of a body as JSON")                                                                 \
    ROW (NUMBER, in_flight, 512, "events, messages or set-ups under way at once")                                      \
    ROW (NUMBER, rate, 0, "events or set-ups a second, whatever the server does; 0: as fast as it takes them")         \
    ROW (NUMBER, flood, 0, "events a second to one more user, while the others are measured")                          \
    ROW (FLAG, meta, 0, "number the events (publisher, seq)")                                                          \
    ROW (FLAG, spin, 0, "wait without sleeping, for exact latencies")                                                  \
    ROW (NUMBER, backlog, 10, "resume: events that each user has missed")                                              \
    ROW (NUMBER, rounds, 1, "resume: how often all of them come back for the same events")                             \
    ROW (NUMBER, absent, 0, "events: users without clients, with ten events each in history")                          \
    ROW (NUMBER, idle_s, 3, "idle: seconds of it, when all are connected")                                             \
    ROW (NUMBER, refusals, 0, "setups: so many may be turned away before the run has failed")                          \
    ROW (NUMBER, admin_port, 0, "drain: port of the bridge's admin address")                                           \
    ROW (NUMBER, patience_s, 20, "seconds without any progress after which the run has failed")

struct options {
#define FIELD_TEXT                    const char *
#define FIELD_NUMBER                  long
#define FIELD_FLAG                    long
#define ROW(kind, name, preset, help) FIELD_##kind name;
    OPTIONS (ROW)
#undef ROW
    const char *scenario;
};

/* Read the command line; exits 0 after --help and 2 when it is wrong. */
void options_read (struct options *self, int argc, char **argv);

#endif
