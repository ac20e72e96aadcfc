/* A directory as a tar, read back by libarchive; and what the argument of run and deploy means. */
#include "check.h"

#include "../../runner/ctl/ctl.h"
#include "fd.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static char top[64], origin[4096];

static int setup(void **state)
{
    snprintf(top, sizeof(top), "/tmp/fnd-test-ctl-XXXXXX");
    return !getcwd(origin, sizeof(origin)) || !mkdtemp(top) || chdir(top) < 0;
}

static int teardown(void **state)
{
    return chdir(origin) < 0 || fd_remove_tree(AT_FDCWD, top) < 0;
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
    fd_close(fd);
}

/* All of a body, in pieces of an awkward size. Returns what the last read said. */
static ssize_t drain(struct body *b, struct strbuf *out)
{
    char buf[777];
    ssize_t n;

    while ((n = b->read(b, buf, sizeof(buf))) > 0)
        strbuf_add(out, buf, (size_t)n);
    return n;
}

static void pack(const char *path, struct strbuf *out)
{
    struct diag d = {0};
    struct body b;

    if (ctl_pack_directory(&b, path, &d) < 0)
        fail_msg("%s", d.text);
    assert_int_equal(drain(&b, out), 0);
    ctl_body_done(&b);
}

/* ---- a name that becomes something else between the look at it and its opening ---- */

static struct {
    const char *name, *target; /* target: of a symlink; NULL: a FIFO */
    unsigned look;             /* after which it changes; 0: none */
} change;

/* Instead of the C library's, for all of this program. */
int fstatat(int dir, const char *restrict name, struct stat *restrict st, int flags)
{
    int r = (int)syscall(SYS_newfstatat, dir, name, st, flags);

    if (change.look > 0 && strcmp(name, change.name) == 0 && --change.look == 0) {
        assert_int_equal(renameat(dir, name, AT_FDCWD, "before"), 0);
        assert_int_equal(change.target ? symlinkat(change.target, dir, name) : mkfifoat(dir, name, 0600), 0);
    }
    return r;
}

/* At the first walk it is refused before a byte was sent, at the second by the end of the stream; nothing is followed or waited for. */
static void test_changes_under_it(void **state)
{
    static const struct {
        const char *name, *target;
    } rows[] = {{"file", NULL}, {"file", "/etc/passwd"}, {"file", "other"}, {"dir", "/etc"}, {"dir", "sub"}, {"dir", NULL}};

    alarm(30); /* who waits for a FIFO's other end waits for ever */
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (unsigned look = 1; look <= 2; look++) {
            struct strbuf tar cleanup_strbuf = {0};
            struct diag d = {0};
            struct body b;
            int r;

            assert_int_equal(mkdir("race", 0755) | mkdir("race/dir", 0755) | mkdir("race/sub", 0755), 0);
            put("race/dir/in", "inside");
            put("race/file", "good");
            put("race/other", "other");
            change.name = rows[i].name;
            change.target = rows[i].target;
            change.look = look;
            r = ctl_pack_directory(&b, "race", &d);
            assert_int_equal(r < 0, look == 1);
            if (r == 0) {
                assert_true(drain(&b, &tar) < 0);
                d = b.diag;
                ctl_body_done(&b);
            }
            assert_int_equal(change.look, 0);
            assert_non_null(strstr(d.text, rows[i].name[0] == 'f' ? "race/file: " : "race/dir: "));
            if (rows[i].name[0] == 'f' && !rows[i].target)
                assert_non_null(strstr(d.text, "is a FIFO"));
            assert_int_equal(fd_remove_tree(AT_FDCWD, "race"), 0);
            assert_int_equal(fd_remove_tree(AT_FDCWD, "before"), 0);
        }
    }
    alarm(0);
}

