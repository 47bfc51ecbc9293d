/* session.c - requests of one connection, one after the other. */
#include "virt/agent/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int write_all(int fd, const void *bytes, size_t n)
{
    const char *at = bytes;

    while (n > 0) {
        ssize_t done = send(fd, at, n, MSG_NOSIGNAL);

        if (done < 0 && errno != EINTR) {
            return -errno;
        }
        at += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return 0;
}

int agent_send(int fd, enum frame_type type, const void *bytes, size_t n)
{
    uint8_t head[FRAME_HEAD_BYTES];
    int r;

    frame_put_head(head, type, (uint32_t)n);
    r = write_all(fd, head, sizeof head);
    return r < 0 || n == 0 ? r : write_all(fd, bytes, n);
}

ssize_t inbox_fill(struct inbox *in)
{
    ssize_t n;

    if (in->n == sizeof in->bytes) {
        return -EPROTO;
    }
    do {
        n = read(in->fd, in->bytes + in->n, sizeof in->bytes - in->n);
    } while (n < 0 && errno == EINTR);
    in->n += n > 0 ? (size_t)n : 0;
    return n < 0 ? -errno : n;
}

int inbox_first(const struct inbox *in, struct frame *ret, size_t *ret_used)
{
    return frame_take(in->bytes, in->n, ret, ret_used);
}

void inbox_drop(struct inbox *in, size_t used)
{
    memmove(in->bytes, in->bytes + used, in->n - used);
    in->n -= used;
}

static int send_done(int fd, int code, const char *text)
{
    uint8_t out[4 + SCRATCH_BYTES];
    int32_t v = code;
    size_t n = strnlen(text, SCRATCH_BYTES);

    memcpy(out, &v, sizeof v);
    memcpy(out + 4, text, n);
    return agent_send(fd, FRAME_DONE, out, 4 + n);
}

static int answer(struct inbox *in, const struct frame *f)
{
    char text[SCRATCH_BYTES] = "";
    int r;

    switch (f->type) {
    case FRAME_EXEC:
        return agent_command(in, f);
    case FRAME_STDIN: /* of a command that has ended */
    case FRAME_RESIZE:
    case FRAME_SIGNAL:
        return 0;
    default:
        r = agent_care(f, text);
        return send_done(in->fd, r, text);
    }
}

void agent_session(int fd, int root)
{
    struct inbox *in = calloc(1, sizeof *in);
    int r = in == NULL ? -ENOMEM : 0;

    /* The initramfs, which stays the agent's, has no /proc any more: the guest took it. */
    if (r == 0 && root >= 0 && (fchdir(root) < 0 || chroot(".") < 0)) {
        r = -errno;
    }
    if (in != NULL) {
        in->fd = fd;
    }
    while (r == 0) {
        struct frame f;
        size_t used = 0;

        r = inbox_first(in, &f, &used);
        if (r == 1) {
            r = answer(in, &f);
            if (f.type != FRAME_EXEC) { /* which drops its own */
                inbox_drop(in, used);
            }
        } else if (r == 0) {
            ssize_t n = inbox_fill(in);

            r = n > 0 ? 0 : n < 0 ? (int)n : -ESHUTDOWN;
        }
    }
    free(in);
}
