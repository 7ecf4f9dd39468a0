#include "core/freshness.h"

#include <strings.h>
#include <time.h>

#define SECONDS_MAX INT64_C (2147483648) /* RFC 9111 section 1.2.2: what is larger counts as this */

static bool is_word (struct slice s, const char *word)
{
    return s.n == strlen (word) && strncasecmp (s.p, word, s.n) == 0;
}

/* False when it is no number; too large a one is the largest. */
static bool read_seconds (struct slice text, int64_t *out)
{
    int64_t value = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        value = value * 10 + (text.p[i] - '0');
        value = value < SECONDS_MAX ? value : SECONDS_MAX;
    }
    *out = value;
    return text.n > 0;
}

bool http_date (struct slice text, int64_t *out)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %e %H:%M:%S %Y"};
    char copy[64];
    if (text.n >= sizeof copy)
        return false;
    slice_copy (copy, text);
    copy[text.n] = '\0';
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct tm tm = {0};
        const char *end = strptime (copy, forms[i], &tm);
        if (!end || *end)
            continue;
        *out = timegm (&tm);
        return true;
    }
    return false;
}

void freshness_init (struct freshness *self)
{
    *self = (struct freshness){.date = INT64_MIN};
}

/* The next directive; a comma between quotes does not end it. */
static bool next_directive (struct slice *list, struct slice *directive)
{
    bool quoted = false;
    size_t n = 0;
    if (list->n == 0)
        return false;
    for (; n < list->n && (quoted || list->p[n] != ','); n++)
        if (list->p[n] == '"')
            quoted = !quoted;
        else if (quoted && list->p[n] == '\\' && n + 1 < list->n)
            n++;
    *directive = slice_trim (slice_of (list->p, n));
    n += n < list->n; /* the comma */
    *list = slice_of (list->p + n, list->n - n);
    return true;
}

/* A bare number, or one in quotes. */
static struct slice unquoted (struct slice s)
{
    bool quotes = s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"';
    return quotes ? slice_of (s.p + 1, s.n - 2) : s;
}

/* The first max-age counts, and one that is not well-formed makes the answer stale at once. */
static void take_max_age (struct freshness *self, struct slice text)
{
    if (self->has_max_age)
        return;
    self->has_max_age = true;
    if (!read_seconds (unquoted (text), &self->max_age))
        self->max_age = 0;
}

static void take_cache_control (struct freshness *self, struct slice list)
{
    struct slice directive;
    while (next_directive (&list, &directive)) {
        struct slice name = directive, value = directive;
        if (!slice_cut (&value, '=', &name))
            value = slice_of (NULL, 0);
        if (is_word (name, "max-age"))
            take_max_age (self, value);
        else if (is_word (name, "no-store") || is_word (name, "no-cache"))
            self->uncacheable = true;
    }
}

static void take_expires (struct freshness *self, struct slice value)
{
    int64_t expires = INT64_MIN;
    bool again = self->has_expires;
    if (!http_date (value, &expires) || (again && expires != self->expires))
        expires = INT64_MIN;
    self->has_expires = true;
    self->expires = expires;
}

void freshness_header (struct freshness *self, struct slice name, struct slice value)
{
    value = slice_trim (value);
    if (is_word (name, "cache-control"))
        take_cache_control (self, value);
    else if (is_word (name, "expires"))
        take_expires (self, value);
    else if (is_word (name, "date"))
        (void) http_date (value, &self->date);
    else if (is_word (name, "age"))
        (void) read_seconds (value, &self->age);
}

int64_t freshness_left (const struct freshness *self, int64_t now)
{
    if (self->uncacheable)
        return 0;
    if (!self->has_max_age && !self->has_expires)
        return FRESHNESS_UNKNOWN;
    int64_t life = self->max_age;
    if (!self->has_max_age)
        life = self->expires == INT64_MIN ? 0 : self->expires - (self->date == INT64_MIN ? now : self->date);
    return life > self->age ? life - self->age : 0;
}
