/* config.c - configuration space of a function, and its base address registers. */
#include <assert.h>
#include <string.h>

#include "virt/monitor/pci/private.h"

#define BAR_PORTS_BITS 0x1u
#define BAR_64_BITS    0x4u
#define STATUS_CAPS    0x0010u
#define FIRST_CAP      0x40u

void pci_put(struct pci_function *f, unsigned reg, unsigned bytes, uint32_t value)
{
    for (unsigned i = 0; i < bytes; i++) {
        f->config[reg + i] = (uint8_t)(value >> (i * 8));
    }
    if (f->bus == NULL) {
        memcpy(f->initial + reg, f->config + reg, bytes);
    }
}

uint32_t pci_get(const struct pci_function *f, unsigned reg, unsigned bytes)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint32_t)f->config[reg + i] << (i * 8);
    }
    return v;
}

static void let_write(struct pci_function *f, unsigned reg, unsigned bytes, uint32_t bits)
{
    for (unsigned i = 0; i < bytes; i++) {
        f->mask[reg + i] = (uint8_t)(bits >> (i * 8));
    }
}

void pci_function_init(struct pci_function *f, const struct pci_function_ops *ops,
                       const struct pci_identity *id)
{
    memset(f, 0, sizeof *f);
    f->ops = ops;
    f->free = FIRST_CAP;
    pci_put(f, 0, 4, id->vendor | (uint32_t)id->device << 16);
    pci_put(f, 8, 4, id->revision | id->class << 8);
    pci_put(f, PCI_SUBSYSTEM, 4, id->subsystem_vendor | (uint32_t)id->subsystem << 16);
    pci_put(f, PCI_PIN, 1, id->pin);
    let_write(f, PCI_COMMAND, 2,
              PCI_COMMAND_PORTS | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
                  PCI_COMMAND_NO_LINE);
    let_write(f, 0x0c, 1, 0xff); /* cache line */
    let_write(f, 0x3c, 1, 0xff); /* interrupt line */
}

unsigned pci_add_capability(struct pci_function *f, uint8_t id, unsigned bytes)
{
    unsigned reg = f->free;

    assert(reg + bytes <= PCI_CONFIG_BYTES);
    f->free += (bytes + 3) & ~3u;
    pci_put(f, reg, 1, id);
    pci_put(f, f->capability != 0 ? f->capability + 1 : PCI_CAPABILITIES, 1, reg);
    pci_put(f, PCI_STATUS, 2, pci_get(f, PCI_STATUS, 2) | STATUS_CAPS);
    f->capability = reg;
    return reg;
}

void pci_add_bar(struct pci_function *f, unsigned i, const struct pci_bar *bar)
{
    unsigned reg = PCI_BAR + i * 4;
    uint32_t low = (uint32_t) ~(bar->bytes - 1);

    f->bar[i] = *bar;
    if (bar->kind == PCI_BAR_PORTS) {
        pci_put(f, reg, 4, BAR_PORTS_BITS);
    } else if (bar->kind == PCI_BAR_64) {
        pci_put(f, reg, 4, BAR_64_BITS);
        let_write(f, reg + 4, 4, (uint32_t)(~(bar->bytes - 1) >> 32));
    }
    let_write(f, reg, 4, low);
}

bool pci_is_master(const struct pci_function *f)
{
    return (pci_get(f, PCI_COMMAND, 2) & PCI_COMMAND_MASTER) != 0;
}

void pci_function_reset(struct pci_function *f)
{
    memcpy(f->config, f->initial, sizeof f->config);
    pci_msix_reset(f);
    f->wants_line = false;
    pci_drive(f);
    if (f->ops->reset != NULL) {
        f->ops->reset(f);
    }
}

/* ---- accesses ---- */

static bool touches(unsigned reg, unsigned bytes, unsigned first, unsigned end)
{
    return reg < end && reg + bytes > first;
}

uint32_t pci_read(struct pci_bus *b, unsigned where, unsigned reg, unsigned bytes)
{
    struct pci_function *f = where < PCI_FUNCTIONS ? b->function[where] : NULL;

    if (f == NULL) {
        return UINT32_MAX;
    }
    if (reg + bytes > PCI_CONFIG_BYTES) {
        return 0; /* there are no extended capabilities */
    }
    if (f->ops->reads != NULL) {
        f->ops->reads(f, reg, bytes);
    }
    return pci_get(f, reg, bytes);
}

void pci_write(struct pci_bus *b, unsigned where, unsigned reg, unsigned bytes,
               uint32_t value)
{
    struct pci_function *f = where < PCI_FUNCTIONS ? b->function[where] : NULL;

    if (f == NULL || reg + bytes > PCI_CONFIG_BYTES) {
        return;
    }
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t mask = f->mask[reg + i];
        uint8_t v = (uint8_t)(value >> (i * 8));

        f->config[reg + i] = (uint8_t)((f->config[reg + i] & ~mask) | (v & mask));
    }
    if (touches(reg, bytes, PCI_COMMAND, PCI_COMMAND + 2)) {
        pci_drive(f);
    }
    if (f->msix.count != 0) {
        pci_msix_settle(f);
    }
    pci_settle(b);
    if (f->ops->written != NULL) {
        f->ops->written(f, reg, bytes);
    }
}
