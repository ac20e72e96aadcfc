/* Plans: pure, so the whole text is compared with a golden file (FND_GOLDEN_UPDATE=1 writes it anew: read the difference before committing it). */
#include "unit/check.h"

#include "../../runner/sandbox/sandbox_private.h"

#include "allow.h"
#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "fninit.h"
#include "sandbox.h"
#include "str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

static const struct fn_id id = {.env = "staging", .name = "hello"};

static struct spec *new_spec(void)
{
    struct spec *s = calloc(1, sizeof(*s) + SPEC_STRINGS_MAX + 16);

    assert_non_null(s);
    spec_init(s);
    return s;
}

static void add(struct spec *s, const char *text, uint32_t *count)
{
    memcpy(s->strings + s->strings_len, text, strlen(text) + 1);
    s->strings_len += (uint32_t)strlen(text) + 1;
    (*count)++;
}

static struct plan_input input(const struct spec *s)
{
    struct plan_input in = {.spec = s, .id = &id, .instance = "hello-x3k9ab", .version = 12, .uid_base = 0x70050000, .dns = true, .timezone = "UTC"};

    inet_pton(AF_INET, "10.62.0.7", &in.addr);
    inet_pton(AF_INET, "10.62.0.1", &in.gateway_addr);
    inet_pton(AF_INET6, "fd66:6e0a:3e00::7", &in.addr6);
    return in;
}

static char *text_of(const struct spec *s)
{
    struct plan_input in = input(s);
    struct strbuf out = {0};
    struct plan *p = NULL;
    struct diag d = {0};

    assert_int_equal(spec_check(s, spec_size(s), &d), 0);
    assert_int_equal(plan_make(&in, &p, &d), 0);
    plan_format(p, &out);
    plan_free(p);
    assert_false(out.failed);
    assert_non_null(out.data);
    return out.data;
}

/* How many calls there are at all is libseccomp's knowledge, and grows. */
static void hide_known(char *text)
{
    char *at = strstr(text, "\nsystem calls: ");

    assert_non_null(at);
    at = strstr(at, " of ");
    assert_non_null(at);
    for (at += strlen(" of "); *at >= '0' && *at <= '9'; at++)
        *at = '#';
}

/* Where this file is, whatever the working directory. */
static void golden_path(const char *name, char *path, size_t size)
{
    const char *slash = strrchr(__FILE__, '/');

    snprintf(path, size, "%.*s/golden/%s", (int)(slash - __FILE__), __FILE__, name);
}