/* "TYPE MODE UID:GID NAME[ -> TARGET][=SIZE]\n" for each entry. */
static void list(const struct strbuf *tar, struct strbuf *out)
{
    struct archive *a = archive_read_new();
    struct archive_entry *e;
    int r;

    archive_read_support_format_tar(a);
    assert_int_equal(archive_read_open_memory(a, tar->data, tar->len), ARCHIVE_OK);
    while ((r = archive_read_next_header(a, &e)) == ARCHIVE_OK) {
        const char *target = archive_entry_symlink(e), *link = archive_entry_hardlink(e);

        assert_int_equal(archive_entry_mtime(e), 0);
        strbuf_printf(out, "%c %o %d:%d %s",
                      "-dl"[archive_entry_filetype(e) == AE_IFDIR   ? 1
                            : archive_entry_filetype(e) == AE_IFLNK ? 2
                                                                    : 0],
                      (unsigned)archive_entry_perm(e), (int)archive_entry_uid(e), (int)archive_entry_gid(e), archive_entry_pathname(e));
        if (target || link)
            strbuf_printf(out, " %s %s", target ? "->" : "==", target ? target : link);
        else if (archive_entry_filetype(e) == AE_IFREG)
            strbuf_printf(out, " %d", (int)archive_entry_size(e));
        strbuf_puts(out, "\n");
    }
    assert_int_equal(r, ARCHIVE_EOF);
    archive_read_free(a);
}

static void make_tree(const char *name)
{
    assert_int_equal(mkdir(name, 0755), 0);
    assert_int_equal(chdir(name), 0);
    assert_int_equal(mkdir("b", 0750) | mkdir("b/empty", 0700), 0);
    put("z", "last");
    put("a", "");
    put("b/x", "1234567");
    put("b/\xc3\xa4 b", "umlaut");
    assert_int_equal(chmod("z", 04755) | link("b/x", "b/y") | symlink("/etc/passwd", "out") | symlink("../..", "b/up"), 0);
    assert_int_equal(chdir(".."), 0);
}

/* Sorted, times zero, no setuid bit; links are entries, never followed. */
static void test_entries(void **state)
{
    struct strbuf tar cleanup_strbuf = {0}, text cleanup_strbuf = {0}, again cleanup_strbuf = {0};

    make_tree("tree");
    pack("tree", &tar);
    list(&tar, &text);
    assert_string_equal(text.data, "- 644 0:0 a 0\n"
                                   "d 750 0:0 b/\n"
                                   "d 700 0:0 b/empty/\n"
                                   "l 777 0:0 b/up -> ../..\n"
                                   "- 644 0:0 b/x 7\n"
                                   "- 644 0:0 b/y == b/x\n"
                                   "- 644 0:0 b/\xc3\xa4 b 6\n"
                                   "l 777 0:0 out -> /etc/passwd\n"
                                   "- 755 0:0 z 4\n");
    make_tree("other");
    pack("./other/", &again);
    assert_int_equal(tar.len, again.len);
    assert_memory_equal(tar.data, again.data, tar.len);
}

/* Names of any length and any bytes, and nothing beside them that a tar would warn of. */
static void test_names(void **state)
{
    struct strbuf tar cleanup_strbuf = {0}, text cleanup_strbuf = {0}, expected cleanup_strbuf = {0};
    char name[256], target[1024];

    memset(name, 'n', 255);
    memset(target, 't', 1023);
    name[255] = target[1023] = '\0';
    name[100] = target[101] = '\xff';
    assert_int_equal(mkdir("names", 0755) | mkdir("names/d", 0755) | chdir("names/d"), 0);
    put(name, "123");
    assert_int_equal(symlink(target, "\xfe") | link(name, "zz") | chdir("../.."), 0);
    pack("names", &tar);
    list(&tar, &text);
    strbuf_printf(&expected, "d 755 0:0 d/\n- 644 0:0 d/%s 3\n- 644 0:0 d/zz == d/%s\nl 777 0:0 d/\xfe -> %s\n", name, name, target);
    assert_string_equal(text.data, expected.data);
    assert_null(memmem(tar.data, tar.len, "hdrcharset", 10));
}

/* A file that is larger than every buffer, and is mostly a hole. */
static void test_large(void **state)
{
    struct diag d = {0};
    struct body b;
    char buf[65536];
    uint64_t bytes = 0;
    ssize_t n;

    assert_int_equal(mkdir("large", 0755), 0);
    put("large/file", "x");
    assert_int_equal(truncate("large/file", 300 << 20), 0);
    assert_int_equal(ctl_pack_directory(&b, "large", &d), 0);
    while ((n = b.read(&b, buf, sizeof(buf))) > 0)
        bytes += (uint64_t)n;
    assert_int_equal(n, 0);
    assert_true(bytes >= (300 << 20) + 512 && bytes < (301 << 20));
    ctl_body_done(&b);
}

