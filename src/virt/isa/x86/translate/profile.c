/* profile.c - what host profilers need to name translated code: /tmp/perf-PID.map, one
 * line for each unit, "ADDRESS BYTES NAME" in hexadecimal (perf's jit-interface.txt).
 * The name is the guest's linear address.  A place that is used again has two lines;
 * the later one is right. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "virt/isa/x86/translate/private.h"

int profile_open(struct translate_cpu *t)
{
    char path[64];
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC;
    int fd;

    (void)snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    if (t->x.base.index == 0) { /* what another process of that number left */
        (void)unlink(path);
        flags |= O_EXCL;
    }
    fd = open(path, flags, 0600);
    if (fd < 0) {
        return -errno;
    }
    t->profile = fd;
    return 0;
}

void profile_close(struct translate_cpu *t)
{
    if (t->profile > 0) {
        (void)close(t->profile);
    }
}

void profile_unit(struct translate_cpu *t, const struct unit *u, uint64_t pc,
                  size_t bytes)
{
    char line[80];
    int n;

    if (t->profile <= 0) {
        return;
    }
    n = snprintf(line, sizeof line, "%" PRIx64 " %zx guest_%" PRIx64 "\n", u->code, bytes,
                 pc);
    if (n > 0 && write(t->profile, line, (size_t)n) != n) {
        (void)close(t->profile); /* a map with holes names code wrongly */
        t->profile = 0;
    }
}
