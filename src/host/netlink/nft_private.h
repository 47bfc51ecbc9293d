/* host/netlink/nft_private.h - what nft.c and nft_rule.c share. */
#ifndef HOST_NETLINK_NFT_PRIVATE_H
#define HOST_NETLINK_NFT_PRIVATE_H

#include <stddef.h>

struct netlink_batch;
struct nlattr;

/* Begin a message of nf_tables (NFT_MSG_...) for the `inet` family. */
void nft_message(struct netlink_batch *b, unsigned type, unsigned flags);

/* An attribute of nested data that holds one value. */
void nft_put_value(struct netlink_batch *b, unsigned attr, const void *value, size_t len);

/* A comment as user-space tools keep it; one too long is left out. */
void nft_put_comment(struct netlink_batch *b, unsigned attr, const char *comment);

/* The comment in user data; NULL when there is none (or no user data). */
const char *nft_comment_of(const struct nlattr *a);

#endif
