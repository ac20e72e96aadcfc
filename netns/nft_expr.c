/* nft_expr.c: the few expressions that our rules are made of. Register 1 holds what is compared; a concatenation lies in the 4-byte registers from NFT_REG32_00 on, which is the same place. */
#include "nft_internal.h"

#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

static struct nftnl_expr *ex_new(struct nft_rule *r, const char *name)
{
    struct nftnl_expr *e = r->failed ? NULL : nftnl_expr_alloc(name);

    if (e)
        nftnl_rule_add_expr(r->r, e);
    else
        r->failed = true;
    return e;
}

void ex_meta(struct nft_rule *r, uint32_t key)
{
    struct nftnl_expr *e = ex_new(r, "meta");

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
    nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, NFT_REG_1);
}

void ex_payload(struct nft_rule *r, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg)
{
    struct nftnl_expr *e = ex_new(r, "payload");

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, len);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, reg);
}

void ex_mask(struct nft_rule *r, const void *mask, uint32_t len)
{
    struct nftnl_expr *e = ex_new(r, "bitwise");
    const uint8_t zero[16] = {0};

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
    nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, len);
    nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, mask, len);
    nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, zero, len);
}

void ex_cmp(struct nft_rule *r, uint32_t op, const void *data, uint32_t len)
{
    struct nftnl_expr *e = ex_new(r, "cmp");

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, op);
    nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, len);
}

void ex_lookup(struct nft_rule *r, const char *set)
{
    struct nftnl_expr *e = ex_new(r, "lookup");

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
    if (nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, set) < 0)
        r->failed = true;
}

/* Matches so many packets a second, and as many at once after a rest. */
void ex_limit(struct nft_rule *r, uint32_t packets)
{
    struct nftnl_expr *e = ex_new(r, "limit");

    if (!e)
        return;
    nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_RATE, packets);
    nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_UNIT, 1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_BURST, packets);
    nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
    nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_FLAGS, 0);
}

void ex_verdict(struct nft_rule *r, int verdict, const char *chain)
{
    struct nftnl_expr *e = ex_new(r, "immediate");

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, (uint32_t)verdict);
    if (chain && nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, chain) < 0)
        r->failed = true;
}

void ex_reject(struct nft_rule *r, uint32_t type, uint8_t code)
{
    struct nftnl_expr *e = ex_new(r, "reject");

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_REJECT_TYPE, type);
    nftnl_expr_set_u8(e, NFTNL_EXPR_REJECT_CODE, code);
}
