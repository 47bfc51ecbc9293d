/* private.h - what the instruments share. */
#ifndef VIRT_ISA_INSTRUMENT_PRIVATE_H
#define VIRT_ISA_INSTRUMENT_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "virt/isa/instrument/instrument.h"

int instrument_run(const json_t *request, json_t **ret, int *ret_code, struct err *e);
int instrument_disassemble(const json_t *request, json_t **ret, int *ret_code,
                           struct err *e);
int instrument_coverage(const json_t *request, json_t **ret, int *ret_code,
                        struct err *e);
int instrument_bench(const json_t *request, json_t **ret, int *ret_code, struct err *e);

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
    double seconds_most;
};

struct watch_result {
    double seconds; /* from the line "start" to the line "sum" */
    uint64_t count; /* of a line "count N": guest instructions; 0: none */
    char sum[20];   /* what follows "sum "; "": none */
    char last[128]; /* the last line that was none of these */
};

/* -ETIMEDOUT, or -EIO when the lines did not come; `last` then may say why. */
int watch_run(const struct watch *w, struct watch_result *ret_result);

#endif
