/* points.c - breakpoints and watches, and the ways to go on.
 *
 * What a client sets holds for every processor, from the next time that it lets the machine
 * go; it removes all it set whenever it looks around, and sets it again. */
#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "virt/monitor/gdb/private.h"

#define KIND_HARD        1 /* Z0: in code; Z1: hardware's */
#define KIND_WRITE       2
#define KIND_ACCESS      4
#define WATCH_BYTES_MOST 4096u

/* ---- Z and z: TYPE,ADDRESS,KIND ---- */

static int change_break(struct gdb *g, uint64_t at, bool hard, bool sets)
{
    struct cpu_debug *d = &g->points;
    unsigned n = 0;

    while (n < d->breaks && (d->break_at[n] != at || g->is_hard[n] != hard)) {
        n++;
    }
    if (sets && n == CPU_BREAKS_MOST) {
        return -ENOSPC;
    }
    if (sets) {
        d->break_at[n] = at;
        g->is_hard[n] = hard;
        d->breaks += n == d->breaks;
    } else if (n < d->breaks) {
        d->breaks--;
        d->break_at[n] = d->break_at[d->breaks];
        g->is_hard[n] = g->is_hard[d->breaks];
    }
    return 0;
}

static int change_watch(struct gdb *g, const struct cpu_watch *w, unsigned kind,
                        bool sets)
{
    struct cpu_debug *d = &g->points;
    unsigned n = 0;

    while (n < d->watches && (d->watch[n].at != w->at || d->watch[n].bytes != w->bytes ||
                              g->watch_kind[n] != kind)) {
        n++;
    }
    if (sets && n == CPU_WATCHES_MOST) {
        return -ENOSPC;
    }
    if (sets) {
        d->watch[n] = *w;
        g->watch_kind[n] = (uint8_t)kind;
        d->watches += n == d->watches;
    } else if (n < d->watches) {
        d->watches--;
        d->watch[n] = d->watch[d->watches];
        g->watch_kind[n] = g->watch_kind[d->watches];
    }
    return 0;
}

bool points_change(struct gdb *g, const char *text, bool sets, int *ret)
{
    uint64_t kind, at, bytes;

    if (!text_number(&text, &kind) || kind > KIND_ACCESS || !text_take(&text, ',') ||
        !text_number(&text, &at) || !text_take(&text, ',') ||
        !text_number(&text, &bytes)) {
        return false;
    }
    if (kind < KIND_WRITE) {
        *ret = change_break(g, at, kind == KIND_HARD, sets);
    } else if (bytes == 0 || bytes > WATCH_BYTES_MOST) {
        *ret = -EINVAL;
    } else {
        const struct cpu_watch w = {at, (uint32_t)bytes, kind != KIND_WRITE};

        *ret = change_watch(g, &w, (unsigned)kind, sets);
    }
    return true;
}

/* ---- going on ---- */

void points_go(struct gdb *g, const enum way *way)
{
    for (unsigned i = 0; i < g->target.cpus; i++) {
        struct cpu_debug *d = &g->plan[i];
        bool is_any;

        *d = g->points;
        d->steps = way[i] == WAY_STEPS;
        is_any = d->steps || d->breaks > 0 || d->watches > 0;
        g->target.set(g->target.who, i, is_any ? d : NULL, way[i] == WAY_STANDS);
    }
    g->is_running = true;
    g->target.go(g->target.who);
}

void points_clear(struct gdb *g)
{
    g->points = (struct cpu_debug){.steps = false};
    for (unsigned i = 0; i < g->target.cpus; i++) {
        g->target.set(g->target.who, i, NULL, false);
    }
}

/* "c", "s", "C05", "S05" */
static bool read_way(const char **at, enum way *ret)
{
    char c = **at;
    uint64_t ignored;

    if (c != 'c' && c != 's' && c != 'C' && c != 'S') {
        return false;
    }
    (*at)++;
    *ret = c == 's' || c == 'S' ? WAY_STEPS : WAY_GOES;
    return c == 'c' || c == 's' || text_number(at, &ignored);
}

/* ":THREAD", -1 is all; nothing is all. */
static bool read_thread(const char **at, unsigned cpus, uint64_t *ret)
{
    *ret = UINT64_MAX;
    if (!text_take(at, ':')) {
        return true;
    }
    if (text_take(at, '-')) {
        return text_take(at, '1');
    }
    return text_number(at, ret) && *ret >= 1 && *ret <= cpus;
}

/* ";ACTION[:THREAD]..."; the first that a thread matches is its own. */
bool points_continue(struct gdb *g, const char *text)
{
    enum way way[GDB_CPUS_MOST] = {WAY_STANDS};

    bool is_any = false;

    while (text_take(&text, ';')) {
        enum way w;
        uint64_t thread;

        if (!read_way(&text, &w) || !read_thread(&text, g->target.cpus, &thread)) {
            return false;
        }
        for (unsigned i = 0; i < g->target.cpus; i++) {
            if ((thread == UINT64_MAX || thread == i + 1) && way[i] == WAY_STANDS) {
                way[i] = w;
                is_any = true;
            }
        }
    }
    if (*text != '\0' || !is_any) {
        return false;
    }
    points_go(g, way);
    return true;
}

/* ---- stops ---- */

void points_stopped(struct gdb *g, unsigned cpu, unsigned kind, uint64_t address)
{
    static const char *const names[] = {"watch", "rwatch", "awatch"};
    const struct cpu_debug *d = &g->points;
    unsigned n = 0;
    char why[40] = "";

    if (kind == CPU_DEBUG_BREAK) {
        while (n < d->breaks && d->break_at[n] != address) {
            n++;
        }
        (void)str_print(why, sizeof why, "%s:;",
                        n < d->breaks && g->is_hard[n] ? "hwbreak" : "swbreak");
    } else if (kind == CPU_DEBUG_WATCH) {
        while (n < d->watches && d->watch[n].at != address) {
            n++;
        }
        (void)str_print(why, sizeof why, "%s:%llx;",
                        names[n < d->watches ? g->watch_kind[n] - KIND_WRITE : 0],
                        (unsigned long long)address);
    }
    g->cpu = cpu;
    (void)str_print(g->stop, sizeof g->stop, "T05thread:%x;%s", cpu + 1, why);
}
