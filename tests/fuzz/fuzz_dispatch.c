/* What the gateway sends: record_check(), and behind it the manager's requests in a world that is played (tests/unit/manager_world.h). */
#include "manager_world.h"

#include "fuzz_patch.h"
#include "log.h"
#include "record_maker.h"

#include <sys/socket.h>

#define RECORDS 64 /* the world costs more than they do */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void turn(void)
{
    struct timer t = {.on_expire = out_of_time};

    loop_arm_in(w.loop, &t, 0);
    loop_run(w.loop);
    loop_disarm(&t);
}

/* What a record of that type comes with, or not. */
static int descriptor(uint32_t type, struct patches *p)
{
    if (type == RECORD_DEPLOY && patch_byte(p) % 4)
        return eventfd(0, EFD_CLOEXEC);
    return type == RECORD_EXEC && patch_byte(p) % 4 ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
}

static void one_record(struct maker *m, struct patches *p)
{
    const struct record_head *head = (const struct record_head *)m->record;
    size_t len = maker_record(m, false, patch_byte(p) % 8);
    struct diag d = {0};

    for (unsigned n = patch_byte(p) % 4; n > 0 && len > 0; n--)
        patch_apply(p, m->record, len);
    record_check(m->record, len, 0, NULL);
    if (record_check(m->record, len, 1, &d) < 0 || head->type == RECORD_HELLO || head->type == RECORD_CONFIG_GET)
        return; /* those two are the connection's own */
    manager_request(w.manager, 1, head, descriptor(head->type, p));
    w.makes = 0;
    memset(w.pushed, 0, sizeof(w.pushed));
    turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct maker m;
    struct patches p = {.at = data, .left = size};
    void *state = NULL;

    m.state = ((uint64_t)patch_number(&p) << 32 | patch_number(&p)) | 1;
    log_set_level(LOG_CRIT);
    if (set_up(&state) < 0)
        return 0;
    w.config.start_timeout_ns = w.config.drain_timeout_ns = w.config.stop_timeout_ns = NS_PER_MS;
    w.scale = patch_byte(&p) % 4 == 0; /* an instance is a process, and costs as much as a thousand records */
    w.jail_silent = patch_byte(&p) % 4 == 0;
    start();
    for (unsigned n = 0; n < RECORDS; n++)
        one_record(&m, &p);
    manager_client_gone(w.manager, 1);
    w.makes = 0;
    memset(w.pushed, 0, sizeof(w.pushed));
    tear_down(&state);
    return 0;
}
