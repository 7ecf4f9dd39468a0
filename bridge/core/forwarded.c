#include "core/forwarded.h"

#include <strings.h>

#define NODE_MAX 64 /* bytes of an address with brackets and port */

/* --- from the end -------------------------------------------------------------------------------------------- */

/* Is the quote at `at` preceded by an odd number of backslashes? */
static bool is_escaped (const char *p, size_t at)
{
    size_t n = 0;
    while (n < at && p[at - n - 1] == '\\')
        n++;
    return n % 2;
}

/* Where the last element of the list begins. Commas within quotes are none, which can be told from the end as well, as
 * the last proxy's element is whole; quotes that a client has left open do not reach it. */
static size_t start_of_last (struct slice list, bool quotes)
{
    bool quoted = false;
    size_t at = list.n;
    for (; at > 0; at--) {
        if (list.p[at - 1] == ',' && !quoted)
            break;
        if (quotes && list.p[at - 1] == '"' && !is_escaped (list.p, at - 1))
            quoted = !quoted;
    }
    return at;
}

/* Take the last element that is not empty off *list; false when there is none. */
static bool pop_last (struct slice *list, bool quotes, struct slice *element)
{
    while (list->n) {
        size_t at = start_of_last (*list, quotes);
        *element = slice_trim (slice_of (list->p + at, list->n - at));
        list->n = at ? at - 1 : 0;
        if (element->n)
            return true;
    }
    return false;
}

/* --- a node -------------------------------------------------------------------------------------------------- */

/* RFC 7239 section 6.2: digits, or a name that hides them. */
static bool is_port (struct slice s)
{
    bool hidden = s.n > 1 && s.p[0] == '_';
    if (s.n == 0 || (!hidden && s.n > 5))
        return false;
    for (size_t i = hidden; i < s.n; i++) {
        char c = s.p[i];
        bool digit = c >= '0' && c <= '9';
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr ("._-", c));
        if (!digit && !(hidden && letter))
            return false;
    }
    return true;
}

/* [2001:db8::1] with or without port. */
static bool parse_bracketed (struct slice node, struct ip *out)
{
    struct slice address, rest = slice_of (node.p + 1, node.n - 1);
    if (!slice_cut (&rest, ']', &address) || (address.n && !memchr (address.p, ':', address.n)))
        return false;
    if (rest.n && (rest.p[0] != ':' || !is_port (slice_of (rest.p + 1, rest.n - 1))))
        return false;
    return ip_parse (address, out);
}

/* Everything that proxies write: with and without port, IPv6 with and without brackets. `unknown` and names that hide
 * an address are none. */
static bool parse_node (struct slice node, struct ip *out)
{
    struct slice address = node, port = node;
    if (node.n && node.p[0] == '[')
        return parse_bracketed (node, out);
    bool one_colon = slice_cut (&port, ':', &address) && !(port.n && memchr (port.p, ':', port.n));
    if (!one_colon)
        return ip_parse (node, out);
    return is_port (port) && ip_parse (address, out);
}

/* --- an element of Forwarded --------------------------------------------------------------------------------- */

/* Take the next name=value off *element. False at the end, and when a quote is left open (*bad then). */
static bool next_pair (struct slice *element, struct slice *pair, bool *bad)
{
    bool quoted = false;
    size_t at = 0;
    if (element->n == 0)
        return false;
    for (; at < element->n && (quoted || element->p[at] != ';'); at++) {
        if (quoted && element->p[at] == '\\')
            at++;
        else if (element->p[at] == '"')
            quoted = !quoted;
    }
    *bad = quoted || at > element->n;
    if (*bad)
        return false;
    *pair = slice_trim (slice_of (element->p, at));
    *element = at < element->n ? slice_of (element->p + at + 1, element->n - at - 1) : slice_of (NULL, 0);
    return true;
}

/* The value of `for`, which must be there once. */
static bool find_for (struct slice element, struct slice *value)
{
    bool found = false, bad = false;
    struct slice pair, name;
    while (next_pair (&element, &pair, &bad)) {
        if (pair.n == 0)
            continue;
        if (!slice_cut (&pair, '=', &name) || name.n == 0 || pair.n == 0)
            return false;
        if (name.n != 3 || strncasecmp (name.p, "for", 3) != 0)
            continue;
        if (found)
            return false;
        found = true;
        *value = pair;
    }
    return found && !bad;
}

/* Undo quotes (RFC 9110 section 5.6.4). */
static bool unquote (struct slice value, char out[NODE_MAX], struct slice *plain)
{
    size_t n = 0;
    if (value.n < 2 || value.p[value.n - 1] != '"')
        return false;
    for (size_t i = 1; i < value.n - 1; i++) {
        if (value.p[i] == '"' || n == NODE_MAX)
            return false;
        if (value.p[i] == '\\' && ++i == value.n - 1)
            return false;
        out[n++] = value.p[i];
    }
    *plain = slice_of (out, n);
    return true;
}

static bool parse_element (struct slice element, struct ip *out)
{
    char text[NODE_MAX];
    struct slice value;
    if (!find_for (element, &value))
        return false;
    if (value.p[0] == '"' && !unquote (value, text, &value))
        return false;
    return parse_node (value, out);
}

/* --- the request --------------------------------------------------------------------------------------------- */

/* Go from the end over one line, on to the first that is no proxy. False when something cannot be read. */
static bool walk_line (struct slice line, bool quotes, const struct cidrs *proxies, struct ip *client, bool *done)
{
    struct slice element;
    while (!*done && pop_last (&line, quotes, &element)) {
        if (!(quotes ? parse_element (element, client) : parse_node (element, client)))
            return false;
        *done = !cidrs_have (proxies, client);
    }
    return true;
}

static bool is_named (const struct request_header *header, const char *name)
{
    return header->name.n == strlen (name) && strncasecmp (header->name.p, name, header->name.n) == 0;
}

/* The lines of one name are one list; the last line is its end. */
static bool walk (const struct request *request, const char *name, bool quotes, const struct cidrs *proxies,
                  struct ip *client)
{
    bool done = false;
    for (size_t i = request->n_headers; i > 0 && !done; i--)
        if (is_named (&request->headers[i - 1], name) &&
            !walk_line (request->headers[i - 1].value, quotes, proxies, client, &done))
            return false;
    return client->n != 0; /* a header without any address is unusable too */
}

enum forwarded forwarded_client (const struct request *request, enum forwarded_header header,
                                 const struct cidrs *proxies, const struct ip *peer, struct ip *client)
{
    *client = *peer;
    if (!cidrs_have (proxies, peer))
        return FORWARDED_ABSENT;
    bool forwarded = header != X_FORWARDED_FOR_ONLY && request_header (request, "forwarded", NULL);
    if (!forwarded && (header == FORWARDED_ONLY || !request_header (request, "x-forwarded-for", NULL)))
        return FORWARDED_ABSENT;
    struct ip named = {0};
    if (!walk (request, forwarded ? "forwarded" : "x-forwarded-for", forwarded, proxies, &named))
        return FORWARDED_UNUSABLE;
    *client = named;
    return FORWARDED_NAMED;
}
