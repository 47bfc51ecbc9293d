/* vmdk_parts.h - the parts of an open VMDK image, for the files of this format.
 *
 * Section numbers: VMware, Virtual Disk Format 5.0.
 *
 * A sparse extent is a header, a descriptor, two copies of a grain directory and its
 * grain tables ("Hosted Sparse Extents"), and grains.  Tables that were changed are
 * held until a flush, which makes the grains durable before the tables name them. */
#ifndef RESOURCE_STORAGE_FORMAT_VMDK_PARTS_H
#define RESOURCE_STORAGE_FORMAT_VMDK_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "resource/storage/format/base.h"
#include "resource/storage/format/run.h"

#define VMDK_SECTOR           512u
#define VMDK_MAGIC            0x564d444bu /* "KDMV" */
#define VMDK_HEADER_BYTES     512
#define VMDK_TABLE_ENTRIES    512u
#define VMDK_TABLE_BYTES      (VMDK_TABLE_ENTRIES * 4)
#define VMDK_TABLE_SLOTS      1024 /* 2 MiB of tables in memory */
#define VMDK_TEXT_MOST        (1u << 20)
#define VMDK_EXTENTS_MOST     4096u
#define VMDK_AT_END           UINT64_MAX
#define VMDK_FLAG_NEWLINE     1u
#define VMDK_FLAG_REDUNDANT   2u
#define VMDK_FLAG_ZERO_GRAINS 4u
#define VMDK_FLAG_COMPRESSED  0x10000u
#define VMDK_FLAG_MARKERS     0x20000u
#define VMDK_DEFLATE          1u
#define VMDK_MARK_BYTES       12 /* number of the first sector, bytes that follow */
#define VMDK_GRAIN_USUAL      65536u
#define VMDK_NO_PARENT        0xffffffffu

/* Markers of streams other than grains: their type, behind a size of 0. */
enum vmdk_marker {
    VMDK_MARKER_END = 0,
    VMDK_MARKER_TABLE = 1,
    VMDK_MARKER_DIRECTORY = 2,
    VMDK_MARKER_FOOTER = 3
};

/* The header of a sparse extent; in the file: packed and little-endian. */
struct vmdk_header {
    uint32_t version;
    uint32_t flags;
    uint64_t capacity; /* all of these: sectors */
    uint64_t grain;
    uint64_t descriptor;
    uint64_t descriptor_sectors;
    uint32_t table_entries;
    uint64_t redundant_directory;
    uint64_t directory;
    uint64_t overhead;
    uint16_t compression;
};

/* -EUCLEAN: it is none, or was damaged by a transfer as text. */
int vmdk_header_parse(const void *from, struct vmdk_header *ret);
void vmdk_header_put(const struct vmdk_header *h, void *to);

/* A content ID for a descriptor. */
uint32_t vmdk_new_id(void);

/* The text of a descriptor for one extent that is in the same file; how long. */
unsigned vmdk_text_make(char *to, unsigned room, uint64_t sectors, bool stream);

enum vmdk_extent_kind {
    VMDK_EXTENT_ZERO,
    VMDK_EXTENT_FLAT,
    VMDK_EXTENT_SPARSE
};

/* One line of a descriptor. */
struct vmdk_line {
    enum vmdk_extent_kind kind;
    uint64_t sectors;
    uint64_t at; /* flat: the first sector in the file */
    char name[256];
};

struct vmdk_text {
    uint32_t parent; /* VMDK_NO_PARENT: none */
    unsigned count;
    struct vmdk_line *lines; /* owned */
};

/* Parse a descriptor, NUL-terminated.  `lines` is set for descriptor files only. */
int vmdk_text_parse(const struct format_base *b, char *text, bool with_lines,
                    struct vmdk_text *ret, struct err *e);

struct vmdk_table {
    uint32_t index; /* UINT32_MAX: nothing valid */
    bool dirty;
    uint32_t entry[VMDK_TABLE_ENTRIES];
};

/* Grains that get a place right now. */
struct vmdk_pending {
    struct vmdk_pending *next;
    uint64_t grain;
    uint64_t count;
    struct strand_queue waiters;
};

struct libdeflate_decompressor;

struct vmdk_sparse {
    struct blk *file; /* of an edge of the disk */
    struct vmdk_header header;
    uint64_t grain_bytes;
    uint32_t *directory; /* owned */
    uint32_t *redundant; /* owned; NULL: there is none */
    uint32_t tables;
    struct strand_lock lock; /* of loading, changing and writing tables */
    struct vmdk_table *slot[VMDK_TABLE_SLOTS]; /* owned */
    uint64_t next_free;                        /* where the next grain goes, in bytes */
    struct vmdk_pending *pending;
    struct libdeflate_decompressor *inflate; /* owned; NULL: not compressed */
    uint64_t unpacked_grain;                 /* that `unpacked` has; UINT64_MAX: none */
    char *unpacked;                          /* owned */
};

struct vmdk_extent {
    enum vmdk_extent_kind kind;
    uint64_t start;
    uint64_t bytes;
    uint64_t at;                /* flat */
    struct blk *file;           /* of an edge; NULL: zeros */
    struct vmdk_sparse *sparse; /* owned */
};

struct vmdk {
    struct format_base base;
    struct blk_edge *edges; /* owned; [0] leads to the image's own file */
    unsigned edge_count;
    struct vmdk_extent *extents; /* owned */
    unsigned extent_count;
    uint64_t id_at; /* offset of the text with the content ID; 0: none to renew */
    uint32_t id_bytes;
    bool id_renewed;
    struct strand_lock id_lock;
};

static inline struct vmdk *vmdk_of(struct blk *b)
{
    return (struct vmdk *)b;
}

/* The extent that has `off`. */
struct vmdk_extent *vmdk_extent_of(struct vmdk *v, uint64_t off);

/* Read the tables' whereabouts of an extent; `bytes` of the disk are to be in it. */
int vmdk_sparse_open(const struct format_base *b, struct blk *file, bool read_only,
                     struct vmdk_sparse **ret, struct err *e);
void vmdk_sparse_close(struct vmdk_sparse *s);

/* A `grain`'s entry: the sector of its bytes, 0 for none, 1 for zeros. */
int vmdk_entry_get(struct vmdk_sparse *s, uint64_t grain, uint32_t *ret_sector);

/* Enter the places of `count` grains in a row, the first one at `sector`. */
int vmdk_entry_set(struct vmdk_sparse *s, uint64_t grain, uint64_t count,
                   uint32_t sector);

/* Make all grains durable that were written, then the tables that name them. */
int vmdk_sparse_flush(struct vmdk_sparse *s);

/* Where [off, off + bytes) of an extent lies. */
int vmdk_sparse_find(struct vmdk_sparse *s, uint64_t off, uint64_t bytes,
                     struct format_run *ret);
int vmdk_sparse_unpack(struct vmdk_sparse *s, const struct format_run *run,
                       struct blk_vec to, uint64_t off);

/* Wait until no grain of the range is about to get a place. */
void vmdk_sparse_settle(struct vmdk_sparse *s, uint64_t off, uint64_t bytes);
int vmdk_sparse_write(struct vmdk_sparse *s, struct blk_vec from, uint64_t off);

/* The slots that change something (vmdk_write.c). */
int vmdk_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags);
int vmdk_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags);
int vmdk_discard(struct blk *b, uint64_t off, uint64_t bytes);
int vmdk_flush(struct blk *b);

#endif
