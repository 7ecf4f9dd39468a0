/* The yardstick of the benchmarks: the least that any server could do for the bridge's work, as fast as one thread can.
 * It shares no code with what it is compared with. Whatever the sockets take at once, nothing is lost or reordered;
 * only what the upstream's full queue refuses is dropped, and told at the end.
 *
 *   events_take -> event_deliver -> conn_send                 down: [user][body], to each of the user's sockets
 *                       \-> joined_add, joined_send           with --join: a socket's frames of one drain in one send
 *   conn_read -> conn_parse -> frame_take -> upstream_push    up: a client's frame as [user][payload]
 *
 * Left out: authentication, limits, history, events in MessagePack, fragmented messages (they close the connection),
 * checks of UTF-8, percent signs in user names, timers, freeing at the end. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zmq.h>

#define TAKE_MOST   500       /* events in a row, before sockets have their turn; a socket's iovecs, at most IOV_MAX */
#define FRAMES_MOST (4 << 20) /* bytes of joined frames, likewise */
#define INPUT_BYTES (64 << 10)
#define REST_BYTES  4096 /* room to read behind an incomplete frame, at first */
#define HEAD_MOST   8192 /* bytes of a request */
#define NAME_MOST   255
#define HWM         100000
#define BACKLOG     4096

enum opcode {
    TEXT = 1,
    BINARY = 2,
    CLOSE = 8,
    PING = 9,
    PONG = 10
};

/* Bytes [from, n) of data; allocated only while there are any. */
struct block {
    size_t from, n, cap;
    uint8_t data[];
};

enum conn_state {
    CONN_HEAD,    /* the request is awaited */
    CONN_OPEN,    /* belongs to a user */
    CONN_CLOSING, /* the close frame is under way */
    CONN_DEAD     /* to be freed at the end of the turn */
};

struct conn {
    int fd;
    uint32_t first, last; /* of its joined frames; 0: none */
    uint8_t state;
    uint8_t armed;            /* EPOLLIN, EPOLLOUT */
    struct user *user;        /* while open */
    struct conn *next, **ref; /* in user->conns, server.others or server.dead */
    struct block *in, *out;   /* what is left of an incomplete frame or request; what the socket did not take */
};

struct user {
    struct conn *conns;
    uint32_t hash, n;
    char name[];
};

/* Of the table of users; free without a user. */
struct slot {
    struct user *user;
    uint32_t hash;
};

/* A frame that waits in server.frames for the end of the drain. */
struct joined {
    struct conn *conn;
    size_t at, n;
    uint32_t next;
};

struct frame {
    enum opcode opcode;
    const uint8_t *payload, *mask;
    size_t n;
};

static struct {
    int epoll, listener, signals;
    void *context, *events, *upstream;
    zmq_msg_t name, body, rest; /* of the event at hand */
    bool join, more;            /* more: events may be left */
    struct block *input;        /* what the connection at hand has sent */
    struct block *frames;       /* what goes out */
    struct joined *joined;
    uint32_t joined_n, joined_cap; /* number 0 is not used */
    struct conn *others, *dead;    /* others: connections that belong to no user */
    struct slot *slots;
    uint32_t users, mask; /* slots that are taken; all of them, a power of two, less one */
    uint64_t unsent;      /* client messages that the runtime's queue did not take */
} server;

static _Noreturn void die (int code, const char *what)
{
    fprintf (stderr, "bench_limit: %s\n", what);
    exit (code);
}

static void *resize (void *old, size_t bytes)
{
    void *p = realloc (old, bytes);
    if (!p)
        die (1, "out of memory");
    return p;
}

/* --- blocks -------------------------------------------------------------------------------------------------- */

