/* What a builder is told of the host's apt sources: both formats, what is left out, and text that is none. */
#include "check.h"

#include "../../runner/ctl/project/project.h"
#include "fd.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 190
#define RELEASE        "NAME=x\nVERSION_CODENAME=bookworm\n"

static char top[64];

static int setup(void **state)
{
    snprintf(top, sizeof(top), "/tmp/fnd-test-apt-XXXXXX");
    return !mkdtemp(top);
}

static int teardown(void **state)
{
    return fd_remove_tree(AT_FDCWD, top) < 0;
}

static void put(const char *name, const void *text, size_t len)
{
    cleanup_fd int fd = -1;
    char path[128];

    snprintf(path, sizeof(path), "%s/sources.list.d", top);
    assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
    snprintf(path, sizeof(path), "%s/%s", top, name);
    unlink(path); /* a file that is truncated is written to disk when it is closed (ext4) */
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, text, len), 0);
}

static void drop(const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", top, name);
    assert_int_equal(unlink(path), 0);
}

/* The lines, without their names, which must count from 1. */
static void lines(char *buf, size_t size)
{
    struct strbuf out cleanup_strbuf = {0};
    char release[128], name[32];
    struct diag d = {0};
    unsigned n = 0;
    size_t len = 0;

    snprintf(release, sizeof(release), "%s/os-release", top);
    assert_int_equal(apt_sources_in(top, release, &out, LINE_MAX_BYTES, &d), 0);
    buf[0] = '\0';
    for (const char *line = out.data ? out.data : ""; *line; line += strcspn(line, "\n") + 1) {
        size_t head = (size_t)snprintf(name, sizeof(name), "APT_SOURCE_%02u=", ++n), all = strcspn(line, "\n");

        assert_int_equal(line[all], '\n');
        assert_true(all <= LINE_MAX_BYTES && all > head && strncmp(line, name, head) == 0);
        len += (size_t)snprintf(buf + len, size - len, "%.*s\n", (int)(all - head), line + head);
        assert_true(len < size);
    }
}

#define KEY_LINE " mQINBFit2ioBEADhWpZ8\n"
#define KEY_LINES                                                                                                                                              \
    KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE   \
        KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE KEY_LINE
#define LONG48 "123456789012345678901234567890123456789012345678"

static const struct {
    const char *name, *text, *wanted;
} rows[] = {
    {"sources.list", "deb http://a.example/debian bookworm main contrib\n", "deb http://a.example/debian bookworm main contrib\n"},
    {"sources.list", "  deb\t[ arch=amd64 trusted=yes ] http://a.example/ bookworm-updates main # mine\r\n",
     "deb\t[ arch=amd64 trusted=yes ] http://a.example/ bookworm-updates main\n"},
    {"sources.list.d/a.list", "deb http://a.example/ bookworm-security main\ndeb http://a.example/ bookworm/updates main",
     "deb http://a.example/ bookworm-security main\ndeb http://a.example/ bookworm/updates main\n"},
    {"sources.list", "#deb http://a.example/ bookworm main\ndeb-src http://a.example/ bookworm main\ndebug http://a.example/ bookworm main\n", ""},
    {"sources.list",
     "deb http://a.example/ bookworms main\ndeb http://a.example/ bookworm-backports main\ndeb http://a.example/ trixie main\ndeb http://a.example/ ./\n", ""},
    {"sources.list", "deb http://a.example/" LONG48 LONG48 LONG48 LONG48 " bookworm main\ndeb http://b.example/ bookworm a ;b\n", ""},
    {"sources.list", "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a.example/ bookworm main\n",
     "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a.example/ bookworm main\n"},
    {"sources.list", "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.gpg] http://third.example/ bookworm stable\ndeb [Signed-By=/x.gpg trusted=no] http://third.example/ bookworm stable\n",
     ""},
    {"sources.list.d/a.save", "deb http://a.example/ bookworm main\n", ""},
    {"sources.list.d/a.sources",
     "Types: deb deb-src\nURIs: http://a.example/debian http://b.example/\nSuites: bookworm bookworm-updates other\nComponents: main contrib\n",
     "deb http://a.example/debian bookworm main contrib\ndeb http://a.example/debian bookworm-updates main contrib\ndeb http://b.example/ bookworm main "
     "contrib\ndeb http://b.example/ bookworm-updates main contrib\n"},
    {"sources.list.d/a.sources", "# mine\nEnabled: yes\ntypes: deb\nuris: http://a.example/\nsuites: bookworm\ncomponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
     "deb http://a.example/ bookworm main\n"},
    {"sources.list.d/a.sources", "Enabled: No\nTypes: deb\nURIs: http://a.example/\nSuites: bookworm\nComponents: main\n\n\nTypes: deb\nURIs: http://b.example/\nSuites: bookworm\nComponents: main\n",
     "deb http://b.example/ bookworm main\n"},
    {"sources.list.d/a.sources", "Enabled: false\nTypes: deb\nURIs: http://a.example/\nSuites: bookworm\nComponents: main\n", ""},
    {"sources.list.d/a.sources", "Types: deb-src\nURIs: http://a.example/\nSuites: bookworm\nComponents: main\n", ""},
    {"sources.list.d/a.sources", "Types: deb\nURIs: http://a.example/\nSuites: bookworm\n", ""},
    {"sources.list.d/a.sources", "Types: deb\nURIs: http://third.example/\nSuites: bookworm\nComponents: main\nSigned-By: /etc/apt/keyrings/third.asc\n", ""},
    {"sources.list.d/a.sources",
     "Types: deb\nURIs: http://third.example/\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n", ""},
    /* Values over several lines. */
    {"sources.list.d/a.sources",
     "Types: deb-src\n deb\nURIs:\n http://a.example/\n# another\n\thttp://b.example/  \r\nSuites: bookworm\n bookworm-updates\n other\nComponents:\n  main\n  "
     "contrib\nSigned-By:\n /usr/share/keyrings/debian-archive-keyring.gpg\n",
     "deb http://a.example/ bookworm main contrib\ndeb http://a.example/ bookworm-updates main contrib\ndeb http://b.example/ bookworm main contrib\ndeb "
     "http://b.example/ bookworm-updates main contrib\n"},
    {"sources.list.d/a.sources", "Types: deb\nURIs: http://a.example/\nSuites: bookworm\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n /etc/apt/keyrings/third.asc\n",
     ""},
    {"sources.list.d/a.sources",
     "Types: deb\nURIs: http://third.example/\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n " KEY_LINES
     " -----END PGP PUBLIC KEY BLOCK-----\n\n"
     "Types: deb\nURIs: http://b.example/\nSuites: bookworm\nComponents: main\nSigned-By:\n",
     "deb http://b.example/ bookworm main\n"},
    {"sources.list.d/a.sources", "Types: deb\nURIs: http://a.example/\nSuites:\n bookworm\nX-Note: of\n Components: none\nComponents: main\n",
     "deb http://a.example/ bookworm main\n"},
    {"sources.list.d/a.sources",
     "Types: deb\r\nURIs: http://a.example/\r\nSuites: other\r\n\r\nTypes: deb\r\nURIs: http://b.example/\r\nSuites: bookworm\r\nComponents: main\r\n",
     "deb http://b.example/ bookworm main\n"},
    {"sources.list.d/a.sources", "Enabled:\n no\nTypes: deb\nURIs: http://a.example/\nSuites: bookworm\nComponents: main\n", ""},
};

