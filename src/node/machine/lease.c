/* lease.c - a lease from its words. */
#include "node/machine/lease.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "resource/network/nic/nic.h"

static int parse_ip(const char *text, uint8_t ret[4], struct err *e)
{
    return inet_pton(AF_INET, text, ret) == 1
               ? 0
               : err_set(e, -EINVAL, "'%s' is no address of version 4", text);
}

/* IP/BITS; a prefix of 0 would be no lease. */
static int parse_cidr(struct nic_lease *l, const char *text, struct err *e)
{
    const char *slash = strchr(text, '/');
    char ip[INET_ADDRSTRLEN];
    char *end = NULL;
    unsigned long bits = slash != NULL ? strtoul(slash + 1, &end, 10) : 0;

    if (bits < 1 || bits > 32 || *end != '\0' || (size_t)(slash - text) >= sizeof ip) {
        return err_set(e, -EINVAL, "'%s' is no address with its network's bits", text);
    }
    memcpy(ip, text, (size_t)(slash - text));
    ip[slash - text] = '\0';
    l->prefix = (uint8_t)bits;
    return parse_ip(ip, l->address, e);
}

int lease_word(struct nic_lease *l, const char *word, struct err *e)
{
    if (strncmp(word, "address=", 8) == 0) {
        return parse_cidr(l, word + 8, e);
    }
    if (strncmp(word, "gateway=", 8) == 0) {
        return parse_ip(word + 8, l->gateway, e);
    }
    if (strcmp(word, "leads-on") == 0) {
        l->leads_on = true;
        return 0;
    }
    if (strncmp(word, "dns=", 4) == 0 && l->servers < NIC_LEASE_SERVERS_MOST) {
        return parse_ip(word + 4, l->server[l->servers++], e);
    }
    if (strncmp(word, "host=", 5) == 0 && strlen(word + 5) < sizeof l->host) {
        (void)strcpy(l->host, word + 5);
        return 0;
    }
    return err_set(e, -EINVAL,
                   "'%s' of a network is not known (tap=FD, frames=FD, mac=ADDRESS, "
                   "mtu=BYTES, address=IP/BITS, gateway=IP, leads-on, dns=IP, host=NAME)",
                   word);
}