/* Room for so many bytes more behind n; moves what it holds. */
static struct block *block_reserve (struct block **self_p, size_t room)
{
    struct block *self = *self_p;
    if (!self) {
        self = resize (NULL, sizeof *self + room);
        *self = (struct block){.cap = room};
    } else if (self->from > self->cap / 2) {
        self->n -= self->from;
        memmove (self->data, self->data + self->from, self->n);
        self->from = 0;
    }
    if (self->cap - self->n < room) {
        self->cap = self->cap * 2 > self->n + room ? self->cap * 2 : self->n + room;
        self = resize (self, sizeof *self + self->cap);
    }
    *self_p = self;
    return self;
}

static void block_append (struct block **self_p, const void *bytes, size_t n)
{
    struct block *self = block_reserve (self_p, n);
    memcpy (self->data + self->n, bytes, n);
    self->n += n;
}

/* Forget the first n bytes; without any left the block is freed. */
static void block_cut (struct block **self_p, size_t n)
{
    struct block *self = *self_p;
    self->from += n;
    if (self->from == self->n) {
        free (self);
        *self_p = NULL;
    }
}

/* --- users: open addressing, linear probing ------------------------------------------------------------------ */

static uint32_t hash_of (const char *name, size_t n)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint8_t) name[i]) * 16777619u;
    return hash;
}

/* The slot of this user, or the free one where it would go. */
static struct slot *slot_of (const char *name, size_t n, uint32_t hash)
{
    for (uint32_t at = hash & server.mask;; at = (at + 1) & server.mask) {
        struct slot *slot = &server.slots[at];
        if (!slot->user || (slot->hash == hash && slot->user->n == n && memcmp (slot->user->name, name, n) == 0))
            return slot;
    }
}

static void users_grow (void)
{
    struct slot *old = server.slots;
    uint32_t old_n = old ? server.mask + 1 : 0;
    server.mask = old ? old_n * 2 - 1 : 1023;
    server.slots = calloc (server.mask + 1, sizeof *server.slots);
    if (!server.slots)
        die (1, "out of memory");
    for (uint32_t i = 0; i < old_n; i++)
        if (old[i].user)
            *slot_of (old[i].user->name, old[i].user->n, old[i].hash) = old[i];
    free (old);
}

static struct user *user_have (const char *name, uint32_t n)
{
    if (server.users >= server.mask / 4 * 3)
        users_grow ();
    uint32_t hash = hash_of (name, n);
    struct slot *slot = slot_of (name, n, hash);
    if (!slot->user) {
        struct user *user = resize (NULL, sizeof *user + n);
        *user = (struct user){.hash = hash, .n = n};
        memcpy (user->name, name, n);
        *slot = (struct slot){user, hash};
        server.users++;
    }
    return slot->user;
}

static void user_remove (struct user *user)
{
    uint32_t mask = server.mask, hole = (uint32_t) (slot_of (user->name, user->n, user->hash) - server.slots);
    for (uint32_t at = (hole + 1) & mask; server.slots[at].user; at = (at + 1) & mask)
        if (((at - server.slots[at].hash) & mask) >= ((at - hole) & mask)) {
            server.slots[hole] = server.slots[at];
            hole = at;
        }
    server.slots[hole].user = NULL;
    server.users--;
    free (user);
}

/* --- connections --------------------------------------------------------------------------------------------- */

static void conn_link (struct conn *self, struct conn **list)
{
    self->next = *list;
    self->ref = list;
    if (self->next)
        self->next->ref = &self->next;
    *list = self;
}

/* Changes state, user and list together. */
static void conn_move (struct conn *self, enum conn_state state, struct user *user)
{
    *self->ref = self->next;
    if (self->next)
        self->next->ref = self->ref;
    if (self->user && !self->user->conns)
        user_remove (self->user);
    self->state = (uint8_t) state;
    self->user = user;
    conn_link (self, user ? &user->conns : state == CONN_DEAD ? &server.dead : &server.others);
}

static void conn_kill (struct conn *self)
{
    if (self->state != CONN_DEAD)
        conn_move (self, CONN_DEAD, NULL);
}

