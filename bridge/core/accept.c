#include "core/accept.h"

#include <strings.h>

static bool same (struct slice text, const char *word)
{
    return text.n == strlen (word) && strncasecmp (text.p, word, text.n) == 0;
}

/* The next parameter behind a media range; false at the end. */
static bool next_parameter (struct slice *rest, struct slice *name, struct slice *value)
{
    struct slice part;
    if (rest->n == 0)
        return false;
    if (!slice_cut (rest, ';', &part)) {
        part = *rest;
        *rest = slice_of (NULL, 0);
    }
    *value = part;
    if (slice_cut (value, '=', name))
        *value = slice_trim (*value);
    else {
        *name = part;
        *value = slice_of (NULL, 0);
    }
    *name = slice_trim (*name);
    return true;
}

static struct slice unquoted (struct slice value)
{
    bool quoted = value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"';
    return quoted ? slice_of (value.p + 1, value.n - 2) : value;
}

/* 0 to 1 with at most three digits behind the point; false for anything else. */
static bool read_quality (struct slice text, unsigned *quality)
{
    unsigned scale = 1000, sum = 0;
    if (text.n < 1 || text.n > 5 || (text.n > 1 && text.p[1] != '.'))
        return false;
    for (size_t i = 0; i < text.n; i += i ? 1 : 2, scale /= 10) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        sum += (unsigned) (text.p[i] - '0') * scale;
    }
    *quality = sum;
    return sum <= 1000;
}

static enum accept_match match_range (struct slice range, const char *major, const char *minor)
{
    struct slice first;
    if (!slice_cut (&range, '/', &first))
        return ACCEPT_NONE;
    if (same (first, major) && same (range, minor))
        return ACCEPT_TYPE;
    if ((same (first, "*") || same (first, major)) && same (range, "*"))
        return ACCEPT_ANY;
    return ACCEPT_NONE;
}

/* One entry of the list. */
static struct accept read_entry (struct slice entry, const char *major, const char *minor, const char *version)
{
    static const struct accept none = {ACCEPT_NONE, 0};
    struct slice range = entry, name, value;
    if (slice_cut (&entry, ';', &range))
        range = slice_trim (range);
    else
        entry = slice_of (NULL, 0);
    struct accept found = {match_range (range, major, minor), 1000};
    if (found.match == ACCEPT_NONE)
        return none;
    while (next_parameter (&entry, &name, &value)) {
        if (same (name, "version") && found.match >= ACCEPT_TYPE) {
            if (!slice_is (unquoted (value), version))
                return none;
            found.match = ACCEPT_VERSION;
        } else if (same (name, "q") && !read_quality (value, &found.quality))
            return none;
    }
    return found;
}

struct accept accept_read (struct slice list, const char *major, const char *minor, const char *version)
{
    struct accept best = {ACCEPT_NONE, 0};
    struct slice entry;
    while (slice_next_item (&list, &entry)) {
        struct accept found = read_entry (entry, major, minor, version);
        if (found.match > best.match || (found.match == best.match && found.quality > best.quality))
            best = found;
    }
    return best;
}
