/* The manager over a host that fails: cgroups that cannot be made, killed or removed, requests that ask for too much; and limits that are hit. */
#include "manager_world.h"

/* The pause must be in force before the slot is given back: its end would make the next one, which fails as well, until the stack is used up. */
static void test_failing_slots_pause(void **state)
{
    w.make_err = ENOSPC;
    start();
    assert_true(until(is_gone));
    assert_true(w.makes <= 4);
    w.make_err = 0;
    assert_true(until(is_ready));
}

static void test_failing_clones_pause(void **state)
{
    w.park_err = EAGAIN;
    start();
    assert_true(until(is_gone));
    assert_true(w.makes <= 4);
    w.park_err = 0;
    assert_true(until(is_ready));
}

/* A slot that never had a child has no descriptors of one: 0 is standard input, or by then somebody else's. */
static void test_slot_without_child_closes_nothing(void **state)
{
    int saved = dup(STDIN_FILENO), null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_int_equal(dup2(null, STDIN_FILENO), STDIN_FILENO);
    w.make_err = ENOSPC;
    start();
    assert_true(until(is_gone));
    assert_true(fcntl(STDIN_FILENO, F_GETFD) >= 0);
    if (saved >= 0)
        dup2(saved, STDIN_FILENO);
    fd_close(saved);
    fd_close(null);
}

/* Whatever the store holds, or a package asks for: no more than there can be slots for. */
static void test_scale_beyond_slots(void **state)
{
    w.scale = 4000000000U;
    start();
    assert_true(until(is_ready));
    assert_true(w.pushed[INSTANCE_PLANNED] <= 8);
}

static void test_deploy_of_too_many(void **state)
{
    start();
    assert_int_equal(deploy("other", w.config.slots_max + 1), EINVAL);
    assert_int_equal(deploy("other", w.config.slots_max), 0);
}

/* Wherever the disk is full: the function is what it was, and the next deploy succeeds. */
static void test_deploys_on_a_full_disk(void **state)
{
    int *const places[] = {&w.staging_err, &w.publish_err, &w.current_err};

    start();
    assert_true(until(is_ready));
    for (size_t i = 0; i < COUNT(places); i++) {
        *places[i] = ENOSPC;
        assert_int_equal(deploy("hello", 2), ENOSPC);
        assert_int_equal(deploy("other", 2), ENOSPC);
        assert_int_equal(w.current, 1);
        assert_int_equal(w.stored_scale, 1);
        *places[i] = 0;
    }
    assert_int_equal(w.dropped, 2);
    assert_int_equal(deploy("hello", 2), 0);
    assert_int_equal(w.current, 2);
    assert_int_equal(w.stored_scale, 2);
}

static bool is_first_gone(void)
{
    return w.pruned == 2;
}

/* A version that is one too many goes when its last instance has, and with it its image. */
static void test_prune_waits_for_instances(void **state)
{
    start();
    assert_true(until(is_ready));
    assert_int_equal(deploy("hello", 1), 0);
    assert_int_equal(w.pruned, 1);
    assert_true(until(is_first_gone));
    assert_int_equal(deploy("hello", 1), 0);
    assert_int_equal(w.pruned, 3);
}

static bool is_second_started(void)
{
    return w.pushed[INSTANCE_STARTING] > 1;
}

static bool is_third_started(void)
{
    return w.pushed[INSTANCE_STARTING] > 2;
}

/* The version that is being proved is not current yet: a prune at this moment, for the last instance of another, would take it along. */
static void test_no_prune_during_a_deploy(void **state)
{
    w.config.start_timeout_ns = w.config.drain_timeout_ns = 60 * NS_PER_SEC;
    start();
    assert_true(until(is_ready));
    assert_int_equal(deploy("hello", 1), 0);
    assert_int_equal(w.pruned, 1);
    w.mute = true;
    begin_deploy("hello", 1);
    assert_true(until(is_third_started));
    kill(w.kids[0], SIGKILL);
    assert_true(until(is_gone));
    assert_int_equal(w.pruned, 1);
    w.config.drain_timeout_ns = 50 * NS_PER_MS;
    report(RECORD_READY, w.instance);
    assert_true(until(is_answered));
    assert_int_equal(w.reply.diag.err, 0);
    assert_int_equal(w.pruned, 2);
}

