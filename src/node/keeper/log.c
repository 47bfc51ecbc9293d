/* log.c - the guest's output as log lines, rotated by size.
 *
 * A line is "TIME STREAM TAG TEXT": RFC 3339 time in UTC, "stdout" or "stderr",
 * F for a full line or P for a part of one (more of it follows), then the text,
 * which is the guest's own and is not changed.  This is the layout that
 * Kubernetes' container runtime interface uses, so other readers know it.
 * The oldest of the kept files is `log.N`. */
#include "node/keeper/private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/units.h"

static int64_t wall_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void rotate(struct keeper *k)
{
    char from[24];
    char to[24];
    int fd;

    for (uint64_t i = k->c.log_count; i > 0; i--) {
        (void)snprintf(to, sizeof to, "log.%u", (unsigned)i);
        if (i == 1) {
            (void)snprintf(from, sizeof from, "log");
        } else {
            (void)snprintf(from, sizeof from, "log.%u", (unsigned)(i - 1));
        }
        (void)renameat(k->c.log_dir, from, k->c.log_dir, to);
        (void)fault_step("keeper.log.renamed");
    }
    fd = openat(k->c.log_dir, "log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC,
                0600);
    (void)fault_step("keeper.log.exchanged");
    if (fd >= 0) {
        (void)close(k->c.log);
        k->c.log = fd;
        k->log_size = 0;
    }
}

static void write_line(struct keeper *k, struct keeper_stream *s, char tag)
{
    char time[UNITS_TEXT_BYTES];
    char head[64];
    struct iovec parts[3];
    int n;
    ssize_t done;

    if (k->c.log < 0) {
        return;
    }
    units_print_time(wall_ns(), time);
    n = snprintf(head, sizeof head, "%s %s %c ", time, s->name, tag);
    parts[0] = (struct iovec){.iov_base = head, .iov_len = (size_t)n};
    parts[1] = (struct iovec){.iov_base = s->line, .iov_len = s->len};
    parts[2] = (struct iovec){.iov_base = (char[]){'\n'}, .iov_len = 1};
    if (k->c.log_bytes != 0 && k->log_size != 0 &&
        k->log_size + s->len + (size_t)n + 1 > k->c.log_bytes && k->c.log_dir >= 0) {
        rotate(k);
    }
    done = writev(k->c.log, parts, 3); /* a full disk loses lines, not the guest */
    (void)fault_step("keeper.log.written");
    k->log_size += done > 0 ? (uint64_t)done : 0;
}

void keeper_log_bytes(struct keeper *k, struct keeper_stream *s, const char *bytes,
                      size_t len)
{
    while (len > 0) {
        const char *newline = memchr(bytes, '\n', len);
        size_t take = newline != NULL ? (size_t)(newline - bytes) : len;
        size_t room = sizeof s->line - s->len;
        bool whole = newline != NULL && take <= room;

        take = take < room ? take : room;
        memcpy(s->line + s->len, bytes, take);
        s->len += take;
        if (whole || s->len == sizeof s->line) {
            write_line(k, s, whole ? 'F' : 'P');
            s->len = 0;
        }
        take += whole ? 1 : 0;
        bytes += take;
        len -= take;
    }
}

void keeper_log_flush(struct keeper *k, struct keeper_stream *s)
{
    if (s->len != 0) {
        write_line(k, s, 'P');
        s->len = 0;
    }
}
