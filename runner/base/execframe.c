/* execframe.c: the frames of `fnctl exec`. Pure, without stdio and malloc: fn-init links it too. */
#include "execframe.h"

#include <errno.h>
#include <string.h>

static const struct frame_rule {
    uint8_t from; /* enum exec_side */
    uint16_t min, max;
} rules[EXEC_TYPE_COUNT] = {
    [EXEC_START] = {EXEC_FROM_CLIENT, 4, 4},
    [EXEC_STDIN] = {EXEC_FROM_CLIENT, 0, EXEC_DATA_MAX},
    [EXEC_SIZE] = {EXEC_FROM_CLIENT, 4, 4},
    [EXEC_SIGNAL] = {EXEC_FROM_CLIENT, 1, 1},
    [EXEC_STDOUT] = {EXEC_FROM_RELAY, 1, EXEC_DATA_MAX},
    [EXEC_STDERR] = {EXEC_FROM_RELAY, 1, EXEC_DATA_MAX},
    [EXEC_TAKEN] = {EXEC_FROM_RELAY, 4, 4},
    [EXEC_EXIT] = {EXEC_FROM_RELAY, 4, 4},
};

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

/* What is wrong is said as early as it can be seen: nobody waits for the rest of a frame that will be refused. */
int exec_frame_parse(enum exec_side from, const void *data, size_t len, struct exec_frame *ret)
{
    const uint8_t *p = data;
    const struct frame_rule *rule;
    uint16_t n;

    if (len < 1)
        return 0;
    rule = &rules[p[0] < EXEC_TYPE_COUNT ? p[0] : EXEC_NONE];
    if (rule->from != from || (len >= 2 && p[1] != 0))
        return -EPROTO;
    if (len < EXEC_HEAD)
        return 0;
    n = get16(p + 2);
    if (n < rule->min || n > rule->max)
        return -EPROTO;
    if (len < EXEC_HEAD + n)
        return 0;
    *ret = (struct exec_frame){.type = p[0], .len = n, .payload = p + EXEC_HEAD};
    return (int)(EXEC_HEAD + n);
}

void exec_frame_head(uint8_t to[EXEC_HEAD], enum exec_type type, size_t len)
{
    to[0] = (uint8_t)type;
    to[1] = 0;
    put16(to + 2, (unsigned)len);
}

size_t exec_frame_size(uint8_t *to, enum exec_type type, unsigned rows, unsigned cols)
{
    exec_frame_head(to, type, 4);
    put16(to + EXEC_HEAD, rows);
    put16(to + EXEC_HEAD + 2, cols);
    return EXEC_HEAD + 4;
}

size_t exec_frame_signal(uint8_t *to, int sig)
{
    exec_frame_head(to, EXEC_SIGNAL, 1);
    to[EXEC_HEAD] = (uint8_t)sig;
    return EXEC_HEAD + 1;
}

size_t exec_frame_taken(uint8_t *to, uint32_t bytes)
{
    exec_frame_head(to, EXEC_TAKEN, 4);
    put16(to + EXEC_HEAD, bytes & 0xffff);
    put16(to + EXEC_HEAD + 2, bytes >> 16);
    return EXEC_HEAD + 4;
}

size_t exec_frame_exit(uint8_t *to, const struct exec_exit *e)
{
    exec_frame_head(to, EXEC_EXIT, 4);
    to[EXEC_HEAD] = e->end;
    to[EXEC_HEAD + 1] = e->step;
    put16(to + EXEC_HEAD + 2, e->value);
    return EXEC_HEAD + 4;
}

void exec_read_size(const struct exec_frame *f, unsigned *ret_rows, unsigned *ret_cols)
{
    *ret_rows = get16(f->payload);
    *ret_cols = get16(f->payload + 2);
}

uint32_t exec_read_taken(const struct exec_frame *f)
{
    return get16(f->payload) | (uint32_t)get16(f->payload + 2) << 16;
}

int exec_read_exit(const struct exec_frame *f, struct exec_exit *ret)
{
    const struct exec_exit e = {.end = f->payload[0], .step = f->payload[1], .value = get16(f->payload + 2)};

    if (e.end >= EXEC_END_COUNT || e.step >= EXEC_STEP_COUNT)
        return -EPROTO;
    *ret = e;
    return 0;
}
