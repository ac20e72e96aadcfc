/* Devices: what is refused by form, by name, by number; what a name is on the host; and a node inside a sandbox that works. */
#include "root/sandbox_run.h"

#include "device.h"

#include <sys/mount.h>
#include <sys/sysmacros.h>

static void test_form(void **state)
{
    static const char *const good[] = {"/dev/dri/renderD128", "/dev/nvidia0",       "/dev/hwrng", "/dev/ttyUSB0",
                                       "/dev/snd/pcmC0D0p",   "/dev/a.b-c_d:e+f@g", "/dev/...",   "/dev/netx"};
    static const char *const bad[] = {
        "",
        "/dev",
        "/dev/",
        "dev/x",
        "/etc/passwd",
        "/devx/y",
        "/dev//x",
        "/dev/x/",
        "/dev/./x",
        "/dev/../etc/passwd",
        "/dev/x/../y",
        "/dev/x/..",
        "/dev/a b",
        "/dev/a\nb",
        "/dev/\xc3\xa9",
        "/dev/a%s",
        "/dev/01234567890123456789012345678901234567890123456789012345678",
        "/dev/012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    };
    static const char *const refused[] = {"/dev/mem",        "/dev/kmem",         "/dev/port",           "/dev/kmsg",        "/dev/tty",
                                          "/dev/tty0",       "/dev/console",      "/dev/ptmx",           "/dev/pts/0",       "/dev/vcs1",
                                          "/dev/sda",        "/dev/vda1",         "/dev/nvme0",          "/dev/sg0",         "/dev/bsg/0:0:0:0",
                                          "/dev/disk/by-id", "/dev/dm-0",         "/dev/mapper/control", "/dev/loop0",       "/dev/loop-control",
                                          "/dev/fuse",       "/dev/kvm",          "/dev/net/tun",        "/dev/vhost-vsock", "/dev/vfio/vfio",
                                          "/dev/uinput",     "/dev/input/event0", "/dev/watchdog0",      "/dev/cpu/0/msr",   "/dev/null",
                                          "/dev/shm/x",      "/dev/fd/0",         "/dev/btrfs-control"};
    struct diag d;

    for (size_t i = 0; i < COUNT(good); i++)
        assert_int_equal(device_path_check(good[i], &d), 0);
    for (size_t i = 0; i < COUNT(bad); i++)
        if (device_path_check(bad[i], &d) != -EINVAL)
            fail_msg("\"%s\" passes", bad[i]);
    for (size_t i = 0; i < COUNT(refused); i++) {
        if (device_path_check(refused[i], &d) != -EINVAL)
            fail_msg("%s passes", refused[i]);
        assert_non_null(strstr(d.text, "is given to no function: "));
    }
}

static void test_lists(void **state)
{
    const char *list = " /dev/a,/dev/b\t/dev/c ";
    char path[DEVICE_PATH_MAX];
    struct diag d;

    assert_true(device_list_has(list, "/dev/a") && device_list_has(list, "/dev/b") && device_list_has(list, "/dev/c"));
    assert_false(device_list_has(list, "/dev/"));
    assert_false(device_list_has(list, "/dev/a,/dev/b"));
    assert_false(device_list_has("", "/dev/a"));
    assert_int_equal(device_list_next(&list, path, &d), 1);
    assert_string_equal(path, "/dev/a");
    assert_int_equal(device_list_check("", &d), 0);
    assert_int_equal(device_list_check("/dev/a, /dev/b", &d), 0);
    assert_int_equal(device_list_check("/dev/a /dev/mem", &d), -EINVAL);
    assert_int_equal(device_list_check("/dev/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &d), -EINVAL);
}

static void test_kinds(void **state)
{
    static const struct {
        mode_t mode;
        unsigned major, minor;
        int want;
    } kinds[] = {
        {S_IFCHR, 226, 128, 0},     {S_IFCHR, 195, 0, 0},       {S_IFCHR, 10, 183, 0},       {S_IFCHR, 4, 64, 0}, /* a serial line */
        {S_IFCHR, 1, 1, -EPERM},    {S_IFCHR, 1, 11, -EPERM},   {S_IFCHR, 4, 63, -EPERM},    {S_IFCHR, 5, 2, -EPERM},
        {S_IFCHR, 10, 232, -EPERM}, {S_IFCHR, 10, 200, -EPERM}, {S_IFCHR, 10, 236, -EPERM},  {S_IFCHR, 21, 0, -EPERM},
        {S_IFCHR, 143, 9, -EPERM},  {S_IFCHR, 202, 0, -EPERM},  {S_IFBLK, 226, 128, -EPERM}, {S_IFBLK, 8, 0, -EPERM},
        {S_IFREG, 0, 0, -ENODEV},   {S_IFDIR, 0, 0, -ENODEV},   {S_IFIFO, 0, 0, -ENODEV},    {S_IFSOCK, 0, 0, -ENODEV},
    };
    struct diag d;

    for (size_t i = 0; i < COUNT(kinds); i++)
        if (device_kind_check(kinds[i].mode, makedev(kinds[i].major, kinds[i].minor), &d) != kinds[i].want)
            fail_msg("mode %o %u:%u", kinds[i].mode, kinds[i].major, kinds[i].minor);
}

/* In a process with a /dev of its own: the host's is not touched. */
static void look_at_own_dev(void)
{
    static const struct {
        const char *path;
        int want;
        const char *text;
    } cases[] = {
        {"/dev/dri/renderD128", 0, ""},           {"/dev/nothing", -ENODEV, "/dev/nothing is not on this host"},
        {"/dev/dri", -ENODEV, "it is no device"}, {"/dev/file", -ENODEV, "it is no device"},
        {"/dev/link", -ENODEV, "symlink"},        {"/dev/linked/renderD128", -ENODEV, "symlink"},
        {"/dev/harmless", -EPERM, "the memory"},  {"/dev/block", -EPERM, "block device"},
        {"/dev/out", -ENODEV, "symlink"},
    };
    struct diag d;
    dev_t number;
    bool good = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mount("tmpfs", "/dev", "tmpfs", 0, NULL) == 0 &&
                mkdir("/dev/dri", 0755) == 0 && mknod("/dev/dri/renderD128", S_IFCHR | 0600, makedev(226, 128)) == 0 &&
                mknod("/dev/harmless", S_IFCHR | 0600, makedev(1, 1)) == 0 && mknod("/dev/block", S_IFBLK | 0600, makedev(8, 0)) == 0 &&
                mknod("/dev/file", S_IFREG | 0600, 0) == 0 && symlink("dri/renderD128", "/dev/link") == 0 && symlink("dri", "/dev/linked") == 0 &&
                symlink("/etc/passwd", "/dev/out") == 0;

    for (size_t i = 0; i < COUNT(cases); i++) {
        number = 7;
        d = (struct diag){0};
        if (device_find(cases[i].path, &number, &d) != cases[i].want || !strstr(d.text, cases[i].text) || number != (cases[i].want == 0 ? makedev(226, 128) : 7)) {
            fprintf(stderr, "%s: %s\n", cases[i].path, d.text);
            good = false;
        }
    }
    _exit(good ? 0 : 1);
}

static void test_host(void **state)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        look_at_own_dev();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Nodes below directories of their own, of numbers that work everywhere; /dev stays read-only, and has nothing else than before. */
static void test_inside(void **state)
{
    verdict(*state, FUNCTION(.argv = {"/probe", "device", "/dev/dri/card/renderD128", "/dev/dri/other", "/dev/nvidia0"},
                             .devices = {"/dev/dri/card/renderD128", "/dev/dri/other", "/dev/nvidia0"}, .allow = 0));
    verdict(*state, VERB("dev"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form), cmocka_unit_test(test_lists), cmocka_unit_test(test_kinds), cmocka_unit_test(test_host), cmocka_unit_test(test_inside),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
