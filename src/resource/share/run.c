/* run.c - requests from a stream, one after the other. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "resource/share/private.h"
#include "virtio/fs/fs.h"

_Static_assert(SHARE_MESSAGE_MOST == VIRTIO_FS_MESSAGE_MOST, "the two ends of a stream");

static int get(int fd, void *to, size_t n)
{
    ssize_t r = recv(fd, to, n, MSG_WAITALL);

    return r < 0 ? -errno : r == (ssize_t)n ? 0 : -EPIPE;
}

int share_run(struct share *s, int fd)
{
    SCOPED(scope_free) uint8_t *in = malloc(SHARE_MESSAGE_MOST);
    SCOPED(scope_free) uint8_t *out = malloc(SHARE_MESSAGE_MOST);
    int r = in == NULL || out == NULL ? -ENOMEM : 0;

    while (r == 0) {
        struct virtio_fs_frame f;

        r = get(fd, &f, sizeof f);
        if (r == 0 && (f.bytes > SHARE_MESSAGE_MOST || f.room > SHARE_MESSAGE_MOST)) {
            r = -EPROTO;
        }
        r = r == 0 ? get(fd, in, f.bytes) : r;
        if (r == 0) {
            f = (struct virtio_fs_frame){
                .bytes = (uint32_t)share_serve(s, in, f.bytes, out, f.room)};
            r = file_write_all(fd, &f, sizeof f);
            r = r == 0 ? file_write_all(fd, out, f.bytes) : r;
        }
    }
    return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}
