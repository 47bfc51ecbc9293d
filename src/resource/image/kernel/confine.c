/* confine.c - foreign bytes are unpacked by a process that can only compute.
 *
 * The child gets its input, its room and all memory it may need by fork; then it enters
 * seccomp's strict mode (seccomp(2), SECCOMP_SET_MODE_STRICT): any system call but read,
 * write and exit ends it.  What a damaged stream might make of a decompressor's fault can
 * therefore reach no file, no socket and no other process; the memory is bounded by what
 * was mapped, the time by a limit of processor seconds.  The answer comes back in shared
 * memory, and is a count that is checked against the room. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/seccomp.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/image/kernel/unpack.h"

#define SECONDS_MOST    60u
#define CODE_NO_SANDBOX 3

struct answer {
    _Atomic int64_t n;
};

/* Ends this process with a call that strict mode allows; exit_group(2) is none. */
static _Noreturn void leave(int code)
{
    for (;;) {
        (void)syscall(SYS_exit, code);
    }
}

static _Noreturn void work(struct unpack *u, struct answer *a)
{
    const struct rlimit seconds = {SECONDS_MOST, SECONDS_MOST};
    const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CPU, &seconds);
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)close_range(0, ~0u, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) {
        leave(CODE_NO_SANDBOX);
    }
    atomic_store(&a->n, unpack_run(u));
    leave(0);
}

static int await(pid_t child, const struct unpack *u, const struct answer *a,
                 size_t *ret_bytes, struct err *e)
{
    int64_t n = -EBADMSG;
    int status = 0;

    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return err_sys(e, -errno, "cannot wait for the unpacking");
        }
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == CODE_NO_SANDBOX) {
        return err_set(e, -EPERM,
                       "this host cannot confine the unpacking (seccomp's strict mode)");
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        n = atomic_load(&a->n);
    }
    if (n < 0 || (uint64_t)n > u->room) {
        return err_set(e, -EBADMSG, "the packed bytes are damaged");
    }
    *ret_bytes = (size_t)n;
    return 0;
}

static void *map_shared(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return at == MAP_FAILED ? NULL : at;
}

static int run(struct unpack *u, struct answer *a, size_t *ret_bytes, struct err *e)
{
    pid_t child;

    if (unpack_init(u) < 0) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    child = fault_step("kernel.unpack") < 0 ? -1 : fork();
    if (child == 0) {
        work(u, a);
    }
    return child < 0 ? err_sys(e, -errno, "cannot start the unpacking")
                     : await(child, u, a, ret_bytes, e);
}

int unpack_confined(const uint8_t *in, size_t bytes, size_t room, uint8_t **ret,
                    size_t *ret_bytes, struct err *e)
{
    struct unpack u = {
        .format = unpack_recognize(in, bytes), .in = in, .bytes = bytes, .room = room};
    struct answer *a;
    int r;

    if (u.format == NULL) {
        return err_set(e, -ENOTSUP, "its packing is not known");
    }
    a = map_shared(sizeof *a);
    u.out = map_shared(room);
    r = a == NULL || u.out == NULL ? err_set(e, -ENOMEM, "out of memory")
                                   : run(&u, a, ret_bytes, e);
    unpack_fini(&u);
    if (a != NULL) {
        (void)munmap(a, sizeof *a);
    }
    if (r < 0 && u.out != NULL) {
        (void)munmap(u.out, room);
    }
    if (r == 0) {
        *ret = u.out;
    }
    return r;
}

void unpack_unmap(uint8_t *plain, size_t room)
{
    (void)munmap(plain, room);
}
