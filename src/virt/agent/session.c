/* session.c - requests of one connection, one after the other. */
#include "virt/agent/session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STILL_MS 10000 /* that file systems stand still at most, in the guest's time */

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

/* The next frame, for which nothing is waited longer than `wait_ms` (-1: as long as it takes): 1,
 * 0: it did not come, or -errno of the connection. */
static int await_frame(struct inbox *in, int wait_ms, struct frame *f, size_t *ret_used)
{
    int r;

    while ((r = inbox_first(in, f, ret_used)) == 0) {
        struct pollfd p = {.fd = in->fd, .events = POLLIN};
        ssize_t n = poll(&p, 1, wait_ms) > 0 ? inbox_fill(in) : -EAGAIN;

        if (n <= 0) {
            return n == -EAGAIN ? 0 : n < 0 ? (int)n : -ESHUTDOWN;
        }
    }
    return r;
}

/* File systems stand still until this connection says otherwise, or ends, and at most so long:
 * the host may be gone.  It is told when that was too long. */
static int stand_still(struct inbox *in)
{
    static const struct frame thaw = {.type = FRAME_THAW};
    char text[SCRATCH_BYTES] = "";
    struct frame f = {0};
    size_t used = 0;
    int r = await_frame(in, STILL_MS, &f, &used);
    int code = agent_care(&thaw, text);

    if (r == 0) {
        code = -ETIME;
        r = await_frame(in, -1, &f, &used);
    }
    if (r == 1 && f.type == FRAME_THAW) {
        inbox_drop(in, used);
        r = send_done(in->fd, code, text);
    }
    return r < 0 ? r : 0;
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
            bool freezes = f.type == FRAME_FREEZE;

            r = answer(in, &f);
            if (f.type != FRAME_EXEC) { /* which drops its own */
                inbox_drop(in, used);
            }
            r = r == 0 && freezes ? stand_still(in) : r;
        } else if (r == 0) {
            ssize_t n = inbox_fill(in);

            r = n > 0 ? 0 : n < 0 ? (int)n : -ESHUTDOWN;
        }
    }
    free(in);
}
