/* private.h - a session with gdb, as its files share it. */
#ifndef VIRT_MONITOR_GDB_PRIVATE_H
#define VIRT_MONITOR_GDB_PRIVATE_H

#include "contract/cpu_debug.h"
#include "contract/cpu_x86.h"
#include "host/loop/loop.h"
#include "virt/monitor/gdb/gdb.h"

#define OUT_BYTES (4 * GDB_PACKET_MOST)

/* What a client wants of a processor when it lets the machine go. */
enum way {
    WAY_STANDS,
    WAY_GOES,
    WAY_STEPS,
};

/* How a packet comes in. */
enum coming {
    COMING_NOTHING,
    COMING_BODY,
    COMING_SUM_HIGH,
    COMING_SUM_LOW,
};

struct gdb {
    struct loop *loop;
    struct gdb_target target;
    struct loop_watch listen; /* .fd -1: no */
    struct loop_watch client; /* .fd -1: no */
    bool is_open;             /* there is a client, with or without a socket */
    bool is_running;          /* its last command was to go on */
    bool is_lost;             /* it is to be sent away */
    bool is_busy;             /* with what may turn the loop: its bytes wait */
    bool acks;
    bool physical;                        /* addresses of memory are */
    unsigned cpu;                         /* that registers and memory are of */
    struct cpu_debug points;              /* what it set: its breakpoints and watches */
    bool is_hard[CPU_BREAKS_MOST];        /* ... as Z1 */
    uint8_t watch_kind[CPU_WATCHES_MOST]; /* ... as Z2, Z3, Z4 */
    struct cpu_debug plan[GDB_CPUS_MOST]; /* in force, by processor */
    char stop[64];                        /* the last stop reply */

    enum coming coming;
    char in[GDB_PACKET_MOST + 1];
    size_t in_n;
    uint8_t sum, sum_said;
    uint8_t out[OUT_BYTES]; /* not sent yet */
    size_t out_n;
    char answer[GDB_PACKET_MOST + 1]; /* of the packet in work */
    size_t answer_n;
};

/* packet.c: what a packet says is done, and answered in `answer`; whether there is one. */
bool packet_do(struct gdb *g);

/* Append to the answer; what does not fit is left out. */
void answer_add(struct gdb *g, const char *text);
void answer_addf(struct gdb *g, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void answer_hex(struct gdb *g, const void *bytes, size_t n);

/* text.c: numbers and bytes as hexadecimal digits. */
bool text_take(const char **at, char c); /* if it stands there */
bool text_number(const char **at, uint64_t *ret);
bool text_bytes(const char **at, uint8_t *to, size_t n);

/* registers.c */
void registers_describe(struct gdb *g, uint64_t offset, uint64_t bytes);
void registers_all(struct gdb *g, const struct x86_regs *r);
bool registers_set_all(struct x86_regs *r, const char *text);
bool registers_one(struct gdb *g, const struct x86_regs *r, uint64_t number);
bool registers_set_one(struct x86_regs *r, uint64_t number, const char *text);

/* points.c: what it sets, and how it lets go.  false: not understood. */
bool points_change(struct gdb *g, const char *text, bool sets, int *ret);
bool points_continue(struct gdb *g, const char *text);
void points_go(struct gdb *g, const enum way *way);
void points_clear(struct gdb *g); /* all off, everybody goes when it goes */
void points_stopped(struct gdb *g, unsigned cpu, unsigned kind, uint64_t address);

#endif
