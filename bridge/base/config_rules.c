/* What a row of the table cannot say: the form of addresses and endpoints, and which options go together. */
#include "base/config_table.h"
#include "base/ip.h"

#include <arpa/inet.h>
#include <strings.h>
#include <unistd.h>

#define HMAC_KEY_MIN 32  /* bytes; RFC 7518 section 3.2 for HS256 */
#define IPC_PATH_MAX 107 /* bytes; sun_path without its NUL */
#define BYPASS_MIN   16  /* bytes */

/* --- Addresses --- */

struct address {
    struct slice host; /* without the brackets of IPv6 */
    struct slice port;
    bool v6;
};

static struct slice slice_from (struct slice s, size_t at)
{
    return slice_of (s.p + at, s.n - at);
}

static bool starts_with (struct slice s, const char *prefix)
{
    size_t n = strlen (prefix);
    return s.n >= n && memcmp (s.p, prefix, n) == 0;
}

static bool is_v6 (struct slice s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const char *zone = s.n ? memchr (s.p, '%', s.n) : NULL;
    size_t n = zone ? (size_t) (zone - s.p) : s.n;
    if (n >= sizeof text)
        return false;
    memcpy (text, s.p, n);
    text[n] = '\0';
    return inet_pton (AF_INET6, text, &address) == 1;
}

static bool is_host_name (struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr ("-._", c)))
            return false;
    }
    return s.n > 0;
}

static bool is_port (struct slice s, unsigned least)
{
    unsigned value = 0;
    if (s.n == 0 || s.n > 5)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        value = value * 10 + (unsigned) (s.p[i] - '0');
    }
    return value >= least && value <= 65535;
}

/* HOST:PORT at the last colon. Host and port are the caller's to judge. */
static bool split (struct slice s, struct address *out)
{
    const char *colon = s.n ? memrchr (s.p, ':', s.n) : NULL;
    if (!colon)
        return false;
    out->host = slice_of (s.p, (size_t) (colon - s.p));
    out->port = slice_from (s, out->host.n + 1);
    out->v6 = out->host.n >= 2 && out->host.p[0] == '[' && out->host.p[out->host.n - 1] == ']';
    if (out->v6)
        out->host = slice_of (out->host.p + 1, out->host.n - 2);
    return true;
}

static bool is_host (const struct address *address)
{
    return address->v6 ? is_v6 (address->host) : is_host_name (address->host);
}

static void check_listen (struct config_loader *self, enum option_id id)
{
    struct address address;
    if (!split (slice_str (*option_text (self->config, &option_rows[id])), &address) || !is_host (&address) ||
        !is_port (address.port, 0))
        config_fault_option (self, id, "is not HOST:PORT or [IPV6]:PORT with a port from 0 to 65535");
}

/* --- Runtime endpoints --- */

enum endpoint {
    ENDPOINT_BAD,
    ENDPOINT_LOCAL,
    ENDPOINT_REMOTE
};

static bool is_loopback (const struct address *address)
{
    char text[INET6_ADDRSTRLEN];
    struct in_addr v4;
    if (address->v6)
        return slice_is (address->host, "::1");
    if (address->host.n >= sizeof text)
        return false;
    memcpy (text, address->host.p, address->host.n);
    text[address->host.n] = '\0';
    /* Not by its first letters: 127.example.com is anywhere. */
    return strcasecmp (text, "localhost") == 0 ||
           (inet_pton (AF_INET, text, &v4) == 1 && ntohl (v4.s_addr) >> 24 == 127);
}

static enum endpoint tcp_endpoint (struct slice s, bool bind)
{
    struct address address;
    if (!split (s, &address))
        return ENDPOINT_BAD;
    bool host_ok = is_host (&address) || (bind && slice_is (address.host, "*"));
    bool port_ok = is_port (address.port, bind ? 0 : 1) || (bind && slice_is (address.port, "*"));
    if (!host_ok || !port_ok)
        return ENDPOINT_BAD;
    return is_loopback (&address) ? ENDPOINT_LOCAL : ENDPOINT_REMOTE;
}

