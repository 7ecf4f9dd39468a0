#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"

#define SECRET32 "0123456789abcdef0123456789abcdef"
#define KEY      "--jwt-secret=" SECRET32 " "

static struct buf error;

/* Everything happens in an empty directory of its own. */
static int set_up (void **state)
{
    static char dir[] = "/tmp/test_config.XXXXXX";
    *state = mkdtemp (dir);
    assert_non_null (*state);
    assert_int_equal (chdir (dir), 0);
    buf_init (&error, 0);
    return 0;
}

static int tear_down (void **state)
{
    buf_fini (&error);
    unlink ("a.conf");
    unlink ("key");
    assert_int_equal (chdir ("/"), 0);
    assert_int_equal (rmdir (*state), 0);
    return 0;
}

static void write_file (const char *path, const char *text, size_t n)
{
    FILE *file = fopen (path, "w");
    assert_non_null (file);
    assert_int_equal (fwrite (text, 1, n, file), n);
    fclose (file);
}

/* Words parted by single blanks, "~" standing for a blank in a word. */
static int words (char *text, char *out[], int max)
{
    int n = 0;
    for (char *word = strtok (text, " "); word && n < max - 1; word = strtok (NULL, " ")) {
        for (char *c = word; *c; c++)
            *c = *c == '~' ? ' ' : *c;
        out[n++] = word;
    }
    out[n] = NULL;
    return n;
}

/* NULL for none. The file is called a.conf. */
static struct config *load (const char *args, const char *env, const char *file)
{
    char arg_text[8192], env_text[4096], *argv[32], *envp[32];
    snprintf (arg_text, sizeof arg_text, "%s%s", file ? "--config a.conf " : "", args ? args : "");
    snprintf (env_text, sizeof env_text, "%s", env ? env : "");
    if (file)
        write_file ("a.conf", file, strlen (file));
    buf_reset (&error);
    words (env_text, envp, 32);
    return config_new (words (arg_text, argv, 32), argv, envp, &error);
}

static struct config *load_good (const char *args, const char *env, const char *file)
{
    struct config *config = load (args, env, file);
    if (!config)
        fail_msg ("%.*s", (int) error.n, (const char *) error.p);
    assert_int_equal (error.n, 0);
    return config;
}

static void assert_faults (const char *args, const char *env, const char *file, const char *expected)
{
    assert_null (load (args, env, file));
    buf_putc (&error, '\0');
    assert_string_equal ((const char *) error.p, expected);
}

static void defaults_are_those_of_the_table (void **state)
{
    (void) state;
    struct config *config = load_good (KEY, NULL, NULL);
    assert_string_equal (config->listen, "0.0.0.0:8080");
    assert_string_equal (config->environment, "production");
    assert_string_equal (config->jwt_issuer, "");
    assert_int_equal (config->max_connections, 10000);
    assert_true (config->jwt_require_exp);
    assert_false (config->allow_query_token);
    config_destroy (&config);
    assert_null (config);
    config_destroy (&config);
}

static void host_name_is_the_default_bridge_id (void **state)
{
    char name[256];
    (void) state;
    gethostname (name, sizeof name);
    struct config *config = load_good (KEY, NULL, NULL);
    assert_string_equal (config->bridge_id, name);
    config_destroy (&config);
    config = load_good (KEY "--bridge-id pod-1", NULL, NULL);
    assert_string_equal (config->bridge_id, "pod-1");
    config_destroy (&config);
}

