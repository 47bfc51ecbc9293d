/* contract/snap.h - a stream of state: snapshots, clones, suspend, migration.
 *
 * Implemented by files (virt/monitor/snap) and by memory in tests.  Used by every device,
 * processor and kind of guest.  One function of a device carries its state both
 * ways, so that what is written is what is read: `snap_data` copies out of the
 * variable when the stream is written, and into it when the stream is read.
 *
 * State lies in sections with a name and a version; the end of a section is
 * checked.  After the first failure everything else is skipped, and `snap_error` says
 * what it was: -EBADMSG for bytes that are no such state, or what the medium said.
 *
 * Threads: one at a time.  Byte order: the host's, little-endian everywhere so far. */
#ifndef CONTRACT_SNAP_H
#define CONTRACT_SNAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct snap;

struct snap_ops {
    int (*write)(struct snap *s, const void *bytes, size_t n);
    int (*read)(struct snap *s, void *bytes, size_t n); /* all of them, or -errno */

    /* A section begins, and ends: an implementation that keeps their names, lengths and
     * sums itself.  Loading, `version` is the caller's newest and becomes the stream's.
     * NULL: heads and marks are bytes among the others. */
    int (*begin)(struct snap *s, const char *name, uint32_t *version);
    int (*end)(struct snap *s);
};

/* First member of every implementation's own struct. */
struct snap {
    const struct snap_ops *ops;
    bool is_loading;
    int error;        /* 0, or the first failure */
    unsigned depth;   /* sections that are open */
    char section[32]; /* now open, or where it failed; "" none */
};

/* Open the section of that name; loading: it must be the next.  The version is the
 * stream's when loading: `version` is the newest that the caller understands.  A section
 * inside another one is bytes of that one, with a head and a mark. */
uint32_t snap_begin(struct snap *s, const char *name, uint32_t version);
void snap_end(struct snap *s);

void snap_data(struct snap *s, void *bytes, size_t n);
#define SNAP_FIELD(s, field) snap_data((s), &(field), sizeof(field))
void snap_bool(struct snap *s, bool *b); /* whatever byte was read: one of both */

/* For what is chosen, not copied: the number as the stream has it, refused above `most`. */
uint64_t snap_number(struct snap *s, uint64_t value, uint64_t most);

/* What was read cannot be: everything after it fails. */
void snap_refuse(struct snap *s);
int snap_error(const struct snap *s);

#endif
