/* gdb_fuzz.c - whatever a debugger says: answers are bounded, the machine is let go as often as
 * it was stopped, and nothing but what gdb.h says is done to it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contract/cpu_debug.h"
#include "contract/cpu_x86.h"
#include "tests/fuzz/target.h"
#include "virt/monitor/gdb/gdb.h"

#define CPUS 3

struct fake {
    struct x86_regs regs[CPUS];
    uint8_t memory[4096];
    int stands;
};

static void need(bool holds)
{
    if (!holds) {
        abort();
    }
}

static int on_stop(void *who)
{
    struct fake *f = who;

    need(f->stands++ == 0);
    return 0;
}

static void on_go(void *who)
{
    struct fake *f = who;

    need(f->stands-- == 1);
}

static void on_set(void *who, unsigned cpu, const struct cpu_debug *d, bool stands)
{
    (void)stands;
    need(((struct fake *)who)->stands == 1 && cpu < CPUS);
    need(d == NULL || (d->breaks <= CPU_BREAKS_MOST && d->watches <= CPU_WATCHES_MOST));
}

static void on_look(void *who, unsigned cpu, struct x86_regs *ret)
{
    need(cpu < CPUS);
    *ret = ((struct fake *)who)->regs[cpu];
}

static int on_put(void *who, unsigned cpu, const struct x86_regs *r)
{
    need(((struct fake *)who)->stands == 1 && cpu < CPUS);
    ((struct fake *)who)->regs[cpu] = *r;
    return 0;
}

static int on_read(void *who, unsigned cpu, uint64_t at, void *to, size_t bytes)
{
    struct fake *f = who;

    need(f->stands == 1 && (cpu < CPUS || cpu == GDB_PHYSICAL));
    memset(to, 0x5a, bytes);
    return at < sizeof f->memory && bytes <= sizeof f->memory - at ? 0 : -EFAULT;
}

static int on_write(void *who, unsigned cpu, uint64_t at, const void *from, size_t bytes)
{
    struct fake *f = who;

    need(f->stands == 1 && (cpu < CPUS || cpu == GDB_PHYSICAL));
    if (at >= sizeof f->memory || bytes > sizeof f->memory - at) {
        return -EFAULT;
    }
    memcpy(f->memory + at, from, bytes);
    return 0;
}

static int on_reset(void *who)
{
    need(((struct fake *)who)->stands == 1);
    return 0;
}

static void on_kill(void *who)
{
    (void)who;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[1 << 17];
    struct fake *f = calloc(1, sizeof *f);
    struct gdb *g = NULL;
    struct gdb_target t = {.cpus = CPUS,
                           .who = f,
                           .stop = on_stop,
                           .go = on_go,
                           .set = on_set,
                           .look = on_look,
                           .put = on_put,
                           .read = on_read,
                           .write = on_write,
                           .reset = on_reset,
                           .kill = on_kill};

    if (f == NULL || gdb_create(NULL, &t, &g, NULL) < 0) {
        free(f);
        return 0;
    }
    gdb_open(g);
    for (size_t at = 0;
         at < size;) { /* in pieces, as the wire tears them; stops between */
        size_t n = data[at] % 64u + 1;

        n = n < size - at ? n : size - at;
        if (gdb_answer(g, data + at, n, out, sizeof out) == SIZE_MAX) {
            gdb_open(g);
        }
        at += n;
        if (f->stands == 0) {
            f->stands = 1; /* as the machine does before it tells */
            gdb_stopped(g, data[at - 1] % CPUS, data[at - 1] % 3u, data[at - 1]);
        }
    }
    gdb_destroy(g);
    need(f->stands == 0);
    free(f);
    return 0;
}