static void stronger_sources_win (void **state)
{
    static const struct {
        const char *args, *env, *file, *listen, *environment;
    } rows[] = {
        {KEY, NULL, NULL, "0.0.0.0:8080", "production"},
        {KEY, NULL, "listen = \":: \"\nlisten = \"c:3\"\n", "c:3", "production"},
        {KEY, "AGENTBRIDGE_LISTEN=b:2", "listen = \"c:3\"\n", "b:2", "production"},
        {KEY "--listen a:1", "AGENTBRIDGE_LISTEN=b:2", "listen = \"c:3\"\n", "a:1", "production"},
        {KEY "--listen x:9 --listen=a:1", NULL, NULL, "a:1", "production"},
        {KEY, "ENVIRONMENT=test", NULL, "0.0.0.0:8080", "test"},
        {KEY, "ENVIRONMENT=", NULL, "0.0.0.0:8080", "production"},
        {KEY, "ENVIRONMENT=test", "environment = staging\n", "0.0.0.0:8080", "staging"},
        {KEY, "AGENTBRIDGE_ENVIRONMENT=development ENVIRONMENT=test", NULL, "0.0.0.0:8080", "development"},
        {KEY "--environment staging", "ENVIRONMENT=nonsense", NULL, "0.0.0.0:8080", "staging"},
        {KEY, "AGENTBRIDGE_LISTEN=nonsense AGENTBRIDGE_LISTEN=b:2", NULL, "b:2", "production"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct config *config = load_good (rows[i].args, rows[i].env, rows[i].file);
        assert_string_equal (config->listen, rows[i].listen);
        assert_string_equal (config->environment, rows[i].environment);
        config_destroy (&config);
    }
}

/* The variable of others is the weakest source, and an empty one is none. */
static void sources_of_the_bypass_key (void **state)
{
#define TEST_KEY KEY "--environment test "
    static const struct {
        const char *args, *env, *file, *key;
    } rows[] = {
        {TEST_KEY, NULL, NULL, ""},
        {TEST_KEY, "E2E_OAUTH_SIMULATION_KEY=0123456789abcdef", NULL, "0123456789abcdef"},
        {TEST_KEY, "E2E_OAUTH_SIMULATION_KEY=", NULL, ""},
        {TEST_KEY, "E2E_OAUTH_SIMULATION_KEY", NULL, ""},
        {TEST_KEY, "E2E_OAUTH_SIMULATION_KEYS=0123456789abcdef", NULL, ""},
        {TEST_KEY, "E2E_OAUTH_SIMULATION_KEY=v123456789abcdef", "e2e-bypass-key = f123456789abcdef\n",
         "f123456789abcdef"},
        {TEST_KEY, "E2E_OAUTH_SIMULATION_KEY=v123456789abcdef AGENTBRIDGE_E2E_BYPASS_KEY=w123456789abcdef", NULL,
         "w123456789abcdef"},
        {TEST_KEY "--e2e-bypass-key a123456789abcdef", "AGENTBRIDGE_E2E_BYPASS_KEY=w123456789abcdef", NULL,
         "a123456789abcdef"},
        {KEY "--e2e-bypass-key=", "E2E_OAUTH_SIMULATION_KEY=v123456789abcdef", NULL, ""},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct config *config = load_good (rows[i].args, rows[i].env, rows[i].file);
        assert_string_equal (config->e2e_bypass_key, rows[i].key);
        config_destroy (&config);
    }
}

static void no_bypass_in_production (void **state)
{
    static const char why[] = "lets in whoever knows it and is refused in production\n";
    static const struct {
        const char *args, *env, *file, *source;
    } rows[] = {
        {KEY "--e2e-bypass-key 0123456789abcdef", NULL, NULL, "flag --e2e-bypass-key"},
        {KEY "--e2e-bypass-key=x", NULL, NULL, "flag --e2e-bypass-key"},
        {KEY, "AGENTBRIDGE_E2E_BYPASS_KEY=0123456789abcdef", NULL, "variable AGENTBRIDGE_E2E_BYPASS_KEY"},
        {KEY, "E2E_OAUTH_SIMULATION_KEY=0123456789abcdef", NULL, "variable E2E_OAUTH_SIMULATION_KEY"},
        {KEY, NULL, "e2e-bypass-key = 0123456789abcdef\n", "file a.conf"},
        {KEY "--environment production", "ENVIRONMENT=test E2E_OAUTH_SIMULATION_KEY=0123456789abcdef", NULL,
         "variable E2E_OAUTH_SIMULATION_KEY"},
        {KEY, "AGENTBRIDGE_ENVIRONMENT=production E2E_OAUTH_SIMULATION_KEY=0123456789abcdef", "environment = test\n",
         "variable E2E_OAUTH_SIMULATION_KEY"},
    };
    char fault[256];
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        snprintf (fault, sizeof fault, "option e2e-bypass-key: *** (%s) %s", rows[i].source, why);
        assert_faults (rows[i].args, rows[i].env, rows[i].file, fault);
    }
}

static void the_file_is_named_by_flag_or_variable (void **state)
{
    static const struct {
        const char *args, *env;
    } rows[] = {
        {KEY "--config a.conf", NULL},
        {"--config=a.conf " KEY, NULL},
        {KEY, "AGENTBRIDGE_CONFIG=a.conf"},
        {KEY "--config a.conf", "AGENTBRIDGE_CONFIG=missing"},
    };
    (void) state;
    write_file ("a.conf", "log-level = debug\n", 18);
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct config *config = load_good (rows[i].args, rows[i].env, NULL);
        assert_string_equal (config->log_level, "debug");
        config_destroy (&config);
    }
    struct config *config = load_good (KEY, "AGENTBRIDGE_CONFIG=", NULL);
    config_destroy (&config);
}

static void booleans_have_eight_words (void **state)
{
    static const struct {
        const char *word;
        bool value;
    } rows[] = {{"true", true},   {"1", true},  {"yes", true}, {"on", true},
                {"false", false}, {"0", false}, {"no", false}, {"off", false}};
    char args[128];
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        snprintf (args, sizeof args, KEY "--allow-query-token %s --jwt-require-exp=%s", rows[i].word, rows[i].word);
        struct config *config = load_good (args, NULL, NULL);
        assert_int_equal (config->allow_query_token, rows[i].value);
        assert_int_equal (config->jwt_require_exp, rows[i].value);
        config_destroy (&config);
    }
}

