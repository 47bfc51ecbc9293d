/* peer.c - the ways to run a program of bench/cpu, each as the child of a watch.
 *
 * QEMU is only ever started, as another program.  The whole-system emulator gets the
 * bench's kernel and the program as its module, by each machine and processor model
 * that a user would try; the user-mode one gets the program. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "contract/cpu.h"
#include "host/file.h"
#include "virt/isa/bare/bare.h"
#include "virt/isa/instrument/private.h"

#define MEMORY_BYTES (UINT64_C(256) << 20)
#define MEMORY_QEMU  "256"

static void run_native(const struct peer_run *run)
{
    (void)execl(run->program, run->program, (char *)NULL);
}

static void run_user(const struct peer_run *run)
{
    (void)execlp("qemu-x86_64", "qemu-x86_64", run->program, (char *)NULL);
}

static void run_system(const struct peer_run *run)
{
    (void)execlp("qemu-system-x86_64", "qemu-system-x86_64", "-accel", "tcg", "-machine",
                 run->peer->machine, "-cpu", run->peer->cpu, "-m", MEMORY_QEMU, "-kernel",
                 run->kernel, "-initrd", run->program, "-serial", "stdio", "-display",
                 "none", "-monitor", "none", "-nodefaults", "-no-reboot", "-device",
                 "isa-debug-exit,iobase=0xf4,iosize=0x04", (char *)NULL);
}

static void print(void *who, const char *bytes, size_t n)
{
    (void)who;
    (void)file_write_all(STDOUT_FILENO, bytes, n);
}

int peer_load(const struct peer_run *run, struct bare **ret_bare, struct err *e)
{
    struct bare_options o = {.engine = run->engine,
                             .memory_bytes = MEMORY_BYTES,
                             .instructions = run->instructions,
                             .print = print};
    SCOPED(scope_free) uint8_t *kernel = NULL;
    SCOPED(scope_free) uint8_t *program = NULL;
    size_t kernel_bytes = 0, program_bytes = 0;
    struct bare *b = NULL;
    int r = instrument_read(run->kernel, &kernel, &kernel_bytes, e);

    r = r < 0 ? r : instrument_read(run->program, &program, &program_bytes, e);
    r = r < 0 ? r : bare_create(&o, &b, e);
    r = r < 0 ? r
              : bare_load_multiboot(b, kernel, kernel_bytes, program, program_bytes, e);
    if (r < 0) {
        bare_destroy(b);
        return r;
    }
    *ret_bare = b;
    return 0;
}

static int run_bare(const struct peer_run *run, struct err *e)
{
    enum bare_end end = BARE_EXITED;
    struct cpu_counters c;
    struct bare *b = NULL;
    unsigned code = 0;
    int r = peer_load(run, &b, e);

    r = r < 0 ? r : bare_run(b, &end, &code, e);
    if (r == 0) {
        bare_count(b, &c);
        (void)printf("made %" PRIu64 " %" PRIu64 "\n", c.lifted, c.translate_ns);
    }
    bare_destroy(b);
    return r == 0 && end == BARE_SHUTDOWN ? err_set(e, -EIO, "triple fault") : r;
}

static void run_strata(const struct peer_run *run)
{
    struct err e = {0};

    if (run_bare(run, &e) < 0) {
        (void)printf("%s\n", e.text);
    }
    (void)fflush(stdout);
}

const struct peer peers[PEERS] = {
    [PEER_NATIVE] = {"native", NULL, NULL, NULL, run_native},
    [PEER_STRATA] = {"strata", NULL, NULL, NULL, run_strata},
    [PEER_USER] = {"qemu-x86_64", "qemu-x86_64", NULL, NULL, run_user},
    /* "default" is what each machine has without '-cpu': `qemu64`. */
    [PEER_SYSTEM] = {"pc max", "qemu-system-x86_64", "pc", "max", run_system},
    {"pc default", "qemu-system-x86_64", "pc", "qemu64", run_system},
    {"q35 max", "qemu-system-x86_64", "q35", "max", run_system},
    {"microvm max", "qemu-system-x86_64", "microvm", "max", run_system},
    {"q35 default", "qemu-system-x86_64", "q35", "qemu64", run_system},
    {"microvm default", "qemu-system-x86_64", "microvm", "qemu64", run_system},
};

bool peer_is_here(const struct peer *p)
{
    SCOPED(scope_free) char *path = NULL;
    char *save = NULL, *dir, file[PATH_MAX];

    if (p->file == NULL) {
        return true;
    }
    path = strdup(getenv("PATH") != NULL ? getenv("PATH") : "/usr/bin");
    for (dir = strtok_r(path, ":", &save); dir != NULL;
         dir = strtok_r(NULL, ":", &save)) {
        if (str_print(file, sizeof file, "%s/%s", dir, p->file) == 0 &&
            access(file, X_OK) == 0) {
            return true;
        }
    }
    return false;
}

static void child(void *arg)
{
    const struct peer_run *run = arg;

    run->peer->run(run);
}

int peer_time(struct peer_run *run, double seconds_most, struct watch_result *ret_result)
{
    struct watch w = {.child = child, .arg = run, .seconds_most = seconds_most};

    return watch_run(&w, ret_result);
}