/* A jail that does nothing is ended after a while, one that works only when the whole time is over. */
static void test_deploys_that_take_too_long(void **state)
{
    start();
    w.jail_silent = true;
    w.config.unpack_stall_ns = 40 * NS_PER_MS;
    assert_int_equal(deploy("other", 1), ETIMEDOUT);
    assert_non_null(strstr(w.reply.diag.text, "stood still"));
    w.jail_busy = true;
    w.config.unpack_timeout_ns = 200 * NS_PER_MS;
    assert_int_equal(deploy("other", 1), ETIMEDOUT);
    assert_non_null(strstr(w.reply.diag.text, "runner.unpack_timeout"));
    w.jail_silent = false;
    assert_int_equal(deploy("other", 1), 0);
}

static void ask_export_of(const char *name, int fd, uint64_t id)
{
    struct record_export rec = {.head = RECORD_INIT(RECORD_EXPORT, id), .fn = {.env = "default"}};

    str_copy(rec.fn.name, sizeof(rec.fn.name), name);
    w.reply = (struct record_reply){0};
    manager_request(w.manager, 1, &rec.head, fd);
}

static void ask_export(int fd, uint64_t id)
{
    ask_export_of("hello", fd, id);
}

static int write_end(void)
{
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    close(fds[0]);
    return fds[1];
}

/* What is not the end of a pipe that is written to is nothing for root to let the jail write to. */
static void test_exports(void **state)
{
    const struct record_deploy_end end = {.head = RECORD_INIT(RECORD_DEPLOY_END, 7)}, other = {.head = RECORD_INIT(RECORD_DEPLOY_END, 99)};
    char path[80];
    int fds[2];

    start();
    ask_export(-1, 7);
    assert_int_equal(w.reply.diag.err, EPROTO);
    ask_export(eventfd(0, EFD_CLOEXEC), 7);
    assert_int_equal(w.reply.diag.err, EPROTO);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    ask_export(fds[0], 7);
    assert_int_equal(w.reply.diag.err, EPROTO);
    close(fds[1]);
    snprintf(path, sizeof(path), "%s/file", w.dir);
    ask_export(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), 7);
    assert_int_equal(w.reply.diag.err, EPROTO);
    ask_export(write_end(), 7);
    assert_int_equal(w.reply.head.id, 0);
    assert_true(until(is_answered));
    assert_int_equal(w.reply.diag.err, 0);

    w.jail_silent = true;
    for (uint64_t id = 7; id < 11; id++)
        ask_export(write_end(), id);
    assert_int_equal(w.reply.head.id, 0);
    ask_export(write_end(), 11);
    assert_int_equal(w.reply.diag.err, EBUSY);
    manager_client_gone(w.manager, 2); /* none of these is anybody's who is under way */
    manager_request(w.manager, 2, &end.head, -1);
    manager_request(w.manager, 1, &other.head, -1);
    ask_export(write_end(), 11);
    assert_int_equal(w.reply.diag.err, EBUSY);
    w.reply = (struct record_reply){0};
    manager_request(w.manager, 1, &end.head, -1); /* whoever asked for one went away: there is room for another, and no reply */
    assert_int_equal(w.reply.head.id, 0);
    ask_export(write_end(), 12);
    assert_int_equal(w.reply.head.id, 0);
    manager_client_gone(w.manager, 1);
    w.config.unpack_stall_ns = 40 * NS_PER_MS;
    ask_export(write_end(), 7);
    assert_true(until(is_answered));
    assert_int_equal(w.reply.diag.err, ETIMEDOUT);
    assert_non_null(strstr(w.reply.diag.text, "export: nobody took anything"));
}

static void test_no_export_of_what_has_no_version(void **state)
{
    w.config.start_timeout_ns = 60 * NS_PER_SEC;
    start();
    assert_true(until(is_ready));
    w.mute = true;
    begin_deploy("other", 1);
    assert_true(until(is_second_started));
    ask_export_of("other", write_end(), 8);
    assert_int_equal(w.reply.diag.err, ENOENT);
    assert_non_null(strstr(w.reply.diag.text, "other has no version yet"));
    report(RECORD_READY, w.instance);
    assert_true(until(is_answered));
    assert_int_equal(w.reply.diag.err, 0);
}

static void test_no_export_while_stopping(void **state)
{
    start();
    assert_true(until(is_ready));
    w.jail_silent = true;
    ask_export(write_end(), 7);
    manager_stop(w.manager);
    assert_true(until(is_answered));
    assert_int_equal(w.reply.diag.err, ECANCELED);
    ask_export(write_end(), 7);
    assert_true(until(is_answered));
    assert_int_equal(w.reply.diag.err, EBUSY);
}

