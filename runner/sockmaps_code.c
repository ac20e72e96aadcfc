/*
 * sockmaps_code.c: the four programs of sockmaps.c, as instructions, and the maps. About 100 instructions are less than what a second compiler (clang for the target bpf) and libbpf would add to every build, and to
 * what runs as root: an ELF reader with relocations and BTF. The kernel's verifier reads them anyway.
 *
 * r6: the context. r7: the connection's state. fp-16: its key, from the gateway's side whoever asks. Whatever goes wrong ends at `out`, which lets the message go by TCP.
 */
#include "sockmaps.h"

#include "diag.h"
#include "sockmap.h"

#include <assert.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CODE_MAX    96
#define KEY         (-16)
#define FIRST       (-32)
#define ENTRIES     32768U
#define STATE(f)    ((int16_t)offsetof(struct sockmap_state, f))
#define OPS(f)      ((int16_t)offsetof(struct bpf_sock_ops, f))
#define MSG(f)      ((int16_t)offsetof(struct sk_msg_md, f))
#define KEY_OF(f)   ((int16_t)(KEY + (int)offsetof(struct sockmap_key, f)))
#define FIRST_OF(f) ((int16_t)(FIRST + (int)offsetof(struct sockmap_state, f)))

struct code {
    struct bpf_insn at[CODE_MAX];
    unsigned n;
    unsigned outs[16], nouts; /* jumps to the end */
};

int sockmaps_bpf(int cmd, void *attr, unsigned size)
{
    long r = syscall(SYS_bpf, cmd, attr, size);

    return r < 0 ? -errno : (int)r;
}

/* ---- instructions ---- */

static void put(struct code *c, uint8_t op, unsigned dst, unsigned src, int16_t off, int32_t imm)
{
    assert(c->n < CODE_MAX);
    c->at[c->n++] = (struct bpf_insn){.code = op, .dst_reg = dst & 15U, .src_reg = src & 15U, .off = off, .imm = imm};
}

