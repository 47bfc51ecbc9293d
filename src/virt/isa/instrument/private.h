/* private.h - what the instruments share. */
#ifndef VIRT_ISA_INSTRUMENT_PRIVATE_H
#define VIRT_ISA_INSTRUMENT_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/isa/instrument/instrument.h"

int instrument_run(const json_t *request, json_t **ret, int *ret_code, struct err *e);
int instrument_disassemble(const json_t *request, json_t **ret, int *ret_code,
                           struct err *e);
int instrument_coverage(const json_t *request, json_t **ret, int *ret_code,
                        struct err *e);
int instrument_bench(const json_t *request, json_t **ret, int *ret_code, struct err *e);

int instrument_virtualizable(const json_t *request, json_t **ret, int *ret_code,
                             struct err *e);

/* A whole file, which the caller frees. */
int instrument_read(const char *path, uint8_t **ret_bytes, size_t *ret_len,
                    struct err *e);

/* "0x7c00" or "31744". */
int instrument_address(const char *text, uint64_t *ret_address, struct err *e);

/* The directory of the bench's programs and its kernel. */
int instrument_bench_dir(char *ret_path, size_t bytes, struct err *e);

/* One timed run of a program (watch.c). */
struct watch {
    void (*child)(void *arg); /* in a process of its own; its output is watched */
    void *arg;
    double seconds_most; /* by the wall clock */
};

struct watch_result {
    double seconds;           /* processor time from the line "start" to "sum" */
    double wall;              /* of the whole run */
    double rate;              /* of a line "rate N"; 0: none */
    uint64_t lifted, lift_ns; /* of a line "made N N"; 0: none */
    char sum[20];             /* what follows "sum "; "": none */
    char last[128];           /* the last line that was none of these */
};

/* -ETIMEDOUT, or -EIO when the lines did not come; `last` then may say why. */
int watch_run(const struct watch *w, struct watch_result *ret_result);

double watch_now(void); /* the wall clock, in seconds */

/* The ways to run a program (peer.c). */
enum {
    PEER_NATIVE,
    PEER_STRATA,
    PEER_USER,
    PEER_SYSTEM, /* the first of QEMU's machines and processors; the rest follow */
    PEERS = PEER_SYSTEM + 6
};

struct peer_run;

struct peer {
    const char *name;
    const char *file;          /* the program that must be in PATH; NULL: none */
    const char *machine, *cpu; /* of QEMU's system emulator */
    void (*run)(const struct peer_run *run);
};

extern const struct peer peers[PEERS];

struct peer_run {
    const struct peer *peer;
    const char *program, *kernel;
    const char *engine;    /* of ours; NULL: the default */
    uint64_t instructions; /* of ours: stop behind so many; 0: run to the end */
};

struct bare;

bool peer_is_here(const struct peer *p);
int peer_time(struct peer_run *run, double seconds_most, struct watch_result *ret_result);

/* The program in the bench's kernel on a processor of ours, not yet started. */
int peer_load(const struct peer_run *run, struct bare **ret_bare, struct err *e);

/* Million guest instructions a second of the interpreter, over some programs of that
 * directory, each run for a moment (speed.c).  0: none ran. */
double speed_interpret(const char *dir, const char *kernel);

/* What each engine costs at the start and in the long run, the length of a program from
 * which the translator is the quicker, and a page fault on each (costs.c).  Takes some
 * ten seconds.  NULL: a run failed. */
json_t *costs_measure(const char *dir, const char *kernel);

#endif
