/* snap_chain.c KERNEL INITRD COMMAND-LINE CPUS SEED STEP-MS ENGINE... - boot a Linux, stop it
 * after a random time of at most STEP-MS, save it, go on in a new machine under the next
 * engine, and so on until it is off.  Prints its console; "hops N" to standard error.
 *
 * DISK in the environment: a raw image, the first disk of each machine.
 *
 * STEP-MS "rN": one engine; it is marked after a while, rewound N times, and then goes on. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "node/machine/drives.h"
#include "world.h"

#define MS UINT64_C(1000000)

struct chain {
    uint64_t save_ns, load_ns, lazy_ns;
    uint64_t rewind_ns, longest_ns; /* sum, and one */
    unsigned rewinds, left;
    bool is_marked;
    size_t chars; /* of the console at the mark */
    struct drives disks;
    struct pci_card card;
    struct err e;
};

/* Of the loop's thread, which does it all: others may keep the host busy. */
static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void give_up(const struct err *e)
{
    fprintf(stderr, "%s\n", e->text);
    exit(1);
}

static uint64_t save_and_stop(struct world *w)
{
    struct chain *c = w->mine;
    uint64_t since = now_ns();
    int r = machine_pause(w->machine, &c->e);

    if (r == -ESHUTDOWN) {
        return 0; /* it is just off */
    }
    if (r != 0 || machine_save(w->machine, w->state, w->memory, &c->e) != 0) {
        give_up(&c->e);
    }
    c->save_ns += now_ns() - since;
    machine_stop(w->machine);
    return 0;
}

static void plug(struct world *w)
{
    struct chain *c = w->mine;

    c->disks = (struct drives){0};
    if (drives_plan(&c->disks, getenv("DISK"), -1, -1, &c->e) != 0 ||
        drives_open(&c->disks, w->loop, w->options.cpus, &c->e) != 0) {
        give_up(&c->e);
    }
    c->card = drives_card(&c->disks, 0);
    w->options.cards = &c->card;
    w->options.card_count = c->disks.count;
}

static void unplug(struct world *w)
{
    drives_close(&((struct chain *)w->mine)->disks);
}

static void map(const char *path, const uint8_t **ret, size_t *ret_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        perror(path);
        exit(1);
    }
    *ret = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    *ret_bytes = (size_t)st.st_size;
    (void)close(fd);
}

/* The machine that goes on from what the last one left. */
static void restore(struct world *w, struct chain *c, int state, int memory)
{
    static struct world other;
    uint64_t since;

    if (w->plug != NULL) {
        if (machine_restore(w->machine, state, memory, 0, &c->e) != 0) {
            give_up(&c->e);
        }
        return;
    }
    other = (struct world){.act = save_and_stop};
    world_make(&other, &w->options, &w->files);
    since = now_ns();
    if (machine_restore(other.machine, state, memory, MACHINE_RESTORE_LAZY, &c->e) != 0) {
        give_up(&c->e);
    }
    c->lazy_ns += now_ns() - since;
    world_end(&other);
    since = now_ns();
    if (machine_restore(w->machine, state, memory, 0, &c->e) != 0) {
        give_up(&c->e);
    }
    c->load_ns += now_ns() - since;
}

static uint64_t rewind_often(struct world *w)
{
    struct chain *c = w->mine;
    uint64_t since;
    uint64_t took;

    if (!c->is_marked) {
        if (machine_mark(w->machine, &c->e) != 0) {
            give_up(&c->e);
        }
        c->is_marked = true;
        c->chars = w->chars;
    } else if (c->left-- > 0) {
        since = now_ns();
        if (machine_rewind(w->machine, &c->e) != 0) {
            give_up(&c->e);
        }
        took = now_ns() - since;
        w->chars = c->chars; /* what came after it was never said */
        c->rewinds++;
        c->rewind_ns += took;
        c->longest_ns = took > c->longest_ns ? took : c->longest_ns;
    } else {
        return 0;
    }
    return (50 + (uint64_t)rand() % 200) * MS;
}

/* One machine, back and forth. */
static int run_marked(struct chain *c, const char *engine,
                      const struct machine_options *o, const struct boot_files *f)
{
    static struct world w;
    struct machine_options mine = *o;

    mine.engine = engine;
    w = (struct world){.act = rewind_often, .mine = c};
    world_make(&w, &mine, f);
    world_load(&w);
    world_run(&w, (300 + (uint64_t)rand() % 2200) * MS);
    (void)!write(STDOUT_FILENO, w.text, w.chars);
    fprintf(stderr, "ended: %s; rewinds %u; %.1f ms of CPU each, %.1f ms the longest\n",
            machine_end_name(w.end), c->rewinds,
            (double)c->rewind_ns / 1e6 / (c->rewinds + !c->rewinds),
            (double)c->longest_ns / 1e6);
    world_end(&w);
    return w.end == MACHINE_OFF ? 0 : 1;
}

int main(int argc, char **argv)
{
    static struct world w;
    struct machine_options o = {.memory_bytes = 256 << 20};
    struct boot_files f = {0};
    struct chain c = {0};
    unsigned hop = 0;

    if (argc < 8) {
        return 2;
    }
    map(argv[1], &f.kernel, &f.kernel_bytes);
    map(argv[2], &f.initrd, &f.initrd_bytes);
    f.command_line = argv[3];
    o.cpus = (unsigned)atoi(argv[4]);
    srand((unsigned)atoi(argv[5]));
    if (argv[6][0] == 'r') {
        c.left = (unsigned)atoi(argv[6] + 1);
        return run_marked(&c, argv[7], &o, &f);
    }
    for (;; hop++) {
        int state = w.state;
        int memory = w.memory;

        w = (struct world){.act = save_and_stop, .mine = &c};
        if (getenv("DISK") != NULL) {
            w.plug = plug;
            w.unplug = unplug;
        }
        o.engine = argv[7 + hop % (unsigned)(argc - 7)];
        world_make(&w, &o, &f);
        if (hop == 0) {
            world_load(&w);
        } else {
            restore(&w, &c, state, memory);
            (void)close(state);
            (void)close(memory);
        }
        world_snapshot_files(&w);
        world_run(&w, 1 + (uint64_t)rand() % ((uint64_t)atoi(argv[6]) * MS));
        (void)!write(STDOUT_FILENO, w.text, w.chars);
        if (w.end != MACHINE_STOPPED) {
            break;
        }
        world_end(&w);
    }
    fprintf(
        stderr,
        "ended: %s; hops %u; save %.1f ms, restore %.1f ms, %.1f ms on trust, of CPU each\n",
        machine_end_name(w.end), hop, (double)c.save_ns / 1e6 / (hop + !hop),
        (double)c.load_ns / 1e6 / (hop + !hop), (double)c.lazy_ns / 1e6 / (hop + !hop));
    world_end(&w);
    return w.end == MACHINE_OFF ? 0 : 1;
}
