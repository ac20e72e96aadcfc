/* store_fixture.h: a store in a directory of its own, with a specification to publish; needs root for the image range's ownership. */
#pragma once

#include "unit/check.h"

#include "config.h"
#include "diag.h"
#include "fd.h"
#include "store.h"
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct fixture {
    char dir[64];
    struct config config;
    struct config_source *source;
    struct store *store;
    struct spec *spec;
    struct fn_id id;
};

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char set[128];
    const char *sets[] = {set};
    struct diag d = {0};

    assert_non_null(f);
    snprintf(f->dir, sizeof(f->dir), "/var/tmp/fnd-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(set, sizeof(set), "runner.state=%s", f->dir);
    assert_int_equal(config_load(NULL, sets, 1, &f->config, &f->source, &d), 0);
    assert_int_equal(store_open(&f->config, &f->store, &d), 0);
    f->spec = calloc(1, sizeof(*f->spec) + 8);
    spec_init(f->spec);
    memcpy(f->spec->strings, "a\0", 2);
    f->spec->strings_len = 2;
    f->spec->argc = 1;
    assert_int_equal(name_parse("hello", &f->id, &d), 0);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    store_free(f->store);
    config_source_free(f->source);
    assert_int_equal(fd_remove_tree(AT_FDCWD, f->dir), 0);
    free(f->spec);
    free(f);
    return 0;
}

/* An empty tree as the jail leaves it, and what it says of it: an image of that digit. */
static inline struct unpack_result stage_tree(struct fixture *f, struct store_staging *st, char digit)
{
    struct unpack_result u = {.magic = UNPACK_MAGIC, .bytes = (uint64_t)(digit - '0') * 1000, .entries = 7};
    const uint32_t base = f->config.uid_base - 65536;
    struct diag d = {0};

    memset(u.sha256, digit, 64);
    assert_int_equal(store_staging_new(f->store, st, &d), 0);
    assert_int_equal(mkdirat(st->dir_fd, UNPACK_ROOTFS, 0755), 0);
    assert_int_equal(fchownat(st->dir_fd, UNPACK_ROOTFS, base, base, 0), 0);
    return u;
}
