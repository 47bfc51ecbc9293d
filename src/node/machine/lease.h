/* lease.h - what a card of the program `machine` tells its guest by DHCP, as words. */
#ifndef NODE_MACHINE_LEASE_H
#define NODE_MACHINE_LEASE_H

struct err;
struct nic_lease;

/* One of address=IP/BITS, gateway=IP, leads-on, dns=IP, host=NAME. */
int lease_word(struct nic_lease *l, const char *word, struct err *e);

#endif
