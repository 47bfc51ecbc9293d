/* resource/network/private.h - what the files of this folder share. */
#ifndef RESOURCE_NETWORK_PRIVATE_H
#define RESOURCE_NETWORK_PRIVATE_H

#include "base/str.h"
#include "host/netlink/netlink.h"
#include "resource/network/network.h"

struct network {
    char table[NETWORK_TABLE_BYTES];
    char home[NETWORK_HOME_BYTES]; /* state directory, as told by `network_home`; or "" */
    struct netlink route;
    struct netlink nft; /* opened on first use */
    bool no_nft;        /* this host withholds nf_tables */
    bool took_back;     /* elements: closing `nft` takes a while */
    struct strv warnings;
};

/* Names in our table. */
#define SET_BRIDGES  "bridges"  /* interface names of our networks */
#define SET_SAME     "same"     /* each twice: from a network into itself */
#define SET_INTERNAL "internal" /* those that lead nowhere */
#define SET_RETURN4  "return4"  /* from a network's addresses into itself */
#define SET_RETURN6  "return6"

/* The maps, in the order in which the rules ask them. */
extern const char *const network_maps[4];

void network_warn(struct network *net, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The socket of nf_tables; -EOPNOTSUPP, with a warning, where the host has none. */
int network_nft(struct network *net, struct netlink **ret);

/* Whether `r` says that the kernel lacks the mechanism, not that it is used wrongly. */
bool network_withheld(int r);

/* Make the table with all chains, sets and rules; -EEXIST when it is there. */
int network_make_table(struct network *net, struct netlink_result *ret);

/* Enter a network into the sets, or take it out. */
void network_mark(struct netlink_batch *b, const char *table,
                  const struct network_spec *s, bool add);

/* Whether this host's bridges pass packets to the rules; a port then needs to be
 * let send a packet back to itself. */
bool network_bridge_filters(void);

/* Whether packets to 127.0.0.1 of the host may be led to a network's guests. */
bool network_leads_off_loopback(const struct network_spec *s);

/* Forget the tracked UDP flows of these ports; see flows.c. */
struct entries;
void network_forget_flows(struct network *net, const struct entries *list);

/* Whether a table has the name of one of ours, of whatever state directory. */
bool network_is_table(const char *name);

/* Write an element name as the kernel compares it: padded with zeros. */
void network_pad_name(uint8_t out[NETWORK_LINK_BYTES], const char *name);

/* Take away all published ports of guests for which `gone` says so; how many. */
int network_drop_published(struct network *net, const char *table,
                           bool (*gone)(void *arg, const char *guest), void *arg);

/* A number from two texts; the same on every host, for ever. */
uint64_t network_hash(const char *a, const char *b);

/* A locally administered address from two texts. */
void network_derive_mac(uint8_t mac[6], const char *a, const char *b);

#endif
