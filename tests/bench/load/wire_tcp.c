#include "wire_tcp.h"

static void on_publisher (struct watcher *watcher, UNUSED uint32_t events)
{
    struct pipe *pipe = CONTAINER_OF (watcher, struct pipe, watcher);
    struct load *load = CONTAINER_OF (pipe, struct load, publisher);
    if (!pipe_read (pipe))
        die ("the server has closed the publisher's connection");
    struct slice in = buf_slice (&pipe->in);
    size_t at = 0, n = 1;
    for (; n && at < in.n; at += n)
        n = load->wire->publisher_take (load, slice_of (in.p + at, in.n - at));
    pipe_consume (pipe, at);
    pipe_flush (pipe);
}

void wire_tcp_open (struct load *load)
{
    pipe_open (&load->publisher, &load->loop, tcp_connect (load->options.publish), on_publisher);
}

bool wire_tcp_is_ready (const struct load *load)
{
    return load->subscribed;
}

void wire_tcp_flush (struct load *load)
{
    pipe_flush (&load->publisher);
}

static size_t take_all (struct client *client, struct slice in)
{
    size_t at = 0, n = 1;
    for (; n && at < in.n; at += n)
        n = client->load->wire->client_take (client, slice_of (in.p + at, in.n - at));
    return at;
}

/* Mostly a frame ends with a message, and nothing is copied. */
void wire_tcp_frame (struct client *client, struct slice payload)
{
    struct buf *stream = &client->stream;
    bool joined = stream->n > 0;
    if (joined)
        buf_put (stream, payload.p, payload.n);
    struct slice in = joined ? buf_slice (stream) : payload;
    size_t used = take_all (client, in);
    if (used == in.n)
        buf_fini (stream);
    else if (!joined)
        buf_put (stream, in.p + used, in.n - used);
    else {
        memmove (stream->p, stream->p + used, in.n - used);
        stream->n -= used;
    }
}
