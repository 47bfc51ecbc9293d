/* stock.h - what the processors over one memory translated, for those that need it again.
 *
 * Each processor has code memory and records of its own.  What one makes goes here, too,
 * as a draft with its code and the guest's bytes that it was made of; who comes to the
 * same linear address in the same mode and finds these bytes there copies it, which takes
 * a small part of the time: another processor, the same one when the half that held the
 * unit has gone, a process that has the page elsewhere.  Nothing that is written to has to
 * be found here, since bytes are compared whenever something is taken.
 *
 * It is used from the moment on when it can help: two processors work, or a half of
 * the code memory has gone. */
#ifndef VIRT_ISA_X86_TRANSLATE_STOCK_H
#define VIRT_ISA_X86_TRANSLATE_STOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contract/mem.h"

struct draft;
struct translate_cpu;
struct unit;

/* A processor takes part, or no more; before it runs, and behind. */
int stock_join(struct translate_cpu *t);
void stock_leave(struct translate_cpu *t);

/* From now on it is used. */
void stock_open(struct translate_cpu *t);

bool stock_is_open(const struct translate_cpu *t);

/* The draft, whose code is at `code`, was made of the bytes `raw`, piece by piece; to an
 * open one. */
void stock_put(struct translate_cpu *t, const struct draft *d, const uint8_t *code,
               const uint8_t *raw, size_t raw_bytes);

/* A unit for what is at rip, in the half in use, which has room; NULL: there is none.
 * `is_good`: none that was made quickly. */
struct unit *stock_take(struct translate_cpu *t, uint64_t rip, const uint8_t *host,
                        gpa at, bool is_good);

/* This processor works; when a second one does the stock is opened. */
void stock_wake(struct translate_cpu *t);
/* It rests, as all do at first; when all do the memory goes back to the host. */
void stock_rest(struct translate_cpu *t);

#endif