static void refuse(const char *dir, int err, const char *says)
{
    struct diag d = {0};
    struct body b;

    assert_int_equal(ctl_pack_directory(&b, dir, &d), -err);
    if (!strstr(d.text, says))
        fail_msg("\"%s\" does not say \"%s\"", d.text, says);
    ctl_body_done(&b);
}

/* Before anything is sent. */
static void test_refusals(void **state)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = "sock/deep/s"};
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(mkdir("fifo", 0755) | mkfifo("fifo/p", 0644), 0);
    refuse("fifo", EINVAL, "fifo/p: is a FIFO");
    assert_int_equal(mkdir("sock", 0755) | mkdir("sock/deep", 0755), 0);
    assert_int_equal(bind(s, (struct sockaddr *)&sa, sizeof(sa)), 0);
    fd_close(s);
    refuse("sock", EINVAL, "sock/deep/s: is a socket");
    refuse("nowhere", ENOENT, "nowhere");
    put("file", "");
    refuse("file", ENOTDIR, "file");
    if (geteuid() != 0) {
        assert_int_equal(mkdir("shut", 0755), 0);
        put("shut/f", "secret");
        assert_int_equal(chmod("shut/f", 0), 0);
        refuse("shut", EACCES, "shut/f");
    }
}

static void test_too_deep(void **state)
{
    assert_int_equal(mkdir("deep", 0755) | chdir("deep"), 0);
    for (unsigned i = 0; i < 130; i++)
        assert_int_equal(mkdir("d", 0755) | chdir("d"), 0);
    assert_int_equal(chdir(top), 0);
    refuse("deep", ELOOP, "nested");
}

/* What changes between the two walks is judged again. */
static void test_changes_while_it_is_read(void **state)
{
    struct strbuf out cleanup_strbuf = {0};
    struct diag d = {0};
    struct body b;

    assert_int_equal(mkdir("moving", 0755), 0);
    put("moving/a", "first");
    put("moving/b", "second");
    assert_int_equal(ctl_pack_directory(&b, "moving", &d), 0);
    assert_int_equal(unlink("moving/b") | symlink("/etc/shadow", "moving/b"), 0);
    assert_int_equal(drain(&b, &out), 0); /* a symlink by now, and sent as one */
    assert_null(memmem(out.data, out.len, "root:", 5));
    assert_non_null(memmem(out.data, out.len, "/etc/shadow", 11));
    ctl_body_done(&b);

    put("moving/c", "third");
    assert_int_equal(ctl_pack_directory(&b, "moving", &d), 0);
    assert_int_equal(unlink("moving/c") | mkfifo("moving/c", 0644), 0);
    assert_true(drain(&b, &out) < 0); /* and never waited for */
    assert_non_null(strstr(b.diag.text, "moving/c"));
    ctl_body_done(&b);
}

