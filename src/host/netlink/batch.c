/* Building netlink messages. */
#include "host/netlink/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include "base/fault.h"

#define BATCH_FIRST_BYTES 2048
#define HEAD_BYTES        sizeof(struct nlattr) /* of an attribute */

static uint8_t *grow(struct netlink_batch *b, size_t more)
{
    more = NLMSG_ALIGN(more);
    if (b->failed != 0) {
        return NULL;
    }
    if (b->len + more > b->cap) {
        size_t cap = b->cap == 0 ? BATCH_FIRST_BYTES : b->cap * 2;
        while (cap < b->len + more) {
            cap *= 2;
        }
        uint8_t *data = fault_realloc(b->data, cap);
        if (data == NULL) {
            b->failed = -ENOMEM;
            return NULL;
        }
        b->data = data;
        b->cap = cap;
    }
    uint8_t *at = b->data + b->len;
    memset(at, 0, more);
    b->len += more;
    if (b->n > 0) {
        uint32_t len = (uint32_t)(b->len - b->message);
        memcpy(b->data + b->message + offsetof(struct nlmsghdr, nlmsg_len), &len, 4);
    }
    return at;
}

void netlink_begin(struct netlink_batch *b, uint16_t type, uint16_t flags,
                   const void *head, size_t head_len)
{
    size_t start = b->len;
    b->message = start;
    b->depth = 0;
    b->n++;
    uint8_t *at = grow(b, NLMSG_HDRLEN + NLMSG_ALIGN(head_len));
    if (at == NULL) {
        return;
    }
    struct nlmsghdr h = {.nlmsg_len = (uint32_t)(b->len - start),
                         .nlmsg_type = type,
                         .nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST)};
    memcpy(at, &h, sizeof h);
    if (head_len > 0) {
        memcpy(at + NLMSG_HDRLEN, head, head_len);
    }
}

void netlink_put_raw(struct netlink_batch *b, const void *data, size_t len)
{
    uint8_t *at = grow(b, len);
    if (at != NULL && len > 0) {
        memcpy(at, data, len);
    }
}

void netlink_put(struct netlink_batch *b, uint16_t type, const void *data, size_t len)
{
    if (len > UINT16_MAX - HEAD_BYTES) {
        b->failed = b->failed != 0 ? b->failed : -EMSGSIZE;
        return;
    }
    uint8_t *at = grow(b, HEAD_BYTES + len);
    if (at == NULL) {
        return;
    }
    struct nlattr a = {.nla_len = (uint16_t)(HEAD_BYTES + len), .nla_type = type};
    memcpy(at, &a, sizeof a);
    if (len > 0) {
        memcpy(at + HEAD_BYTES, data, len);
    }
}

void netlink_put_text(struct netlink_batch *b, uint16_t type, const char *text)
{
    netlink_put(b, type, text, strlen(text) + 1);
}

void netlink_put_u8(struct netlink_batch *b, uint16_t type, uint8_t value)
{
    netlink_put(b, type, &value, sizeof value);
}

void netlink_put_u16(struct netlink_batch *b, uint16_t type, uint16_t value)
{
    netlink_put(b, type, &value, sizeof value);
}

void netlink_put_u32(struct netlink_batch *b, uint16_t type, uint32_t value)
{
    netlink_put(b, type, &value, sizeof value);
}

void netlink_put_be16(struct netlink_batch *b, uint16_t type, uint16_t value)
{
    netlink_put_u16(b, type, htons(value));
}

void netlink_put_be32(struct netlink_batch *b, uint16_t type, uint32_t value)
{
    netlink_put_u32(b, type, htonl(value));
}

void netlink_nest(struct netlink_batch *b, uint16_t type)
{
    if (b->depth == NETLINK_NEST_DEPTH) {
        b->failed = b->failed != 0 ? b->failed : -EMSGSIZE;
        return;
    }
    b->nests[b->depth++] = b->len;
    netlink_put(b, type | NLA_F_NESTED, NULL, 0);
}

void netlink_end(struct netlink_batch *b)
{
    if (b->failed != 0 || b->depth == 0) {
        return;
    }
    size_t start = b->nests[--b->depth];
    size_t len = b->len - start;
    if (len > UINT16_MAX) {
        b->failed = -EMSGSIZE;
        return;
    }
    uint16_t value = (uint16_t)len;
    memcpy(b->data + start + offsetof(struct nlattr, nla_len), &value, sizeof value);
}

void netlink_ask_ack(struct netlink_batch *b)
{
    if (b->failed == 0 && b->n > 0) {
        uint8_t *at = b->data + b->message + offsetof(struct nlmsghdr, nlmsg_flags);
        uint16_t flags;
        memcpy(&flags, at, sizeof flags);
        flags |= NLM_F_ACK;
        memcpy(at, &flags, sizeof flags);
    }
}

void netlink_batch_reset(struct netlink_batch *b)
{
    b->len = 0;
    b->n = 0;
    b->depth = 0;
    b->failed = 0;
}

void netlink_batch_fini(struct netlink_batch *b)
{
    free(b->data);
    *b = (struct netlink_batch){0};
}
