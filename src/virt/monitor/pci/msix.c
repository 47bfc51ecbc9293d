/* msix.c - interrupts as messages: PCI 6.8.2.
 *
 * A vector that is masked, by itself, with all others, or because the function may not write to
 * memory, is kept as pending and sent when that ends. */
#include <string.h>

#include "contract/snap.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/pci/private.h"

#define CONTROL          2u /* register of the capability */
#define CONTROL_ENABLE   0x8000u
#define CONTROL_MASK_ALL 0x4000u
#define ENTRY_MASKED     1u
#define PAGE             4096u
#define PENDING_AT       0x800u

static unsigned control(const struct pci_function *f)
{
    return pci_get(f, f->msix.reg + CONTROL, 2);
}

bool pci_has_msix(const struct pci_function *f)
{
    return f->msix.count != 0 && (control(f) & CONTROL_ENABLE) != 0;
}

static void send(struct pci_function *f, const uint32_t entry[4])
{
    const struct apic_bus *to = &f->bus->options.messages;
    uint64_t address = entry[0] | (uint64_t)entry[1] << 32;
    struct apic_message msg = apic_from_msi(address, entry[2]);

    /* Elsewhere there is no interrupt controller: SDM volume 3A, 11.11.1. */
    if (address >> 20 == 0xfee) {
        to->send(to->who, &msg);
    }
}

static bool may_send(const struct pci_function *f)
{
    return (control(f) & (CONTROL_ENABLE | CONTROL_MASK_ALL)) == CONTROL_ENABLE &&
           pci_is_master(f);
}

void pci_msix_settle(struct pci_function *f)
{
    struct pci_msix *x = &f->msix;

    for (unsigned i = 0; x->pending != 0 && may_send(f) && i < x->count; i++) {
        if ((x->pending >> i & 1) != 0 && (x->entry[i][3] & ENTRY_MASKED) == 0) {
            x->pending &= ~(UINT64_C(1) << i);
            send(f, x->entry[i]);
        }
    }
}

void pci_send(struct pci_function *f, unsigned vector)
{
    struct pci_msix *x = &f->msix;

    if (vector >= x->count || f->bus == NULL || !pci_has_msix(f)) {
        return;
    }
    if (may_send(f) && (x->entry[vector][3] & ENTRY_MASKED) == 0) {
        send(f, x->entry[vector]);
    } else {
        x->pending |= UINT64_C(1) << vector;
    }
}

void pci_msix_reset(struct pci_function *f)
{
    f->msix.pending = 0;
    for (unsigned i = 0; i < f->msix.count; i++) {
        memset(f->msix.entry[i], 0, sizeof f->msix.entry[i]);
        f->msix.entry[i][3] = ENTRY_MASKED;
    }
}

/* ---- the table ---- */

static uint32_t read_word(const struct pci_msix *x, uint64_t offset)
{
    if (offset < x->count * 16u) {
        return x->entry[offset / 16][offset / 4 % 4];
    }
    if (offset >= PENDING_AT && offset < PENDING_AT + 8) {
        return (uint32_t)(x->pending >> (offset - PENDING_AT) * 8);
    }
    return 0;
}

static uint64_t read(void *who, uint64_t offset, unsigned bytes)
{
    const struct pci_msix *x = &((struct pci_function *)who)->msix;
    uint64_t v = read_word(x, offset & ~UINT64_C(3));

    if (bytes == 8) {
        v |= (uint64_t)read_word(x, (offset & ~UINT64_C(3)) + 4) << 32;
    }
    return v >> (offset & 3) * 8;
}

static void write_word(struct pci_msix *x, uint64_t offset, uint32_t v)
{
    static const uint32_t mask[4] = {~3u, ~0u, ~0u, ENTRY_MASKED};

    if (offset < x->count * 16u) {
        x->entry[offset / 16][offset / 4 % 4] = v & mask[offset / 4 % 4];
    }
}

/* Nothing but whole words: PCI 6.8.2. */
static void write(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct pci_function *f = who;

    if (bytes < 4 || offset % 4 != 0) {
        return;
    }
    write_word(&f->msix, offset, (uint32_t)v);
    if (bytes == 8) {
        write_word(&f->msix, offset + 4, (uint32_t)(v >> 32));
    }
    pci_msix_settle(f);
}

void pci_add_msix(struct pci_function *f, unsigned i, unsigned count)
{
    static const struct board_io io = {.name = "msix", .read = read, .write = write};
    unsigned reg = pci_add_capability(f, PCI_CAPABILITY_MSIX, 12);
    struct pci_bar bar = {.kind = PCI_BAR_32, .bytes = PAGE, .parts = 1};

    f->msix.reg = reg;
    f->msix.count = count < PCI_VECTORS_MOST ? count : PCI_VECTORS_MOST;
    f->msix.part = (struct pci_part){.bytes = PAGE, .io = &io};
    bar.part = &f->msix.part;
    pci_put(f, reg + CONTROL, 2, f->msix.count - 1);
    f->mask[reg + CONTROL + 1] = (CONTROL_ENABLE | CONTROL_MASK_ALL) >> 8;
    pci_put(f, reg + 4, 4, i);
    pci_put(f, reg + 8, 4, PENDING_AT | i);
    pci_add_bar(f, i, &bar);
    pci_msix_reset(f);
}
