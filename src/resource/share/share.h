/* resource/share/share.h - a directory of the host for a guest, by the protocol of FUSE.
 *
 * Requests and answers are messages in memory, as the kernel of Linux writes and reads them
 * (linux/fuse.h); who carries them is another's business.  Nothing that a request says is
 * believed.  No request reaches a file outside of the directory: not by a name, not by a
 * symbolic link, whoever changes the tree meanwhile.
 *
 * Not shared between threads; requests are served in their order and may block. */
#ifndef RESOURCE_SHARE_SHARE_H
#define RESOURCE_SHARE_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct share;

#define SHARE_DATA_MOST    (512u << 10)             /* of one read or write */
#define SHARE_MESSAGE_MOST (SHARE_DATA_MOST + 4096) /* with what stands before it */

struct share_options {
    int root;     /* the directory, opened with O_PATH at least; borrowed */
    int proc_fds; /* /proc/self/fd of the process that serves; borrowed */
    bool read_only;
    unsigned files_most; /* open at once for the guest; 0: 1024 */
};

int share_create(const struct share_options *o, struct share **ret, struct err *e);
void share_destroy(struct share *s);

/* Serve a request of `n` bytes; the bytes of its answer, at most `room`, or 0: there is
 * none.  Both buffers are aligned to 8 bytes. */
size_t share_serve(struct share *s, const void *request, size_t n, void *answer,
                   size_t room);

/* Nothing but the directory is left to the process, as its root; *ret_root and *ret_proc_fds
 * are for `share_options`. */
int share_confine_place(const char *directory, bool read_only, int *ret_root,
                        int *ret_proc_fds, struct err *e);

/* Of the system calls only those that serving needs. */
int share_confine_calls(struct err *e);

/* Serve requests from a stream socket (virtio/fs/fs.h) until its other end closes. */
int share_run(struct share *s, int fd);

#endif
