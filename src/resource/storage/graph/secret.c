/* secret.c - passphrases from descriptors. */
#include "resource/storage/graph/secret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/luks/luks.h"

#define ROOM_BYTES 4096u

void secret_fini(struct secret *s)
{
    if (s->bytes != NULL) {
        explicit_bzero(s->bytes, s->room);
        (void)munlock(s->bytes, s->room);
        free(s->bytes);
    }
    *s = (struct secret){0};
}

/* Twice the room; the old one is wiped.  Where memory may not be locked, it is not. */
static int grow(struct secret *s)
{
    size_t room = s->room == 0 ? ROOM_BYTES : 2 * s->room;
    struct secret more = {.room = room, .count = s->count};

    if (s->room >= 2 * LUKS_SECRET_MOST_BYTES) {
        return -EFBIG;
    }
    more.bytes = fault_aligned(ROOM_BYTES, room);
    if (more.bytes == NULL) {
        return -ENOMEM;
    }
    (void)mlock(more.bytes, room);
    if (s->count > 0) {
        memcpy(more.bytes, s->bytes, s->count);
    }
    secret_fini(s);
    *s = more;
    return 0;
}

static ssize_t read_more(int fd, struct secret *s)
{
    ssize_t n = pread(fd, s->bytes + s->count, s->room - s->count, (off_t)s->count);

    if (n < 0 && errno == ESPIPE) {
        n = read(fd, s->bytes + s->count, s->room - s->count);
    }
    return n < 0 ? -errno : n;
}

int secret_read(int fd, struct secret *ret, struct err *e)
{
    struct secret s = {0};
    ssize_t n;

    do {
        n = s.count == s.room ? grow(&s) : 0;
        if (n == 0) {
            n = read_more(fd, &s);
        }
        s.count += n > 0 ? (size_t)n : 0;
    } while (n > 0 || n == -EINTR);
    if (n == 0 && (s.count == 0 || s.count > LUKS_SECRET_MOST_BYTES)) {
        n = s.count == 0 ? -EINVAL : -EFBIG;
    }
    if (n < 0) {
        secret_fini(&s);
        return n == -EINVAL ? err_set(e, -EINVAL, "descriptor %d has no passphrase", fd)
                            : err_sys(e, (int)n,
                                      "cannot read the passphrase from "
                                      "descriptor %d",
                                      fd);
    }
    *ret = s;
    return 0;
}