static void conn_arm (struct conn *self)
{
    uint8_t wanted = (uint8_t) ((self->state == CONN_CLOSING ? 0 : EPOLLIN) | (self->out ? EPOLLOUT : 0));
    if (self->armed == wanted)
        return;
    struct epoll_event event = {.events = wanted, .data.ptr = self};
    epoll_ctl (server.epoll, EPOLL_CTL_MOD, self->fd, &event);
    self->armed = wanted;
}

/* What the socket does not take waits in `out`, and everything later behind it. */
static void conn_send (struct conn *self, struct iovec *parts, size_t n)
{
    ssize_t sent = 0;
    if (!self->out) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = n};
        sent = n == 1 ? send (self->fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL)
                      : sendmsg (self->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            conn_kill (self);
            return;
        }
    }
    size_t skip = sent < 0 ? 0 : (size_t) sent;
    for (size_t i = 0; i < n; i++) {
        size_t gone = skip < parts[i].iov_len ? skip : parts[i].iov_len;
        if (gone < parts[i].iov_len)
            block_append (&self->out, (uint8_t *) parts[i].iov_base + gone, parts[i].iov_len - gone);
        skip -= gone;
    }
    conn_arm (self);
}

static void conn_send_bytes (struct conn *self, void *bytes, size_t n)
{
    conn_send (self, &(struct iovec){bytes, n}, 1);
}

/* The socket takes bytes again. */
static void conn_send_rest (struct conn *self)
{
    ssize_t sent = send (self->fd, self->out->data + self->out->from, self->out->n - self->out->from, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN)
            conn_kill (self);
        return;
    }
    block_cut (&self->out, (size_t) sent);
    if (self->state == CONN_CLOSING && !self->out)
        conn_kill (self);
    else
        conn_arm (self);
}

/* Nothing is freed before the end of a turn: the turn's other events and joined frames may name it. */
static void conns_reap (void)
{
    for (struct conn *conn; (conn = server.dead);) {
        server.dead = conn->next;
        close (conn->fd);
        free (conn->in);
        free (conn->out);
        free (conn);
    }
}

