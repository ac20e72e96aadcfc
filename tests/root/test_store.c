/* The store on disk: publish, current, prune, remove, images shared and collected, leftovers swept, the lock. Needs root for the image range's ownership. */
#include "store_fixture.h"

/* What the jail leaves in a staging directory. */
static void stage(struct fixture *f, struct store_staging *st, const char *text)
{
    int root;

    stage_tree(f, st, '1');
    root = openat(st->dir_fd, UNPACK_ROOTFS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(fd_publish_file(root, "server", text, strlen(text), 0755), 0);
    assert_int_equal(fd_publish_file(st->dir_fd, UNPACK_INI, "[function]\n", 11, 0644), 0);
    fd_close(root);
}

static uint32_t publish(struct fixture *f, char digit)
{
    struct unpack_result u = {.magic = UNPACK_MAGIC, .bytes = 5};
    struct store_staging st = {0};
    struct diag d = {0};
    uint32_t number = 0;

    memset(u.sha256, digit, 64);
    stage(f, &st, "hello");
    if (store_publish(f->store, &f->id, &st, &u, f->spec, &number, &d) < 0)
        fail_msg("%s", d.text);
    store_staging_drop(f->store, &st);
    return number;
}

static const char *in_store(struct fixture *f, const char *path, char full[300])
{
    snprintf(full, 300, "%s/%s", f->dir, path);
    return full;
}

static bool exists(struct fixture *f, const char *path)
{
    char full[300];
    struct stat st;

    return lstat(in_store(f, path, full), &st) == 0;
}

static int count_one(void *arg, const struct store_function *sf)
{
    struct store_function *last = arg;

    *last = *sf;
    return 0;
}

static bool image_there(struct fixture *f, char digit)
{
    char path[80] = "images/";

    memset(path + 7, digit, 64);
    path[71] = '\0';
    return exists(f, path);
}

static bool is_first(const void *arg, uint32_t number)
{
    return number == 1;
}

static void test_versions(void **state)
{
    struct fixture *f = *state;
    struct store_function seen = {0};
    char path[300], target[300];
    struct store_version v;
    struct diag d = {0};

    assert_int_equal(publish(f, '1'), 1);
    assert_int_equal(store_each(f->store, count_one, &seen, &d), 0);
    assert_int_equal(seen.current, 0); /* published, but nobody has said that it works */
    assert_int_equal(store_set_current(f->store, &f->id, 1, &d), 0);
    assert_int_equal(publish(f, '2'), 2);
    assert_int_equal(publish(f, '2'), 3); /* the same image again: shared */
    assert_int_equal(store_set_current(f->store, &f->id, 3, &d), 0);
    assert_int_equal(store_set_scale(f->store, &f->id, 4, &d), 0);
    assert_int_equal(store_set_stopped(f->store, &f->id, true, &d), 0);
    assert_int_equal(store_each(f->store, count_one, &seen, &d), 0);
    assert_int_equal(seen.current, 3);
    assert_int_equal(seen.scale, 4);
    assert_true(seen.stopped);
    assert_int_equal(store_set_stopped(f->store, &f->id, false, &d), 0);
    assert_int_equal(store_set_scale(f->store, &f->id, STORE_SCALE_AUTO, &d), 0);
    assert_int_equal(store_each(f->store, count_one, &seen, &d), 0);
    assert_false(seen.stopped);
    assert_int_equal(seen.scale, STORE_SCALE_AUTO);

    assert_int_equal(store_version_open(f->store, &f->id, 3, &v, &d), 0);
    assert_int_equal(v.image[0], '2');
    assert_int_equal(v.image_bytes, 5);
    assert_int_equal(v.spec->port, 3000);
    assert_int_equal(faccessat(v.image_fd, "server", F_OK, 0), 0);
    store_version_done(&v);
    assert_true(exists(f, "functions/default/hello/3/image/server")); /* the link holds wherever the state directory is moved to */
    assert_true(readlinkat(AT_FDCWD, in_store(f, "functions/default/hello/3/image", path), target, sizeof(target)) > 0);
    assert_int_equal(target[0], '.');

    assert_int_equal(store_prune(f->store, &f->id, &(struct store_keep){3, 2, is_first, NULL}, &d), 1);
    assert_true(exists(f, "functions/default/hello/2"));                                                /* no other goes in its place */
    assert_int_equal(store_prune(f->store, &f->id, &(struct store_keep){3, 1, is_first, NULL}, &d), 1); /* an instance of it runs still */
    assert_true(exists(f, "functions/default/hello/1/image/server"));
    assert_true(image_there(f, '1'));
    assert_false(exists(f, "functions/default/hello/2"));
    assert_int_equal(store_prune(f->store, &f->id, &(struct store_keep){3, 1, NULL, NULL}, &d), 0);
    assert_false(exists(f, "functions/default/hello/1"));
    assert_true(exists(f, "functions/default/hello/3"));
    assert_false(image_there(f, '1'));
    assert_true(image_there(f, '2'));
    assert_int_equal(store_version_open(f->store, &f->id, 1, &v, &d), -ENOENT);

    assert_int_equal(publish(f, '4'), 4); /* newer ones that never became current */
    assert_int_equal(publish(f, '5'), 5);
    assert_int_equal(mkdir(in_store(f, "functions/default/hello/.new-6", path), 0755), 0); /* as a kill leaves it */
    assert_int_equal(store_prune(f->store, &f->id, &(struct store_keep){3, 2, NULL, NULL}, &d), 0);
    assert_true(exists(f, "functions/default/hello/3") && exists(f, "functions/default/hello/5"));
    assert_false(exists(f, "functions/default/hello/4") || exists(f, "functions/default/hello/.new-6") || image_there(f, '4'));
    assert_int_equal(store_prune(f->store, &f->id, &(struct store_keep){3, 1, NULL, NULL}, &d), 0);
    assert_true(exists(f, "functions/default/hello/3"));
    assert_false(exists(f, "functions/default/hello/5"));
}

static void test_remove(void **state)
{
    struct fixture *f = *state;
    struct store_function seen = {0};
    struct diag d = {0};
    int log;

    publish(f, '3');
    assert_int_equal(store_set_current(f->store, &f->id, 1, &d), 0);
    log = store_log_dir(f->store, &f->id, &d);
    assert_int_equal(fd_publish_file(log, "hello-abcdef.log", "x", 1, 0600), 0);
    fd_close(log);
    assert_int_equal(store_remove(f->store, &f->id, &d), 0);
    assert_false(exists(f, "functions/default"));
    assert_false(exists(f, "logs/default"));
    assert_false(image_there(f, '3'));
    assert_int_equal(store_each(f->store, count_one, &seen, &d), 0);
    assert_int_equal(seen.current, 0);
    /* Nothing is there, or only what a refused deploy has come to make. */
    assert_int_equal(store_remove(f->store, &f->id, &d), 0);
    fd_close(store_log_dir(f->store, &f->id, &d));
    assert_int_equal(store_remove(f->store, &f->id, &d), 0);
    assert_false(exists(f, "logs/default"));
}

/* A spec that is damaged on disk is refused, with a message. */
static void test_damaged(void **state)
{
    struct fixture *f = *state;
    char path[300];
    struct store_version v;
    struct diag d = {0};

    publish(f, '4');
    snprintf(path, sizeof(path), "%s/functions/default/hello/1/spec", f->dir);
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(store_version_open(f->store, &f->id, 1, &v, &d), -EPROTO);
    assert_non_null(strstr(d.text, "version 1"));
}

static void test_hostile_staging(void **state)
{
    struct fixture *f = *state;
    struct unpack_result u = {.magic = UNPACK_MAGIC};
    struct store_staging st = {0};
    struct diag d = {0};
    uint32_t number;

    memset(u.sha256, '5', 64);
    assert_int_equal(store_staging_new(f->store, &st, &d), 0);
    assert_int_equal(symlinkat("/etc", st.dir_fd, UNPACK_ROOTFS), 0);
    assert_int_equal(store_publish(f->store, &f->id, &st, &u, f->spec, &number, &d), -EPROTO);
    store_staging_drop(f->store, &st);
    stage(f, &st, "x");
    memcpy(u.sha256, "../../../../etc/xxxx", 20);
    assert_int_equal(store_publish(f->store, &f->id, &st, &u, f->spec, &number, &d), -EPROTO);
    store_staging_drop(f->store, &st);
    assert_false(exists(f, "functions/default/hello/1"));
}

static bool alive_named(void *arg, const char *instance)
{
    return strcmp(instance, arg) == 0;
}

static void test_logs(void **state)
{
    struct fixture *f = *state;
    char newest[NAME_INSTANCE_MAX + 1], name[80];
    struct diag d = {0};
    int dir = store_log_dir(f->store, &f->id, &d), left = 0;

    assert_int_equal(store_log_newest(f->store, &f->id, newest), -ENOENT);
    for (int i = 0; i < 20; i++) {
        struct timespec times[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};

        snprintf(name, sizeof(name), "hello-aaaa%02d.log", i);
        assert_int_equal(fd_publish_file(dir, name, "x", 1, 0600), 0);
        assert_int_equal(utimensat(dir, name, times, 0), 0);
    }
    assert_int_equal(store_log_newest(f->store, &f->id, newest), 0);
    assert_string_equal(newest, "hello-aaaa19");
    store_log_prune(f->store, &f->id, alive_named, (char *)"hello-aaaa00");
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "hello-aaaa%02d.log", i);
        left += faccessat(dir, name, F_OK, 0) == 0;
    }
    assert_int_equal(left, STORE_LOGS_KEPT + 1); /* and the living one, old as it is */
    assert_int_equal(faccessat(dir, "hello-aaaa00.log", F_OK, 0), 0);
    fd_close(dir);
}

