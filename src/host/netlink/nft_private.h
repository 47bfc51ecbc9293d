/* host/netlink/nft_private.h - what nft.c and nft_rule.c share. */
#ifndef HOST_NETLINK_NFT_PRIVATE_H
#define HOST_NETLINK_NFT_PRIVATE_H

#include <stddef.h>

struct netlink_batch;

/* Begin a message of nf_tables (NFT_MSG_...) for the `inet` family. */
void nft_message(struct netlink_batch *b, unsigned type, unsigned flags);

/* An attribute of nested data that holds one value. */
void nft_put_value(struct netlink_batch *b, unsigned attr, const void *value, size_t len);

#endif
