/* identity.c - the machine's generation, in its memory and by an event. */
#include "virt/monitor/identity.h"

#include <string.h>
#include <sys/random.h>

#include "contract/mem.h"
#include "virt/monitor/acpi/tables.h"
#include "virt/monitor/dev/power.h"
#include "virt/monitor/private.h"

void identity_make_up(uint8_t generation[IDENTITY_BYTES])
{
    static const uint8_t none[IDENTITY_BYTES];

    if (memcmp(generation, none, sizeof none) == 0) {
        (void)!getrandom(generation, IDENTITY_BYTES, 0);
    }
}

void identity_write(struct machine *m)
{
    if (m->generation_at != 0) {
        (void)mem_write(m->mem, m->generation_at, m->options.generation, IDENTITY_BYTES);
    }
}

bool machine_renew(struct machine *m, const uint8_t generation[16])
{
    uint8_t now[IDENTITY_BYTES];

    memcpy(m->options.generation, generation, IDENTITY_BYTES);
    if (m->generation_at == 0 ||
        mem_read(m->mem, m->generation_at, now, sizeof now) != 0 ||
        memcmp(now, generation, sizeof now) == 0) {
        return false;
    }
    identity_write(m);
    power_event(m->power, ACPI_GENERATION_EVENT);
    return true;
}
