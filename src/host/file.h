/* host/file.h - whole files, directories and descriptors, without races.
 *
 * Paths are relative to a directory descriptor where one is taken (AT_FDCWD
 * for the working directory).  Descriptors are opened close-on-exec. */
#ifndef HOST_FILE_H
#define HOST_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct err;

/* The whole file as a NUL-terminated text that the caller frees; at most
 * `most` bytes, else -EFBIG.  Works on /proc and /sys files, too. */
int file_read(int dir, const char *path, size_t most, char **ret_text, size_t *ret_len);

/* Write the whole of `text` to an existing file in one write(2), as control
 * files of the kernel want it. */
int file_write_existing(int dir, const char *path, const char *text);

/* Replace `path` so that a reader, or a crash, sees the old or the new content
 * and nothing else: temporary file, (fsync when `sync`), rename. */
int file_replace(int dir, const char *path, const void *bytes, size_t len, mode_t mode,
                 bool sync);

/* mkdir -p; existing directories keep their mode. */
int file_make_dirs(const char *path, mode_t mode);

/* Remove a tree without following symbolic links and without leaving its file
 * system; a missing one is fine. */
int file_remove_tree(int dir, const char *path);

/* write(2) until all is written; 0 or -errno. */
int file_write_all(int fd, const void *bytes, size_t len);

/* What the file `in` has into the empty file `out`, holes as holes; shared where the file
 * system can.  0 or -errno. */
int file_copy(int in, int out);

/* read(2) until `len` bytes or the end; the count or -errno. */
ssize_t file_read_all(int fd, void *bytes, size_t len);

/* Open `path` below the directory `root` as openat2 RESOLVE_IN_ROOT does, with
 * no magic links: no symbolic link, "..", or absolute path leads outside.
 * A descriptor or -errno. */
int file_open_in_root(int root, const char *path, int flags, mode_t mode);

#endif
