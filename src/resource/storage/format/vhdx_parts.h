/* vhdx_parts.h - the parts of an open VHDX image, for the files of this format.
 *
 * Section numbers: [MS-VHDX], revision 9.0. */
#ifndef RESOURCE_STORAGE_FORMAT_VHDX_PARTS_H
#define RESOURCE_STORAGE_FORMAT_VHDX_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "resource/storage/format/base.h"
#include "resource/storage/format/page.h"
#include "resource/storage/format/run.h"

#define VHDX_GUID_BYTES   16
#define VHDX_MIB          ((uint64_t)1 << 20)
#define VHDX_PIECE        4096u       /* of the log */
#define VHDX_LOG_MOST     (64u << 20) /* read into memory when it is not clean */
#define VHDX_NAME_BYTES   1024
#define VHDX_BITMAP_BYTES ((uint64_t)1 << 20)

/* The current header (2.2.2). */
struct vhdx_header {
    uint64_t sequence;
    unsigned char data_write[VHDX_GUID_BYTES];
    unsigned char log[VHDX_GUID_BYTES]; /* zeros: the log is clean */
    uint64_t log_at;
    uint32_t log_bytes;
};

struct vhdx_region {
    uint64_t at;
    uint64_t bytes; /* 0: there is none */
};

/* What the log says lies at `at` of the file (2.3). */
struct vhdx_patch {
    uint64_t at;
    uint64_t bytes;
    char *data; /* owned; NULL: zeros */
};

struct vhdx {
    struct format_base base;
    struct blk_edge *edges; /* owned; NULL: no parent */
    struct blk *file;
    struct blk *parent; /* NULL: none */
    struct vhdx_header header;
    struct vhdx_region table; /* the BAT */
    struct vhdx_region metadata;
    uint64_t file_bytes;      /* the log may make it longer */
    struct vhdx_patch *patch; /* owned */
    unsigned patch_count;
    unsigned patch_room;
    uint64_t block_bytes;
    uint64_t ratio; /* blocks that share a sector bitmap */
    bool has_parent;
    char parent_name[VHDX_NAME_BYTES];
    unsigned char parent_write[VHDX_GUID_BYTES];
    struct format_pages pages;
};

static inline struct vhdx *vhdx_of(struct blk *b)
{
    return (struct vhdx *)b;
}

/* Read the file with the log laid over it. */
int vhdx_read_file(struct vhdx *v, struct blk_vec to, uint64_t at);
int vhdx_read_flat(struct vhdx *v, void *to, uint64_t bytes, uint64_t at);

/* Headers and the log, then regions and metadata (vhdx_head.c). */
int vhdx_read_header(struct vhdx *v, struct err *e);
int vhdx_read_regions(struct vhdx *v, struct err *e);

/* Collect the patches of a log that is not clean. */
int vhdx_read_log(struct vhdx *v, struct err *e);
void vhdx_forget_log(struct vhdx *v);

/* What the metadata region says (vhdx_meta.c). */
int vhdx_read_metadata(struct vhdx *v, struct err *e);

#endif
