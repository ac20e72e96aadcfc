/* unpack_job.h: one archive through the jail, and what is asked about it afterwards. */
#pragma once

#include "unit/check.h"

#include "root/unpack_corpus.h"

#include "diag.h"
#include "fd.h"
#include "spec.h"
#include "unpacker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define BASE 0x6fff0000U

struct host {
    char program[PATH_MAX];
    char top[PATH_MAX]; /* on a disk file system */
};

struct job {
    struct unpack_request req;
    struct unpack_result res;
    struct spec *spec;
    struct diag d;
    char notes[UNPACK_NOTES_MAX]; /* of the first process */
    int err, dir;
};

static inline struct host *host_of(void **state)
{
    return *state;
}

static inline int set_up(void **state)
{
    static const char suffix[] = "/../fnd-unpack";
    struct host *h = calloc(1, sizeof(*h));
    ssize_t n = readlink("/proc/self/exe", h->program, sizeof(h->program) - sizeof(suffix));
    char *slash;

    if (n < 0)
        return -1;
    slash = strrchr(h->program, '/');
    memcpy(slash, suffix, sizeof(suffix));
    snprintf(h->top, sizeof(h->top), "/var/cache/fnd-test-XXXXXX");
    *state = h;
    return mkdtemp(h->top) ? 0 : -1;
}

static inline int tear_down(void **state)
{
    int r = fd_remove_tree(AT_FDCWD, host_of(state)->top);

    free(*state);
    return r;
}

static inline struct job *job_new(struct host *h)
{
    struct job *j = calloc(1, sizeof(*j));
    char path[PATH_MAX + 32];

    snprintf(path, sizeof(path), "%s/staging", h->top);
    fd_remove_tree(AT_FDCWD, path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chown(path, BASE, BASE), 0);
    j->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(j->dir >= 0);
    j->req.magic = UNPACK_MAGIC;
    j->req.limits = (struct unpack_limits){.max_bytes = 256 << 20, .max_entries = 100000, .max_depth = 64, .max_seconds = 60};
    snprintf(j->req.id.name, sizeof(j->req.id.name), "t");
    return j;
}

static inline void job_free(struct job *j)
{
    close(j->dir);
    free(j->spec);
    free(j);
}

static inline int job_start(struct host *h, struct job *j, enum unpacker_job job, int archive, struct unpacker *ret)
{
    const struct unpacker_start s = {.job = job, .program = h->program, .archive_fd = archive, .staging_fd = j->dir, .image_uid_base = BASE, .cgroup_fd = -1};

    return unpacker_start(&s, &j->req, ret, &j->d);
}

static inline void job_one(struct host *h, struct job *j, enum unpacker_job job, int archive)
{
    struct unpacker u = UNPACKER_NONE;
    struct spec *spec = NULL;

    j->err = job_start(h, j, job, archive, &u);
    assert_int_equal(j->err, 0);
    do {
        struct pollfd p = {.fd = u.socket_fd, .events = POLLIN};

        assert_true(poll(&p, 1, 120000) > 0);
        j->err = unpacker_on_socket(&u, &j->res, &spec, &j->d);
    } while (j->err == -EAGAIN);
    unpacker_kill_close(&u);
    assert_true((j->err == 0) == (j->d.err == 0));
    assert_true((spec != NULL) == (j->err == 0 && job == UNPACKER_EXTRACT && j->req.kind != UNPACK_RUNTIME));
    if (spec)
        j->spec = spec;
}

/* The second half: what lies there is surveyed. */
static inline void job_survey(struct host *h, struct job *j)
{
    j->req.limits.max_entries += 8; /* the directories that every image gets */
    job_one(h, j, UNPACKER_SURVEY, -1);
    j->req.limits.max_entries -= 8;
}

static inline void job_run_fd(struct host *h, struct job *j, int archive)
{
    job_one(h, j, UNPACKER_EXTRACT, archive);
    if (j->err)
        return;
    assert_int_equal(j->res.sha256[0], '\0');
    memcpy(j->notes, j->res.notes, sizeof(j->notes));
    job_survey(h, j);
}

static inline void job_run(struct host *h, struct job *j, const char *data, size_t len)
{
    cleanup_fd int archive = memfd_create("archive", MFD_CLOEXEC);

    assert_int_equal(fd_write_all(archive, data, len), 0);
    assert_int_equal(lseek(archive, 0, SEEK_SET), 0);
    job_run_fd(h, j, archive);
}

/* With a program at the root, so that nothing else is missing. */
static inline void corpus_begin(struct strbuf *tar)
{
    tar_add(tar, &(struct tar_entry){.name = "./", .type = '5', .mode = 0700, .uid = 12, .gid = 13});
    tar_add(tar, &(struct tar_entry){.name = "./server", .data = "#!/bin/sh\n", .mode = 0700});
}

static inline struct job *unpack_entries(struct host *h, const struct tar_entry *entries, size_t n)
{
    cleanup_strbuf struct strbuf tar = {0};
    struct job *j = job_new(h);

    corpus_begin(&tar);
    for (size_t i = 0; i < n; i++)
        tar_add(&tar, &entries[i]);
    tar_end(&tar);
    job_run(h, j, tar.data, tar.len);
    return j;
}

#define UNPACK(h, ...) unpack_entries(h, (const struct tar_entry[]){__VA_ARGS__}, COUNT(((const struct tar_entry[]){__VA_ARGS__})))

static inline void expect_ok(const struct job *j)
{
    if (j->err)
        fail_msg("%s", j->d.text);
}

static inline void expect_refused(struct job *j, const char *part)
{
    if (!j->err || !strstr(j->d.text, part))
        fail_msg("\"%s\" has no \"%s\"", j->err ? j->d.text : "(unpacked)", part);
    job_free(j);
}

static inline struct stat stat_of(const struct job *j, const char *path)
{
    struct stat st;

    if (fstatat(j->dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        fail_msg("%s: %s", path, strerror(errno));
    return st;
}

static inline bool is_there(const struct job *j, const char *path)
{
    struct stat st;

    return fstatat(j->dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline void expect_content(const struct job *j, const char *path, const char *want)
{
    char buf[4096];

    assert_true(fd_read_file(j->dir, path, buf, sizeof(buf)) >= 0);
    assert_string_equal(buf, want);
}
