/* apic.c - MSI as messages on the interrupt bus (SDM volume 3A, 11.11). */
#include "virt/monitor/dev/apic.h"

struct apic_message apic_from_msi(uint64_t address, uint32_t data)
{
    uint32_t dest = (uint32_t)(address >> 12 & 0xff) | (uint32_t)(address >> 5 & 0x7f)
                                                           << 8;

    return (struct apic_message){
        .dest = dest,
        .vector = (uint8_t)data,
        .mode = data >> 8 & 7,
        .is_logical = (address >> 2 & 1) != 0,
        .is_level = (data >> 15 & 1) != 0,
    };
}
