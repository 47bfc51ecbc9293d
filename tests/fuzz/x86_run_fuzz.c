/* x86_run_fuzz.c - any guest, in any mode, on both executors: tables, registers and code
 * come from the bytes.  The host comes to no harm (sanitizers watch, and nothing is
 * mapped around the guest's memory), every run ends with its budget, and both executors
 * leave the same state.
 *
 * The first byte chooses the mode, and whether the rest draws a world of instructions
 * (tests/virt/isa/x86/both) or is the code itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/target.h"
#include "world.h"

#define STEPS 8

/* The host's random numbers are the one thing that may differ. */
static bool asks_host(const struct world *w)
{
    const uint8_t *ram = w->side[0].ram;

    for (unsigned n = WORLD_CODE; n < WORLD_CODE + WORLD_CODE_BYTES - 2; n++) {
        if (ram[n] == 0x0f && ram[n + 1] == 0xc7 && (ram[n + 2] & 0xf0) == 0xf0) {
            return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct draw d = {.state = size};
    struct world w;
    char text[160];

    if (size < 2) {
        return 0;
    }
    d.bytes = data + 1;
    d.left = size - 1;
    world_create(&w, &d, (enum world_mode)(data[0] % WORLD_MODES));
    if ((data[0] & 0x80) != 0) {
        unsigned n = size - 1 < WORLD_CODE_BYTES ? (unsigned)size - 1 : WORLD_CODE_BYTES;

        world_put(&w, WORLD_CODE, data + 1, n);
    }
    for (unsigned n = 0; n < STEPS; n++) {
        if (!world_step(&w, text, sizeof text)) {
            if (!asks_host(&w)) {
                fprintf(stderr, "%s\n", text);
                abort();
            }
            break;
        }
    }
    world_destroy(&w);
    return 0;
}