static void variables_of_kubernetes_are_ignored (void **state)
{
    (void) state;
    struct config *config =
        load_good (KEY,
                   "AGENTBRIDGE_SERVICE_HOST=10.0.0.1 AGENTBRIDGE_SERVICE_PORT=8080 AGENTBRIDGE_SERVICE_PORT_HTTP=8080 "
                   "AGENTBRIDGE_PORT=tcp://10.0.0.1:8080 AGENTBRIDGE_PORT_8080_TCP=tcp://10.0.0.1:8080 "
                   "AGENTBRIDGE_PORT_8080_TCP_ADDR=10.0.0.1 AGENTBRIDGE_ADMIN_SERVICE_HOST=10.0.0.2 "
                   "AGENTBRIDGE_ADMIN_SERVICE_PORT_HTTP=9090 AGENTBRIDGE_ADMIN_PORT=tcp://10.0.0.2:9090 "
                   "AGENTBRIDGE_ADMIN_PORT_9090_TCP_PROTO=tcp HOME=/ AGENTBRIDGEX=1 LISTEN=x",
                   NULL);
    config_destroy (&config);
}

/* Faults of single options: flags, variables, file. */
static const struct {
    const char *args, *env, *file, *fault;
} option_faults[] = {
    {KEY "--max-connections abc", NULL, NULL,
     "option max-connections: \"abc\" (flag --max-connections) is not a number from 1 to 1000000\n"},
    {KEY "--max-connections=0", NULL, NULL,
     "option max-connections: \"0\" (flag --max-connections) is not a number from 1 to 1000000\n"},
    {KEY, "AGENTBRIDGE_MAX_CONNECTIONS=1000001", NULL,
     "option max-connections: \"1000001\" (variable AGENTBRIDGE_MAX_CONNECTIONS) is not a number from 1 "
     "to "
     "1000000\n"},
    {KEY, NULL, "max-connections = -1\n",
     "option max-connections: \"-1\" (file a.conf) is not a number from 1 to 1000000\n"},
    {KEY "--queue-bytes 99999999999999999999", NULL, NULL,
     "option queue-bytes: \"99999999999999999999\" (flag --queue-bytes) is not a number from 1024 to "
     "1073741824\n"},
    {KEY "--queue-bytes=", NULL, NULL,
     "option queue-bytes: \"\" (flag --queue-bytes) is not a number from 1024 to 1073741824\n"},
    {KEY "--queue-bytes=~4096", NULL, NULL,
     "option queue-bytes: \" 4096\" (flag --queue-bytes) is not a number from 1024 to 1073741824\n"},
    {KEY "--jwt-require-exp maybe", NULL, NULL,
     "option jwt-require-exp: \"maybe\" (flag --jwt-require-exp) is not true or false\n"},
    {KEY "--jwt-require-exp=", NULL, NULL,
     "option jwt-require-exp: \"\" (flag --jwt-require-exp) is not true or false\n"},
    {KEY "--log-level loud", NULL, NULL,
     "option log-level: \"loud\" (flag --log-level) is not one of error, warn, info, debug\n"},
    {KEY "--log-level warn|info", NULL, NULL,
     "option log-level: \"warn|info\" (flag --log-level) is not one of error, warn, info, debug\n"},
    {KEY "--log-level inf", NULL, NULL,
     "option log-level: \"inf\" (flag --log-level) is not one of error, warn, info, debug\n"},
    {KEY "--default-subprotocol agent", NULL, NULL,
     "option default-subprotocol: \"agent\" (flag --default-subprotocol) is not one of agent_chat, "
     "agent_chat.msgpack, raw\n"},
    {KEY, "ENVIRONMENT=prod", NULL,
     "option environment: \"prod\" (variable ENVIRONMENT) is not one of production, staging, "
     "development, test\n"},
    {KEY, "AGENTBRIDGE_ENVIRONMENT=", NULL,
     "option environment: \"\" (variable AGENTBRIDGE_ENVIRONMENT) is not one of production, staging, "
     "development, "
     "test\n"},
    {KEY "--jwt-user-claim=", NULL, NULL,
     "option jwt-user-claim: \"\" (flag --jwt-user-claim) is not a text of 1 to 128 bytes\n"},
    {KEY "--jwt-issuer a\tb", NULL, NULL,
     "option jwt-issuer: \"a?b\" (flag --jwt-issuer) is not UTF-8 without control characters\n"},
    {KEY "--jwt-issuer a\xFF", NULL, NULL,
     "option jwt-issuer: \"a?\" (flag --jwt-issuer) is not UTF-8 without control characters\n"},
    {KEY "--jwks-file missing.json", NULL, NULL,
     "option jwks-file: \"missing.json\" (flag --jwks-file) is not the path of a readable file: No such "
     "file or "
     "directory\n"},
    {KEY "--jwks-file /tmp", NULL, NULL,
     "option jwks-file: \"/tmp\" (flag --jwks-file) is not the path of a readable file: Is a "
     "directory\n"},
    {KEY "--trusted-proxies 10.0.0.0/8,~10.0.0.1/8", NULL, NULL,
     "option trusted-proxies: \"10.0.0.0/8, 10.0.0.1/8\" (flag --trusted-proxies) holds \"10.0.0.1/8\", which has bits "
     "set behind the network's\n"},
    {KEY, "AGENTBRIDGE_TRUSTED_PROXIES=proxy.example", NULL,
     "option trusted-proxies: \"proxy.example\" (variable AGENTBRIDGE_TRUSTED_PROXIES) holds \"proxy.example\", which "
     "is not an IP address or ADDRESS/BITS\n"},
    {KEY "--trusted-proxies ::/129", NULL, NULL,
     "option trusted-proxies: \"::/129\" (flag --trusted-proxies) holds \"::/129\", which has a wrong number of "
     "bits\n"},
    {"--jwt-secret-file missing", NULL, NULL,
     "option jwt-secret-file: \"missing\" (flag --jwt-secret-file) is not the path of a readable file: "
     "No such "
     "file or directory\n"},
};

