/* memory.c - memory for code, mapped twice: once to write, once to run.
 *
 * No page is ever writable and executable at one address (W^X); the two views of one
 * memfd lie at unrelated places. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/scope.h"
#include "virt/isa/x86/translate/private.h"

int code_memory_create(struct code_memory *m, size_t bytes)
{
    SCOPED(scope_close) int fd = memfd_create("strata-code", MFD_CLOEXEC);
    void *write, *run;

    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) {
        return -errno;
    }
    write = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (write == MAP_FAILED) {
        return -errno;
    }
    run = mmap(NULL, bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    if (run == MAP_FAILED) {
        int r = -errno;

        munmap(write, bytes);
        return r;
    }
    *m = (struct code_memory){.write = write, .run = run, .bytes = bytes};
    return 0;
}

void code_memory_destroy(struct code_memory *m)
{
    if (m->write != NULL) {
        munmap(m->write, m->bytes);
        munmap((void *)(uintptr_t)m->run, m->bytes);
        m->write = NULL;
    }
}