/* In czmq's notation; neither > nor @ connects. */
static enum endpoint endpoint_of (struct slice s)
{
    bool bind = starts_with (s, "@");
    if (bind || starts_with (s, ">"))
        s = slice_from (s, 1);
    if (starts_with (s, "tcp://"))
        return tcp_endpoint (slice_from (s, strlen ("tcp://")), bind);
    if (!starts_with (s, "ipc://"))
        return ENDPOINT_BAD;
    size_t path = s.n - strlen ("ipc://");
    return path >= 1 && path <= IPC_PATH_MAX ? ENDPOINT_LOCAL : ENDPOINT_BAD;
}

static bool has_curve (const struct config *config)
{
    return *config->curve_secret_file || *config->curve_runtime_file; /* one alone is refused by check_curve */
}

/* One alone would leave the link in clear text that nobody wanted. */
static void check_curve (struct config_loader *self)
{
    bool own = *self->config->curve_secret_file, runtime = *self->config->curve_runtime_file;
    if (own && !runtime)
        config_fault_option (self, OPTION_curve_secret_file, "is given without curve-runtime-file; CURVE needs both");
    if (runtime && !own)
        config_fault_option (self, OPTION_curve_runtime_file, "is given without curve-secret-file; CURVE needs both");
}

static void check_tls (struct config_loader *self)
{
    bool cert = *self->config->tls_cert_file, key = *self->config->tls_key_file;
    if (cert && !key)
        config_fault_option (self, OPTION_tls_cert_file, "is given without tls-key-file; TLS needs both");
    if (key && !cert)
        config_fault_option (self, OPTION_tls_key_file, "is given without tls-cert-file; TLS needs both");
}

static void check_endpoints (struct config_loader *self, enum option_id id)
{
    struct slice rest = slice_str (*option_text (self->config, &option_rows[id])), entry;
    while (config_list_next (&rest, &entry)) {
        int n = entry.n < 300 ? (int) entry.n : 300;
        enum endpoint kind = endpoint_of (entry);
        if (kind == ENDPOINT_BAD)
            config_fault_option (self, id, "holds \"%.*s\", which is not [> or @]tcp://HOST:PORT or [> or @]ipc://PATH",
                                 n, entry.p);
        else if (kind == ENDPOINT_REMOTE && !has_curve (self->config))
            config_fault_option (self, id,
                                 "holds \"%.*s\", which is not loopback and needs curve-secret-file and "
                                 "curve-runtime-file",
                                 n, entry.p);
    }
}

/* --- The rest --- */

static void check_paths (struct config_loader *self)
{
    struct slice rest = slice_str (self->config->ws_paths), path;
    while (config_list_next (&rest, &path))
        if (!starts_with (path, "/"))
            config_fault_option (self, OPTION_ws_paths, "is not a comma list of paths that begin with /");
}

static void check_proxies (struct config_loader *self)
{
    struct slice rest = slice_str (self->config->trusted_proxies), entry;
    struct cidr cidr;
    size_t count = 0;
    while (slice_next_item (&rest, &entry)) {
        const char *fault = cidr_parse (entry, &cidr);
        int n = entry.n < 300 ? (int) entry.n : 300;
        if (fault)
            config_fault_option (self, OPTION_trusted_proxies, "holds \"%.*s\", which %s", n, entry.p, fault);
        count++;
    }
    if (count > CIDRS_MAX)
        config_fault_option (self, OPTION_trusted_proxies, "holds more than %d entries", CIDRS_MAX);
}

bool config_is_production (const struct config *self)
{
    return strcmp (self->environment, "production") == 0;
}

static bool is_production (const struct config_loader *self)
{
    return config_is_production (self->config) && !self->faulty[OPTION_environment];
}

/* What could not come back out of a header or an entry of Sec-WebSocket-Protocol would be a key that fits nobody. */
static bool is_sendable (const char *key)
{
    for (; *key; key++)
        if (*key <= ' ' || *key > '~' || *key == ',')
            return false;
    return true;
}

static void check_bypass (struct config_loader *self)
{
    const char *key = self->config->e2e_bypass_key;
    if (!*key)
        return;
    if (is_production (self))
        config_fault_option (self, OPTION_e2e_bypass_key, "lets in whoever knows it and is refused in production");
    else if (strlen (key) < BYPASS_MIN)
        config_fault_option (self, OPTION_e2e_bypass_key, "is shorter than %d bytes", BYPASS_MIN);
    else if (!is_sendable (key))
        config_fault_option (self, OPTION_e2e_bypass_key, "holds other than visible ASCII characters, or a comma");
}