static void faults_name_option_source_value_and_what_is_allowed (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (option_faults); i++)
        assert_faults (option_faults[i].args, option_faults[i].env, option_faults[i].file, option_faults[i].fault);
}

static const struct {
    const char *args, *env, *file, *fault;
} form_faults[] = {
    {KEY "--max-conections 5", NULL, NULL,
     "option max-conections (flag --max-conections) is unknown; did you mean max-connections?\n"},
    {KEY "--frobnicate", NULL, NULL, "option frobnicate (flag --frobnicate) is unknown; --help lists the options\n"},
    {KEY "--x=1", NULL, NULL, "option x (flag --x) is unknown; --help lists the options\n"},
    {KEY, "AGENTBRIDGE_LISTENS=a:1", NULL,
     "option listens (variable AGENTBRIDGE_LISTENS) is unknown; did you mean listen?\n"},
    {KEY, "AGENTBRIDGE_LISTEN_PORT=80", NULL,
     "option listen-port (variable AGENTBRIDGE_LISTEN_PORT) is unknown; --help lists the options\n"},
    {KEY, NULL, "log-levl = info\n", "option log-levl (file a.conf) is unknown; did you mean log-level?\n"},
    {KEY "--listen", NULL, NULL, "option listen (flag --listen) wants a value: a text of 1 to 255 bytes\n"},
    {KEY "--allow-query-token --listen a:1", NULL, NULL,
     "option allow-query-token (flag --allow-query-token) wants a value: true or false\n"},
    {KEY "--config", NULL, NULL, "option config (flag --config) wants a value: the path of a readable file\n"},
    {KEY "serve", NULL, NULL, "argument 2 is no option; options are --NAME VALUE or --NAME=VALUE\n"},
    {KEY "--", NULL, NULL, "argument 2 is no option; options are --NAME VALUE or --NAME=VALUE\n"},
    {KEY "--config missing.conf", NULL, NULL,
     "option config: file missing.conf cannot be read: No such file or directory\n"},
    {KEY "--config /tmp", NULL, NULL, "option config: file /tmp cannot be read: Is a directory\n"},
    {KEY, NULL, "section\n    listen = a:1\n",
     "option config: file a.conf, line 1 is not NAME = \"VALUE\" (there are no sections)\n"
     "option config: file a.conf, line 2 is not NAME = \"VALUE\" (there are no sections)\n"},
    {KEY, NULL, "# fine\n\njwt-secret = \"abc\"def\n", "option config: file a.conf, line 3 has a broken quotation\n"},
    {KEY, NULL, "jwt-issuer = 'abc\n", "option config: file a.conf, line 1 has a broken quotation\n"},
};

static void faults_of_form (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (form_faults); i++)
        assert_faults (form_faults[i].args, form_faults[i].env, form_faults[i].file, form_faults[i].fault);
}

