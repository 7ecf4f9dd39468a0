#include "wire_zmtp.h"

static void on_subscription (void *arg, UNUSED const struct slice *frames, UNUSED size_t n)
{
    struct load *load = arg;
    load->subscribed = true;
}

void wire_zmtp_open (struct load *load, const char *type, void (*fn) (void *arg, const struct slice *frames, size_t n))
{
    zmtp_bind (&load->events, &load->loop, "PUB", (unsigned) load->options.events_port, on_subscription, load);
    zmtp_bind (&load->commands, &load->loop, type, (unsigned) load->options.commands_port, fn, load);
}

bool wire_zmtp_is_ready (const struct load *load)
{
    return load->subscribed;
}

static void put_meta (struct load *load)
{
    static uint64_t seq;
    char meta[] = "\x82\xa9publisher\xa5"
                  "bench\xa3seq\xcf________";
    seq++;
    for (int i = 0; i < 8; i++)
        meta[sizeof meta - 9 + (size_t) i] = (char) (seq >> (56 - 8 * i));
    zmtp_put (&load->events, slice_of (meta, sizeof meta - 1), false);
}

void wire_zmtp_publish (struct load *load, const struct user *user, struct slice body)
{
    zmtp_put (&load->events, slice_str (user->name), true);
    zmtp_put (&load->events, body, load->options.meta);
    if (load->options.meta)
        put_meta (load);
}

void wire_zmtp_flush (struct load *load)
{
    pipe_flush (&load->events.peer);
}
