/* nf_tables: chains, sets, elements.  Tables are in nft_table.c, rules in nft_rule.c. */
#include "host/netlink/nft.h"

#include <errno.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/scope.h"
#include "host/netlink/message.h"
#include "host/netlink/nft_private.h"

void nft_message(struct netlink_batch *b, unsigned type, unsigned flags)
{
    struct nfgenmsg head = {.nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0};
    netlink_begin(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), (uint16_t)flags, &head,
                  sizeof head);
}

static void bracket(struct netlink_batch *b, uint16_t type)
{
    struct nfgenmsg head = {.nfgen_family = AF_UNSPEC,
                            .version = NFNETLINK_V0,
                            .res_id = htons(NFNL_SUBSYS_NFTABLES)};
    netlink_begin(b, type, 0, &head, sizeof head);
}

void nft_begin(struct netlink_batch *b)
{
    bracket(b, NFNL_MSG_BATCH_BEGIN);
}

void nft_end(struct netlink_batch *b)
{
    netlink_ask_ack(b); /* of the last message: the others speak only when they fail */
    bracket(b, NFNL_MSG_BATCH_END);
}

void nft_add_chain(struct netlink_batch *b, const char *table, const struct nft_chain *c)
{
    nft_message(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    netlink_put_text(b, NFTA_CHAIN_TABLE, table);
    netlink_put_text(b, NFTA_CHAIN_NAME, c->name);
    netlink_nest(b, NFTA_CHAIN_HOOK);
    netlink_put_be32(b, NFTA_HOOK_HOOKNUM, c->hook);
    netlink_put_be32(b, NFTA_HOOK_PRIORITY, (uint32_t)c->priority);
    netlink_end(b);
    netlink_put_be32(b, NFTA_CHAIN_POLICY, NF_ACCEPT);
    netlink_put_text(b, NFTA_CHAIN_TYPE, c->type);
}

/* User data as user-space tools keep it: type 0 (byte order of the key), 4 bytes, 1. */
static const uint8_t host_order[6] = {0, 4, 1};

static void put_parts(struct netlink_batch *b, const uint8_t parts[2])
{
    netlink_nest(b, NFTA_SET_DESC);
    netlink_nest(b, NFTA_SET_DESC_CONCAT);
    for (unsigned i = 0; i < 2; i++) {
        netlink_nest(b, NFTA_LIST_ELEM);
        netlink_put_be32(b, NFTA_SET_FIELD_LEN, parts[i]);
        netlink_end(b);
    }
    netlink_end(b);
    netlink_end(b);
}

void nft_add_set(struct netlink_batch *b, const char *table, const struct nft_set *s)
{
    nft_message(b, NFT_MSG_NEWSET, NLM_F_CREATE);
    netlink_put_text(b, NFTA_SET_TABLE, table);
    netlink_put_text(b, NFTA_SET_NAME, s->name);
    uint32_t flags = s->data_type != 0 ? NFT_SET_MAP : 0;
    flags |= s->parts[0] != 0 ? NFT_SET_INTERVAL | NFT_SET_CONCAT : 0;
    netlink_put_be32(b, NFTA_SET_FLAGS, flags);
    netlink_put_be32(b, NFTA_SET_KEY_TYPE, s->key_type);
    netlink_put_be32(b, NFTA_SET_KEY_LEN, s->key_bytes);
    netlink_put_be32(b, NFTA_SET_ID, s->id);
    if (s->key_type == NFT_TYPE_IFNAME) { /* lets `nft list` show names */
        netlink_put(b, NFTA_SET_USERDATA, host_order, sizeof host_order);
    }
    if (s->parts[0] != 0) {
        put_parts(b, s->parts);
    }
    if (s->data_type != 0) {
        netlink_put_be32(b, NFTA_SET_DATA_TYPE, s->data_type);
        netlink_put_be32(b, NFTA_SET_DATA_LEN, s->data_bytes);
    }
}

void nft_put_value(struct netlink_batch *b, unsigned attr, const void *value, size_t len)
{
    netlink_nest(b, (uint16_t)attr);
    netlink_put(b, NFTA_DATA_VALUE, value, len);
    netlink_end(b);
}

static void put_element(struct netlink_batch *b, const char *table, const char *set,
                        const struct nft_element *el)
{
    netlink_put_text(b, NFTA_SET_ELEM_LIST_TABLE, table);
    netlink_put_text(b, NFTA_SET_ELEM_LIST_SET, set);
    netlink_nest(b, NFTA_SET_ELEM_LIST_ELEMENTS);
    netlink_nest(b, NFTA_LIST_ELEM);
    nft_put_value(b, NFTA_SET_ELEM_KEY, el->key, el->key_bytes);
    if (el->key_end != NULL) {
        nft_put_value(b, NFTA_SET_ELEM_KEY_END, el->key_end, el->key_bytes);
    }
    if (el->data != NULL) {
        nft_put_value(b, NFTA_SET_ELEM_DATA, el->data, el->data_bytes);
    }
    if (el->comment != NULL) {
        nft_put_comment(b, NFTA_SET_ELEM_USERDATA, el->comment);
    }
    netlink_end(b);
    netlink_end(b);
}

void nft_add_element(struct netlink_batch *b, const char *table, const char *set,
                     const struct nft_element *el)
{
    nft_message(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL);
    put_element(b, table, set, el);
}

void nft_delete_element(struct netlink_batch *b, const char *table, const char *set,
                        const struct nft_element *el)
{
    struct nft_element key = {
        .key = el->key, .key_bytes = el->key_bytes, .key_end = el->key_end};
    nft_message(b, NFT_MSG_DELSETELEM, 0);
    put_element(b, table, set, &key);
}

void nft_ask_element(struct netlink_batch *b, const char *table, const char *set,
                     const struct nft_element *el)
{
    struct nft_element key = {.key = el->key, .key_bytes = el->key_bytes};
    nft_message(b, NFT_MSG_GETSETELEM, NLM_F_ACK);
    put_element(b, table, set, &key);
}

/* The value inside an attribute of key or data; NULL when there is none. */
static const void *value_of(const struct nlattr *a, size_t *ret_len)
{
    const struct nlattr *tb[NFTA_DATA_VALUE + 1];
    *ret_len = 0;
    if (a == NULL ||
        netlink_attrs(netlink_data(a), netlink_len(a), 0, tb, NFTA_DATA_VALUE) < 0 ||
        tb[NFTA_DATA_VALUE] == NULL) {
        return NULL;
    }
    *ret_len = netlink_len(tb[NFTA_DATA_VALUE]);
    return netlink_data(tb[NFTA_DATA_VALUE]);
}

int nft_read_elements(const struct netlink_message *m, nft_element_fn *fn, void *arg)
{
    const struct nlattr *tb[NFTA_SET_ELEM_LIST_ELEMENTS + 1];
    const struct nlattr *el[NFTA_SET_ELEM_USERDATA + 1];
    if (m->type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM) ||
        netlink_attrs(m->data, m->len, sizeof(struct nfgenmsg), tb,
                      NFTA_SET_ELEM_LIST_ELEMENTS) < 0) {
        return -EBADMSG;
    }
    const struct nlattr *list = tb[NFTA_SET_ELEM_LIST_ELEMENTS];
    if (list == NULL) {
        return 0;
    }
    const struct nlattr *a = NULL;
    while ((a = netlink_next(netlink_data(list), netlink_len(list), a)) != NULL) {
        if (netlink_attrs(netlink_data(a), netlink_len(a), 0, el,
                          NFTA_SET_ELEM_USERDATA) < 0) {
            return -EBADMSG;
        }
        struct nft_element e = {.comment = nft_comment_of(el[NFTA_SET_ELEM_USERDATA])};
        e.key = value_of(el[NFTA_SET_ELEM_KEY], &e.key_bytes);
        e.data = value_of(el[NFTA_SET_ELEM_DATA], &e.data_bytes);
        int r = e.key == NULL ? -EBADMSG : fn(arg, &e);
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

struct each {
    nft_element_fn *fn;
    void *arg;
};

static int tell(void *arg, const struct netlink_message *m)
{
    struct each *each = arg;
    return nft_read_elements(m, each->fn, each->arg);
}

int nft_each_element(struct netlink *nl, const char *table, const char *set,
                     nft_element_fn *fn, void *arg)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct each each = {.fn = fn, .arg = arg};
    nft_message(&b, NFT_MSG_GETSETELEM, NLM_F_DUMP);
    netlink_put_text(&b, NFTA_SET_ELEM_LIST_TABLE, table);
    netlink_put_text(&b, NFTA_SET_ELEM_LIST_SET, set);
    return netlink_send(nl, &b, tell, &each, NULL);
}