static const struct {
    const char *args, *fault;
} rule_faults[] = {
    {"", "no token keys: set one of jwt-secret-file, jwt-public-key-file, jwks-file, jwks-url or jwt-secret\n"},
    {"--environment test",
     "no token keys: set one of jwt-secret-file, jwt-public-key-file, jwks-file, jwks-url or jwt-secret\n"},
    {KEY "--jwt-secret-file key", "option jwt-secret-file: \"key\" (flag --jwt-secret-file) does not go "
                                  "together with jwt-secret; set one of "
                                  "them\n"},
    {"--jwt-secret 0123456789abcdef0123456789abcde",
     "option jwt-secret: *** (flag --jwt-secret) is shorter than the 32 bytes that production wants\n"},
    {KEY "--ws-paths /ws,api",
     "option ws-paths: \"/ws,api\" (flag --ws-paths) is not a comma list of paths that begin with /\n"},
    {KEY "--ws-paths /ws,",
     "option ws-paths: \"/ws,\" (flag --ws-paths) is not a comma list of paths that begin with /\n"},
    {KEY "--runtime-commands >inproc://x", "option runtime-commands: \">inproc://x\" (flag "
                                           "--runtime-commands) holds \">inproc://x\", which is not "
                                           "[> or @]tcp://HOST:PORT or [> or @]ipc://PATH\n"},
    {KEY "--runtime-events ipc:///a,~>tcp://10.0.0.7:5556",
     "option runtime-events: \"ipc:///a, >tcp://10.0.0.7:5556\" (flag --runtime-events) holds "
     "\">tcp://10.0.0.7:5556\", which is not loopback and needs curve-secret-file and "
     "curve-runtime-file\n"},
    {KEY "--curve-secret-file key",
     "option curve-secret-file: \"key\" (flag --curve-secret-file) is given without curve-runtime-file; CURVE needs "
     "both\n"},
    {KEY "--curve-runtime-file key --runtime-events @tcp://*:1",
     "option curve-runtime-file: \"key\" (flag --curve-runtime-file) is given without curve-secret-file; CURVE needs "
     "both\n"},
    {"--jwks-file key --jwt-secret-previous-file key",
     "option jwt-secret-previous-file: \"key\" (flag --jwt-secret-previous-file) is given without jwt-secret-file or "
     "jwt-secret\n"},
    {TEST_KEY "--e2e-bypass-key 0123456789abcde",
     "option e2e-bypass-key: *** (flag --e2e-bypass-key) is shorter than 16 bytes\n"},
    {TEST_KEY "--e2e-bypass-key 0123456789abcdef~",
     "option e2e-bypass-key: *** (flag --e2e-bypass-key) holds other than visible ASCII characters, or a comma\n"},
    {TEST_KEY "--e2e-bypass-key 0123456789abcdef\n",
     "option e2e-bypass-key: *** (flag --e2e-bypass-key) holds other than visible ASCII characters, or a comma\n"},
    {TEST_KEY "--e2e-bypass-key 0123456789abcdef,",
     "option e2e-bypass-key: *** (flag --e2e-bypass-key) holds other than visible ASCII characters, or a comma\n"},
    {TEST_KEY "--e2e-bypass-key 0123456789abcdef\xff",
     "option e2e-bypass-key: *** (flag --e2e-bypass-key) holds other than visible ASCII characters, or a comma\n"},
};

static void rules_across_options (void **state)
{
    (void) state;
    write_file ("key", SECRET32, 32);
    for (size_t i = 0; i < COUNT_OF (rule_faults); i++)
        assert_faults (rule_faults[i].args, NULL, NULL, rule_faults[i].fault);
}

static void keys_that_are_enough (void **state)
{
    static const char *const rows[] = {"--jwt-secret short --environment test", "--jwt-secret-file key",
                                       "--jwt-public-key-file key", "--jwks-file key", KEY "--jwks-file key"};
    (void) state;
    write_file ("key", SECRET32, 32);
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct config *config = load_good (rows[i], NULL, NULL);
        config_destroy (&config);
    }
}

static void addresses (void **state)
{
    static const struct {
        const char *address;
        bool good;
    } rows[] = {
        {"0.0.0.0:8080", true},
        {"127.0.0.1:0", true},
        {"localhost:65535", true},
        {"my-host.example.com:1", true},
        {"[::]:8080", true},
        {"[::1]:80", true},
        {"[fe80::1%eth0]:80", true},
        {"8080", false},
        {":8080", false},
        {"a:", false},
        {"a:65536", false},
        {"a:-1", false},
        {"a:1x", false},
        {"a:000080", false},
        {"::1:80", false},
        {"[::1]", false},
        {"[::1]80", false},
        {"[zz]:80", false},
        {"[]:80", false},
        {"a~b:80", false},
        {"http://a:80", false},
        {"a:80/", false},
        {"[::1:80", false},
    };
    char args[256], fault[256];
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        snprintf (args, sizeof args, KEY "--admin-listen %s", rows[i].address);
        snprintf (fault, sizeof fault,
                  "option admin-listen: \"%s\" (flag --admin-listen) is not HOST:PORT or [IPV6]:PORT with a "
                  "port from 0 "
                  "to 65535\n",
                  strcmp (rows[i].address, "a~b:80") ? rows[i].address : "a b:80");
        struct config *config = rows[i].good ? load_good (args, NULL, NULL) : NULL;
        if (!rows[i].good)
            assert_faults (args, NULL, NULL, fault);
        config_destroy (&config);
    }
}

enum {
    LOCAL,
    REMOTE,
    BAD
};

