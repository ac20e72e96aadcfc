#include "eject.h"

enum eject_view eject_view(const struct eject *e, uint64_t now_ns)
{
    uint64_t until = atomic_load_explicit(&e->until_ns, memory_order_relaxed);

    if (until == 0)
        return EJECT_IN;
    return now_ns < until || atomic_load_explicit(&e->trial, memory_order_relaxed) ? EJECT_OUT : EJECT_DUE;
}

bool eject_begin_trial(struct eject *e, bool force)
{
    return !atomic_exchange(&e->trial, true) || force;
}

void eject_end_trial(struct eject *e)
{
    atomic_store(&e->trial, false);
}

static uint64_t delay_ns(unsigned level)
{
    uint64_t delay = EJECT_FIRST_NS << (level < 8 ? level : 8);

    return delay < EJECT_LONGEST_NS ? delay : EJECT_LONGEST_NS;
}

static bool leave(struct eject *e, uint64_t was, unsigned level, uint64_t now_ns)
{
    if (!atomic_compare_exchange_strong(&e->until_ns, &was, now_ns + delay_ns(level)))
        return false;
    atomic_store(&e->level, level);
    atomic_store(&e->failures, 0);
    return true;
}

static bool failed_out(struct eject *e, bool trial, uint64_t until, uint64_t now_ns)
{
    bool left;

    if (!trial) /* it began before the instance left */
        return false;
    left = now_ns >= until && leave(e, until, atomic_load(&e->level) + 1, now_ns);
    eject_end_trial(e);
    return left;
}

bool eject_failed(struct eject *e, bool trial, bool may_leave, uint64_t now_ns)
{
    uint64_t until = atomic_load(&e->until_ns), back = atomic_load(&e->back_ns);
    bool again = back && now_ns < back + EJECT_FORGIVES_NS;

    if (until)
        return failed_out(e, trial, until, now_ns);
    if (atomic_load(&e->failures) == 0 || now_ns > atomic_load(&e->since_ns) + EJECT_WINDOW_NS) {
        atomic_store(&e->since_ns, now_ns);
        atomic_store(&e->failures, 0);
    }
    if (atomic_fetch_add(&e->failures, 1) + 1 < EJECT_FAILURES || !may_leave)
        return false;
    return leave(e, 0, again ? atomic_load(&e->level) + 1 : 0, now_ns);
}

bool eject_worked(struct eject *e, bool trial, uint64_t now_ns)
{
    if (atomic_load_explicit(&e->failures, memory_order_relaxed))
        atomic_store(&e->failures, 0);
    if (!trial)
        return false;
    atomic_store(&e->back_ns, now_ns);
    eject_end_trial(e);
    return atomic_exchange(&e->until_ns, 0) != 0;
}
