/* host.c - the two functions that a machine of this shape has anyway: the host bridge of a
 * Q35, and the ICH9's bridge to the chips of a PC.  Only what firmware and operating
 * systems look at is there. */
#include "virt/monitor/pci/private.h"

#define INTEL 0x8086u

/* Host bridge: 319967, 5.1. */
#define PCIEXBAR        0x60u
#define PCIEXBAR_ENABLE 0x1u
#define PCIEXBAR_BASE   UINT64_C(0xff0000000)
#define PAM             0x90u
#define PAM_COUNT       7u
#define SMRAM           0x9du
#define ESMRAMC         0x9eu

/* ICH9: 316972, 13.1. */
#define PMBASE       0x40u
#define PMBASE_VALUE 0x601u /* ports 0x600 */
#define ACPI_CONTROL 0x44u
#define ACPI_ENABLED 0x80u
#define PIRQ_A       0x60u
#define PIRQ_E       0x68u
#define PIRQ_OFF     0x80u

static const struct pci_function_ops host_ops = {.name = "host"};
static const struct pci_function_ops lpc_ops = {.name = "lpc"};

void pci_host_init(struct pci_function *f, uint64_t ecam)
{
    const struct pci_identity id = {.vendor = INTEL, .device = 0x29c0, .class = 0x060000};

    pci_function_init(f, &host_ops, &id);
    pci_put(f, PCIEXBAR, 4, (uint32_t)ecam | PCIEXBAR_ENABLE);
    pci_put(f, PCIEXBAR + 4, 4, (uint32_t)(ecam >> 32));
    f->mask[PCIEXBAR] = PCIEXBAR_ENABLE;
    f->mask[PCIEXBAR + 3] = 0xf0;
    f->mask[PCIEXBAR + 4] = 0x0f;
    f->mask[PAM] = 0x30;
    for (unsigned i = 1; i < PAM_COUNT; i++) {
        f->mask[PAM + i] = 0x33;
    }
    pci_put(f, SMRAM, 1, 0x02);
    pci_put(f, ESMRAMC, 1, 0x38);
}

bool pci_host_ecam(const struct pci_function *f, uint64_t *ret)
{
    uint64_t v = pci_get(f, PCIEXBAR, 4) | (uint64_t)pci_get(f, PCIEXBAR + 4, 4) << 32;

    *ret = v & PCIEXBAR_BASE;
    return (v & PCIEXBAR_ENABLE) != 0;
}

void pci_lpc_init(struct pci_function *f)
{
    const struct pci_identity id = {
        .vendor = INTEL, .device = 0x2918, .class = 0x060100, .revision = 2};

    pci_function_init(f, &lpc_ops, &id);
    pci_put(f, PCI_HEADER, 1, 0x80); /* may have more functions */
    pci_put(f, PMBASE, 4, PMBASE_VALUE);
    pci_put(f, ACPI_CONTROL, 1, ACPI_ENABLED);
    for (unsigned i = 0; i < 4; i++) {
        pci_put(f, PIRQ_A + i, 1, PIRQ_OFF);
        pci_put(f, PIRQ_E + i, 1, PIRQ_OFF);
        f->mask[PIRQ_A + i] = f->mask[PIRQ_E + i] = 0x8f;
    }
    f->mask[0xa0] = 0xff; /* GEN_PMCON_1 */
    f->mask[0xa1] = 0xff;
    f->mask[0xf0] = 0x01; /* RCBA: nothing is there */
    f->mask[0xf1] = 0xc0;
    f->mask[0xf2] = f->mask[0xf3] = 0xff;
}
