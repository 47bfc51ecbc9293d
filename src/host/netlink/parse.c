/* Reading netlink messages: every length is checked before it is used. */
#include "host/netlink/message.h"

#include <errno.h>
#include <string.h>

#include <arpa/inet.h>

#define HEAD_BYTES sizeof(struct nlattr) /* of an attribute */

static size_t step_of(const struct nlattr *a)
{
    return NLMSG_ALIGN((size_t)a->nla_len);
}

int netlink_walk(const void *buf, size_t len, netlink_reply_fn *fn, void *arg)
{
    const uint8_t *at = buf;
    while (len > 0) {
        struct nlmsghdr h;
        if (len < sizeof h) {
            return -EBADMSG;
        }
        memcpy(&h, at, sizeof h);
        if (h.nlmsg_len < sizeof h || h.nlmsg_len > len) {
            return -EBADMSG;
        }
        struct netlink_message m = {.type = h.nlmsg_type,
                                    .flags = h.nlmsg_flags,
                                    .seq = h.nlmsg_seq,
                                    .data = at + NLMSG_HDRLEN,
                                    .len = h.nlmsg_len - (size_t)NLMSG_HDRLEN};
        int r = fn(arg, &m);
        if (r != 0) {
            return r;
        }
        size_t step = NLMSG_ALIGN((size_t)h.nlmsg_len);
        if (step > len) {
            step = len;
        }
        at += step;
        len -= step;
    }
    return 0;
}

static bool fits(const struct nlattr *a, size_t left)
{
    return left >= sizeof *a && a->nla_len >= sizeof *a && a->nla_len <= left;
}

const struct nlattr *netlink_next(const void *data, size_t len, const struct nlattr *prev)
{
    size_t at = 0;
    if (prev != NULL) {
        at = (size_t)((const uint8_t *)prev - (const uint8_t *)data) + step_of(prev);
    }
    if (at >= len) {
        return NULL;
    }
    const struct nlattr *a = (const void *)((const uint8_t *)data + at);
    return fits(a, len - at) ? a : NULL;
}

int netlink_attrs(const void *data, size_t len, size_t skip, const struct nlattr **tb,
                  unsigned max)
{
    memset(tb, 0, (max + 1) * sizeof *tb);
    skip = NLMSG_ALIGN(skip);
    if (skip > len) {
        return -EBADMSG;
    }
    const uint8_t *at = (const uint8_t *)data + skip;
    size_t left = len - skip;
    while (left > 0) {
        const struct nlattr *a = (const void *)at;
        if (!fits(a, left)) {
            return -EBADMSG;
        }
        if (netlink_type(a) <= max) {
            tb[netlink_type(a)] = a;
        }
        size_t step = step_of(a);
        step = step > left ? left : step;
        at += step;
        left -= step;
    }
    return 0;
}

const void *netlink_data(const struct nlattr *a)
{
    return (const uint8_t *)a + HEAD_BYTES;
}

size_t netlink_len(const struct nlattr *a)
{
    return a->nla_len - HEAD_BYTES;
}

unsigned netlink_type(const struct nlattr *a)
{
    return a->nla_type & (unsigned)NLA_TYPE_MASK;
}

uint32_t netlink_u32(const struct nlattr *a, uint32_t other)
{
    if (a == NULL || netlink_len(a) < sizeof other) {
        return other;
    }
    memcpy(&other, netlink_data(a), sizeof other);
    return other;
}

uint32_t netlink_be32(const struct nlattr *a, uint32_t other)
{
    return ntohl(netlink_u32(a, htonl(other)));
}

const char *netlink_text(const struct nlattr *a)
{
    if (a == NULL || memchr(netlink_data(a), 0, netlink_len(a)) == NULL) {
        return NULL;
    }
    return netlink_data(a);
}
