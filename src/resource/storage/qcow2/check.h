/* check.h - references counted anew, and what the check found. */
#ifndef RESOURCE_STORAGE_QCOW2_CHECK_H
#define RESOURCE_STORAGE_QCOW2_CHECK_H

#include "resource/storage/qcow2/parts.h"

#define COUNT_PAGE 64u /* clusters */

struct count_page {
    struct count_page *next;
    uint64_t number; /* the first cluster / COUNT_PAGE */
    uint32_t refs[COUNT_PAGE];
};

/* A hash of pages, so that memory goes with what is referred to, not with offsets that
 * foreign bytes name. */
struct count {
    struct count_page **bucket; /* owned */
    uint32_t buckets;
    uint64_t pages;
    uint64_t end; /* behind the last cluster that is referred to */
};

void qcow2_count_fini(struct count *c);

/* -EFBIG: references are scattered so widely that counting takes too much memory. */
int qcow2_count_add(struct count *c, uint64_t cluster, uint64_t clusters);
uint32_t qcow2_count_of(const struct count *c, uint64_t cluster);

struct check {
    struct qcow2 *q;
    struct count count;
    struct qcow2_check_result result;
    bool rebuild;        /* counts cannot be mended where they are */
    bool without_counts; /* count all but the tables of counts themselves */
    bool fix_flags;
    bool in_active;
    uint64_t tables; /* visited in this tree */
    uint64_t end;    /* of the file, whole clusters */
    uint64_t flags_wrong;
    uint64_t flags_fixed;
};

/* Mend the counts where they are, or write all of them anew. */
int qcow2_repair_counts(struct check *c, bool leaks_only);
int qcow2_rebuild_counts(struct check *c);

#endif
