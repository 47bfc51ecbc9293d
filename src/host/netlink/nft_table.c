/* nf_tables: tables, and the comments that people see. */
#include "host/netlink/nft.h"

#include <errno.h>
#include <string.h>

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/scope.h"
#include "host/netlink/message.h"
#include "host/netlink/nft_private.h"

#define COMMENT_TYPE  0   /* how user-space tools mark a comment in user data */
#define COMMENT_BYTES 250 /* the kernel keeps 256 with the head and the NUL */

void nft_put_comment(struct netlink_batch *b, unsigned attr, const char *comment)
{
    uint8_t data[3 + COMMENT_BYTES] = {COMMENT_TYPE};
    size_t n = strlen(comment);
    if (n > COMMENT_BYTES) {
        return;
    }
    data[1] = (uint8_t)(n + 1);
    memcpy(data + 2, comment, n);
    netlink_put(b, (uint16_t)attr, data, n + 3);
}

const char *nft_comment_of(const struct nlattr *a)
{
    if (a == NULL) {
        return NULL;
    }
    const uint8_t *at = netlink_data(a);
    size_t left = netlink_len(a);
    while (left >= 2 && (size_t)at[1] + 2 <= left) {
        if (at[0] == COMMENT_TYPE && at[1] > 0 && at[1 + at[1]] == '\0') {
            return (const char *)at + 2;
        }
        left -= (size_t)at[1] + 2;
        at += at[1] + 2;
    }
    return NULL;
}

void nft_add_table(struct netlink_batch *b, const char *table, const char *comment,
                   bool exclusive)
{
    nft_message(b, NFT_MSG_NEWTABLE, NLM_F_CREATE | (exclusive ? NLM_F_EXCL : 0));
    netlink_put_text(b, NFTA_TABLE_NAME, table);
    if (comment != NULL) {
        nft_put_comment(b, NFTA_TABLE_USERDATA, comment);
    }
}

void nft_delete_table(struct netlink_batch *b, const char *table)
{
    nft_message(b, NFT_MSG_DELTABLE, 0);
    netlink_put_text(b, NFTA_TABLE_NAME, table);
}

int nft_read_table(const struct netlink_message *m, nft_table_fn *fn, void *arg)
{
    const struct nlattr *tb[NFTA_TABLE_USERDATA + 1];
    if (m->type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE) ||
        netlink_attrs(m->data, m->len, sizeof(struct nfgenmsg), tb, NFTA_TABLE_USERDATA) <
            0) {
        return -EBADMSG;
    }
    const char *name = netlink_text(tb[NFTA_TABLE_NAME]);
    return name == NULL ? -EBADMSG
                        : fn(arg, name, nft_comment_of(tb[NFTA_TABLE_USERDATA]));
}

struct each {
    nft_table_fn *fn;
    void *arg;
};

static int tell(void *arg, const struct netlink_message *m)
{
    struct each *each = arg;
    return nft_read_table(m, each->fn, each->arg);
}

int nft_each_table(struct netlink *nl, nft_table_fn *fn, void *arg)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct each each = {.fn = fn, .arg = arg};
    nft_message(&b, NFT_MSG_GETTABLE, NLM_F_DUMP);
    return netlink_send(nl, &b, tell, &each, NULL);
}
