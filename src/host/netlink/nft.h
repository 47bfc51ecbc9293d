/* host/netlink/nft.h - nf_tables: batches, tables, sets, maps and rules of the
 * `inet` family.
 *
 * A rule is begun, expressions are added in the order in which the kernel runs
 * them, and it is ended; registers are counted in 4-byte units from 0 to 15
 * (the kernel's NFT_REG32_00 ...). */
#ifndef HOST_NETLINK_NFT_H
#define HOST_NETLINK_NFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct netlink;
struct netlink_batch;
struct netlink_message;
struct netlink_result;

/* Types of set keys: only for people who list the rules (see `nft describe`). */
enum nft_type {
    NFT_TYPE_IP4 = 7,
    NFT_TYPE_IP6 = 8,
    NFT_TYPE_PROTO = 12,
    NFT_TYPE_SERVICE = 13,
    NFT_TYPE_IFNAME = 41
};

struct nft_chain {
    const char *name;
    const char *type; /* "nat", "filter" */
    uint32_t hook;    /* NF_INET_PRE_ROUTING ... */
    int32_t priority;
};

struct nft_set {
    const char *name;
    uint32_t id; /* unlike others of the batch */
    uint32_t key_type;
    uint32_t key_bytes;
    uint32_t data_type; /* 0: a set, else a map */
    uint32_t data_bytes;
    uint8_t parts[2]; /* keys are ranges: bytes of their two parts; else zero */
};

/* Borrowed pieces of one element. */
struct nft_element {
    const void *key;
    size_t key_bytes;
    const void *key_end; /* the range's last key; NULL: one key only */
    const void *data;    /* NULL: of a set */
    size_t data_bytes;
    const char *comment; /* NULL: none; shown by `nft list` */
};

/* Everything between is carried out together or not at all. */
void nft_begin(struct netlink_batch *b);
void nft_end(struct netlink_batch *b);

/* `comment` (NULL: none) is for people; one too long is left out.
 * Fails with -EEXIST when the table is there (`exclusive`), or takes it as it is. */
void nft_add_table(struct netlink_batch *b, const char *table, const char *comment,
                   bool exclusive);
void nft_delete_table(struct netlink_batch *b, const char *table);
void nft_add_chain(struct netlink_batch *b, const char *table, const struct nft_chain *c);
void nft_add_set(struct netlink_batch *b, const char *table, const struct nft_set *s);

/* Call `fn` for each table of the family; `comment` may be NULL. */
typedef int nft_table_fn(void *arg, const char *table, const char *comment);
int nft_each_table(struct netlink *nl, nft_table_fn *fn, void *arg);
int nft_read_table(const struct netlink_message *m, nft_table_fn *fn, void *arg);

/* -EEXIST when the key is there. */
void nft_add_element(struct netlink_batch *b, const char *table, const char *set,
                     const struct nft_element *el);
void nft_delete_element(struct netlink_batch *b, const char *table, const char *set,
                        const struct nft_element *el);
/* Asks for one element: not inside begin and end. */
void nft_ask_element(struct netlink_batch *b, const char *table, const char *set,
                     const struct nft_element *el);

/* Call `fn` for each element of a set or map. */
typedef int nft_element_fn(void *arg, const struct nft_element *el);
int nft_each_element(struct netlink *nl, const char *table, const char *set,
                     nft_element_fn *fn, void *arg);
/* The elements that a received message carries; what `fn` returned, or -EBADMSG. */
int nft_read_elements(const struct netlink_message *m, nft_element_fn *fn, void *arg);

void nft_begin_rule(struct netlink_batch *b, const char *table, const char *chain);
void nft_end_rule(struct netlink_batch *b);
/* reg := a field of the packet's metadata (NFT_META_IIFNAME ...). */
void nft_meta(struct netlink_batch *b, uint32_t key, unsigned reg);
/* reg := bytes of a header (NFT_PAYLOAD_NETWORK_HEADER ...). */
void nft_payload(struct netlink_batch *b, uint32_t base, uint32_t offset, uint32_t len,
                 unsigned reg);
/* reg := RTN_LOCAL when the packet goes to an address of this host. */
void nft_fib_daddr_type(struct netlink_batch *b, unsigned reg);
/* Go on only when the tracked connection has one of `mask` in `key` (NFT_CT_...). */
void nft_ct_any(struct netlink_batch *b, uint32_t key, uint32_t mask);
/* Go on only when reg equals (`op` NFT_CMP_EQ) or differs (NFT_CMP_NEQ). */
void nft_compare(struct netlink_batch *b, unsigned reg, uint32_t op, const void *value,
                 size_t len);
/* As above, after only the first `prefix` bits of a 4-byte register are kept. */
void nft_compare_prefix4(struct netlink_batch *b, unsigned reg, const uint8_t value[4],
                         unsigned prefix);
/* Go on only when the set has reg.. (or has not: `absent`). */
void nft_in_set(struct netlink_batch *b, const char *set, unsigned reg, bool absent);
/* to := what the map has for reg..; go on only when there is something. */
void nft_look_up(struct netlink_batch *b, const char *map, unsigned reg, unsigned to);
/* Translate the destination to the address in one register, the port in another. */
void nft_dnat(struct netlink_batch *b, uint32_t family, unsigned address, unsigned port);
void nft_masquerade(struct netlink_batch *b);
void nft_verdict(struct netlink_batch *b, uint32_t code); /* NF_ACCEPT, NF_DROP */

#endif
