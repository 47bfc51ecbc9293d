/* ramfile.h - the guest's memory as a file that is mapped again.
 *
 * The bytes of all RAM, one region behind the other in the order of their addresses, pages
 * of zeros as holes; behind them one page with the identifier of the stream that belongs
 * to it.  The stream has the layout and a CRC-32C for each `RAMFILE_CHUNK`. */
#ifndef VIRT_MONITOR_SNAP_RAMFILE_H
#define VIRT_MONITOR_SNAP_RAMFILE_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct mem;
struct stream;

#define RAMFILE_CHUNK (UINT64_C(2) << 20)

/* Write memory to `fd`, whatever it held, and its section to `s`; nothing of the guest
 * runs.  Blocks.  -errno of the file, such as -ENOSPC. */
int ramfile_save(struct mem *m, int fd, struct stream *s, struct err *e);

/* Whether `fd` belongs to `s`, fits `m` and is whole; `reads_all`: and undamaged.  Changes
 * nothing of `m`. */
int ramfile_check(const struct mem *m, int fd, struct stream *s, bool reads_all,
                  struct err *e);

#endif