/* A cgroup that cannot be removed now keeps its slot until it can: the number, and the name with it, would be taken again at once. */
static void test_group_that_stays_for_a_while(void **state)
{
    start();
    assert_true(until(is_ready));
    w.remove_failures = 5;
    kill(w.kids[0], SIGKILL);
    assert_true(until(is_ready_again));
    assert_int_equal(w.remove_failures, 0);
    assert_true(w.makes <= 3);
}

/* No descriptor is left to open cgroup.kill, say: fn-init's end ends the rest. */
static void test_unhealthy_where_the_group_cannot_be_killed(void **state)
{
    start();
    assert_true(until(is_ready));
    w.kill_err = EMFILE;
    report(RECORD_UNHEALTHY, w.instance);
    assert_true(until(is_gone));
}

/* ---- limits that are hit ---- */

static void ask_stats(void)
{
    struct record_empty rec = {.head = RECORD_INIT(RECORD_STATS_GET, 5)};

    manager_request(w.manager, 1, &rec.head, -1);
}

/* All notes of all logs, in no order. */
static void read_notes(char *text, size_t size)
{
    DIR *dir = opendir(w.dir);
    struct dirent *e;

    assert_non_null(dir);
    text[0] = '\0';
    while ((e = readdir(dir))) {
        struct ringlog_note notes[RINGLOG_NOTES];
        cleanup_fd int fd = str_ends_with(e->d_name, ".log") ? openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC) : -1;
        int n = fd < 0 ? 0 : ringlog_notes(fd, 0, notes);

        for (int i = 0; i < n; i++)
            snprintf(text + strlen(text), size - strlen(text), "%s\n", notes[i].text);
    }
    closedir(dir);
}

static unsigned occurrences(const char *text, const char *word)
{
    unsigned n = 0;

    for (; (text = strstr(text, word)); text++)
        n++;
    return n;
}

/* Each hit once, however often somebody looks; a line now and then; and the counters outlive the instance. */
static void test_hits(void **state)
{
    char notes[8192];

    w.lacks = "io (no disk)";
    w.has_stats = true;
    start();
    assert_true(until(is_ready));
    w.stats = (struct cg_stats){.pids_refused = 3, .throttled = 5, .memory_bytes = 7, .pids = 2};
    ask_stats();
    ask_stats();
    assert_int_equal(w.told.pids_refused, 3);
    assert_int_equal(w.told.memory_bytes, 7);
    assert_int_equal(w.told.pids_max, 64);
    assert_int_equal(w.told.cpu_max_milli, 1000);
    assert_int_equal(w.hits.hits[RECORD_LIMIT_PIDS], 3);
    assert_int_equal(w.hits.hits[RECORD_LIMIT_CPU], 5);
    assert_int_equal(w.network.dropped[RECORD_DROP_TO_HOST], 3);
    assert_int_equal(w.network.restored, 1);
    w.stats.pids_refused = 1000;
    ask_stats();
    assert_int_equal(w.hits.hits[RECORD_LIMIT_PIDS], 1000);
    read_notes(notes, sizeof(notes));
    assert_int_equal(occurrences(notes, "limits that this host does not hold: io (no disk)"), 1);
    assert_int_equal(occurrences(notes, "pids: "), 1);
    assert_non_null(strstr(notes, "refused 3 times, at the limit of 64"));
    w.stats.oom_kills = 4;
    w.stats.ooms = 1;
    kill(w.kids[0], SIGKILL);
    assert_true(until(is_ready_again));
    w.stats = (struct cg_stats){0};
    ask_stats();
    assert_int_equal(w.hits.hits[RECORD_LIMIT_MEMORY], 1);
    assert_int_equal(w.hits.hits[RECORD_LIMIT_PIDS], 1000);
    read_notes(notes, sizeof(notes));
    assert_int_equal(occurrences(notes, "memory: it was killed at its limit of 128M"), 1);
    assert_non_null(strstr(notes, "refused 997 times"));
    assert_non_null(strstr(notes, "ended: out of memory: it reached its limit of 128M"));
}

static bool has_refused(void)
{
    return w.manager->functions->hits[RECORD_LIMIT_PIDS] == 2;
}

static bool is_quiet(void)
{
    return w.manager->hit_events.pause.loop == NULL;
}

static unsigned turns;

static bool has_turned(void)
{
    return turns++ > 0;
}

/* Told, not asked; and a function that hits its limit all the time is not looked at all the time. */
static void test_hit_by_event(void **state)
{
    w.has_stats = true;
    start();
    assert_true(until(is_ready));
    w.stats.pids_refused = 2;
    assert_int_equal(eventfd_write(w.events_fd, 5000), 0); /* slot 0's */
    assert_true(until(has_refused));
    for (int i = 0; i < 50; i++) {
        assert_int_equal(eventfd_write(w.events_fd, 1), 0);
        turns = 0;
        assert_true(until(has_turned));
    }
    assert_true(w.event_reads <= 5);
    assert_true(until(is_quiet));
}

