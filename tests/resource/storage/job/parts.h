/* parts.h - disks in memory that jobs are tried on. */
#ifndef TESTS_RESOURCE_STORAGE_JOB_PARTS_H
#define TESTS_RESOURCE_STORAGE_JOB_PARTS_H

#include "base/err.h"
#include "contract/blk_graph.h"

struct loop;

#define PARTS_FILES 16

/* Files in memory, each behind a filter that fails on request, and what is made of them. */
struct parts {
    struct loop *loop;
    uint64_t seed;
    struct blk_edge file[PARTS_FILES]; /* held until the end, or `parts_close` */
    struct blk *fault[PARTS_FILES];    /* the filters, the last that were made */
    struct blk_edge hold[PARTS_FILES]; /* on them, until the root is left */
    struct blk_edge root;
    bool holds_back; /* files are disks with a volatile cache */
    bool is_cut;     /* their power has gone */
    struct err e;
};

struct parts_case {
    const char *name;
    int (*run)(void *arg); /* in a strand, of a `struct parts` */
};

/* Make file n an empty image of LOAD_BYTES; `backing` NULL: it stands alone. */
void parts_image(struct parts *p, unsigned n, const char *backing);

/* Make file n as large as an image and empty. */
void parts_plain(struct parts *p, unsigned n);

/* The filter over the file n, made anew. */
struct blk *parts_file(struct parts *p, unsigned n, bool holds_back);

/* Open the image in it; `alone`: without its backing file. */
struct blk *parts_open(struct parts *p, unsigned n, bool alone);

/* Take a disk as the top of a root. */
void parts_root(struct parts *p, struct blk *top);

/* Leave the root. */
void parts_leave(struct parts *p);

/* And the files. */
void parts_close(struct parts *p);

/* SUITE_SEED: the first seed, SUITE_CUTS: how many rounds, SUITE_ONLY: one case. */
int parts_main(const struct parts_case *cases, unsigned count);

#endif