static void test_open_again(void **state)
{
    struct fixture *f = *state;
    struct store *second;
    struct diag d = {0};
    char path[200];

    assert_int_equal(store_open(&f->config, &second, &d), -EBUSY);
    assert_non_null(strstr(d.text, "in use by another fnd"));
    publish(f, '6');
    snprintf(path, sizeof(path), "%s/images/.staging-left", f->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/functions/.removed-x", f->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    store_free(f->store);
    f->store = NULL;
    assert_int_equal(store_open(&f->config, &f->store, &d), 0);
    assert_false(exists(f, "images/.staging-left"));
    assert_false(exists(f, "functions/.removed-x"));
    assert_true(exists(f, "functions/default/hello/1"));
    store_free(f->store);
    f->store = NULL;
    snprintf(path, sizeof(path), "%s/format", f->dir);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, "2\n", 2), 2);
    fd_close(fd);
    assert_int_equal(store_open(&f->config, &f->store, &d), -ENOTSUP);
    assert_non_null(strstr(d.text, "format 2"));
    f->store = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_versions, setup, teardown), cmocka_unit_test_setup_teardown(test_remove, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),  cmocka_unit_test_setup_teardown(test_hostile_staging, setup, teardown),
        cmocka_unit_test_setup_teardown(test_logs, setup, teardown),     cmocka_unit_test_setup_teardown(test_open_again, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
