/* nf_tables rules: a list of small expressions over the kernel's registers. */
#include "host/netlink/nft.h"

#include <string.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "host/netlink/message.h"
#include "host/netlink/nft_private.h"

/* Where comparisons work; above all registers that rules pass on. */
#define SCRATCH 15

static uint32_t reg32(unsigned n)
{
    return NFT_REG32_00 + n;
}

void nft_begin_rule(struct netlink_batch *b, const char *table, const char *chain)
{
    nft_message(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    netlink_put_text(b, NFTA_RULE_TABLE, table);
    netlink_put_text(b, NFTA_RULE_CHAIN, chain);
    netlink_nest(b, NFTA_RULE_EXPRESSIONS);
}

void nft_end_rule(struct netlink_batch *b)
{
    netlink_end(b);
}

static void open_expr(struct netlink_batch *b, const char *name)
{
    netlink_nest(b, NFTA_LIST_ELEM);
    netlink_put_text(b, NFTA_EXPR_NAME, name);
    netlink_nest(b, NFTA_EXPR_DATA);
}

static void close_expr(struct netlink_batch *b)
{
    netlink_end(b);
    netlink_end(b);
}

void nft_meta(struct netlink_batch *b, uint32_t key, unsigned reg)
{
    open_expr(b, "meta");
    netlink_put_be32(b, NFTA_META_KEY, key);
    netlink_put_be32(b, NFTA_META_DREG, reg32(reg));
    close_expr(b);
}

void nft_payload(struct netlink_batch *b, uint32_t base, uint32_t offset, uint32_t len,
                 unsigned reg)
{
    open_expr(b, "payload");
    netlink_put_be32(b, NFTA_PAYLOAD_DREG, reg32(reg));
    netlink_put_be32(b, NFTA_PAYLOAD_BASE, base);
    netlink_put_be32(b, NFTA_PAYLOAD_OFFSET, offset);
    netlink_put_be32(b, NFTA_PAYLOAD_LEN, len);
    close_expr(b);
}

void nft_fib_daddr_type(struct netlink_batch *b, unsigned reg)
{
    open_expr(b, "fib");
    netlink_put_be32(b, NFTA_FIB_DREG, reg32(reg));
    netlink_put_be32(b, NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    netlink_put_be32(b, NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
    close_expr(b);
}

static void keep_bits(struct netlink_batch *b, unsigned reg, const void *mask, size_t len)
{
    static const uint8_t zero[4];
    open_expr(b, "bitwise");
    netlink_put_be32(b, NFTA_BITWISE_SREG, reg32(reg));
    netlink_put_be32(b, NFTA_BITWISE_DREG, reg32(SCRATCH));
    netlink_put_be32(b, NFTA_BITWISE_LEN, (uint32_t)len);
    nft_put_value(b, NFTA_BITWISE_MASK, mask, len);
    nft_put_value(b, NFTA_BITWISE_XOR, zero, len);
    close_expr(b);
}

void nft_ct_any(struct netlink_batch *b, uint32_t key, uint32_t mask)
{
    static const uint32_t zero;
    open_expr(b, "ct");
    netlink_put_be32(b, NFTA_CT_KEY, key);
    netlink_put_be32(b, NFTA_CT_DREG, reg32(SCRATCH));
    close_expr(b);
    keep_bits(b, SCRATCH, &mask, sizeof mask);
    nft_compare(b, SCRATCH, NFT_CMP_NEQ, &zero, sizeof zero);
}

void nft_compare(struct netlink_batch *b, unsigned reg, uint32_t op, const void *value,
                 size_t len)
{
    open_expr(b, "cmp");
    netlink_put_be32(b, NFTA_CMP_SREG, reg32(reg));
    netlink_put_be32(b, NFTA_CMP_OP, op);
    nft_put_value(b, NFTA_CMP_DATA, value, len);
    close_expr(b);
}

void nft_compare_prefix4(struct netlink_batch *b, unsigned reg, const uint8_t value[4],
                         unsigned prefix)
{
    uint8_t mask[4] = {0};
    for (unsigned i = 0; i < prefix && i < 32; i++) {
        mask[i / 8] = (uint8_t)(mask[i / 8] | 0x80 >> i % 8);
    }
    keep_bits(b, reg, mask, sizeof mask);
    nft_compare(b, SCRATCH, NFT_CMP_EQ, value, 4);
}

void nft_in_set(struct netlink_batch *b, const char *set, unsigned reg, bool absent)
{
    open_expr(b, "lookup");
    netlink_put_text(b, NFTA_LOOKUP_SET, set);
    netlink_put_be32(b, NFTA_LOOKUP_SREG, reg32(reg));
    netlink_put_be32(b, NFTA_LOOKUP_FLAGS, absent ? NFT_LOOKUP_F_INV : 0);
    close_expr(b);
}

void nft_look_up(struct netlink_batch *b, const char *map, unsigned reg, unsigned to)
{
    open_expr(b, "lookup");
    netlink_put_text(b, NFTA_LOOKUP_SET, map);
    netlink_put_be32(b, NFTA_LOOKUP_SREG, reg32(reg));
    netlink_put_be32(b, NFTA_LOOKUP_DREG, reg32(to));
    close_expr(b);
}

void nft_dnat(struct netlink_batch *b, uint32_t family, unsigned address, unsigned port)
{
    open_expr(b, "nat");
    netlink_put_be32(b, NFTA_NAT_TYPE, NFT_NAT_DNAT);
    netlink_put_be32(b, NFTA_NAT_FAMILY, family);
    netlink_put_be32(b, NFTA_NAT_REG_ADDR_MIN, reg32(address));
    netlink_put_be32(b, NFTA_NAT_REG_PROTO_MIN, reg32(port));
    close_expr(b);
}

void nft_masquerade(struct netlink_batch *b)
{
    open_expr(b, "masq");
    close_expr(b);
}

void nft_verdict(struct netlink_batch *b, uint32_t code)
{
    open_expr(b, "immediate");
    netlink_put_be32(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    netlink_nest(b, NFTA_IMMEDIATE_DATA);
    netlink_nest(b, NFTA_DATA_VERDICT);
    netlink_put_be32(b, NFTA_VERDICT_CODE, code);
    netlink_end(b);
    netlink_end(b);
    close_expr(b);
}
