/* debugger.c - the worker's machine in a debugger's hands: gdb's, by a socket that is given. */
#include <errno.h>
#include <fcntl.h>

#include "base/err.h"
#include "base/json.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "node/machine/private.h"
#include "virt/isa/x86/memory/look.h"
#include "virt/monitor/gdb/gdb.h"

static struct machine *machine_of(void *who)
{
    return ((struct run *)who)->machine;
}

static int stop(void *who)
{
    return machine_pause(machine_of(who), NULL);
}

static void go(void *who)
{
    machine_debug_go(machine_of(who));
}

static void set(void *who, unsigned cpu, const struct cpu_debug *d, bool stands)
{
    machine_debug_cpu(machine_of(who), cpu, d, stands);
}

static void look(void *who, unsigned cpu, struct x86_regs *ret)
{
    machine_look(machine_of(who), cpu, ret);
}

static int put(void *who, unsigned cpu, const struct x86_regs *r)
{
    return machine_put(machine_of(who), cpu, r, NULL);
}

/* How many bytes from `at` on, at most `most`, lie together at *ret; 0: nothing is there. */
static size_t find(void *who, unsigned cpu, uint64_t at, size_t most, uint64_t *ret)
{
    size_t room = MEM_PAGE_BYTES - (at & (MEM_PAGE_BYTES - 1));
    struct x86_view view = {.at = at};
    struct x86_regs r;

    if (cpu != GDB_PHYSICAL) {
        machine_look(machine_of(who), cpu, &r);
        if (x86_look(&r, machine_memory(machine_of(who)), at, &view) < 0) {
            return 0;
        }
    }
    *ret = view.at;
    return room < most ? room : most;
}

int debugger_read(void *who, unsigned cpu, uint64_t at, void *to, size_t bytes)
{
    struct mem *m = machine_memory(machine_of(who));
    uint8_t *next = to;

    while (bytes > 0) {
        uint64_t from;
        size_t n = find(who, cpu, at, bytes, &from);

        if (n == 0 || mem_read(m, from, next, n) < 0) {
            return -EFAULT;
        }
        next += n;
        at += n;
        bytes -= n;
    }
    return 0;
}

static int write_memory(void *who, unsigned cpu, uint64_t at, const void *from,
                        size_t bytes)
{
    struct mem *m = machine_memory(machine_of(who));
    const uint8_t *next = from;

    while (bytes > 0) {
        uint64_t to;
        size_t n = find(who, cpu, at, bytes, &to);

        if (n == 0 || mem_write(m, to, next, n) < 0) {
            return -EFAULT;
        }
        next += n;
        at += n;
        bytes -= n;
    }
    return 0;
}

static int reset(void *who)
{
    return machine_reset(machine_of(who), NULL);
}

static void kill_machine(void *who)
{
    machine_stop(machine_of(who));
}

static void on_stopped(void *who, const struct machine_stop *s)
{
    gdb_stopped(((struct run *)who)->gdb, s->cpu, s->kind, s->address);
}

static int make(struct run *run, struct err *e)
{
    const struct gdb_target t = {.cpus = machine_cpus_most(run->machine),
                                 .who = run,
                                 .stop = stop,
                                 .go = go,
                                 .set = set,
                                 .look = look,
                                 .put = put,
                                 .read = debugger_read,
                                 .write = write_memory,
                                 .reset = reset,
                                 .kill = kill_machine};
    int r = run->gdb != NULL ? 0 : machine_debug(run->machine, on_stopped, run, e);

    return r == 0 && run->gdb == NULL ? gdb_create(run->loop, &t, &run->gdb, e) : r;
}

int debugger_gdb(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    bool listens = json_is_true(json_object_get(c->arg, "listens"));
    int r = c->n_fds <= 1 ? make(run, e) : err_set(e, -EINVAL, "one socket is wanted");
    int fd = r == 0 && c->n_fds == 1 ? fcntl(c->fds[0], F_DUPFD_CLOEXEC, 0) : -1;

    (void)ret;
    if (r < 0) {
        return r;
    }
    if (c->n_fds == 1 && fd < 0) {
        return err_sys(e, -errno, "cannot take the socket");
    }
    return listens || fd < 0 ? gdb_listen(run->gdb, fd, e) : gdb_connect(run->gdb, fd, e);
}

void debugger_end(struct run *run, unsigned code)
{
    if (run->gdb != NULL) {
        gdb_ended(run->gdb, code);
        (void)machine_debug(run->machine, NULL, NULL, NULL);
    }
    gdb_destroy(run->gdb);
    run->gdb = NULL;
}
