/* gdb.h - a machine as gdb's remote protocol shows it: processors are threads.
 *
 * Bytes come and go on a socket; what they mean is done through a table of functions, so that
 * the protocol knows no machine.
 *
 * Threads: all on the loop's. */
#ifndef VIRT_MONITOR_GDB_GDB_H
#define VIRT_MONITOR_GDB_GDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu_debug;
struct err;
struct gdb;
struct loop;
struct x86_regs;

#define GDB_CPUS_MOST   64
#define GDB_PACKET_MOST 16384 /* bytes of a packet, either way */

/* Memory as no processor sees it, by physical address. */
#define GDB_PHYSICAL UINT32_MAX

/* What a debugger does to a machine.  Between `stop` and `go` it stands, and only then
 * anything but `stop` is called. */
struct gdb_target {
    unsigned cpus;
    void *who; /* borrowed */

    int (*stop)(void *who);
    void (*go)(void *who);

    /* What that processor leaves for, borrowed until it is told something else; it stands
     * when others go on. */
    void (*set)(void *who, unsigned cpu, const struct cpu_debug *d, bool stands);

    void (*look)(void *who, unsigned cpu, struct x86_regs *ret);
    int (*put)(void *who, unsigned cpu, const struct x86_regs *r);

    /* Guest memory as `cpu` sees it now, or GDB_PHYSICAL: all bytes or -EFAULT. */
    int (*read)(void *who, unsigned cpu, uint64_t at, void *to, size_t bytes);
    int (*write)(void *who, unsigned cpu, uint64_t at, const void *from, size_t bytes);

    int (*reset)(void *who); /* it stands before its first instruction then */
    void (*kill)(void *who);
};

int gdb_create(struct loop *l, const struct gdb_target *t, struct gdb **ret,
               struct err *e);
void gdb_destroy(struct gdb *g); /* the machine goes on, if a client held it */

/* Wait for clients on `take_fd`, instead of another; -1: for nobody any more. */
int gdb_listen(struct gdb *g, int take_fd, struct err *e);

/* The client at the other end of `take_fd`.  -EBUSY: there is one. */
int gdb_connect(struct gdb *g, int take_fd, struct err *e);

/* The machine was stopped: why (`enum cpu_debug_kind`), where.  It has ended. */
void gdb_stopped(struct gdb *g, unsigned cpu, unsigned kind, uint64_t address);
void gdb_ended(struct gdb *g, unsigned code);

/* What is answered to bytes of a client, without a socket: how many bytes; SIZE_MAX: it is
 * sent away.  For tests, behind `gdb_open`. */
void gdb_open(struct gdb *g);
size_t gdb_answer(struct gdb *g, const uint8_t *bytes, size_t n, uint8_t *ret,
                  size_t room);

#endif