static void check_keys (struct config_loader *self)
{
    const struct config *config = self->config;
    if (*config->jwt_secret && *config->jwt_secret_file)
        config_fault_option (self, OPTION_jwt_secret_file, "does not go together with jwt-secret; set one of them");
    if (*config->jwt_secret_previous_file && !*config->jwt_secret && !*config->jwt_secret_file)
        config_fault_option (self, OPTION_jwt_secret_previous_file, "is given without jwt-secret-file or jwt-secret");
    if (is_production (self) && *config->jwt_secret && strlen (config->jwt_secret) < HMAC_KEY_MIN)
        config_fault_option (self, OPTION_jwt_secret, "is shorter than the %d bytes that production wants",
                             HMAC_KEY_MIN);
    if (!*config->jwt_secret && !*config->jwt_secret_file && !*config->jwt_public_key_file && !*config->jwks_file &&
        !*config->jwks_url)
        config_fault (self, "no token keys: set one of jwt-secret-file, jwt-public-key-file, jwks-file, jwks-url or "
                            "jwt-secret");
}

/* Host and port of an http or https URL. No user information: a password would stand in every listing. */
static bool split_url (struct slice url, struct address *out, bool *https)
{
    *https = starts_with (url, "https://");
    if (!*https && !starts_with (url, "http://"))
        return false;
    url = slice_from (url, *https ? strlen ("https://") : strlen ("http://"));
    struct slice authority = url;
    for (size_t i = 0; i < url.n; i++) {
        if (url.p[i] == ' ' || url.p[i] == '\\')
            return false;
        if (strchr ("/?#", url.p[i]) && authority.n == url.n)
            authority.n = i;
    }
    if (split (authority, out) && is_host (out))
        return is_port (out->port, 1);
    out->v6 = authority.n >= 2 && authority.p[0] == '[' && authority.p[authority.n - 1] == ']';
    out->host = out->v6 ? slice_of (authority.p + 1, authority.n - 2) : authority;
    return is_host (out);
}

bool config_jwks_is_local (const struct config *self)
{
    struct address address;
    bool https;
    return split_url (slice_str (self->jwks_url), &address, &https) && is_loopback (&address);
}

static void check_jwks (struct config_loader *self)
{
    const struct config *config = self->config;
    struct address address;
    bool https;
    if (*config->jwks_url && !split_url (slice_str (config->jwks_url), &address, &https))
        config_fault_option (self, OPTION_jwks_url, "is not https://HOST[:PORT]/PATH (or http://), without a user");
    else if (*config->jwks_url && !https && config_is_production (config) && !is_loopback (&address))
        config_fault_option (self, OPTION_jwks_url, "is not https, which production wants unless the host is loopback");
    if (*config->jwks_ca_file && !*config->jwks_url)
        config_fault_option (self, OPTION_jwks_ca_file, "is given without jwks-url");
    if (config->jwks_min_age_s > config->jwks_max_age_s)
        config_fault_option (self, OPTION_jwks_min_age_s, "is more than jwks-max-age-s");
    if (config->jwks_max_age_s > config->jwks_stale_s)
        config_fault_option (self, OPTION_jwks_max_age_s, "is more than jwks-stale-s");
}

static void fill_bridge_id (struct config_loader *self)
{
    char name[256] = "";
    char **field = &self->config->bridge_id;
    if (!*field || **field)
        return;
    if (gethostname (name, sizeof name - 1) || !*name || strlen (name) > (size_t) option_rows[OPTION_bridge_id].max) {
        config_fault_option (self, OPTION_bridge_id, "must be set, as this machine has no usable name");
        return;
    }
    free (*field);
    *field = strdup (name);
    if (!*field)
        config_fault (self, "memory is out");
}

/* Where memory was out, texts are missing; there is nothing to check then. */
static bool complete (const struct config *config)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (option_is_text (&option_rows[i]) && !*option_text (config, &option_rows[i]))
            return false;
    return true;
}

void config_check_rules (struct config_loader *self)
{
    if (!complete (self->config))
        return;
    check_listen (self, OPTION_listen);
    check_listen (self, OPTION_admin_listen);
    check_paths (self);
    check_proxies (self);
    check_tls (self);
    check_curve (self);
    check_endpoints (self, OPTION_runtime_commands);
    check_endpoints (self, OPTION_runtime_events);
    if (!self->names) {
        fill_bridge_id (self);
        check_keys (self);
    }
    check_bypass (self);
    check_jwks (self);
}
