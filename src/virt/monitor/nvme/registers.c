/* registers.c - what a driver reads and writes: the pages of BAR 0.
 *
 * Registers are under the board's lock.  Doorbells are not: a value is left, and the loop's thread
 * is woken where it does not look by itself. */
#include "virt/monitor/board/board.h"
#include "virt/monitor/nvme/private.h"

#define TIMEOUT 60u /* half a minute: what is with the disk is waited for */

static uint64_t capabilities(void)
{
    return (ENTRIES_MOST - 1) | NVME_CAP_QUEUES_TOGETHER |
           (uint64_t)TIMEOUT << NVME_CAP_TIMEOUT_SHIFT | NVME_CAP_NVM;
}

static uint32_t read_word(const struct nvme *n, uint64_t offset)
{
    switch (offset) {
    case NVME_CAP:
        return (uint32_t)capabilities();
    case NVME_CAP + 4:
        return (uint32_t)(capabilities() >> 32);
    case NVME_VS:
        return NVME_VERSION;
    case NVME_INTMS:
    case NVME_INTMC:
        return n->masked;
    case NVME_CC:
        return n->cc;
    case NVME_CSTS:
        return n->csts;
    case NVME_AQA:
        return n->aqa;
    case NVME_ASQ:
        return (uint32_t)n->asq;
    case NVME_ASQ + 4:
        return (uint32_t)(n->asq >> 32);
    case NVME_ACQ:
        return (uint32_t)n->acq;
    case NVME_ACQ + 4:
        return (uint32_t)(n->acq >> 32);
    default:
        return 0;
    }
}

static uint64_t read(void *who, uint64_t offset, unsigned bytes)
{
    uint64_t at = offset & ~UINT64_C(3);
    uint64_t v = read_word(who, at);

    if (bytes == 8) {
        v |= (uint64_t)read_word(who, at + 4) << 32;
    }
    return v >> (offset & 3) * 8;
}

void nvme_drive(struct nvme *n)
{
    pci_set_line(&n->f, !pci_has_msix(&n->f) && (n->raised & ~n->masked) != 0);
}

/* Switched off it forgets; that it has, the status says later. */
static void write_configuration(struct nvme *n, uint32_t v)
{
    uint32_t old = n->cc;

    n->cc = v & NVME_CC_BITS;
    if ((old & ~n->cc & NVME_CC_ENABLE) != 0) {
        n->resets = true;
    } else if ((n->cc & ~old & NVME_CC_ENABLE) != 0 && !n->resets &&
               (n->csts & NVME_CSTS_SHUTDOWN) == NVME_CSTS_SHUT_DOWN) {
        n->csts &= ~NVME_CSTS_SHUTDOWN;
    }
    if ((n->cc & NVME_CC_SHUTDOWN) != 0 && (n->csts & NVME_CSTS_SHUTDOWN) == 0) {
        n->csts |= NVME_CSTS_SHUTTING_DOWN;
    }
    nvme_post(n);
}

static void put_half(uint64_t *to, bool high, uint32_t v)
{
    unsigned shift = high ? 32 : 0;

    *to = (*to & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)v << shift;
    *to &= ~(uint64_t)(NVME_PAGE_BYTES - 1);
}

/* Where the queues of the administrator lie stands while it is on. */
static void write_place(struct nvme *n, uint64_t offset, uint32_t v)
{
    if ((n->cc & NVME_CC_ENABLE) != 0) {
        return;
    }
    switch (offset) {
    case NVME_AQA:
        n->aqa = v & 0x0fff0fff;
        break;
    case NVME_ASQ:
    case NVME_ASQ + 4:
        put_half(&n->asq, offset != NVME_ASQ, v);
        break;
    case NVME_ACQ:
    case NVME_ACQ + 4:
        put_half(&n->acq, offset != NVME_ACQ, v);
        break;
    default:
        break;
    }
}

static void write_word(struct nvme *n, uint64_t offset, uint32_t v)
{
    switch (offset) {
    case NVME_INTMS:
        n->masked |= v;
        nvme_drive(n);
        break;
    case NVME_INTMC:
        n->masked &= ~v;
        nvme_drive(n);
        break;
    case NVME_CC:
        write_configuration(n, v);
        break;
    default:
        write_place(n, offset, v);
    }
}

/* Nothing but whole words: NVMe 3.1. */
static void write(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    if (bytes < 4 || offset % 4 != 0) {
        return;
    }
    write_word(who, offset, (uint32_t)v);
    if (bytes == 8) {
        write_word(who, offset + 4, (uint32_t)(v >> 32));
    }
}

void nvme_registers_reset(struct nvme *n)
{
    n->cc = n->csts = n->aqa = n->masked = n->raised = 0;
    n->asq = n->acq = 0;
    n->resets = true;
    nvme_drive(n);
    nvme_post(n);
}

/* ---- doorbells ---- */

static uint64_t read_bell(void *who, uint64_t offset, unsigned bytes)
{
    (void)who;
    (void)offset;
    (void)bytes;
    return 0;
}

/* The loop's thread stores what it listens to and then looks at the value; here it is the other way
 * round: one of both sees the other's. */
static void write_bell(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct nvme *n = who;
    unsigned i = (unsigned)(offset / 4);
    bool is_heard;

    if (bytes != 4 || offset % 4 != 0 || i >= 2 * QUEUES_ALL) {
        return;
    }
    atomic_store(&n->bell[i].value, (uint32_t)v & 0xffff);
    is_heard = i % 2 == 0 ? !atomic_load(&n->hushed) : atomic_load(&n->bell[i].wanted);
    if (is_heard && !atomic_exchange(&n->bell[i].posted, true)) {
        loop_post(n->loop, &n->bell[i].task);
    }
}

static const struct board_io registers = {.name = "nvme", .read = read, .write = write};
static const struct board_io bells = {
    .name = "nvme", .read = read_bell, .write = write_bell, .is_free = true};

const struct pci_part nvme_parts[2] = {
    {0, NVME_DOORBELLS, &registers},
    {NVME_DOORBELLS, NVME_PAGE_BYTES, &bells},
};
