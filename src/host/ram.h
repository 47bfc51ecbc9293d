/* ram.h - the memory of a guest, out of the host's: implements contract/mem.h. */
#ifndef HOST_RAM_H
#define HOST_RAM_H

#include <stddef.h>
#include <stdint.h>

#include "contract/mem.h"

enum ram_kind {
    RAM_PRIVATE, /* anonymous, with huge pages where the host has them */
    RAM_SHARED,  /* a memfd, which `mem_share` hands to another process */
};

int ram_create(enum ram_kind kind, struct mem **ret_mem, struct err *e);

/* Let all RAM begin as the bytes of `fd`, one region behind the other in the order of their
 * addresses.  Private RAM is mapped: a page is read when it is first touched, and what is
 * stored never reaches the file, which must not change meanwhile; shared RAM is read.
 * Nothing runs on it; whoever made something of its bytes is told of every page. */
int ram_map_file(struct mem *m, int fd, struct err *e);

/* Private RAM that was mapped so: back to the bytes of the file, whoever made something of
 * those that changed is told.  Returns the number of pages, or -errno. */
int64_t ram_revert(struct mem *m, struct err *e);

/* Take /proc/self/pagemap, open, for a process that will not be able to open it when its memory
 * is mapped from a file. */
void ram_take_pagemap(struct mem *m, int take_fd);

/* These bytes of the process's own private memory are zero; whole pages among them are the
 * host's again until they are touched. */
void ram_zero(void *at, size_t bytes);

/* Who brings the 4096 bytes of a page that is flagged MEM_ABSENT: 0 or -errno, on
 * the thread that met it, one at a time.  `who` is borrowed. */
void ram_set_filler(struct mem *m, int (*filler)(void *who, gpa page, uint8_t *bytes),
                    void *who);

#endif