/* ---- the budget of all together ---- */

static int scale(uint32_t replicas)
{
    struct record_scale rec = {.head = RECORD_INIT(RECORD_SCALE, 6), .fn = {.env = "default", .name = "hello"}, .replicas = replicas};

    manager_request(w.manager, 1, &rec.head, -1);
    return w.reply.diag.err;
}

/* A function has 128M and one CPU: three of them fit into 400M. */
static void test_memory_budget(void **state)
{
    w.config.host_memory = 400ULL << 20;
    w.config.slots_max = 12;
    start();
    assert_int_equal(w.tree.memory_bytes, 400ULL << 20);
    assert_true(until(is_ready));
    assert_int_equal(scale(4), ENOSPC);
    assert_non_null(strstr(w.reply.diag.text, "host.memory is used up"));
    assert_non_null(strstr(w.reply.diag.text, "4 more with 128M each"));
    assert_int_equal(w.stored_scale, 1);
    assert_int_equal(scale(3), 0);
    assert_int_equal(w.stored_scale, 3);
    assert_int_equal(deploy("other", 1), ENOSPC);
    assert_int_equal(deploy("hello", 4), ENOSPC);
    assert_int_equal(w.current, 1);
    assert_int_equal(scale(1), 0);
    assert_int_equal(deploy("hello", 3), 0); /* in the place of what runs */
    assert_int_equal(scale(1), 0);
    assert_int_equal(deploy("other", 2), 0);
    ask_stats();
    assert_int_equal(w.host.memory_bytes, 400ULL << 20);
    assert_int_equal(w.host.memory_used_bytes, 1234);
    assert_true(w.host.memory_promised_bytes >= 2 * 128ULL << 20);
    assert_int_equal(w.host.memory_promised_max_bytes, 400ULL << 20);
}

static void test_cpu_budget(void **state)
{
    w.config.host_cpu = 1500;
    w.config.cpu_overcommit = 2;
    start();
    assert_int_equal(w.tree.cpu_milli, 1500);
    assert_true(until(is_ready));
    assert_int_equal(scale(4), ENOSPC);
    assert_non_null(strstr(w.reply.diag.text, "host.cpu is used up"));
    assert_int_equal(scale(3), 0);
}

static bool has_no_memory(void)
{
    const struct function *f = w.manager->functions;

    return f && strstr(f->last_failure, "host.memory is used up");
}

/* Wanted from before, when the budget was larger: what fits runs, the rest waits and says why; it is no failure of the function. */
static void test_start_beyond_the_budget(void **state)
{
    w.scale = 3;
    w.config.host_memory = 200ULL << 20;
    start();
    assert_true(until(has_no_memory));
    assert_true(until(is_ready));
    assert_int_equal(w.manager->functions->failures, 0);
    assert_int_equal(w.manager->slots.counts[SLOT_TAKEN], 1);
}

static void test_disk_budget(void **state)
{
    w.config.host_disk = 100;
    start();
    assert_true(until(is_ready));
    w.disk_used = 98;
    assert_int_equal(deploy("hello", 1), 0); /* an image of one byte */
    w.disk_used = 100;
    assert_int_equal(deploy("hello", 1), ENOSPC);
    assert_non_null(strstr(w.reply.diag.text, "host.disk is used up"));
    assert_int_equal(scale(2), 0);
}

/* Killed though it was below its limit: the message must not send its author to look for a leak. */
static void test_killed_for_others(void **state)
{
    char notes[8192];

    w.has_stats = true;
    start();
    assert_true(until(is_ready));
    w.stats.oom_kills = 1;
    kill(w.kids[0], SIGKILL);
    assert_true(until(is_ready_again));
    read_notes(notes, sizeof(notes));
    assert_non_null(strstr(notes, "memory: it was killed below its limit"));
    assert_non_null(strstr(notes, "(host.memory)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_failing_slots_pause, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failing_clones_pause, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slot_without_child_closes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_scale_beyond_slots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deploy_of_too_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deploys_on_a_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deploys_that_take_too_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prune_waits_for_instances, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_prune_during_a_deploy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_group_that_stays_for_a_while, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unhealthy_where_the_group_cannot_be_killed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_exports, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_export_of_what_has_no_version, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_export_while_stopping, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hit_by_event, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory_budget, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cpu_budget, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_start_beyond_the_budget, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_disk_budget, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_for_others, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