static void mov(struct code *c, unsigned dst, unsigned src)
{
    put(c, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

static void set(struct code *c, unsigned dst, int32_t value)
{
    put(c, BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value);
}

static void add(struct code *c, unsigned dst, int32_t value)
{
    put(c, BPF_ALU64 | BPF_K /* BPF_ADD is 0 */, dst, 0, 0, value);
}

static void add_reg(struct code *c, unsigned dst, unsigned src)
{
    put(c, BPF_ALU64 | BPF_ADD | BPF_X, dst, src, 0, 0);
}

static void load(struct code *c, unsigned dst, unsigned src, int16_t off)
{
    put(c, BPF_LDX | BPF_MEM | BPF_W, dst, src, off, 0);
}

static void load_pointer(struct code *c, unsigned dst, unsigned src, int16_t off)
{
    put(c, BPF_LDX | BPF_MEM | BPF_DW, dst, src, off, 0);
}

static void store(struct code *c, unsigned dst, int16_t off, unsigned src)
{
    put(c, BPF_STX | BPF_MEM | BPF_W, dst, src, off, 0);
}

static void store_value(struct code *c, unsigned dst, int16_t off, int32_t value)
{
    put(c, BPF_ST | BPF_MEM | BPF_W, dst, 0, off, value);
}

static void load_map(struct code *c, unsigned dst, int fd)
{
    put(c, BPF_DW /* BPF_LD, BPF_IMM are 0 */, dst, BPF_PSEUDO_MAP_FD, 0, fd);
    put(c, 0, 0, 0, 0, 0);
}

static void load_u64(struct code *c, unsigned dst, uint64_t value)
{
    put(c, BPF_DW /* BPF_LD, BPF_IMM are 0 */, dst, 0, 0, (int32_t)(uint32_t)value);
    put(c, 0, 0, 0, 0, (int32_t)(uint32_t)(value >> 32));
}

static void call(struct code *c, int32_t helper)
{
    put(c, BPF_JMP | BPF_CALL, 0, 0, 0, helper);
}

/* To the end if dst OP value. */
static void out_if(struct code *c, uint8_t op, unsigned dst, int32_t value)
{
    assert(c->nouts < sizeof(c->outs) / sizeof(c->outs[0]));
    c->outs[c->nouts++] = c->n;
    put(c, BPF_JMP | op | BPF_K, dst, 0, 0, value);
}

static void out(struct code *c)
{
    out_if(c, BPF_JEQ, BPF_REG_10, 0); /* replaced by an unconditional jump */
    c->at[c->n - 1].code = BPF_JMP | BPF_JA;
    c->at[c->n - 1].dst_reg = 0;
}

/* A jump forward to where here() is called. */
static unsigned jump_if(struct code *c, uint8_t op, unsigned dst, int32_t value)
{
    put(c, BPF_JMP | op | BPF_K, dst, 0, 0, value);
    return c->n - 1;
}

static void here(struct code *c, unsigned jump)
{
    c->at[jump].off = (int16_t)(c->n - jump - 1);
}

/* SK_PASS; and a sockops program's "go on" is 1 too. */
static void end(struct code *c)
{
    static_assert(SK_PASS == 1, "one end for both kinds");
    for (unsigned i = 0; i < c->nouts; i++)
        here(c, c->outs[i]);
    set(c, BPF_REG_0, SK_PASS);
    put(c, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* ---- what the programs share ---- */

/* Where a context keeps the four numbers, and whether its own end is the gateway's. */
struct ends {
    int16_t local_addr, remote_addr, local_port, remote_port;
    bool gateway;
};

static void begin(struct code *c, int16_t family)
{
    mov(c, BPF_REG_6, BPF_REG_1);
    load(c, BPF_REG_1, BPF_REG_6, family);
    out_if(c, BPF_JNE, BPF_REG_1, AF_INET);
}

static void make_key(struct code *c, const struct ends *e)
{
    load(c, BPF_REG_1, BPF_REG_6, e->local_addr);
    store(c, BPF_REG_10, e->gateway ? KEY_OF(gateway_addr) : KEY_OF(instance_addr), BPF_REG_1);
    load(c, BPF_REG_1, BPF_REG_6, e->remote_addr);
    store(c, BPF_REG_10, e->gateway ? KEY_OF(instance_addr) : KEY_OF(gateway_addr), BPF_REG_1);
    load(c, BPF_REG_1, BPF_REG_6, e->local_port);
    store(c, BPF_REG_10, e->gateway ? KEY_OF(gateway_port) : KEY_OF(instance_port), BPF_REG_1);
    load(c, BPF_REG_1, BPF_REG_6, e->remote_port); /* the context has it in network byte order */
    put(c, BPF_ALU | BPF_END | BPF_TO_BE, BPF_REG_1, 0, 0, 32);
    store(c, BPF_REG_10, e->gateway ? KEY_OF(instance_port) : KEY_OF(gateway_port), BPF_REG_1);
}

static void point_to(struct code *c, unsigned dst, int32_t off)
{
    mov(c, dst, BPF_REG_10);
    add(c, dst, off);
}

static void find_state(struct code *c, int map)
{
    load_map(c, BPF_REG_1, map);
    point_to(c, BPF_REG_2, KEY);
    call(c, BPF_FUNC_map_lookup_elem);
    out_if(c, BPF_JEQ, BPF_REG_0, 0);
    mov(c, BPF_REG_7, BPF_REG_0);
}

/* r0: SK_PASS if the peer is there. */
static void redirect(struct code *c, int map)
{
    mov(c, BPF_REG_1, BPF_REG_6);
    load_map(c, BPF_REG_2, map);
    point_to(c, BPF_REG_3, KEY);
    set(c, BPF_REG_4, BPF_F_INGRESS);
    call(c, BPF_FUNC_msg_redirect_hash);
}

static void enter(struct code *c, int map)
{
    mov(c, BPF_REG_1, BPF_REG_6);
    load_map(c, BPF_REG_2, map);
    point_to(c, BPF_REG_3, KEY);
    set(c, BPF_REG_4, BPF_ANY);
    call(c, BPF_FUNC_sock_hash_update);
}

static const struct ends ops_gateway = {OPS(local_ip4), OPS(remote_ip4), OPS(local_port), OPS(remote_port), true};
static const struct ends ops_instance = {OPS(local_ip4), OPS(remote_ip4), OPS(local_port), OPS(remote_port), false};
static const struct ends msg_gateway = {MSG(local_ip4), MSG(remote_ip4), MSG(local_port), MSG(remote_port), true};
static const struct ends msg_instance = {MSG(local_ip4), MSG(remote_ip4), MSG(local_port), MSG(remote_port), false};

/* ---- the programs ---- */

/* A connection that was opened in our own network namespace and asks for it. A function that sets the same priority is in its slot's namespace. */
static void enter_gateway(struct code *c, const int *maps, uint64_t netns_cookie)
{
    begin(c, OPS(family));
    load(c, BPF_REG_1, BPF_REG_6, OPS(op));
    out_if(c, BPF_JNE, BPF_REG_1, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB);
    load_pointer(c, BPF_REG_1, BPF_REG_6, OPS(sk));
    out_if(c, BPF_JEQ, BPF_REG_1, 0);
    load(c, BPF_REG_1, BPF_REG_1, (int16_t)offsetof(struct bpf_sock, priority));
    out_if(c, BPF_JNE, BPF_REG_1, SOCKMAP_PRIORITY);
    mov(c, BPF_REG_1, BPF_REG_6);
    call(c, BPF_FUNC_get_netns_cookie);
    load_u64(c, BPF_REG_1, netns_cookie);
    put(c, BPF_JMP | BPF_JEQ | BPF_X, BPF_REG_0, BPF_REG_1, 1, 0); /* over the way out */
    out(c);
    make_key(c, &ops_gateway);
    store_value(c, BPF_REG_10, FIRST_OF(plain), 0);
    store_value(c, BPF_REG_10, FIRST_OF(cost), 0);
    store_value(c, BPF_REG_10, FIRST_OF(bytes), 0);
    store_value(c, BPF_REG_10, FIRST_OF(count), SOCKMAP_MESSAGES); /* nothing is short before the first request */
    load_map(c, BPF_REG_1, maps[SOCKMAP_STATE]);
    point_to(c, BPF_REG_2, KEY);
    point_to(c, BPF_REG_3, FIRST);
    set(c, BPF_REG_4, BPF_ANY);
    call(c, BPF_FUNC_map_update_elem);
    out_if(c, BPF_JNE, BPF_REG_0, 0);
    enter(c, maps[SOCKMAP_GATEWAY]);
}

/* The other end of one that enter_gateway has taken: it sees the handshake's answer before this one sees its end. */
static void enter_instance(struct code *c, const int *maps)
{
    begin(c, OPS(family));
    load(c, BPF_REG_1, BPF_REG_6, OPS(op));
    out_if(c, BPF_JNE, BPF_REG_1, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB);
    make_key(c, &ops_instance);
    find_state(c, maps[SOCKMAP_STATE]);
    enter(c, maps[SOCKMAP_INSTANCE]);
}

static void from_gateway(struct code *c, const int *maps)
{
    unsigned large, old;

    begin(c, MSG(family));
    make_key(c, &msg_gateway);
    find_state(c, maps[SOCKMAP_STATE]);
    load(c, BPF_REG_1, BPF_REG_7, STATE(plain));
    out_if(c, BPF_JNE, BPF_REG_1, 0);
    load(c, BPF_REG_2, BPF_REG_6, MSG(size));
    large = jump_if(c, BPF_JGT, BPF_REG_2, SOCKMAP_BYTES);
    load(c, BPF_REG_3, BPF_REG_7, STATE(cost));
    add_reg(c, BPF_REG_3, BPF_REG_2);
    add(c, BPF_REG_3, SOCKMAP_COST);
    old = jump_if(c, BPF_JGT, BPF_REG_3, SOCKMAP_LIFETIME);
    store(c, BPF_REG_7, STATE(cost), BPF_REG_3);
    store_value(c, BPF_REG_7, STATE(bytes), 0); /* a new request: all of the answer before has been read */
    store_value(c, BPF_REG_7, STATE(count), 0);
    redirect(c, maps[SOCKMAP_INSTANCE]);
    out_if(c, BPF_JEQ, BPF_REG_0, SK_PASS);
    here(c, large);
    here(c, old);
    store_value(c, BPF_REG_7, STATE(plain), 1);
}

static void from_instance(struct code *c, const int *maps)
{
    unsigned large;

    begin(c, MSG(family));
    make_key(c, &msg_instance);
    find_state(c, maps[SOCKMAP_STATE]);
    load(c, BPF_REG_1, BPF_REG_7, STATE(count));
    out_if(c, BPF_JGE, BPF_REG_1, SOCKMAP_MESSAGES);
    load(c, BPF_REG_2, BPF_REG_6, MSG(size));
    load(c, BPF_REG_3, BPF_REG_7, STATE(bytes));
    add_reg(c, BPF_REG_3, BPF_REG_2);
    large = jump_if(c, BPF_JGT, BPF_REG_3, SOCKMAP_BYTES);
    store(c, BPF_REG_7, STATE(bytes), BPF_REG_3);
    add(c, BPF_REG_1, 1);
    store(c, BPF_REG_7, STATE(count), BPF_REG_1);
    redirect(c, maps[SOCKMAP_GATEWAY]);
    out_if(c, BPF_JEQ, BPF_REG_0, SK_PASS);
    here(c, large);
    store_value(c, BPF_REG_7, STATE(count), SOCKMAP_MESSAGES); /* from here on by TCP: what is there already is read first */
}

/* ---- loading ---- */

int sockmaps_load(enum sockmap_program p, const int *maps, unsigned long long netns_cookie, struct diag *d)
{
    static const char *const names[] = {"fnd_enter_gw", "fnd_enter_inst", "fnd_from_gw", "fnd_from_inst"};
    struct code c = {.n = 0};
    union bpf_attr attr;
    char log[2048] = "";
    int r;

    switch (p) {
    case SOCKMAP_ENTER_GATEWAY:
        enter_gateway(&c, maps, netns_cookie);
        break;
    case SOCKMAP_ENTER_INSTANCE:
        enter_instance(&c, maps);
        break;
    case SOCKMAP_FROM_GATEWAY:
        from_gateway(&c, maps);
        break;
    default:
        from_instance(&c, maps);
        break;
    }
    end(&c);
    memset(&attr, 0, sizeof(attr));
    attr.prog_type = p <= SOCKMAP_ENTER_INSTANCE ? BPF_PROG_TYPE_SOCK_OPS : BPF_PROG_TYPE_SK_MSG;
    attr.expected_attach_type = p <= SOCKMAP_ENTER_INSTANCE ? BPF_CGROUP_SOCK_OPS : BPF_SK_MSG_VERDICT;
    attr.insns = (uint64_t)(uintptr_t)c.at;
    attr.insn_cnt = c.n;
    attr.license = (uint64_t)(uintptr_t) "MIT";
    memcpy(attr.prog_name, names[p], strlen(names[p]));
    r = sockmaps_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
    if (r >= 0)
        return r;
    attr.log_buf = (uint64_t)(uintptr_t)log; /* again, for the reason */
    attr.log_size = sizeof(log);
    attr.log_level = 1;
    sockmaps_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
    return diag_errno(d, -r, "program %s: %.*s", names[p], 100, log);
}

int sockmaps_make(enum sockmap_map m, struct diag *d)
{
    static const char *const names[] = {"fnd_gateway", "fnd_instance", "fnd_state"};
    union bpf_attr attr;
    int r;

    memset(&attr, 0, sizeof(attr));
    attr.map_type = m == SOCKMAP_STATE ? BPF_MAP_TYPE_LRU_HASH : BPF_MAP_TYPE_SOCKHASH;
    attr.key_size = sizeof(struct sockmap_key);
    attr.value_size = m == SOCKMAP_STATE ? sizeof(struct sockmap_state) : sizeof(uint32_t);
    attr.max_entries = ENTRIES;
    memcpy(attr.map_name, names[m], strlen(names[m]));
    r = sockmaps_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
    return r < 0 ? diag_errno(d, -r, "map %s", names[m]) : r;
}
