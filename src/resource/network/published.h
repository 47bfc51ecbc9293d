/* resource/network/published.h - published ports as elements of the four maps. */
#ifndef RESOURCE_NETWORK_PUBLISHED_H
#define RESOURCE_NETWORK_PUBLISHED_H

#include "resource/network/private.h"

#define OWNER_BYTES 192

enum which {
    ONE4,
    ONE6,
    ANY4,
    ANY6
}; /* as in `network_maps` */

/* One element: of map `which`, from key to data. */
struct entry {
    enum which which;
    bool own; /* found to be there already, for the same guest */
    struct network_ip host;
    uint16_t port;
    uint8_t proto;
    uint8_t key[24];
    uint8_t key_bytes;
    uint8_t data[20];
    uint8_t data_bytes;
};

struct entries {
    struct entry *items; /* owned */
    size_t n;
    size_t cap;
};

/* entries.c: what a guest wants to publish, one entry per port and family. */
int entries_list(const struct network_port *p, const struct network_publish *pub,
                 size_t n, struct entries *list, struct err *e);
void entries_fini(struct entries *list);
struct nft_element entry_element(const struct entry *en, const char *guest);
const char *entry_proto(const struct entry *en);

/* conflict.c: which port is taken, and by whom. */
struct conflict {
    const struct entry *at;  /* NULL: none */
    char guest[OWNER_BYTES]; /* identifier, when a guest of our own table has it */
    char owner[OWNER_BYTES]; /* in words */
};

/* Ask our table for every entry; those of `guest` get `own`, the first of another is
 * the conflict. */
int conflict_in_table(struct network *net, struct entries *list, const char *guest,
                      struct conflict *ret);

/* The tables of other state directories. */
int conflict_in_others(struct network *net, const struct entries *list,
                       struct conflict *ret);

/* Programs of this host, among them forwarders; `e` is set when it has not the address. */
int conflict_on_host(const struct entries *list, struct conflict *ret, struct err *e);

/* -EADDRINUSE with port and owner. */
int conflict_refuse(const struct conflict *c, struct err *e);

#endif