static void conn_add (int fd)
{
    struct conn *self = resize (NULL, sizeof *self);
    *self = (struct conn){.fd = fd, .armed = EPOLLIN};
    conn_link (self, &server.others);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = self};
    if (epoll_ctl (server.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die (1, "epoll takes no more connections");
}

static void conns_accept (void)
{
    int fd;
    while ((fd = accept4 (server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0 || errno == ECONNABORTED)
        if (fd >= 0)
            conn_add (fd);
    if (errno == EMFILE || errno == ENFILE)
        die (1, "out of file descriptors");
}

/* --- down ---------------------------------------------------------------------------------------------------- */

/* Appends a text frame to server.frames; where it begins. */
static size_t frame_append (const void *body, size_t n)
{
    uint8_t head[10] = {0x80 | TEXT, n < 126 ? (uint8_t) n : n <= 0xffff ? 126 : 127};
    size_t extra = n < 126 ? 0 : n <= 0xffff ? 2 : 8, at = server.frames->n;
    for (size_t i = 0; i < extra; i++)
        head[2 + i] = (uint8_t) (n >> 8 * (extra - 1 - i));
    block_reserve (&server.frames, sizeof head + n);
    block_append (&server.frames, head, 2 + extra);
    block_append (&server.frames, body, n);
    return at;
}

/* The frame waits for the end of the drain. */
static void joined_add (struct conn *conn, size_t at, size_t n)
{
    if (server.joined_n >= server.joined_cap) {
        server.joined_cap = server.joined_cap * 2 + 1024;
        server.joined = resize (server.joined, server.joined_cap * sizeof *server.joined);
    }
    uint32_t number = server.joined_n++;
    server.joined[number] = (struct joined){.conn = conn, .at = at, .n = n};
    if (conn->first)
        server.joined[conn->last].next = number;
    else
        conn->first = number;
    conn->last = number;
}

static void joined_send (void)
{
    static struct iovec parts[TAKE_MOST];
    for (uint32_t i = 1; i < server.joined_n; i++) {
        struct conn *conn = server.joined[i].conn;
        size_t n = 0;
        if (conn->first != i)
            continue;
        for (uint32_t at = i; at; at = server.joined[at].next)
            parts[n++] = (struct iovec){server.frames->data + server.joined[at].at, server.joined[at].n};
        conn->first = 0;
        conn_send (conn, parts, n);
    }
    server.joined_n = 1;
    server.frames->n = 0;
}

static void event_deliver (void)
{
    const char *name = zmq_msg_data (&server.name);
    size_t name_n = zmq_msg_size (&server.name);
    const struct user *user = slot_of (name, name_n, hash_of (name, name_n))->user;
    if (!user)
        return;
    size_t at = frame_append (zmq_msg_data (&server.body), zmq_msg_size (&server.body)), n = server.frames->n - at;
    for (struct conn *conn = user->conns, *next; conn; conn = next) {
        next = conn->next;
        if (server.join)
            joined_add (conn, at, n);
        else
            conn_send_bytes (conn, server.frames->data + at, n);
    }
    if (!server.join)
        server.frames->n = 0;
}

/* False when there is none. */
static bool event_take (void)
{
    if (zmq_msg_recv (&server.name, server.events, ZMQ_DONTWAIT) < 0)
        return false;
    bool whole = zmq_msg_more (&server.name) && zmq_msg_recv (&server.body, server.events, ZMQ_DONTWAIT) >= 0;
    bool more = whole && zmq_msg_more (&server.body);
    while (more)
        more = zmq_msg_recv (&server.rest, server.events, ZMQ_DONTWAIT) >= 0 && zmq_msg_more (&server.rest);
    if (whole)
        event_deliver ();
    return true;
}

static void events_take (void)
{
    server.more = true;
    for (int taken = 0; server.more && taken < TAKE_MOST && server.frames->n < FRAMES_MOST; taken++)
        server.more = event_take ();
    if (server.join)
        joined_send ();
}

/* --- up ------------------------------------------------------------------------------------------------------ */

static void unmask (uint8_t *to, const struct frame *frame)
{
    const uint8_t *from = frame->payload;
    size_t i = 0;
    uint64_t mask, word;
    memcpy (&mask, frame->mask, 4);
    memcpy ((uint8_t *) &mask + 4, frame->mask, 4);
    for (; i + 8 <= frame->n; i += 8) {
        memcpy (&word, from + i, 8);
        word ^= mask;
        memcpy (to + i, &word, 8);
    }
    for (; i < frame->n; i++)
        to[i] = from[i] ^ frame->mask[i % 4];
}

static void upstream_push (const struct conn *conn, const struct frame *frame)
{
    if (!server.upstream)
        return;
    zmq_msg_t name, payload;
    if (zmq_msg_init_size (&name, conn->user->n) < 0 || zmq_msg_init_size (&payload, frame->n) < 0)
        die (1, "out of memory");
    memcpy (zmq_msg_data (&name), conn->user->name, conn->user->n);
    unmask (zmq_msg_data (&payload), frame);
    if (zmq_msg_send (&name, server.upstream, ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0 ||
        zmq_msg_send (&payload, server.upstream, ZMQ_DONTWAIT) < 0)
        server.unsent++;
    zmq_msg_close (&name);
    zmq_msg_close (&payload);
}

static void control_answer (struct conn *conn, enum opcode opcode, const struct frame *frame)
{
    uint8_t bytes[2 + 125] = {(uint8_t) (0x80 | opcode), (uint8_t) frame->n};
    unmask (bytes + 2, frame);
    conn_send_bytes (conn, bytes, 2 + frame->n);
}

static void close_answer (struct conn *conn, const struct frame *frame)
{
    control_answer (conn, CLOSE, frame);
    if (!conn->out) {
        conn_kill (conn);
        return;
    }
    conn_move (conn, CONN_CLOSING, NULL);
    conn_arm (conn);
}

static void frame_handle (struct conn *conn, const struct frame *frame)
{
    switch (frame->opcode) {
    case TEXT:
    case BINARY:
        upstream_push (conn, frame);
        break;
    case PING:
        control_answer (conn, PONG, frame);
        break;
    case CLOSE:
        close_answer (conn, frame);
        break;
    case PONG:
        break;
    }
}

/* Whole messages only, masked, no extension's bits, no control frame over 125 bytes. */
static bool frame_allowed (const uint8_t *p)
{
    bool control = p[0] & 0x08;
    unsigned opcode = p[0] & 0x0f;
    bool known = control ? opcode <= PONG : opcode == TEXT || opcode == BINARY;
    return (p[0] & 0xf0) == 0x80 && known && p[1] & 0x80 && (!control || (p[1] & 0x7f) < 126);
}

/* Bytes of the frame at p that were handled; 0 while it is incomplete. */
static size_t frame_take (struct conn *conn, const uint8_t *p, size_t n)
{
    if (n < 2)
        return 0;
    size_t extra = (p[1] & 0x7f) == 127 ? 8 : (p[1] & 0x7f) == 126 ? 2 : 0, head = 2 + extra + 4;
    uint64_t length = extra ? 0 : p[1] & 0x7f;
    if (!frame_allowed (p) || (extra == 8 && n > 2 && p[2] & 0x80)) {
        conn_kill (conn);
        return n;
    }
    if (n < head)
        return 0;
    for (size_t i = 2; i < 2 + extra; i++)
        length = length << 8 | p[i];
    if (n - head < length)
        return 0;
    frame_handle (conn, &(struct frame){p[0] & 0x0f, p + head, p + head - 4, length});
    return head + length;
}

/* --- the handshake ------------------------------------------------------------------------------------------- */

/* The first item of a header field, its name written with the line break and the colon; its length, 0 without one. */
static size_t field (const char *head, const char *name, const char **value)
{
    const char *at = strcasestr (head, name);
    if (!at)
        return 0;
    at += strlen (name);
    *value = at + strspn (at, " \t");
    return strcspn (*value, " \t\r,");
}

static void upgrade_answer (struct conn *conn, const char *key, const char *protocol, size_t protocol_n)
{
    char text[HEAD_MOST + 256], accept[32];
    unsigned char digest[SHA_DIGEST_LENGTH];
    int n = snprintf (text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    SHA1 ((unsigned char *) text, (size_t) n, digest);
    EVP_EncodeBlock ((unsigned char *) accept, digest, sizeof digest);
    n = snprintf (text, sizeof text,
                  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Accept: %s\r\n%s%.*s%s\r\n",
                  accept, protocol_n ? "Sec-WebSocket-Protocol: " : "", (int) protocol_n, protocol,
                  protocol_n ? "\r\n" : "");
    conn_send_bytes (conn, text, (size_t) n);
}

/* False for anything but an upgrade to WebSocket by a user. */
static bool upgrade (struct conn *conn, const char *head)
{
    const char *start = "GET /ws?user=", *key = NULL, *other = NULL, *protocol = "";
    if (strncmp (head, start, strlen (start)) != 0)
        return false;
    const char *name = head + strlen (start);
    size_t name_n = strcspn (name, " &\r"), protocol_n = field (head, "\r\nSec-WebSocket-Protocol:", &protocol);
    if (name_n == 0 || name_n > NAME_MOST || field (head, "\r\nSec-WebSocket-Key:", &key) != 24 ||
        field (head, "\r\nUpgrade:", &other) != 9 || strncasecmp (other, "websocket", 9) != 0)
        return false;
    conn_move (conn, CONN_OPEN, user_have (name, (uint32_t) name_n));
    upgrade_answer (conn, key, protocol, protocol_n);
    return true;
}

/* Bytes of the request at p that were handled; 0 while it is incomplete. */
static size_t request_take (struct conn *conn, uint8_t *p, size_t n)
{
    uint8_t *end = memmem (p, n, "\r\n\r\n", 4);
    size_t head = end ? (size_t) (end + 4 - p) : n;
    if (!end && n < HEAD_MOST)
        return 0;
    p[head - 1] = '\0'; /* makes a string of it */
    if (head > HEAD_MOST || !upgrade (conn, (char *) p))
        conn_kill (conn);
    return head;
}

/* --- input --------------------------------------------------------------------------------------------------- */

/* Bytes that were handled. */
static size_t conn_parse (struct conn *self, uint8_t *p, size_t n)
{
    size_t used = 0, step = 1;
    while (used < n && step && self->state <= CONN_OPEN) {
        bool head = self->state == CONN_HEAD;
        step = head ? request_take (self, p + used, n - used) : frame_take (self, p + used, n - used);
        used += step;
    }
    return used;
}

/* Reads into the block that all share, or behind what the connection has kept. */
static void conn_read (struct conn *self)
{
    struct block *block = self->in ? block_reserve (&self->in, REST_BYTES) : server.input;
    ssize_t got = recv (self->fd, block->data + block->n, block->cap - block->n, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            conn_kill (self);
        return;
    }
    block->n += (size_t) got;
    size_t used = conn_parse (self, block->data + block->from, block->n - block->from);
    if (block == self->in) {
        block_cut (&self->in, used);
        return;
    }
    if (used < block->n && self->state <= CONN_OPEN)
        block_append (&self->in, block->data + used, block->n - used);
    block->n = 0;
}

static void conn_handle (struct conn *self, uint32_t events)
{
    if (events & EPOLLOUT && self->state != CONN_DEAD && self->out)
        conn_send_rest (self);
    if (self->state == CONN_CLOSING && events & (EPOLLERR | EPOLLHUP))
        conn_kill (self);
    else if (self->state <= CONN_OPEN && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        conn_read (self);
}

/* --- the loop ------------------------------------------------------------------------------------------------ */

/* Sockets first, then events, so that neither starves the other. */
static void loop (void)
{
    static struct epoll_event events[1024];
    for (bool leaving = false; !leaving;) {
        int n = epoll_wait (server.epoll, events, sizeof events / sizeof *events, server.more ? 0 : -1);
        for (int i = 0; i < n; i++) {
            void *source = events[i].data.ptr;
            if (source == &server.events)
                server.more = true;
            else if (source == &server.listener)
                conns_accept ();
            else if (source == &server.signals)
                leaving = true;
            else
                conn_handle (source, events[i].events);
        }
        if (server.more)
            events_take ();
        conns_reap ();
    }
}

static void watch (int fd, void *source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    if (epoll_ctl (server.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die (1, strerror (errno));
}

/* --- start and end ------------------------------------------------------------------------------------------- */

static void listen_at (const char *address)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    char host[16] = "", *end = NULL;
    const char *colon = strchr (address, ':');
    unsigned long port = colon ? strtoul (colon + 1, &end, 10) : 0;
    int on = 1;
    if (colon && colon - address < (ptrdiff_t) sizeof host)
        memcpy (host, address, (size_t) (colon - address));
    if (inet_pton (AF_INET, host, &at.sin_addr) != 1 || port == 0 || port > 0xffff || *end)
        die (2, "--listen takes ADDRESS:PORT");
    at.sin_port = htons ((uint16_t) port);
    server.listener = socket (AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt (server.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt (server.listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* what it accepts inherits this */
    if (bind (server.listener, (struct sockaddr *) &at, sizeof at) < 0 || listen (server.listener, BACKLOG) < 0)
        die (1, strerror (errno));
    watch (server.listener, &server.listener);
}

static void *connect_to (int type, int hwm_option, const char *endpoint)
{
    int hwm = HWM, linger = 0;
    void *socket = zmq_socket (server.context, type);
    zmq_setsockopt (socket, hwm_option, &hwm, sizeof hwm);
    zmq_setsockopt (socket, ZMQ_LINGER, &linger, sizeof linger);
    if (zmq_connect (socket, endpoint) < 0)
        die (2, "--events and --upstream take ENDPOINT");
    return socket;
}

static void subscribe (const char *endpoint)
{
    int fd = -1;
    size_t size = sizeof fd;
    server.events = connect_to (ZMQ_SUB, ZMQ_RCVHWM, endpoint);
    zmq_setsockopt (server.events, ZMQ_SUBSCRIBE, "", 0);
    zmq_getsockopt (server.events, ZMQ_FD, &fd, &size);
    watch (fd, &server.events);
    server.more = true; /* its descriptor tells of changes only */
    zmq_msg_init (&server.name);
    zmq_msg_init (&server.body);
    zmq_msg_init (&server.rest);
}

/* Blocked before any thread is made, so that the signals come through the descriptor only. */
static void watch_signals (void)
{
    sigset_t set;
    sigemptyset (&set);
    sigaddset (&set, SIGTERM);
    sigaddset (&set, SIGINT);
    sigprocmask (SIG_BLOCK, &set, NULL);
    server.signals = signalfd (-1, &set, SFD_CLOEXEC);
    watch (server.signals, &server.signals);
}

static void start (const char *address, const char *events, const char *upstream)
{
    struct rlimit files;
    if (getrlimit (RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit (RLIMIT_NOFILE, &files);
    }
    server.epoll = epoll_create1 (EPOLL_CLOEXEC);
    watch_signals ();
    users_grow ();
    block_reserve (&server.input, INPUT_BYTES);
    block_reserve (&server.frames, INPUT_BYTES);
    server.joined_n = 1;
    server.context = zmq_ctx_new ();
    subscribe (events);
    if (upstream)
        server.upstream = connect_to (ZMQ_PUSH, ZMQ_SNDHWM, upstream);
    listen_at (address);
}

/* Connections and users are left to the kernel. */
static int stop (void)
{
    zmq_close (server.events);
    if (server.upstream)
        zmq_close (server.upstream);
    zmq_ctx_term (server.context);
    if (server.unsent)
        fprintf (stderr, "bench_limit: %llu client messages not sent\n", (unsigned long long) server.unsent);
    return 0;
}

static void help (void)
{
    puts ("bench_limit: the least that a server between WebSockets and ZeroMQ could do\n\n"
          "usage: bench_limit --listen ADDRESS:PORT --events ENDPOINT [--upstream ENDPOINT] [--join]\n\n"
          "  --listen    WebSockets, at /ws?user=NAME\n"
          "  --events    a PUB that sends [user][body]: the body goes to the user's connections as text\n"
          "  --upstream  a PULL that gets [user][payload] of each client message\n"
          "  --join      send what a connection gets at one time together");
}

int main (int argc, char **argv)
{
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'},   {"events", required_argument, NULL, 'e'},
        {"upstream", required_argument, NULL, 'u'}, {"join", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0}};
    const char *values[128] = {NULL};
    for (int option; (option = getopt_long (argc, argv, "", options, NULL)) != -1;) {
        if (option == '?')
            return 2;
        values[option] = optarg ? optarg : "";
    }
    if (values['h']) {
        help ();
        return 0;
    }
    if (optind < argc || !values['l'] || !values['e'])
        die (2, "--listen and --events are needed, and nothing but options; see --help");
    server.join = values['j'] != NULL;
    start (values['l'], values['e'], values['u']);
    puts ("ready");
    fflush (stdout);
    loop ();
    return stop ();
}
