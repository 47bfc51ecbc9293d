/* nic_suite.h - the promises of contract/nic.h, for any implementer.
 *
 * A test program lists its implementers as `struct suite_nic` and calls
 * `nic_suite_main`.  Frames are of an Ethernet type for experiments, so that others on a
 * real interface are not taken for ours. */
#ifndef TESTS_CONTRACT_NIC_SUITE_H
#define TESTS_CONTRACT_NIC_SUITE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "contract/nic.h"

struct loop;

#define NIC_SUITE_MTU  1500
#define NIC_SUITE_TYPE 0x88b5 /* IEEE 802, local experimental */

/* An interface and what is at the other end of its cable. */
struct nic_world {
    struct loop *loop;
    struct nic *nic;
    struct nic *other; /* the other end, where it is one */
    int fd;            /* or a descriptor of it */
};

struct suite_nic {
    const char *name;
    bool loses; /* has no back pressure out: frames that find no room are lost */

    /* -EPERM: not here, the implementer is skipped. */
    int (*make)(struct nic_world *w);

    /* At the other end: send one, 0 or -EAGAIN; receive one, its length or -EAGAIN. */
    int (*far_send)(struct nic_world *w, const uint8_t *frame, size_t bytes);
    ssize_t (*far_receive)(struct nic_world *w, uint8_t *frame, size_t room);

    /* The other end goes; the nic stays. */
    void (*far_close)(struct nic_world *w);
};

/* Run every promise over every implementer; main()'s result. */
int nic_suite_main(const struct suite_nic *nics, unsigned count);

#endif
