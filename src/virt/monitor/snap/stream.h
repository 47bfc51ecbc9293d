/* stream.h - the state of a machine as a file: implements contract/snap.h.
 *
 * The whole stream is in memory, tens of KiB; it is written at once when it is complete, and
 * read and checked to its last byte before anybody gets the first.
 *
 * File, little-endian (all places on 8 bytes):
 *
 *   head 64      "STRATA SNAPSHOT\n", u32 version 1, u32 0, id[16], u64 bytes of the file,
 *                u32 0 u32 0, u32 0, u32 CRC-32C of the 60 bytes before
 *   sections     name[28], u16 version, u16 0, u64 bytes, u32 CRC-32C of them, u32 0; the
 *                bytes; zeros to a multiple of 8
 *   end          a section "end": SHA-256 of everything before its head
 *
 * Threads: one at a time. */
#ifndef VIRT_MONITOR_SNAP_STREAM_H
#define VIRT_MONITOR_SNAP_STREAM_H

#include "contract/snap.h"

struct err;

#define STREAM_ID_BYTES 16
#define STREAM_MOST     (64u << 20) /* bytes of a stream: devices have no more state */
#define STREAM_NAME     28

struct stream {
    struct snap snap;
    uint8_t *bytes; /* owned */
    uint32_t count, room;
    uint32_t at;      /* where reading goes on */
    uint32_t section; /* the head of the one that is open */
    uint32_t limit;   /* behind its last byte */
};

/* Empty, for writing; nothing else undoes it than `stream_fini`. */
void stream_init(struct stream *s, const uint8_t id[STREAM_ID_BYTES]);
void stream_fini(struct stream *s);

/* All sections are written. */
int stream_seal(struct stream *s);

/* Read from its first section on, also what was just sealed. */
void stream_rewind(struct stream *s);
const uint8_t *stream_id(const struct stream *s);

/* To a file that is empty, and from one; blocks.  What was read is whole and undamaged, or
 * -EBADMSG with the reason. */
int stream_save(const struct stream *s, int fd, struct err *e);
int stream_load(struct stream *s, int fd, struct err *e);

/* The same from memory, which is copied. */
int stream_take(struct stream *s, const void *bytes, size_t n, struct err *e);

/* Pass over the section of that name, which must be the next. */
void stream_pass(struct stream *s, const char *name);

/* Why a load failed, after a section was refused. */
int stream_why(const struct stream *s, struct err *e);

#endif
