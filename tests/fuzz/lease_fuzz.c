/* lease_fuzz.c - any frame that a guest sends to a card which tells addresses by DHCP. */
#include <stdlib.h>
#include <string.h>

#include "contract/nic.h"
#include "host/loop/loop.h"
#include "resource/network/nic/nic.h"
#include "tests/fuzz/target.h"

static unsigned take(struct nic *n, const struct nic_frame *f, unsigned count)
{
    uint8_t sum = 0;

    (void)n;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *p = f[i].iov[0].iov_base;

        for (size_t k = 0; k < f[i].iov[0].iov_len; k++) {
            sum ^= p[k];
        }
    }
    return sum == 77 ? 0 : count; /* all of it was read */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct nic_lease is = {.mac = {2, 0x53, 10, 1, 2, 3},
                                 .address = {10, 1, 2, 3},
                                 .prefix = 20,
                                 .gateway = {10, 1, 0, 1},
                                 .host = "web"};
    struct nic *two[2];
    struct nic *nic;
    struct loop *loop;
    uint8_t *copy = malloc(size + 1);
    struct iovec iov = {copy, size};
    const struct nic_frame f = {.iov = &iov, .pieces = 1, .bytes = (uint32_t)size};

    memcpy(copy, data, size);
    if (loop_create(LOOP_DRIVER_AUTO, &loop, NULL) != 0 ||
        nic_pair_create(loop, 1500, 0, two, NULL) != 0 ||
        nic_lease_create(loop, two[0], &is, &nic, NULL) != 0) {
        abort();
    }
    nic->received = take;
    two[1]->received = take;
    nic->ops->more(nic);
    two[1]->ops->more(two[1]);
    (void)nic->ops->send(nic, &f, 1);
    (void)loop_turn(loop, 1);
    nic->ops->destroy(nic);
    two[1]->ops->destroy(two[1]);
    loop_destroy(loop);
    free(copy);
    return 0;
}
