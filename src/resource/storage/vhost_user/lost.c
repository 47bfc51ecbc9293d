/* lost.c - memory that a front end takes away while it is used.
 *
 * A file that becomes shorter leaves mapped pages without bytes.  A system call that is told to
 * use them says -EFAULT; our own access raises SIGBUS, in whatever thread, between any two
 * instructions.  The handler puts empty memory in the place of all of the mapping, marks it,
 * and the access goes on and reads zeros: nothing is jumped over, so that strands and locks are
 * as they should be.  Then the session ends, as nothing of its machine is left.
 *
 * Rejected: a jump out of the handler (a strand's stack would be left in the middle), and a look
 * at the file's size before each batch (it may shrink right after).  Front ends that seal their
 * memory against shrinking never come here.
 *
 * A handler has no argument: the table of mappings is the process's.  A slot is taken
 * and given back by the thread of the loop; handlers of any thread only read and mark it. */
#include "resource/storage/vhost_user/lost.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#define SLOTS 1024 /* front ends have some each, 64 at most */

static struct slot {
    _Atomic uintptr_t base; /* 0: free */
    atomic_size_t bytes;
    atomic_bool lost;
} slots[SLOTS];

static atomic_uint losses;
static atomic_flag installed = ATOMIC_FLAG_INIT;
static struct sigaction before; /* what others do about the signal */

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;
    int kept = errno;

    (void)context;
    for (unsigned i = 0; i < SLOTS; i++) {
        uintptr_t base = atomic_load(&slots[i].base);
        size_t bytes = atomic_load(&slots[i].bytes);

        if (base != 0 && at >= base && at - base < bytes &&
            mmap((void *)base, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
                 0) != MAP_FAILED) {
            atomic_store(&slots[i].lost, true);
            atomic_fetch_add(&losses, 1);
            errno = kept;
            return;
        }
    }
    (void)sigaction(number, &before, NULL); /* not ours: the access is made once more */
}

static void install(void)
{
    struct sigaction a = {.sa_sigaction = on_bus_error,
                          .sa_flags = SA_SIGINFO | SA_ONSTACK};

    if (!atomic_flag_test_and_set(&installed)) {
        (void)sigemptyset(&a.sa_mask);
        (void)sigaction(SIGBUS, &a, &before);
    }
}

int lost_watch(void *base, size_t bytes)
{
    install();
    for (unsigned i = 0; i < SLOTS; i++) {
        if (atomic_load(&slots[i].base) == 0) {
            atomic_store(&slots[i].lost, false);
            atomic_store(&slots[i].bytes, bytes);
            atomic_store(&slots[i].base, (uintptr_t)base);
            return (int)i;
        }
    }
    return -ENOSPC;
}

void lost_unwatch(int slot)
{
    atomic_store(&slots[slot].base, 0);
}

bool lost_is(int slot)
{
    return atomic_load(&slots[slot].lost);
}

unsigned lost_count(void)
{
    return atomic_load_explicit(&losses, memory_order_relaxed);
}
