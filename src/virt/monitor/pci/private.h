/* private.h - what the files of the bus share. */
#ifndef VIRT_MONITOR_PCI_PRIVATE_H
#define VIRT_MONITOR_PCI_PRIVATE_H

#include "virt/monitor/pci/pci.h"

#define PCI_FUNCTIONS (PCI_SLOTS * 8)

struct pci_bus {
    struct dev dev; /* first */
    struct pci_config options;
    struct pci_function *function[PCI_FUNCTIONS]; /* by PCI_WHERE; borrowed */
    struct pci_function host, lpc;
    uint32_t address;          /* port 0xcf8 */
    uint64_t place;            /* the next base address to give out */
    uint64_t ecam;             /* where bus 0 is claimed */
    bool has_ecam;             /* it is */
    unsigned lines[PCI_LINES]; /* functions that drive each */
};

/* bus.c: what answers where follows the registers. */
void pci_settle(struct pci_bus *b);
void pci_drive(struct pci_function *f);
void pci_function_reset(struct pci_function *f);

/* msix.c: entries, masks or the enable bit have changed. */
void pci_msix_settle(struct pci_function *f);
void pci_msix_reset(struct pci_function *f);

/* host.c, lpc.c */
void pci_host_init(struct pci_function *f, uint64_t ecam);
bool pci_host_ecam(const struct pci_function *f, uint64_t *ret);
void pci_lpc_init(struct pci_function *f);

#endif
