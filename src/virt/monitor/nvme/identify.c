/* identify.c - what the controller and its namespace are: NVMe 5.15 (Identify). */
#include <stdio.h>
#include <string.h>

#include "base/sha256.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "virt/monitor/nvme/private.h"

#define MODEL         "Strata NVMe disk"
#define UUID_BYTES    16
#define IDENTIFY_DATA 4096u

/* What is asked for: Controller or Namespace Structure. */
enum {
    OF_NAMESPACE = 0,
    OF_CONTROLLER = 1,
    LIST = 2,
    DESCRIPTORS = 3
};

static void put(uint8_t *page, unsigned at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        page[at + i] = (uint8_t)(value >> i * 8);
    }
}

/* Letters, and blanks behind them. */
static void put_text(uint8_t *page, unsigned at, const char *text, unsigned bytes)
{
    size_t n = strlen(text);

    memset(page + at, ' ', bytes);
    memcpy(page + at, text, n < bytes ? n : bytes);
}

/* A number that follows from the disk's serial number and, of the controller, from its slot: the
 * same whenever the machine starts.  RFC 9562, 5.8. */
static void make_uuid(const struct nvme *n, bool of_controller, uint8_t ret[UUID_BYTES])
{
    char text[64];
    uint8_t sum[SHA256_BYTES];
    int length = snprintf(text, sizeof text, "strata nvme %s %u", n->serial,
                          of_controller ? n->f.slot : 0);

    sha256_sum(text, (size_t)length, sum);
    memcpy(ret, sum, UUID_BYTES);
    ret[6] = (uint8_t)((ret[6] & 0x0f) | 0x80);
    ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
}

static void put_name(const struct nvme *n, uint8_t *page, unsigned at)
{
    uint8_t u[UUID_BYTES];
    char hex[2 * UUID_BYTES + 1];

    make_uuid(n, true, u);
    for (unsigned i = 0; i < UUID_BYTES; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", u[i]);
    }
    (void)snprintf((char *)page + at, 256,
                   "nqn.2014-08.org.nvmexpress:uuid:%.8s-%.4s-%.4s-%.4s-%.12s", hex,
                   hex + 8, hex + 12, hex + 16, hex + 20);
}

static void describe_controller(const struct nvme *n, uint8_t *page)
{
    put(page, 0, pci_get(&n->f, 0, 2), 2);
    put(page, 2, pci_get(&n->f, PCI_SUBSYSTEM, 2), 2);
    put_text(page, 4, n->serial, NVME_SERIAL_BYTES);
    put_text(page, 24, MODEL, 40);
    put_text(page, 64, "1", 8);
    put(page, 72, 6, 1); /* arbitration burst */
    put(page, 77, TRANSFER_SHIFT, 1);
    put(page, 80, NVME_VERSION, 4);
    put(page, 92, NVME_EVENTS_NAMESPACE, 4);
    put(page, 111, 1, 1); /* an I/O controller */
    put(page, 258, 3, 1); /* 4 Aborts */
    put(page, 259, ASYNC_MOST - 1, 1);
    put(page, 260, 3, 1); /* one slot of firmware, which is read only */
    put(page, 261, 4, 1); /* logs are read in parts */
    put(page, 262, ERRORS_MOST - 1, 1);
    put(page, 266, TEMPERATURE_BAD, 2);
    put(page, 268, TEMPERATURE_BAD, 2);
    put(page, 512, 0x66, 1); /* 64 bytes of a command, */
    put(page, 513, 0x44, 1); /* ... 16 of an answer */
    put(page, 516, 1, 4);    /* namespaces */
    put(page, 520, 0x0c, 2); /* Dataset Management, Write Zeroes */
    put(page, 525, 7, 1);    /* a write cache; Flush of all namespaces */
    put_name(n, page, 768);
}

static unsigned log2_of(uint32_t v)
{
    return 31u - (unsigned)__builtin_clz(v);
}

static void describe_namespace(const struct nvme *n, uint8_t *page)
{
    const struct blk *b = n->edge->disk;
    uint32_t block = nvme_block_bytes(n);
    uint64_t blocks = blk_size(b) / block;
    uint32_t best = b->best_bytes / block;

    put(page, 0, blocks, 8);
    put(page, 8, blocks, 8);
    put(page, 16, blocks, 8);
    put(page, 33, 8, 1); /* Write Zeroes deallocates where it may */
    put(page, 99, !nvme_may_write(n), 1);
    if (best > 1 && best <= UINT16_MAX) {
        put(page, 24, 0x10, 1); /* what follows is said: */
        put(page, 64, best - 1, 2);
        put(page, 66, best - 1, 2);
        put(page, 68, best - 1, 2);
        put(page, 70, best - 1, 2);
        put(page, 72, best - 1, 2);
    }
    put(page, 130, log2_of(block), 1);
}

/* A list: a type, how long it is, and so many bytes. */
static void describe_names(const struct nvme *n, uint8_t *page)
{
    put(page, 0, 3, 1);
    put(page, 1, UUID_BYTES, 1);
    make_uuid(n, false, page + 4);
}

uint16_t nvme_identify(struct nvme_request *r)
{
    const struct nvme *n = r->nvme;
    uint8_t page[IDENTIFY_DATA] = {0};
    uint32_t nsid = r->c.nsid;

    switch (r->c.dw10 & 0xff) {
    case OF_NAMESPACE:
    case DESCRIPTORS:
        if (nsid != NVME_NSID) {
            return NVME_INVALID_NAMESPACE;
        }
        if ((r->c.dw10 & 0xff) == OF_NAMESPACE) {
            describe_namespace(n, page);
        } else {
            describe_names(n, page);
        }
        break;
    case OF_CONTROLLER:
        describe_controller(n, page);
        break;
    case LIST:
        if (nsid >= NVME_NSID_ALL - 1) {
            return NVME_INVALID_NAMESPACE;
        }
        put(page, 0, nsid < NVME_NSID ? NVME_NSID : 0, 4);
        break;
    default:
        return NVME_INVALID_FIELD;
    }
    return nvme_fill(r, page, sizeof page);
}
