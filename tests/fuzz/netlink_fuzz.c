/* netlink_fuzz.c - whatever a socket brings is read as a link, a route, an element, a
 * table or a tracked flow, or is refused. */
#include <string.h>

#include "host/netlink/netlink.h"
#include "tests/fuzz/target.h"

static int touch_element(void *arg, const struct nft_element *el)
{
    unsigned *sum = arg;

    for (size_t i = 0; i < el->key_bytes; i++) {
        *sum += ((const uint8_t *)el->key)[i];
    }
    for (size_t i = 0; i < el->data_bytes; i++) {
        *sum += ((const uint8_t *)el->data)[i];
    }
    *sum += el->comment != NULL ? (unsigned)strlen(el->comment) : 0;
    return 0;
}

static int touch_table(void *arg, const char *table, const char *comment)
{
    *(unsigned *)arg += (unsigned)strlen(table);
    *(unsigned *)arg += comment != NULL ? (unsigned)strlen(comment) : 0;
    return 0;
}

static int read_one(void *arg, const struct netlink_message *m)
{
    struct netlink_link link;
    struct netlink_route route;
    struct conntrack_flow flow;

    (void)netlink_read_link(m, &link);
    (void)netlink_read_route(m, &route);
    (void)conntrack_read(m, &flow);
    (void)nft_read_elements(m, touch_element, arg);
    (void)nft_read_table(m, touch_table, arg);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned sum = 0;

    (void)netlink_walk(data, size, read_one, &sum);
    return 0;
}