static const struct {
    const char *endpoint;
    int kind;
} endpoint_rows[] = {
    {">tcp://127.0.0.1:5555", LOCAL},
    {"@tcp://127.0.0.1:*", LOCAL},
    {"@tcp://127.0.0.1:0", LOCAL},
    {"tcp://127.8.9.10:5555", LOCAL},
    {">tcp://localhost:5555", LOCAL},
    {">tcp://LOCALHOST:5555", LOCAL},
    {">tcp://[::1]:5555", LOCAL},
    {">ipc:///run/agent.sock", LOCAL},
    {"ipc://@abstract", LOCAL},
    {"@ipc://relative,~>tcp://127.0.0.1:1", LOCAL},
    {">tcp://10.1.2.3:5555", REMOTE},
    {">tcp://runtime.default.svc:5555", REMOTE},
    {">tcp://127.evil.example:5555", REMOTE},
    {">tcp://127.1:5555", REMOTE},
    {"@tcp://*:5555", REMOTE},
    {"@tcp://0.0.0.0:5555", REMOTE},
    {"@tcp://[::]:5555", REMOTE},
    {"@tcp://eth0:5555", REMOTE},
    {">tcp://127.0.0.1:1,>tcp://10.0.0.1:1", REMOTE},
    {">tcp://127.0.0.1", BAD},
    {">tcp://127.0.0.1:0", BAD},
    {">tcp://127.0.0.1:*", BAD},
    {">tcp://*:5555", BAD},
    {">tcp://:5555", BAD},
    {">tcp://a:65536", BAD},
    {">tcp://::1:5555", BAD},
    {">ipc://", BAD},
    {"inproc://x", BAD},
    {"udp://127.0.0.1:5", BAD},
    {"127.0.0.1:5555", BAD},
    {"+tcp://127.0.0.1:5555", BAD},
    {">>tcp://127.0.0.1:5555", BAD},
    {">tcp://127.0.0.1:1,", BAD},
    {"~", BAD},
};

static void endpoints (void **state)
{
    char args[512];
    (void) state;
    write_file ("key", SECRET32, 32);
    for (size_t i = 0; i < COUNT_OF (endpoint_rows); i++) {
        for (int curve = 0; curve < 2; curve++) {
            snprintf (args, sizeof args, KEY "%s--runtime-commands %s",
                      curve ? "--curve-secret-file key --curve-runtime-file key " : "", endpoint_rows[i].endpoint);
            struct config *config = load (args, NULL, NULL);
            if ((config != NULL) != (endpoint_rows[i].kind == LOCAL || (endpoint_rows[i].kind == REMOTE && curve)))
                fail_msg ("%s: %.*s", args, (int) error.n, (const char *) error.p);
            config_destroy (&config);
        }
    }
}

static void secrets_are_never_shown (void **state)
{
    static const struct {
        const char *args, *env, *file;
    } rows[] = {
        {"--jwt-secret geheim", NULL, NULL},   {NULL, "AGENTBRIDGE_JWT_SECRET=geheim", NULL},
        {NULL, NULL, "jwt-secret = geheim\n"}, {NULL, NULL, "jwt-secret = \"geheim\"geheim\n"},
        {"--jwt-secrt geheim", NULL, NULL},    {"--jwt-secrt=geheim", NULL, NULL},
        {"--jwt-secret a geheim", NULL, NULL}, {NULL, "AGENTBRIDGE_JWT_SECRT=geheim", NULL},
        {NULL, NULL, "jwt-secrt = geheim\n"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        assert_null (load (rows[i].args, rows[i].env, rows[i].file));
        assert_null (memmem (error.p, error.n, "geheim", 6));
    }
}

static void all_faults_are_told_at_once (void **state)
{
    (void) state;
    assert_faults (
        "--listen nowhere --nonsens=1 --max-connections x", "AGENTBRIDGE_LOG_LEVEL=x", "log-format = x\n",
        "option nonsens (flag --nonsens) is unknown; --help lists the options\n"
        "option max-connections: \"x\" (flag --max-connections) is not a number from 1 to 1000000\n"
        "option log-level: \"x\" (variable AGENTBRIDGE_LOG_LEVEL) is not one of error, warn, info, debug\n"
        "option log-format: \"x\" (file a.conf) is not one of json, text\n"
        "option listen: \"nowhere\" (flag --listen) is not HOST:PORT or [IPV6]:PORT with a port from 0 to "
        "65535\n"
        "no token keys: set one of jwt-secret-file, jwt-public-key-file, jwks-file, jwks-url or jwt-secret\n");
}

static void files_that_zconfig_cannot_take (void **state)
{
    char text[1200] = "jwt-issuer = ";
    (void) state;
    memset (text + 13, 'x', 1024 - 13);
    struct config *config = load_good (KEY, NULL, text);
    assert_int_equal (strlen (config->jwt_issuer), 1024 - 13);
    config_destroy (&config);
    strcat (text, "x\n");
    assert_faults (KEY, NULL, text, "option config: file a.conf, line 1 is longer than 1024 bytes\n");
    write_file ("a.conf", "log-level = debug\n\0listen = x\n", 30);
    assert_faults (KEY "--config a.conf", NULL, NULL, "option config: file a.conf is not text\n");
    char *big = malloc (2 * 1024 * 1024);
    memset (big, '\n', 2 * 1024 * 1024);
    write_file ("a.conf", big, 2 * 1024 * 1024);
    free (big);
    assert_faults (KEY "--config a.conf", NULL, NULL, "option config: file a.conf is larger than 1048576 bytes\n");
}

static void files_may_be_sparse (void **state)
{
    static const char *const rows[] = {"", "\n", "# only this", "  \n\t\n# x\n\n", "log-level=info # why\r\n"};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct config *config = load_good (KEY, NULL, rows[i]);
        assert_string_equal (config->log_level, "info");
        config_destroy (&config);
    }
}

