/* Heads of requests and whom they let in (core/request.c, accept.c, handshake.c, auth.c): a head is read the same
 * however it is cut, what it says lies within it, and nobody gets in without a token that was signed. */
#include "core/accept.h"
#include "core/handshake.h"
#include "core/auth.h"
#include "core/ident.h"
#include "hub.h"
#include "json.h"

static void check_inside (struct slice part, struct slice whole)
{
    CHECK (part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n));
}

static void check_parts (const struct request *request, struct slice head)
{
    CHECK (request->n_headers <= REQUEST_MAX_HEADERS && request->method.n && request->path.n);
    CHECK (request->path.p[0] == '/' && (request->minor == 0 || request->minor == 1));
    check_inside (request->method, head);
    check_inside (request->path, head);
    check_inside (request->query, head);
    for (size_t i = 0; i < request->n_headers; i++) {
        check_inside (request->headers[i].name, head);
        check_inside (request->headers[i].value, head);
    }
}

/* The beginning of a head is never a whole one. */
static void check_cuts (struct slice head)
{
    struct request request;
    size_t n;
    for (size_t i = 0; i < head.n; i += 1 + head.n / 16) {
        struct slice part = piece_of (slice_of (head.p, i));
        CHECK (request_parse (&request, part, &n) == REQUEST_INCOMPLETE);
        piece_free (part);
    }
    CHECK (request_parse (&request, head, &n) == REQUEST_OK && n == head.n);
}

static void read_parameters (const struct request *request)
{
    static const char *const names[] = {"token", "epoch", "offset"};
    struct slice value;
    struct buf out;
    buf_init (&out, 0);
    for (size_t i = 0; i < COUNT_OF (names); i++)
        if (request_query (request, names[i], &value)) {
            check_inside (value, request->query);
            buf_reset (&out);
            CHECK (!request_percent_decode (value, &out) || out.n <= value.n);
        }
    buf_fini (&out);
}

/* The list of media types, as the admin port reads it. */
static void read_accept (const struct request *request)
{
    struct buf list;
    buf_init (&list, 0);
    request_header_join (request, "accept", &list);
    struct slice alone = piece_of (buf_slice (&list));
    struct accept found = accept_read (alone, "text", "plain", "0.0.4");
    CHECK (found.quality <= 1000 && (found.match != ACCEPT_NONE || found.quality == 0));
    piece_free (alone);
    buf_fini (&list);
}

/* Who is let in is a user with headers for CONNECT; nobody's secret is echoed. */
static void check_admitted (const struct conn *conn)
{
    struct buf map;
    msgpack_packer packer;
    CHECK (conn->user && ident_is_user (user_id (conn->user)));
    buf_init (&map, 0);
    mp_writer_init (&packer, &map);
    mp_put_map (&packer, conn->connect_pairs);
    buf_put (&map, conn->connect_headers, conn->connect_headers_n);
    CHECK (mp_check (buf_slice (&map)) == MP_OK);
    buf_fini (&map);
}

/* The bridge's own notices. */
static void check_notice (struct conn *conn, const struct frame *frame)
{
    if (frame->opcode == WS_CLOSE)
        return;
    if (conn->form == FORM_JSON) {
        json_t *tree = json_tree (frame->payload, 0);
        CHECK (frame->opcode == WS_TEXT && json_is_object (tree));
        json_decref (tree);
    } else
        CHECK (conn->form == FORM_MSGPACK && frame->opcode == WS_BINARY && mp_check (frame->payload) == MP_OK);
}

/* The peer is a trusted proxy, so that its headers are read. */
static void admit (const struct request *request)
{
    struct conn *conn = conn_new (&fx.hub);
    struct ip peer, client;
    CHECK (conn && ip_parse (slice_str ("192.0.2.7"), &peer));
    client = handshake_client (&fx.hub, request, &peer);
    CHECK (client.n == 4 || client.n == 16);
    handshake_admit (conn, request, &client);
    CHECK ((conn->refusal == ERROR_NONE) == (conn->user != NULL));
    if (conn->refusal == ERROR_NONE)
        check_admitted (conn);
    conn->wire = &fx.wire;
    session_accepted (conn);
    CHECK (conn_is_ending (conn) == (conn->refusal != ERROR_NONE));
    read_frames (conn, check_notice);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    struct request request;
    const char *fault = NULL;
    size_t n = 0;
    enum request_status status = request_parse (&request, slice_of (data, size), &n);
    CHECK (n <= size && (status != REQUEST_BAD || request.fault));
    if (status != REQUEST_OK)
        return 0;
    check_parts (&request, slice_of (data, n));
    check_cuts (slice_of (data, n));
    read_parameters (&request);
    read_accept (&request);
    hub_up ();
    (void) handshake_is_ws_path (&fx.hub, request.path);
    int refused = handshake_check (&request, &fault);
    CHECK (refused == 0 || (refused >= 400 && refused <= 426 && fault));
    admit (&request); /* also what handshake_check keeps out: admission must bear it */
    hub_down ();
    return 0;
}
