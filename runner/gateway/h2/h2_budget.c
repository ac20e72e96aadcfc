/* h2_budget.c: see h2_private.h. A bucket that holds `most` and fills in H2_BUDGET_NS, kept as the time at which it will be full again. */
#include "h2_private.h"

bool h2_budget_take(struct h2_budget *b, uint64_t now_ns, uint32_t most)
{
    if (most == 0)
        return true;
    if (b->used_up_to_ns < now_ns)
        b->used_up_to_ns = now_ns;
    b->used_up_to_ns += H2_BUDGET_NS / most;
    return b->used_up_to_ns - now_ns <= H2_BUDGET_NS;
}

void h2_budget_refund(struct h2_budget *b, uint32_t times, uint32_t most)
{
    uint64_t back = most ? H2_BUDGET_NS / most * times : 0;

    b->used_up_to_ns -= back < b->used_up_to_ns ? back : b->used_up_to_ns;
}
