/* board.h - what a machine offers to its devices: addresses, interrupt lines, time.
 *
 * A device claims ranges of ports and of physical addresses, raises lines, and sets
 * timers.  Who answers an access is looked up by address, whichever engine made it.
 *
 * Threads.  One lock, the board's, guards every device that is not said to have its
 * own: accesses of vCPUs, timers and whatever the event loop brings come one at a
 * time.  `board_now` needs no lock.  Claims that are `free` are called without it. */
#ifndef VIRT_MONITOR_BOARD_BOARD_H
#define VIRT_MONITOR_BOARD_BOARD_H

#include <stdbool.h>
#include <stdint.h>

struct board;
struct err;
struct loop;
struct snap;

enum board_space {
    BOARD_PORTS,  /* 16 bits of address */
    BOARD_MEMORY, /* guest physical addresses outside RAM */
    BOARD_SPACE_COUNT
};

/* Who answers in a range.  `bytes` is 1, 2, 4 or 8; `offset` counts from its start. */
struct board_io {
    const char
        *name; /* whose accesses these are, where they are counted; may be shared */
    uint64_t (*read)(void *who, uint64_t offset, unsigned bytes);
    void (*write)(void *who, uint64_t offset, unsigned bytes, uint64_t value);
    bool is_free; /* called without the board's lock */
};

struct board_claim {
    uint64_t base;
    uint64_t bytes;
    const struct board_io *io;
    void *who; /* borrowed; first argument of `io` */
};

int board_create(struct loop *l, struct board **ret, struct err *e);
void board_destroy(struct board *b);
struct loop *board_loop(const struct board *b);

void board_lock(struct board *b);
void board_unlock(struct board *b);

/* -EBUSY: another range is in the way; -ENOSPC: too many claims. */
int board_claim(struct board *b, enum board_space s, const struct board_claim *c,
                struct err *e);

/* The claim that begins at `base`; nothing when there is none. */
void board_release(struct board *b, enum board_space s, uint64_t base);

/* What guests asked for by a register - a range of addresses, something that goes - and got or
 * did not; and how often either. */
void board_judge(struct board *b, bool is_granted);
void board_count(const struct board *b, uint64_t *ret_granted, uint64_t *ret_refused);

/* How often the vCPUs asked whom, since the machine was made; false: there is no tally `n`.
 * The first is of addresses that nobody answers at. */
struct board_tally {
    const char *name;
    uint64_t reads, writes;
};

bool board_tally(struct board *b, unsigned n, struct board_tally *ret);

/* An access from a vCPU.  Where nobody answers reads give all ones, stores nothing; what
 * crosses the end of a range is answered a byte at a time. */
uint64_t board_read(struct board *b, enum board_space s, uint64_t at, unsigned bytes);
void board_write(struct board *b, enum board_space s, uint64_t at, unsigned bytes,
                 uint64_t value);

/* ---- interrupt lines: global system interrupts, as ACPI counts them ---- */
#define BOARD_LINES 24

/* Who hears of a line: the interrupt controllers. */
struct board_listener {
    void (*level)(void *who, unsigned line, bool is_high);
    void *who; /* borrowed */
};

int board_listen(struct board *b, const struct board_listener *l);

/* The lock is held. */
void board_line(struct board *b, unsigned line, bool is_high);

/* All of them low, as after a reset; the lock is held. */
void board_lower_lines(struct board *b);

/* ---- time ---- */

/* Nanoseconds that the machine has run; stands while it is paused. */
uint64_t board_now(const struct board *b);
void board_pause(struct board *b); /* time stands, timers wait; twice: nothing */
void board_resume(struct board *b);
void board_set_now(struct board *b, uint64_t ns); /* while paused */

/* From now on time moves by `board_advance` alone, and the time of day begins with the
 * machine's at `BOARD_EPOCH_S`: for runs that are to be repeated.  Before it runs. */
#define BOARD_EPOCH_S UINT64_C(1767225600) /* of 2026-01-01, 00:00 UTC */
void board_count_time(struct board *b);
void board_advance(struct board *b, uint64_t to_ns); /* timers that are due, in order */
uint64_t board_next_due(const struct board *b);      /* UINT64_MAX: no timer is set */

/* The time of day: nanoseconds since 1970-01-01. */
uint64_t board_day_ns(const struct board *b);

/* Time and the levels of lines, both ways; paused.  Who listens carries what he heard. */
void board_carry(struct board *b, struct snap *s);

/* The owner's storage; `fn` is called once, on the loop's thread, under the lock. */
struct board_timer {
    uint64_t at_ns;
    void (*fn)(struct board_timer *t);
    struct board_timer *next;
    bool set;
};

/* Set, or set anew; the lock is held.  From any thread. */
void board_timer_set(struct board *b, struct board_timer *t, uint64_t at_ns);
void board_timer_clear(struct board *b, struct board_timer *t);

#endif