static char *printed (const struct config *config)
{
    struct buf out;
    buf_init (&out, 0);
    config_print (config, &out);
    return buf_steal_str (&out);
}

static void print_can_be_read_back (void **state)
{
    (void) state;
    struct config *config = load_good ("--jwt-secret " SECRET32 " --jwt-issuer say~\"hi\"~#1 --jwt-audience it's "
                                       "--allow-query-token yes --max-connections 7 --bridge-id b",
                                       NULL, NULL);
    char *text = printed (config);
    assert_non_null (strstr (text, "listen = \"0.0.0.0:8080\"\nadmin-listen = \"0.0.0.0:9090\"\n"));
    assert_non_null (strstr (text, "\njwt-secret = \"***\"\njwt-secret-file = \"\"\n"));
    assert_non_null (strstr (text, "\njwt-issuer = 'say \"hi\" #1'\njwt-audience = \"it's\"\n"));
    assert_non_null (strstr (text, "\nallow-query-token = \"true\"\n"));
    assert_non_null (strstr (text, "\ndrain-key = \"\"\n"));
    assert_null (strstr (text, SECRET32));
    config_destroy (&config);
    config = load_good (KEY, NULL, text);
    char *again = printed (config);
    assert_string_equal (again, text);
    config_destroy (&config);
    free (again);
    free (text);
}

static void print_says_what_zpl_cannot_hold (void **state)
{
    (void) state;
    struct config *config = load_good (KEY "--jwt-issuer \"'", NULL, NULL);
    char *text = printed (config);
    assert_non_null (
        strstr (text, "\n# jwt-issuer cannot be written in ZPL, as it holds both kinds of quotation marks\n"));
    free (text);
    config_destroy (&config);
}

/* "  --NAME N" of an option whose name leaves no room beside it. */
static bool is_name_alone (const char *line)
{
    const char *blank = strncmp (line, "  --", 4) == 0 ? strchr (line + 4, ' ') : NULL;
    return blank && strlen (line) > 32 && !strchr (blank + 1, ' ');
}

static void help_is_aligned_within_100_columns (void **state)
{
    struct buf out;
    (void) state;
    buf_init (&out, 0);
    config_help (&out);
    char *text = buf_steal_str (&out);
    assert_non_null (
        strstr (text, "  --config FILE                   File with options, one NAME = \"VALUE\" a line (ZPL)\n"));
    assert_non_null (strstr (text,
                             "\n  --log-level WORD                Lines less severe than this are not written (error, "
                             "warn, info,\n                                  debug; default: info)\n"));
    assert_non_null (strstr (text,
                             "\n  --max-connections N             WebSocket connections of the whole bridge (1 to "
                             "1000000; default:\n                                  10000)\n"));
    assert_non_null (
        strstr (text, "\n  --jwt-require-exp BOOL          Refuse tokens without `exp` (default: true)\n"));
    assert_non_null (strstr (text, "\n  --jwt-issuer TEXT               Required `iss` of the tokens\n"));
    for (char *line = strtok (text, "\n"); line; line = strtok (NULL, "\n")) {
        assert_true (strlen (line) <= 100);
        assert_true (is_name_alone (line) || (line[32] == ' ' && line[33] == ' ' && line[34] != ' '));
    }
    free (text);
}

static void reference_is_a_table (void **state)
{
    struct buf out;
    (void) state;
    buf_init (&out, 0);
    config_reference (&out);
    char *text = buf_steal_str (&out);
    assert_non_null (
        strstr (text, "| Option | Variable | Default | Allowed | Reload | Meaning |\n|---|---|---|---|---|---|\n"));
    assert_non_null (strstr (text,
                             "\n| `log-level` | `AGENTBRIDGE_LOG_LEVEL` | `info` | one of error, warn, info, debug | "
                             "yes | Lines less severe than this are not written |\n"));
    assert_non_null (
        strstr (text, "\n| `jwt-secret` | `AGENTBRIDGE_JWT_SECRET` | none | a text of 0 to 4096 bytes | yes | "));
    assert_non_null (strstr (text, "| one of agent\\_chat, agent\\_chat.msgpack, raw |"));
    for (char *line = strtok (text, "\n"); line; line = strtok (NULL, "\n")) {
        unsigned bars = 0;
        for (char *c = line; *c; c++)
            bars += *c == '|' && (c == line || c[-1] != '\\');
        assert_int_equal (bars, 7);
    }
    free (text);
}

