/* instrument.h - the face of the instruments that look at the processor in software.
 *
 * Each takes a request, as `strata isa OP` makes it of its arguments, and gives a
 * result.  They read the files that the request names and write to standard output
 * and standard error; they belong in a program of their own. */
#ifndef VIRT_ISA_INSTRUMENT_INSTRUMENT_H
#define VIRT_ISA_INSTRUMENT_INSTRUMENT_H

#include <jansson.h>

struct err;

struct instrument {
    const char *name;

    /* `ret_result` stays NULL where there is nothing to print; `ret_code` is the
     * exit code of the program when all went well. */
    int (*run)(const json_t *request, json_t **ret_result, int *ret_code, struct err *e);
};

extern const struct instrument instrument_table[]; /* ends at name NULL */

#endif
