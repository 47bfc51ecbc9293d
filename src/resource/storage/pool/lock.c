/* lock.c - locks between processes, on bytes that no device has.
 *
 * They belong to the open file (fcntl(2), F_OFD_SETLK): they go with the process, and not before
 * its last request to the device has ended.  Nobody waits in the kernel for one: a
 * strand sleeps and tries again, so that the thread serves others.
 *
 * The bytes from 100 and 200 are those of QEMU's image locks (resource/storage/leaf/lock.c):
 * a store does everything there and denies nothing, so whoever wants the device for
 * himself is told that he cannot have it, and another store is let in. */
#include <errno.h>
#include <fcntl.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "resource/storage/pool/carve_private.h"
#include "resource/storage/pool/hold.h"

#define LOCK_AT      ((uint64_t)1 << 60)
#define KIND_SHIFT   56
#define NAME_SHIFT   8        /* of a hash of 64 bits */
#define SLEEP_LEAST  50000u   /* ns */
#define SLEEP_MOST   2000000u /* ns */
#define WAIT_MOST    ((uint64_t)30 * 1000000000u)
#define DOES_BASE    100
#define DENIES_BASE  200
#define PERMISSIONS  4
#define STORE_KIND_N 3

_Static_assert(PLACE_LOCK_KIND_COUNT <= STORE_KIND_N, "the kinds have room");

/* Of a device that is open as `fd`. */
static int set_on(int fd, short type, uint64_t at, uint64_t count)
{
    struct flock lock = {.l_type = type,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)at,
                         .l_len = (off_t)count};

    if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
        return 0;
    }
    return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

static int set(const struct place_store *s, short type, uint64_t at, uint64_t count)
{
    return s->lock_fd < 0 ? 0 : set_on(s->lock_fd, type, at, count);
}

static uint64_t byte_of(enum place_lock_kind kind, uint64_t first)
{
    return LOCK_AT + ((uint64_t)kind << KIND_SHIFT) + first;
}

uint64_t place_lock_of(uint64_t id, uint32_t part)
{
    return (id * 0x9e3779b97f4a7c15u + (uint64_t)part * 0xc2b2ae3d27d4eb4fu) >>
           NAME_SHIFT;
}

int place_lock_try(const struct place_store *s, enum place_lock_kind kind, uint64_t first,
                   uint64_t count, bool writes)
{
    return set(s, writes ? F_WRLCK : F_RDLCK, byte_of(kind, first), count);
}

int place_lock_wait(const struct place_store *s, enum place_lock_kind kind,
                    uint64_t first, uint64_t count, bool writes)
{
    uint64_t sleep = SLEEP_LEAST;
    uint64_t waited = 0;
    int r = place_lock_try(s, kind, first, count, writes);

    while (r == -EBUSY && waited < WAIT_MOST) {
        loop_sleep(s->loop, sleep);
        waited += sleep;
        sleep = sleep * 2 < SLEEP_MOST ? sleep * 2 : SLEEP_MOST;
        r = place_lock_try(s, kind, first, count, writes);
    }
    return r == -EBUSY ? -EIO : r;
}

void place_lock_drop(const struct place_store *s, enum place_lock_kind kind,
                     uint64_t first, uint64_t count)
{
    (void)set(s, F_UNLCK, byte_of(kind, first), count);
}

static bool is_held(const struct place_store *s, uint64_t at, uint64_t count)
{
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)at,
                         .l_len = (off_t)count};

    return s->lock_fd >= 0 && fcntl(s->lock_fd, F_OFD_GETLK, &lock) == 0 &&
           lock.l_type != F_UNLCK;
}

bool place_lock_is_held(const struct place_store *s, enum place_lock_kind kind,
                        uint64_t at)
{
    return is_held(s, byte_of(kind, at), 1);
}

int place_lock_device(const struct place_store *s, const char *label, struct err *e)
{
    int r = set(s, F_RDLCK, DOES_BASE, PERMISSIONS);

    if (r != 0 && r != -EBUSY) {
        return err_sys(e, r, "cannot lock '%s'", label);
    }
    if (r != 0 || is_held(s, DENIES_BASE, PERMISSIONS)) {
        return err_set(e, -EBUSY, "cannot use '%s': another process has it for itself",
                       label);
    }
    return 0;
}

int place_carve_hold(int device, uint64_t id, uint32_t part, bool writes)
{
    return set_on(device, writes ? F_WRLCK : F_RDLCK,
                  byte_of(PLACE_LOCK_DISK, place_lock_of(id, part)), 1);
}
