/* memory.h - memory for code, and for the records of its units. */
#ifndef VIRT_ISA_X86_TRANSLATE_MEMORY_H
#define VIRT_ISA_X86_TRANSLATE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct code_memory {
    uint8_t *write;
    const uint8_t *run;
    size_t bytes;
};

/* Of units, which come one behind the other and go with their half. */
struct code_records {
    uint8_t *at;
    size_t bytes;
};

int code_memory_create(struct code_memory *m, size_t bytes);
void code_memory_destroy(struct code_memory *m);
/* Pages of [from, to) come at once, which is quicker than one by one; if they cannot, they
 * come when they are written. */
void code_memory_touch(const struct code_memory *m, size_t from, size_t to);
/* The host's again until they are written: the whole pages of [from, to); `from` is a page's. */
void code_memory_trim(const struct code_memory *m, size_t from, size_t to);
int code_records_create(struct code_records *m, size_t bytes);
void code_records_destroy(struct code_records *m);

#endif
