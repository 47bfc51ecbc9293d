/* scan.h - a directory tree becomes tar entries. */
#ifndef RESOURCE_IMAGE_PACK_SCAN_H
#define RESOURCE_IMAGE_PACK_SCAN_H

#include "resource/image/pack/pack.h"
#include "resource/image/pack/tar_write.h"

/* The tree below `dir`, sorted by name, so that equal trees give equal tars. */
int scan_dir(struct tar_write *tar, int dir, const struct pack_scan *scan, struct err *e);

/* The type of an entry as a tar writer has it; 0: none (a socket). */
char scan_entry_type(uint32_t mode);

/* "a/b" becomes the entry "a/.wh.b". */
int scan_put_whiteout(struct tar_write *tar, const char *path, struct err *e);

#endif
