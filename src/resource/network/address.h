/* resource/network/address.h - addresses, subnets and published ports as plain
 * values; files of names.  Pure, but for the two files at the end. */
#ifndef RESOURCE_NETWORK_ADDRESS_H
#define RESOURCE_NETWORK_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct str;

#define NETWORK_LINK_BYTES 16 /* IFNAMSIZ of the kernel, with the NUL */
#define NETWORK_TEXT_BYTES 64 /* any address or subnet as text, with the NUL */

struct network_ip {
    uint8_t version;   /* 4, 6, or 0: none */
    uint8_t bytes[16]; /* network order; IPv4 in the first four, the rest zero */
};

struct network_cidr {
    struct network_ip ip; /* host bits zero */
    uint8_t prefix;       /* bits */
};

/* A range of ports of the host that lead to a guest. */
struct network_publish {
    struct network_ip host; /* version 0: every address of the host, IPv4 and IPv6 */
    uint16_t host_port;     /* first; 0: none chosen yet (never given to the kernel) */
    uint16_t guest_port;    /* first */
    uint16_t count;         /* ports in the range; 0 counts as 1 */
    bool udp;               /* else TCP */
};

/* "10.1.2.3", "fd00::1"; -EINVAL. */
int network_ip_parse(const char *text, struct network_ip *ret);
const char *network_ip_text(const struct network_ip *ip, char buf[NETWORK_TEXT_BYTES]);
bool network_ip_equal(const struct network_ip *a, const struct network_ip *b);

/* "10.1.2.0/24"; -EINVAL when host bits are set. */
int network_cidr_parse(const char *text, struct network_cidr *ret);
const char *network_cidr_text(const struct network_cidr *c, char buf[NETWORK_TEXT_BYTES]);
bool network_cidr_has(const struct network_cidr *c, const struct network_ip *ip);
bool network_cidr_overlaps(const struct network_cidr *a, const struct network_cidr *b);

/* The n-th address of a subnet (0: the network itself); -ERANGE outside. */
int network_cidr_nth(const struct network_cidr *c, uint32_t n, struct network_ip *ret);

/* An address that a guest may have, as `gap_find` finds it: not the network's, the
 * broadcast's, the gateway's, nor one that `taken` tells.  -ENOSPC when there is none. */
int network_pick_address(const struct network_cidr *subnet,
                         const struct network_ip *gateway,
                         bool (*taken)(void *arg, const struct network_ip *ip), void *arg,
                         struct network_ip *ret);

/* The IPv6 address that goes with an IPv4 one: the same host number in `subnet6`. */
int network_pair_address(const struct network_cidr *subnet4,
                         const struct network_cidr *subnet6,
                         const struct network_ip *addr4, struct network_ip *ret);

/* "[IP:][HOST:]GUEST[/tcp|/udp]", each port alone or FIRST-LAST; IPv6 in brackets.
 * Without HOST it is GUEST. */
int network_publish_parse(const char *text, struct network_publish *ret, struct err *e);
/* The same text back: "0.0.0.0:80->8080/tcp" style is left to the command line. */
int network_publish_text(const struct network_publish *p, struct str *out);
/* Whether the two claim a common port of the host. */
bool network_publish_clashes(const struct network_publish *a,
                             const struct network_publish *b);

struct network_host_entry {
    struct network_ip ip;
    const char *names; /* borrowed; "web web.blue" */
};

/* Write an /etc/hosts with the loopback names and `entries`, in place: the file
 * may be mounted into guests, so its inode stays.  Readers see the old or the new
 * text, or, for the length of one write, the new one's beginning.  Made (0644) when missing. */
int network_write_hosts(const char *path, const struct network_host_entry *entries,
                        size_t n, struct err *e);

/* The resolv.conf for a guest from the host's text: name servers on loopback are
 * left out, for the guest could not reach them; if none remain, those of
 * `upstream` (the resolver's own list, may be NULL), and after those `fallback`
 * (an address as text; NULL: none). */
int network_resolv_conf(const char *host, const char *upstream, const char *fallback,
                        struct str *out);

/* The host's text as above, from `root`/etc/resolv.conf and
 * `root`/run/systemd/resolve/resolv.conf; `root` "" for the host itself. */
int network_resolv_conf_of_host(const char *root, const char *fallback, struct str *out);

#endif
