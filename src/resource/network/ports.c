/* Published ports as people write them. */
#include "resource/network/address.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

static unsigned count_of(const struct network_publish *p)
{
    return p->count == 0 ? 1 : p->count;
}

/* Read "80" or "80-90" at *at, up to one of the characters of `stops`. */
static int parse_range(const char **at, uint16_t *ret_first, uint16_t *ret_count)
{
    unsigned part[2] = {0};
    const char *c = *at;
    unsigned n = 0;
    for (; n < 2; n++) {
        const char *start = c;
        while (*c >= '0' && *c <= '9' && part[n] <= UINT16_MAX) {
            part[n] = part[n] * 10 + (unsigned)(*c++ - '0');
        }
        if (c == start || part[n] == 0 || part[n] > UINT16_MAX) {
            return -EINVAL;
        }
        if (n == 0 && *c != '-') {
            part[1] = part[0];
            break;
        }
        c += n == 0 ? 1 : 0;
    }
    if (part[1] < part[0]) {
        return -EINVAL;
    }
    *ret_first = (uint16_t)part[0];
    *ret_count = (uint16_t)(part[1] - part[0] + 1);
    *at = c;
    return 0;
}

/* Take "IP:" off the front; version 0 when there is none. */
static int parse_host(const char **at, struct network_ip *ret)
{
    char buf[NETWORK_TEXT_BYTES];
    const char *text = *at;
    const char *end = text[0] == '[' ? strchr(text, ']') : strchr(text, ':');
    *ret = (struct network_ip){0};
    if (text[0] == '[') {
        if (end == NULL || end[1] != ':') {
            return -EINVAL;
        }
        text++;
    } else if (end == NULL || memchr(text, '.', (size_t)(end - text)) == NULL) {
        return 0;
    }
    if (str_print(buf, sizeof buf, "%.*s", (int)(end - text), text) < 0 ||
        network_ip_parse(buf, ret) < 0) {
        return -EINVAL;
    }
    *at = end + (*end == ']' ? 2 : 1);
    return 0;
}

static int parse_proto(const char *at, bool *ret_udp)
{
    if (*at != '\0' && strcmp(at, "/tcp") != 0 && strcmp(at, "/udp") != 0) {
        return -EINVAL;
    }
    *ret_udp = strcmp(at, "/udp") == 0;
    return 0;
}

int network_publish_parse(const char *text, struct network_publish *ret, struct err *e)
{
    struct network_publish p = {0};
    const char *at = text;
    uint16_t count = 0;
    int r = parse_host(&at, &p.host);
    if (r == 0) {
        r = parse_range(&at, &p.host_port, &p.count);
    }
    if (r == 0 && *at == ':') {
        at++;
        r = parse_range(&at, &p.guest_port, &count);
    } else {
        p.guest_port = p.host_port;
        count = p.count;
    }
    if (r == 0) {
        r = parse_proto(at, &p.udp);
    }
    if (r < 0) {
        return err_set(e, r, "'%s' is not a port to publish: [IP:][HOST:]GUEST[/udp]",
                       text);
    }
    if (count != p.count) {
        return err_set(e, -EINVAL,
                       "cannot publish '%s': %u ports of the host, %u of "
                       "the guest",
                       text, p.count, count);
    }
    *ret = p;
    return 0;
}

static void add_range(struct str *out, uint16_t first, unsigned count)
{
    str_addf(out, "%u", first);
    if (count > 1) {
        str_addf(out, "-%u", first + count - 1);
    }
}

int network_publish_text(const struct network_publish *p, struct str *out)
{
    char buf[NETWORK_TEXT_BYTES];
    if (p->host.version != 0) {
        str_addf(out,
                 p->host.version == 6 ? "[%s]:" : "%s:", network_ip_text(&p->host, buf));
    }
    add_range(out, p->host_port, count_of(p));
    str_add(out, ":");
    add_range(out, p->guest_port, count_of(p));
    if (p->udp) {
        str_add(out, "/udp");
    }
    return str_failed(out) ? -ENOMEM : 0;
}

static bool is_any(const struct network_ip *ip)
{
    static const struct network_ip zero;
    return ip->version == 0 || memcmp(ip->bytes, zero.bytes, sizeof zero.bytes) == 0;
}

bool network_publish_clashes(const struct network_publish *a,
                             const struct network_publish *b)
{
    bool families = a->host.version == 0 || b->host.version == 0 ||
                    a->host.version == b->host.version;
    bool hosts =
        is_any(&a->host) || is_any(&b->host) || network_ip_equal(&a->host, &b->host);
    return a->udp == b->udp && families && hosts &&
           a->host_port < b->host_port + count_of(b) &&
           b->host_port < a->host_port + count_of(a);
}
