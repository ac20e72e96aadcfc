/* The ring log: what was written comes back, in order, with the count of what was lost; nothing that a hostile writer leaves in the file confuses a reader. */
#include "unit/check.h"

#include "fd.h"
#include "ringlog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct fixture {
    char dir[64];
    int dir_fd, fd;
    struct ringlog_writer w;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    snprintf(f->dir, sizeof(f->dir), "/tmp/fnd-ringlog-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->fd = ringlog_create(f->dir_fd, "log");
    assert_true(f->fd >= 0);
    assert_int_equal(ringlog_writer_init(&f->w, f->fd), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    fd_close(f->fd);
    fd_close(f->dir_fd);
    assert_int_equal(fd_remove_tree(AT_FDCWD, f->dir), 0);
    free(f);
    return 0;
}

static void say(struct fixture *f, const char *text)
{
    assert_int_equal(ringlog_write(&f->w, text, strlen(text)), 0);
}

/* Byte k of the stream is a function of k, so that every byte that comes back can be checked. */
static char byte_at(uint64_t k)
{
    return (char)('a' + (k * 31 + k / 977) % 26);
}

static void say_bytes(struct fixture *f, size_t n)
{
    char *data = malloc(n);

    assert_non_null(data);
    for (size_t i = 0; i < n; i++)
        data[i] = byte_at(f->w.head.written + i);
    assert_int_equal(ringlog_write(&f->w, data, n), 0);
    free(data);
}

static void test_create(void **state)
{
    struct fixture *f = *state;
    struct ringlog_head h;
    struct stat st;

    assert_int_equal(fstat(f->fd, &st), 0);
    assert_int_equal(st.st_size, RINGLOG_FILE_BYTES);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(ringlog_create(f->dir_fd, "log"), -EEXIST);
    assert_int_equal(ringlog_read_head(f->fd, &h), 0);
    assert_int_equal(h.end, RINGLOG_RUNNING);
    assert_true(h.started_real_ns > 0 && h.ended_real_ns == 0);
}

static void test_read(void **state)
{
    struct fixture *f = *state;
    uint64_t pos = 0, lost = 99;
    char buf[64];

    assert_int_equal(ringlog_read(f->fd, &pos, buf, sizeof(buf), &lost), 0);
    say(f, "one\n");
    say(f, "two\n");
    assert_int_equal(ringlog_read(f->fd, &pos, buf, 5, &lost), 5);
    assert_memory_equal(buf, "one\nt", 5);
    assert_int_equal(ringlog_read(f->fd, &pos, buf, sizeof(buf), &lost), 3);
    assert_memory_equal(buf, "wo\n", 3);
    assert_int_equal(pos, 8);
    assert_int_equal(lost, 0);
}

/* A reader that keeps up loses nothing over several turns of the ring, whatever the sizes are. */
static void test_wraps(void **state)
{
    struct fixture *f = *state;
    uint64_t pos = 0, lost;
    static char buf[50000];

    for (size_t i = 0; i < 400; i++) {
        int64_t n;

        say_bytes(f, 1 + (i * 7919) % 30000);
        while ((n = ringlog_read(f->fd, &pos, buf, sizeof(buf), &lost)) > 0) {
            assert_int_equal(lost, 0);
            for (int64_t k = 0; k < n; k++)
                assert_int_equal(buf[k], byte_at(pos - (uint64_t)n + (uint64_t)k));
        }
        assert_int_equal(n, 0);
    }
    assert_int_equal(pos, f->w.head.written);
    assert_true(pos > 3ULL * RINGLOG_DATA_BYTES);
}

static void test_overtaken(void **state)
{
    struct fixture *f = *state;
    uint64_t pos = 10, lost = 0;
    static char buf[RINGLOG_FILE_BYTES];
    int64_t n;

    say_bytes(f, 3 * RINGLOG_DATA_BYTES + 12345);
    n = ringlog_read(f->fd, &pos, buf, sizeof(buf), &lost);
    assert_true(n > (int64_t)RINGLOG_DATA_BYTES * 9 / 10);
    assert_int_equal(pos, f->w.head.written);
    assert_int_equal(10 + lost + (uint64_t)n, pos);
    for (int64_t k = 0; k < n; k++)
        assert_int_equal(buf[k], byte_at(pos - (uint64_t)n + (uint64_t)k));
}

static void expect_seek(struct fixture *f, unsigned lines, const char *want)
{
    uint64_t pos = 77, lost;
    char buf[256];
    int64_t n;

    assert_int_equal(ringlog_seek_lines(f->fd, lines, &pos), 0);
    n = ringlog_read(f->fd, &pos, buf, sizeof(buf) - 1, &lost);
    assert_true(n >= 0);
    buf[n] = '\0';
    assert_string_equal(buf, want);
}

static void test_seek(void **state)
{
    struct fixture *f = *state;

    expect_seek(f, 3, "");
    say(f, "one\ntwo\n\nfour\n");
    expect_seek(f, 0, "");
    expect_seek(f, 1, "four\n");
    expect_seek(f, 2, "\nfour\n");
    expect_seek(f, 3, "two\n\nfour\n");
    expect_seek(f, 4, "one\ntwo\n\nfour\n");
    expect_seek(f, 400, "one\ntwo\n\nfour\n");
    say(f, "and a part");
    expect_seek(f, 1, "and a part");
    expect_seek(f, 2, "four\nand a part");
}

/* Lines longer than a block, and over the seam of the ring. */
static void test_seek_far(void **state)
{
    struct fixture *f = *state;
    uint64_t pos, begin;

    say_bytes(f, RINGLOG_DATA_BYTES - 100);
    say(f, "\n");
    begin = f->w.head.written;
    say_bytes(f, 5000);
    say(f, "\nlast\n");
    assert_int_equal(ringlog_seek_lines(f->fd, 2, &pos), 0);
    assert_int_equal(pos, begin);
    assert_int_equal(ringlog_seek_lines(f->fd, 1, &pos), 0);
    assert_int_equal(pos, f->w.head.written - 5);
}

static void test_finish(void **state)
{
    struct fixture *f = *state;
    struct ringlog_head h;
    char text[2 * RINGLOG_REASON_MAX];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    say(f, "text");
    assert_int_equal(ringlog_finish(&f->w, RINGLOG_SIGNALED, 9, text), 0);
    assert_int_equal(ringlog_read_head(f->fd, &h), 0);
    assert_int_equal(h.end, RINGLOG_SIGNALED);
    assert_int_equal(h.status, 9);
    assert_int_equal(h.written, 4);
    assert_int_equal(strlen(h.reason), RINGLOG_REASON_MAX - 1);
    assert_true(h.ended_real_ns >= h.started_real_ns);
}

static void plant(struct fixture *f, size_t offset, const void *data, size_t len)
{
    assert_int_equal(pwrite(f->fd, data, len, (off_t)offset), len);
}

static void test_hostile_head(void **state)
{
    struct fixture *f = *state;
    const uint32_t wrong = 77;
    struct ringlog_head h;
    char reason[RINGLOG_REASON_MAX];

    memset(reason, 0x1b, sizeof(reason));
    plant(f, offsetof(struct ringlog_head, reason), reason, sizeof(reason));
    assert_int_equal(ringlog_read_head(f->fd, &h), 0);
    assert_int_equal(strlen(h.reason), RINGLOG_REASON_MAX - 1);
    assert_int_equal(h.reason[0], '?');
    plant(f, offsetof(struct ringlog_head, end), &wrong, sizeof(wrong));
    assert_int_equal(ringlog_read_head(f->fd, &h), -EPROTO);
    assert_int_equal(ftruncate(f->fd, 20), 0);
    assert_int_equal(ringlog_read_head(f->fd, &h), -EPROTO);
}

/* Any count: the reader ends, stays within its buffer, and follows. */
static void test_hostile_count(void **state)
{
    static const uint64_t counts[] = {UINT64_MAX, UINT64_MAX - 5, 1ULL << 63, RINGLOG_DATA_BYTES, RINGLOG_DATA_BYTES + 1, 1, 0};
    struct fixture *f = *state;
    uint64_t pos = 0, lost;
    char buf[100];

    for (size_t i = 0; i < COUNT(counts); i++) {
        int64_t n;

        plant(f, offsetof(struct ringlog_head, written), &counts[i], sizeof(counts[i]));
        n = ringlog_read(f->fd, &pos, buf, sizeof(buf), &lost);
        assert_true(n >= 0 && n <= (int64_t)sizeof(buf));
        assert_true(pos <= counts[i]);
        assert_int_equal(ringlog_seek_lines(f->fd, 5, &pos), 0);
        assert_true(pos <= counts[i]);
    }
    plant(f, offsetof(struct ringlog_head, written), &counts[3], sizeof(counts[3]));
    assert_int_equal(ftruncate(f->fd, RINGLOG_HEAD_BYTES + 10), 0);
    pos = 0;
    assert_int_equal(ringlog_read(f->fd, &pos, buf, sizeof(buf), &lost), -EPROTO);
}

static void test_notes(void **state)
{
    struct ringlog_note notes[RINGLOG_NOTES];
    struct ringlog_head h;
    struct fixture *f = *state;
    char text[400];

    assert_int_equal(ringlog_notes(f->fd, 0, notes), 0);
    assert_int_equal(ringlog_note(f->fd, "first\nline"), 0);
    assert_int_equal(ringlog_write(&f->w, "hello\n", 6), 0);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(ringlog_note(f->fd, text), 0);
    assert_int_equal(ringlog_finish(&f->w, RINGLOG_EXITED, 3, "exited with status 3"), 0); /* fn-init's head leaves them alone */
    assert_int_equal(ringlog_notes(f->fd, 0, notes), 2);
    assert_string_equal(notes[0].text, "first?line");
    assert_int_equal(notes[0].pos, 0);
    assert_int_equal(notes[1].pos, 6);
    assert_int_equal(strlen(notes[1].text), RINGLOG_NOTE_MAX - 1);
    assert_true(notes[1].real_ns >= notes[0].real_ns && notes[0].real_ns > 0);
    assert_int_equal(ringlog_notes(f->fd, notes[0].number, notes), 1);
    assert_int_equal(ringlog_notes(f->fd, notes[0].number, notes), 0);
    assert_int_equal(ringlog_read_head(f->fd, &h), 0);
    assert_int_equal(h.written, 6);
}

/* The last ones are there, in their order, and the ring is untouched. */
static void test_many_notes(void **state)
{
    struct ringlog_note notes[RINGLOG_NOTES];
    struct fixture *f = *state;
    uint64_t pos = 0, lost;
    char text[16];

    assert_int_equal(ringlog_write(&f->w, "line\n", 5), 0);
    for (unsigned i = 1; i <= 100; i++) {
        snprintf(text, sizeof(text), "note %u", i);
        assert_int_equal(ringlog_note(f->fd, text), 0);
    }
    assert_int_equal(ringlog_notes(f->fd, 0, notes), RINGLOG_NOTES);
    for (unsigned i = 0; i < RINGLOG_NOTES; i++)
        assert_int_equal(notes[i].number, 100 - RINGLOG_NOTES + 1 + i);
    assert_string_equal(notes[RINGLOG_NOTES - 1].text, "note 100");
    assert_int_equal(ringlog_read(f->fd, &pos, text, sizeof(text), &lost), 5);
    assert_memory_equal(text, "line\n", 5);
}

/* A hostile fn-init wrote what it likes where the notes are. */
static void test_hostile_notes(void **state)
{
    struct ringlog_note notes[RINGLOG_NOTES];
    struct fixture *f = *state;
    char page[RINGLOG_HEAD_BYTES - 1024];

    memset(page, 0xff, sizeof(page));
    plant(f, 1024, page, sizeof(page));
    assert_int_equal(ringlog_notes(f->fd, 0, notes), RINGLOG_NOTES);
    for (unsigned i = 0; i < RINGLOG_NOTES; i++)
        assert_true(strlen(notes[i].text) < RINGLOG_NOTE_MAX);
    assert_int_equal(ringlog_note(f->fd, "still"), 0);
    assert_int_equal(ringlog_notes(f->fd, UINT64_MAX, notes), 0);
    assert_int_equal(ftruncate(f->fd, 2000), 0);
    assert_int_equal(ringlog_notes(f->fd, 0, notes), -EPROTO);
    assert_int_equal(ringlog_note(f->fd, "gone"), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create, setup, teardown),        cmocka_unit_test_setup_teardown(test_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wraps, setup, teardown),         cmocka_unit_test_setup_teardown(test_overtaken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_seek, setup, teardown),          cmocka_unit_test_setup_teardown(test_seek_far, setup, teardown),
        cmocka_unit_test_setup_teardown(test_finish, setup, teardown),        cmocka_unit_test_setup_teardown(test_hostile_head, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_count, setup, teardown), cmocka_unit_test_setup_teardown(test_notes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_notes, setup, teardown),    cmocka_unit_test_setup_teardown(test_hostile_notes, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
