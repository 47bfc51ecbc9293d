/* world.h - a machine with a kernel, for tests that stop, save and rewind it. */
#ifndef TESTS_VIRT_MONITOR_WORLD_H
#define TESTS_VIRT_MONITOR_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/loop/loop.h"
#include "virt/monitor/boot/boot.h"
#include "virt/monitor/monitor.h"

struct world {
    struct loop *loop;
    struct machine *machine;
    struct machine_options options;
    struct boot_files files;
    char text[65536]; /* what it printed */
    size_t chars;
    enum machine_end end;
    unsigned code;
    unsigned crashes;

    /* On the loop's thread; the answer is when again, in ns, or 0. */
    uint64_t (*act)(struct world *w);
    void (*crashed)(struct world *w);
    struct loop_timer timer;
    int state, memory; /* files of a snapshot; -1: none */
    void *mine;

    /* Devices of the machine, made when there is a loop and ended after it.  NULL: none. */
    void (*plug)(struct world *w);
    void (*unplug)(struct world *w);
};

/* What the kernels of all worlds are; `module` is a word, its zero included. */
void world_files(struct boot_files *f, const char *kernel, const char *module);

/* A machine with `o` (console and owner are the world's), not loaded. */
void world_make(struct world *w, const struct machine_options *o,
                const struct boot_files *f);
void world_load(struct world *w);

/* Run to its end; `act` for the first time after `ns`, 0: never. */
void world_run(struct world *w, uint64_t ns);
void world_end(struct world *w);

/* Two empty files without a name. */
void world_snapshot_files(struct world *w);
bool world_said(const struct world *w, const char *text);

/* What the guest of the snapshot tests prints after that many rounds (see snap_work.h). */
const char *world_expected(uint32_t rounds, char text[64]);

#endif