static void test_what_is_told(void **state)
{
    char said[4096];

    put("os-release", RELEASE, strlen(RELEASE));
    for (size_t i = 0; i < COUNT(rows); i++) {
        put(rows[i].name, rows[i].text, strlen(rows[i].text));
        lines(said, sizeof(said));
        if (strcmp(said, rows[i].wanted) != 0)
            fail_msg("%s says %s instead of %s", rows[i].text, said, rows[i].wanted);
        drop(rows[i].name);
    }
}

/* sources.list first, then the others by their names. */
static void test_order(void **state)
{
    char said[4096];

    put("os-release", RELEASE, strlen(RELEASE));
    put("sources.list.d/b.list", "deb http://c.example/ bookworm main\n", 36);
    put("sources.list.d/a.sources", "Types: deb\nURIs: http://b.example/\nSuites: bookworm\nComponents: main\n", 69);
    put("sources.list", "deb http://a.example/ bookworm main\n", 36);
    lines(said, sizeof(said));
    assert_string_equal(said, "deb http://a.example/ bookworm main\ndeb http://b.example/ bookworm main\ndeb http://c.example/ bookworm main\n");
    put("os-release", "NAME=x\n", 7);
    lines(said, sizeof(said));
    assert_string_equal(said, "");
    put("os-release", "VERSION_CODENAME=\"trixie\"\n", 26);
    put("sources.list", "deb http://a.example/ trixie main\n", 34);
    lines(said, sizeof(said));
    assert_string_equal(said, "deb http://a.example/ trixie main\n");
    drop("sources.list.d/b.list");
    drop("sources.list.d/a.sources");
    drop("sources.list");
}

static void test_more_than_have_a_name(void **state)
{
    struct strbuf text cleanup_strbuf = {0};
    char said[65536];
    unsigned n = 0;

    put("os-release", RELEASE, strlen(RELEASE));
    for (unsigned i = 0; i < 120; i++)
        strbuf_printf(&text, "deb http://a.example/%u bookworm main\n", i);
    put("sources.list", text.data, text.len);
    lines(said, sizeof(said));
    for (const char *p = said; *p; p++)
        n += *p == '\n';
    assert_int_equal(n, 99);
    drop("sources.list");
}

/* Whatever it reads, what it says are lines of one form; lines() looks. */
static void test_prefixes_and_garbage(void **state)
{
    static char said[1 << 20];
    unsigned seed = 1;

    put("os-release", RELEASE, strlen(RELEASE));
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t all = strlen(rows[i].text), step = all > 600 ? 13 : 1; /* a key has nothing of interest inside */

        for (size_t len = 0; len <= all; len += step) {
            put(rows[i].name, rows[i].text, len);
            lines(said, sizeof(said));
        }
        drop(rows[i].name);
    }
    for (unsigned round = 0; round < 300; round++) {
        static const char letters[] = "deb [] bookworm\n\n: #Types: deb\nURIs: h\nSuites: bookworm\nComponents: m\r\t;=\0\x80\xff";
        char text[700];

        for (size_t i = 0; i < sizeof(text); i++)
            text[i] = letters[(size_t)rand_r(&seed) % sizeof(letters)];
        put(round % 2 ? "sources.list" : "sources.list.d/a.sources", text, sizeof(text));
        lines(said, sizeof(said));
    }
    drop("sources.list");
    drop("sources.list.d/a.sources");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_than_have_a_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prefixes_and_garbage, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