static void reload_moves_what_may_change (void **state)
{
    struct buf changed;
    (void) state;
    buf_init (&changed, 0);
    struct config *config = load_good (KEY "--bridge-id b", NULL, NULL);
    struct config *next = load_good (KEY "--bridge-id c --listen a:1 --max-event-bytes 99 --log-level debug "
                                         "--max-connections 5 --allow-query-token on",
                                     NULL, NULL);
    config_reload (config, next, &changed);
    config_destroy (&next);
    assert_true (slice_is (buf_slice (&changed), "listen,bridge-id,max-event-bytes"));
    assert_string_equal (config->listen, "0.0.0.0:8080");
    assert_string_equal (config->log_level, "debug");
    assert_int_equal (config->max_connections, 5);
    assert_int_equal (config->max_event_bytes, 1048576);
    assert_true (config->allow_query_token);
    next = load_good (KEY, NULL, NULL);
    config_reload (config, next, NULL);
    assert_string_equal (config->log_level, "info");
    config_destroy (&next);
    config_destroy (&config);
    buf_fini (&changed);
}

/* By whatever way: the environment of a running bridge stays, and so does the key of its bypass. */
static void reload_keeps_the_environment (void **state)
{
    struct buf text;
    (void) state;
    buf_init (&text, 0);
    struct config *production = load_good (KEY, NULL, NULL), *test = load_good (TEST_KEY, NULL, NULL);
    struct config *bypass = load_good (TEST_KEY "--e2e-bypass-key 0123456789abcdef", NULL, NULL);
    assert_false (config_may_reload (production, bypass, &text));
    assert_true (
        slice_is (buf_slice (&text), "option environment: \"test\" wants a restart; \"production\" is in force\n"));
    assert_false (config_may_reload (bypass, production, &text));
    buf_reset (&text);
    assert_true (config_may_reload (test, bypass, &text));
    assert_int_equal (text.n, 0);
    config_reload (test, bypass, &text);
    assert_true (slice_is (buf_slice (&text), "e2e-bypass-key"));
    assert_string_equal (test->e2e_bypass_key, "");
    config_destroy (&production);
    config_destroy (&test);
    config_destroy (&bypass);
    buf_fini (&text);
}

static void hidden_flags (void **state)
{
    char text[] = "--jwt-secret abc --drain-key=de --listen a:1 stray --e2e-bypass-key --jwt-secret= --jwt-secret "
                  "--jwt-issuer x --e2e-bypass-key f";
    static const char *const shown[] = {"--jwt-secret",
                                        "***",
                                        "--drain-key=**",
                                        "--listen",
                                        "a:1",
                                        "stray",
                                        "--e2e-bypass-key",
                                        "--jwt-secret=",
                                        "--jwt-secret",
                                        "--jwt-issuer",
                                        "x",
                                        "--e2e-bypass-key",
                                        "*"};
    char *argv[32];
    (void) state;
    int argc = words (text, argv, 32);
    assert_int_equal (config_hide_secrets (argc, argv), 3);
    assert_int_equal (argc, COUNT_OF (shown));
    for (int i = 0; i < argc; i++)
        assert_string_equal (argv[i], shown[i]);
    assert_int_equal (config_hide_secrets (0, argv), 0);
}

static void lists (void **state)
{
    static const struct {
        const char *list, *word;
        bool has;
    } rows[] = {
        {"a,b,c", "a", true}, {"a,b,c", "c", true},  {" a , b ", "b", true}, {"a,b", "ab", false},
        {"ab", "a", false},   {"a,b", "a,b", false}, {"", "", false},        {"a,,b", "", false},
        {"a b", "a b", true}, {NULL, "a", false},    {"a,b", "", false},     {"A", "a", false},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++)
        assert_int_equal (config_list_has (rows[i].list, slice_str (rows[i].word)), rows[i].has);
}

#define TEST(name) cmocka_unit_test (name)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (defaults_are_those_of_the_table),
        TEST (host_name_is_the_default_bridge_id),
        TEST (stronger_sources_win),
        TEST (sources_of_the_bypass_key),
        TEST (no_bypass_in_production),
        TEST (the_file_is_named_by_flag_or_variable),
        TEST (booleans_have_eight_words),
        TEST (variables_of_kubernetes_are_ignored),
        TEST (faults_name_option_source_value_and_what_is_allowed),
        TEST (faults_of_form),
        TEST (rules_across_options),
        TEST (keys_that_are_enough),
        TEST (addresses),
        TEST (endpoints),
        TEST (secrets_are_never_shown),
        TEST (all_faults_are_told_at_once),
        TEST (files_that_zconfig_cannot_take),
        TEST (files_may_be_sparse),
        TEST (print_can_be_read_back),
        TEST (print_says_what_zpl_cannot_hold),
        TEST (help_is_aligned_within_100_columns),
        TEST (reference_is_a_table),
        TEST (reload_moves_what_may_change),
        TEST (reload_keeps_the_environment),
        TEST (hidden_flags),
        TEST (lists),
    };
    return cmocka_run_group_tests (tests, set_up, tear_down);
}
