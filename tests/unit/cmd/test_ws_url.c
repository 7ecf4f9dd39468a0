/* Where a client connects to and comes back to, against proto/vectors/handshake.json. */
#include "cmd/ws_url.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

static void test_urls (void **state)
{
    static const struct {
        const char *url, *host, *port, *authority, *slash, *path;
        bool tls;
    } cases[] = {
        {"ws://a", "a", "80", "a", "/", "", false},
        {"WSS://a.example/ws?x=1", "a.example", "443", "a.example", "", "/ws?x=1", true},
        {"ws://127.0.0.1:8080?x", "127.0.0.1", "8080", "127.0.0.1:8080", "/", "?x", false},
        {"wss://[::1]:65535/", "::1", "65535", "[::1]:65535", "", "/", true},
        {"ws://[::1]", "::1", "80", "[::1]", "/", "", false},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct ws_url url;
        assert_null (ws_url_parse (&url, cases[i].url));
        assert_string_equal (url.host, cases[i].host);
        assert_string_equal (url.port, cases[i].port);
        assert_string_equal (url.authority, cases[i].authority);
        assert_string_equal (url.slash, cases[i].slash);
        assert_string_equal (url.path, cases[i].path);
        assert_int_equal (url.tls, cases[i].tls);
    }
}

static void test_bad_urls (void **state)
{
    static const char *const cases[] = {
        "",
        "a",
        "http://a/",
        "ws:/a",
        "ws://",
        "ws:///x",
        "ws://:80/",
        "ws://a:/",
        "ws://a:0",
        "ws://a:65536",
        "ws://a:1x",
        "ws://u@a/",
        "ws://u:p@a/",
        "ws://[::1",
        "ws://[::1]x",
        "ws://[]:1",
        "ws://a b",
        "ws://a/\r\nX: y",
        "ws://a/#f",
        "ws://\xc3\xa5/",
        "ws://a:999999999999",
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct ws_url url;
        if (!ws_url_parse (&url, cases[i]))
            fail_msg ("taken: %s", cases[i]);
    }
}

static void test_long_host (void **state)
{
    struct ws_url url;
    char text[300] = "ws://";
    (void) state;
    memset (text + 5, 'a', 256);
    assert_non_null (ws_url_parse (&url, text));
    text[5 + 255] = '\0';
    assert_null (ws_url_parse (&url, text));
    assert_int_equal (strlen (url.host), 255);
}

/* --- the cursor ---------------------------------------------------------------------------------------------- */

static void test_vectors (void **state)
{
    json_t *root = json_load_file (VECTORS "/handshake.json", 0, NULL), *item;
    size_t i;
    (void) state;
    assert_true (json_array_size (json_object_get (root, "cursors")) >= 4);
    json_array_foreach (json_object_get (root, "cursors"), i, item)
    {
        struct cursor cursor = {.epoch = NULL};
        struct buf out;
        const json_t *given = json_object_get (item, "cursor");
        if (json_is_object (given))
            assert_true (cursor_set (&cursor, json_string_value (json_object_get (given, "epoch")),
                                     (uint64_t) json_integer_value (json_object_get (given, "offset"))));
        buf_init (&out, 0);
        cursor_put_path (&cursor, json_string_value (json_object_get (item, "url")), &out);
        assert_true (slice_is (buf_slice (&out), json_string_value (json_object_get (item, "opened"))));
        buf_fini (&out);
        cursor_fini (&cursor);
    }
    json_decref (root);
}

static char folder[64];

static const char *in_folder (const char *name)
{
    static char path[128];
    snprintf (path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file (const char *text)
{
    FILE *out = fopen (in_folder ("cursor"), "w");
    assert_true (out && fputs (text, out) >= 0 && fclose (out) == 0);
}

static void test_files (void **state)
{
    struct cursor cursor = {.epoch = NULL}, again = {.epoch = NULL};
    (void) state;
    assert_null (cursor_load (&cursor, in_folder ("cursor"))); /* not there yet */
    assert_null (cursor.epoch);
    assert_true (cursor_set (&cursor, "a\"b", 9007199254740993));
    assert_true (cursor_save (&cursor, in_folder ("cursor")));
    assert_null (cursor_load (&again, in_folder ("cursor")));
    assert_string_equal (again.epoch, "a\"b");
    assert_int_equal (again.offset, 9007199254740993);
    assert_int_equal (access (in_folder ("cursor.new"), F_OK), -1);
    assert_false (cursor_save (&cursor, in_folder ("no/such")));
    cursor_fini (&cursor);
    cursor_fini (&again);
}

static void test_bad_files (void **state)
{
    static const char *const cases[] = {"",
                                        "x",
                                        "[]",
                                        "{\"epoch\":\"a\"}",
                                        "{\"offset\":1}",
                                        "{\"epoch\":1,\"offset\":1}",
                                        "{\"epoch\":\"a\",\"offset\":-1}",
                                        "{\"epoch\":\"a\",\"offset\":1.5}"};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct cursor cursor = {.epoch = NULL};
        write_file (cases[i]);
        if (!cursor_load (&cursor, in_folder ("cursor")))
            fail_msg ("taken: %s", cases[i]);
        assert_null (cursor.epoch);
    }
}

static int make_folder (void **state)
{
    (void) state;
    strcpy (folder, "/tmp/test_ws_url.XXXXXX");
    return mkdtemp (folder) ? 0 : -1;
}

static int remove_folder (void **state)
{
    (void) state;
    unlink (in_folder ("cursor"));
    return rmdir (folder);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_urls),
        cmocka_unit_test (test_bad_urls),
        cmocka_unit_test (test_long_host),
        cmocka_unit_test (test_vectors),
        cmocka_unit_test_setup_teardown (test_files, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown (test_bad_files, make_folder, remove_folder),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