/* Between the pieces of one file: what its head said is sent, or the body fails. */
static void test_a_file_that_changes(void **state)
{
    struct strbuf out cleanup_strbuf = {0}, entries cleanup_strbuf = {0};
    char *text = malloc(200001), buf[777];
    struct diag d = {0};
    struct body b;
    ssize_t n;
    int fd;

    assert_non_null(text);
    memset(text, 'x', 200000);
    text[200000] = '\0';
    assert_int_equal(mkdir("growing", 0755), 0);
    put("growing/f", text);
    assert_int_equal(ctl_pack_directory(&b, "growing", &d), 0);
    n = b.read(&b, buf, sizeof(buf));
    assert_true(n > 0);
    strbuf_add(&out, buf, (size_t)n);
    fd = open("growing/f", O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(fd_write_all(fd, text, 100000), 0);
    fd_close(fd);
    assert_int_equal(drain(&b, &out), 0);
    ctl_body_done(&b);
    list(&out, &entries);
    assert_true(entries.data && strstr(entries.data, " f 200000\n"));

    assert_int_equal(ctl_pack_directory(&b, "growing", &d), 0);
    assert_true(b.read(&b, buf, sizeof(buf)) > 0);
    assert_int_equal(truncate("growing/f", 70000), 0);
    assert_true(drain(&b, &out) < 0);
    assert_string_equal(b.diag.text, "growing/f: became shorter while it was read");
    ctl_body_done(&b);
    free(text);
}

static void find(const char *arg, enum source_kind kind, const char *path)
{
    struct source s = {0};
    struct diag d = {0};

    if (ctl_source_find_in(arg, "samples", "share", &s, &d) < 0)
        fail_msg("%s: %s", arg, d.text);
    assert_int_equal(s.kind, kind);
    assert_string_equal(s.path, path);
}

static void find_none(const char *arg, const char *says)
{
    struct source s;
    struct diag d = {0};

    assert_true(ctl_source_find_in(arg, "samples", "share", &s, &d) < 0);
    if (!strstr(d.text, says))
        fail_msg("%s: \"%s\" does not say \"%s\"", arg, d.text, says);
}

static void put_gz(const char *path)
{
    put(path, "\x1f\x8b\x08");
}

static void test_source(void **state)
{
    struct strbuf tar cleanup_strbuf = {0};
    int fd;

    assert_int_equal(mkdir("samples", 0755) | mkdir("share", 0755) | mkdir("fn", 0755) | mkdir("plain", 0755), 0);
    put_gz("samples/one.tar.gz");
    put_gz("share/one.tar.gz");
    put_gz("share/two.tar.gz");
    put_gz("archive");
    put("two", "not an archive");
    put("fn/function.ini", "");
    put("samples/fn.tar.gz", "\x1f\x8b");
    find("one", SOURCE_ARCHIVE, "samples/one.tar.gz");
    find("two", SOURCE_ARCHIVE, "share/two.tar.gz");
    find("fn", SOURCE_DIRECTORY, "fn"); /* before the sample of that name */
    find("archive", SOURCE_ARCHIVE, "archive");
    find("./plain", SOURCE_DIRECTORY, "./plain");
    find("plain/", SOURCE_DIRECTORY, "plain/");
    find(".", SOURCE_DIRECTORY, ".");
    find("./archive", SOURCE_ARCHIVE, "./archive");
    put("zipped", "PK\3\4");
    find("zipped", SOURCE_ARCHIVE, "zipped");
    assert_int_equal(mkdir("layout", 0755) | mkdir("stacked", 0755), 0);
    put("layout/oci-layout", "{}");
    find("layout", SOURCE_DIRECTORY, "layout");
    put("stacked/stack.yaml", "");
    find("stacked", SOURCE_DIRECTORY, "stacked");
    find_none("plain", "plain/function.ini");
    find_none("three", "(samples: fn one two)");
    find_none("./two", "is no archive");
    find_none("./three", "No such file");
    find_none("", "empty");
    find_none("docker://a.example/b:1", "fnctl import docker://a.example/b:1");
    assert_int_equal(mkfifo("pipe", 0644), 0);
    find_none("./pipe", "neither a directory nor a file");

    pack("fn", &tar);
    fd = open("real.tar", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(fd_write_all(fd, tar.data, tar.len), 0);
    fd_close(fd);
    find("real.tar", SOURCE_ARCHIVE, "real.tar");
    assert_int_equal(truncate("real.tar", 511), 0);
    assert_false(ctl_source_is_archive("real.tar"));
}

static void test_name(void **state)
{
    static const struct {
        const char *ini, *name; /* NULL: nothing to say */
    } cases[] = {{NULL, "My-dir-2"},
                 {"[function]\nport = 1\n", "My-dir-2"},
                 {"[function]\nname = x\n", NULL},
                 {"# name = x\n[env]\nname = x\n", "My-dir-2"},
                 {"[function]\nname=x", NULL}};
    struct source s = {.kind = SOURCE_DIRECTORY, .path = "_My dir.2.."};
    char name[NAME_PART_MAX + 1];

    assert_int_equal(mkdir(s.path, 0755), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (cases[i].ini)
            put("_My dir.2../function.ini", cases[i].ini);
        assert_int_equal(ctl_source_name(&s, name), cases[i].name != NULL);
        if (cases[i].name)
            assert_string_equal(name, cases[i].name);
    }
    s.kind = SOURCE_ARCHIVE;
    assert_false(ctl_source_name(&s, name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_deep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes_while_it_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_file_that_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes_under_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_source, setup, teardown),
        cmocka_unit_test_setup_teardown(test_name, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
