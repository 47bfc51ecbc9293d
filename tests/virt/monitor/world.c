/* world.c - a machine with a kernel, for tests that stop, save and rewind it. */
#include "world.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "snap_work.h"

static void need(int r, const struct err *e)
{
    if (r != 0) {
        fprintf(stderr, "%d: %s\n", r, e->text);
        abort();
    }
}

void world_files(struct boot_files *f, const char *kernel, const char *module)
{
    int fd = open(kernel, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        perror(kernel);
        abort();
    }
    *f = (struct boot_files){
        .kernel = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0),
        .kernel_bytes = (size_t)st.st_size,
        .initrd = (const uint8_t *)module,
        .initrd_bytes = strlen(module) + 1,
        .command_line = ""};
    (void)close(fd);
}

static void on_console(void *who, const uint8_t *bytes, unsigned n)
{
    struct world *w = who;

    for (unsigned i = 0; i < n && w->chars + 1 < sizeof w->text; i++) {
        w->text[w->chars++] = (char)bytes[i];
    }
}

static void on_crash(void *who)
{
    struct world *w = who;

    w->crashes++;
    w->crashed(w);
}

static void on_timer(struct loop_timer *t)
{
    struct world *w = (struct world *)((char *)t - offsetof(struct world, timer));
    uint64_t again = w->act(w);

    if (again != 0) {
        loop_timer_set(w->loop, t, again);
    }
}

void world_make(struct world *w, const struct machine_options *o,
                const struct boot_files *f)
{
    struct err e = {0};

    w->options = *o;
    w->options.console = on_console;
    w->options.who = w;
    w->options.crashed = w->crashed != NULL ? on_crash : NULL;
    w->files = *f;
    w->timer.fn = on_timer;
    need(loop_create(LOOP_DRIVER_CREW, &w->loop, &e), &e);
    if (w->plug != NULL) {
        w->plug(w);
    }
    need(machine_create(w->loop, &w->options, &w->machine, &e), &e);
}

void world_load(struct world *w)
{
    struct err e = {0};

    need(machine_load(w->machine, &w->files, &e), &e);
}

void world_run(struct world *w, uint64_t ns)
{
    struct err e = {0};

    if (ns != 0) {
        loop_timer_set(w->loop, &w->timer, ns);
    }
    need(machine_run(w->machine, &w->end, &w->code, &e), &e);
    loop_timer_clear(w->loop, &w->timer);
}

void world_end(struct world *w)
{
    machine_destroy(w->machine);
    if (w->unplug != NULL) {
        w->unplug(w);
    }
    loop_destroy(w->loop);
    w->machine = NULL;
    w->loop = NULL;
}

void world_snapshot_files(struct world *w)
{
    w->state = memfd_create("state", MFD_CLOEXEC);
    w->memory = memfd_create("memory", MFD_CLOEXEC);
    assert(w->state >= 0 && w->memory >= 0);
}

bool world_said(const struct world *w, const char *text)
{
    return memmem(w->text, w->chars, text, strlen(text)) != NULL;
}

const char *world_expected(uint32_t rounds, char text[64])
{
    static uint32_t cell[WORK_CELLS];
    uint32_t state = 1;
    uint32_t sum = 0;

    memset(cell, 0, sizeof cell);
    for (uint32_t round = 1; round <= rounds; round++) {
        state = work_round(cell, state) ^ work_constant(round);
        sum += state;
    }
    (void)snprintf(text, 64, "hash %08x\nsum %08x\n", state, sum);
    return text;
}