static void expect_golden(const char *name, const char *text)
{
    cleanup_free char *want = NULL;
    cleanup_fd int fd = -1;
    char path[512];

    golden_path(name, path, sizeof(path));
    if (getenv("FND_GOLDEN_UPDATE")) {
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
        return;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(fd_read_all(fd, 1U << 20, &want) > 0);
    assert_string_equal(text, want);
}

static void test_golden(void **state)
{
    cleanup_free struct spec *s = new_spec();
    cleanup_free char *text = NULL;

    add(s, "/app/server", &s->argc);
    add(s, "--port", &s->argc);
    add(s, "a\tb\nc", &s->argc);
    add(s, "GREETING=hello", &s->envc);
    add(s, "PORT=1", &s->envc);
    add(s, "HOME=/data", &s->envc);
    add(s, "FND_VERSION=99", &s->envc);
    text = text_of(s);
    hide_known(text);
    expect_golden("plan.txt", text);
}

/* A handler over a runtime: a layer more, the starter as the program, /app to work in. From the system calls on it is the same. */
static void test_golden_runtime(void **state)
{
    cleanup_free struct spec *s = new_spec();
    cleanup_free char *text = NULL;
    char *rest;

    snprintf(s->runtime, sizeof(s->runtime), "python");
    snprintf(s->handler, sizeof(s->handler), "handler.main");
    snprintf(s->cwd, sizeof(s->cwd), SPEC_APP);
    s->timeout_ns = 1500 * NS_PER_MS;
    add(s, SPEC_STARTER, &s->argc);
    add(s, "handler.main", &s->argc);
    add(s, "FND_TIMEOUT=99", &s->envc);
    add(s, "FND_HANDLER=other", &s->envc);
    text = text_of(s);
    rest = strstr(text, "\nsystem calls: ");
    assert_non_null(rest);
    rest[1] = '\0';
    expect_golden("plan-runtime.txt", text);
}

/* Only the root differs. */
static void test_writable(void **state)
{
    cleanup_free struct spec *s = new_spec();
    cleanup_free char *text = NULL, *plain = NULL;

    add(s, "/app", &s->argc);
    plain = text_of(s);
    s->writable = 1;
    text = text_of(s);
    assert_non_null(strstr(plain, "lowerdir=/w/generated:/image (ro,nosuid,nodev)\n"));
    assert_non_null(strstr(text, "lowerdir=/w/generated:/image,upperdir=/w/upper,workdir=/w/work (nosuid,nodev)\n"));
    assert_null(strstr(plain, "upper"));
}

/* What is ours stands first: a service cannot take its place. */
static void test_network_files(void **state)
{
    cleanup_free struct spec *s = new_spec();
    cleanup_free char *plain = NULL, *none = NULL, *full = NULL;

    add(s, "/app", &s->argc);
    plain = text_of(s);
    assert_non_null(strstr(plain, "\"nameserver 10.62.0.1\\noptions timeout:5 attempts:2 no-aaaa\\n\""));
    s->egress = SPEC_EGRESS_NO;
    s->nservices = 2;
    s->services[0] = (struct spec_service){.name = "db", .addr = htonl(0xc0000207), .port = 5432};
    s->services[1] = (struct spec_service){.name = "hello-x3k9ab", .addr = htonl(0x0a000009), .port = 6379};
    none = text_of(s);
    assert_non_null(strstr(none, "\"# This function may not look up names.\\n\""));
    assert_null(strstr(none, "nameserver"));
    assert_non_null(strstr(none, "\"127.0.0.1\\tlocalhost\\n10.62.0.7\\thello-x3k9ab\\n10.62.0.1\\tgateway\\n192.0.2.7\\tdb\\n10.0.0.9\\thello-x3k9ab\\n\""));
    s->egress = SPEC_EGRESS_LAN;
    s->nservices = 0;
    s->ipv6 = 1;
    full = text_of(s);
    assert_non_null(strstr(full, "\"nameserver 10.62.0.1\\noptions timeout:5 attempts:2\\n\""));
    assert_non_null(
        strstr(full, "\"127.0.0.1\\tlocalhost\\n::1\\tlocalhost\\n10.62.0.7\\thello-x3k9ab\\nfd66:6e0a:3e00::7\\thello-x3k9ab\\n10.62.0.1\\tgateway\\n\""));
}

/* What comes last decides what the steps before it may do: the order is part of the contract. */
static void test_order(void **state)
{
    static const char *const order[] = {"\n  scratch ",      "\n  netns ",         "\nstart\n",     "\n  image ",  "\n  pivot_root ",
                                        "\n  hostname ",     "\n  setgroups ",     "\n  cgroupns ", "\n  userns ", "\n  ids ",
                                        "\n  capabilities ", "\n  no_new_privs\n", "\n  seccomp ",  "\n  exec "};
    cleanup_free struct spec *s = new_spec();
    cleanup_free char *text = NULL;
    const char *at;

    add(s, "/app", &s->argc);
    at = text = text_of(s);
    for (size_t i = 0; i < COUNT(order); i++) {
        at = strstr(at, order[i]);
        if (!at)
            fail_msg("%s is missing or too early", order[i]);
    }
}

static void test_environment(void **state)
{
    static const char *const refused[] = {"PORT=1", "FND_INSTANCE=x", "FND_ANYTHING=x"}, *const kept[] = {"TZ=Asia/Tokyo", "PATH=/x", "PORTS=2", "HOMEPAGE=x"};
    cleanup_free struct spec *s = new_spec();
    cleanup_free char *text = NULL;
    char line[64];

    add(s, "/app", &s->argc);
    for (size_t i = 0; i < COUNT(refused); i++)
        add(s, refused[i], &s->envc);
    for (size_t i = 0; i < COUNT(kept); i++)
        add(s, kept[i], &s->envc);
    text = text_of(s);
    for (size_t i = 0; i < COUNT(refused); i++) {
        snprintf(line, sizeof(line), "\n  %s\n", refused[i]);
        assert_null(strstr(text, line));
    }
    for (size_t i = 0; i < COUNT(kept); i++) {
        snprintf(line, sizeof(line), "\n  %s\n", kept[i]);
        assert_non_null(strstr(text, line));
    }
    assert_null(strstr(text, "TZ=UTC"));
    assert_non_null(strstr(text, "\n  PORT=3000\n"));
    assert_non_null(strstr(text, "\n  HOME=/tmp\n"));
    snprintf(line, sizeof(line), "\n  FND_MEMORY=%llu\n", (unsigned long long)s->memory_bytes);
    assert_non_null(strstr(text, line));
}

/* The largest that the gate lets through fits. */
static void test_full(void **state)
{
    cleanup_free struct spec *s = new_spec();
    cleanup_free char *text = NULL;
    char value[SPEC_STRINGS_MAX / SPEC_ENV_MAX - 8];

    memset(value, 'v', sizeof(value));
    memcpy(value, "K=", 2);
    value[sizeof(value) - 1] = '\0';
    for (int i = 0; i < SPEC_ARGS_MAX; i++)
        add(s, "a", &s->argc);
    for (int i = 0; i < SPEC_ENV_MAX; i++)
        add(s, value, &s->envc);
    text = text_of(s);
    assert_non_null(strstr(text, "\n  FND_INSTANCE=hello-x3k9ab\n"));
}

/* Words come with their prices, and only they change what is refused. */
static void test_allow(void **state)
{
    cleanup_free struct spec *s = new_spec();
    cleanup_free char *plain = NULL, *text = NULL;

    add(s, "/app", &s->argc);
    plain = text_of(s);
    s->allow = ALLOW_BIT(ALLOW_PTRACE) | ALLOW_BIT(ALLOW_NETLINK_ROUTE);
    text = text_of(s);
    assert_non_null(strstr(plain, "\nallowed beyond the default\n  nothing\n"));
    assert_non_null(strstr(plain, "\n  EPERM  debugging: "));
    assert_non_null(strstr(plain, "families unix, inet and inet6 only\n"));
    assert_non_null(strstr(text, sandbox_allow_words[ALLOW_PTRACE].price));
    assert_null(strstr(text, sandbox_allow_words[ALLOW_IO_URING].price));
    assert_non_null(strstr(text, "\n  allow  debugging: "));
    assert_non_null(strstr(text, "\n  EPERM  io_uring: "));
    assert_non_null(strstr(text, "families unix, inet, inet6 and netlink only\n"));
    s->allow = 1ULL << ALLOW_COUNT;
    assert_int_equal(spec_check(s, spec_size(s), NULL), -EINVAL);
}

/* Nodes are put into the parked /dev, each below its directories, which is read-only again before anything of the image is there. */
static void test_devices(void **state)
{
    cleanup_free struct spec *s = new_spec();
    const dev_t numbers[] = {makedev(226, 128), makedev(226, 0), makedev(195, 255)};
    struct plan_input in = input(s);
    cleanup_strbuf struct strbuf out = {0};
    struct plan *p = NULL;

    add(s, "/app", &s->argc);
    for (; s->ndevices < 3; s->ndevices++)
        snprintf(s->devices[s->ndevices].path, sizeof(s->devices[0].path), "%s",
                 s->ndevices == 0   ? "/dev/dri/renderD128"
                 : s->ndevices == 1 ? "/dev/dri/card0"
                                    : "/dev/nvidiactl");
    assert_int_equal(spec_check(s, spec_size(s), NULL), 0);
    in.devices = numbers;
    assert_int_equal(plan_make(&in, &p, NULL), 0);
    plan_format(p, &out);
    plan_free(p);
    assert_non_null(strstr(out.data, "\n  mount        /dev type tmpfs - (remount,nosuid,noexec)\n"
                                     "  mkdir        /dev/dri mode 0755 owner 0:0\n"
                                     "  mknod        /dev/dri/renderD128 mode 0666 char 226:128\n"
                                     "  mknod        /dev/dri/card0 mode 0666 char 226:0\n"
                                     "  mknod        /dev/nvidiactl mode 0666 char 195:255\n"
                                     "  mount        /dev type tmpfs - (remount,ro,nosuid,noexec)\n"
                                     "  image "));
    memset(s->devices[1].path, 'a', sizeof(s->devices[1].path));
    assert_int_equal(spec_check(s, spec_size(s), NULL), -EINVAL);
    memcpy(s->devices[1].path, s->devices[0].path, sizeof(s->devices[0].path));
    assert_int_equal(spec_check(s, spec_size(s), NULL), -EINVAL);
    strncpy(s->devices[1].path, "/dev/../etc/shadow", sizeof(s->devices[1].path));
    assert_int_equal(spec_check(s, spec_size(s), NULL), -EINVAL);
}

/* fn-init as the server: another name, what it must know, one more descriptor, and clone3 for it alone. */
static void test_stdio(void **state)
{
    cleanup_free struct spec *s = new_spec();
    cleanup_free char *text = NULL;
    struct plan_input in = input(s);
    struct plan *p = NULL;
    const char *arg;

    s->mode = SPEC_MODE_STDIO;
    snprintf(s->health_path, sizeof(s->health_path), "%s", SPEC_STDIO_HEALTH);
    add(s, "cat", &s->argc);
    text = text_of(s);
    assert_non_null(strstr(text, "\n  allow  flags behind a pointer: "));
    assert_non_null(strstr(text, "\nallowed beyond the default\n  nothing\n"));
    assert_int_equal(plan_make(&in, &p, NULL), 0);
    assert_int_equal(p->ngroups, 1);
    assert_int_equal(p->argc, FN_STDIO_ARGS + 1);
    arg = plan_str(p, p->argv);
    for (const char *const *want = (const char *const[]){FN_STDIO_NAME, "1000", "1000", "/", "3000", SPEC_STDIO_HEALTH, "60000", "134217728", "--", "cat", NULL};
         *want; want++, arg += strlen(arg) + 1)
        assert_string_equal(arg, *want);
    plan_free(p);
    s->mode = SPEC_MODE_HTTP;
    assert_int_equal(plan_make(&in, &p, NULL), 0);
    assert_int_equal(p->ngroups, 0);
    plan_free(p);
    assert_true(plan_allow(s) == s->allow);
}

/* The program travels in the plan; without one the child has the strictest. */
static void test_filter(void **state)
{
    cleanup_free struct spec *s = new_spec();
    struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, 1), BPF_STMT(BPF_RET | BPF_K, 2)};
    const struct sandbox_filter filter = {.code = code, .len = COUNT(code)};
    struct plan_input in = input(s);
    struct plan *p = NULL;

    add(s, "/app", &s->argc);
    assert_int_equal(plan_make(&in, &p, NULL), 0);
    assert_int_equal(p->filter_len, 0);
    plan_free(p);
    in.filter = &filter;
    assert_int_equal(plan_make(&in, &p, NULL), 0);
    assert_int_equal(p->filter_len, COUNT(code));
    assert_int_equal(p->filter % _Alignof(struct sock_filter), 0);
    assert_memory_equal((const char *)p + p->filter, code, sizeof(code));
    assert_string_equal(plan_str(p, p->argv), "fn-init");
    plan_free(p);
}

/* Their bytes travel in the plan, and are in no text of it. */
static void test_secrets(void **state)
{
    static const char value[] = {'h', '\0', 'u', 'n', 't', 'e', 'r', '2'};
    const struct plan_secret secrets[] = {{.name = "key", .value = value, .len = sizeof(value)}};
    cleanup_free struct spec *s = new_spec();
    struct plan_input in = input(s);
    struct strbuf out = {0};
    struct plan *p = NULL;

    add(s, "/app", &s->argc);
    str_copy(s->secrets[s->nsecrets++], sizeof(s->secrets[0]), "key");
    in.secrets = secrets;
    assert_int_equal(plan_make(&in, &p, NULL), 0);
    assert_non_null(memmem(p, p->size, value, sizeof(value)));
    plan_format(p, &out);
    assert_non_null(strstr(out.data, "secret       /w/secrets/key mode 0400 owner 1879376872:1879376872"));
    assert_null(strstr(out.data, "hunter2"));
    assert_null(strstr(out.data, "unter2"));
    plan_free(p);
    strbuf_done(&out);
}

/* What another room puts there first is left alone. */
static void test_secrets_beside_a_volume(void **state)
{
    cleanup_free struct spec *s = new_spec();
    char *text;

    add(s, "/app", &s->argc);
    str_copy(s->secrets[s->nsecrets++], sizeof(s->secrets[0]), "key");
    s->volumes[s->nvolumes++] = (struct spec_volume){.name = "v", .path = "/secrets", .bytes = 64 << 20};
    text = text_of(s);
    assert_null(strstr(text, "symlink      /w/generated/secrets "));
    assert_non_null(strstr(text, "symlink      /w/generated/var/openfaas/secrets -> /run/secrets"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),        cmocka_unit_test(test_golden_runtime), cmocka_unit_test(test_writable),
        cmocka_unit_test(test_network_files), cmocka_unit_test(test_order),          cmocka_unit_test(test_environment),
        cmocka_unit_test(test_full),          cmocka_unit_test(test_secrets),        cmocka_unit_test(test_secrets_beside_a_volume),
        cmocka_unit_test(test_allow),         cmocka_unit_test(test_devices),        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_stdio),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
