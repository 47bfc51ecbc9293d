/* memory.c - memory for code, mapped twice: once to write, once to run.
 *
 * No page is ever writable and executable at one address (W^X); the two views of one
 * shared mapping lie at unrelated places.  Not a memfd: profilers take a mapping of a
 * file for code of that file, and look into /tmp/perf-PID.map only for shared memory
 * without a name.
 *
 * Beside it memory for records of units, which comes as it is used. */
#include "virt/isa/x86/translate/memory.h"

#include <errno.h>
#include <sys/mman.h>

#include "contract/mem.h"

int code_memory_create(struct code_memory *m, size_t bytes)
{
    void *write =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    void *run;

    if (write == MAP_FAILED) {
        return -errno;
    }
    run = mremap(write, 0, bytes, MREMAP_MAYMOVE); /* a size of 0 makes a second view */
    if (run == MAP_FAILED || mprotect(run, bytes, PROT_READ | PROT_EXEC) != 0) {
        int r = -errno;

        if (run != MAP_FAILED) {
            munmap(run, bytes);
        }
        munmap(write, bytes);
        return r;
    }
    *m = (struct code_memory){.write = write, .run = run, .bytes = bytes};
    return 0;
}

void code_memory_touch(const struct code_memory *m, size_t from, size_t to)
{
    (void)madvise(m->write + from, to - from, MADV_POPULATE_WRITE);
}

void code_memory_trim(const struct code_memory *m, size_t from, size_t to)
{
    to &= ~(size_t)(MEM_PAGE_BYTES - 1);
    (void)madvise(m->write + from, to - from, MADV_REMOVE);
}

int code_records_create(struct code_records *m, size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (at == MAP_FAILED) {
        return -errno;
    }
    *m = (struct code_records){.at = at, .bytes = bytes};
    return 0;
}

void code_records_destroy(struct code_records *m)
{
    if (m->at != NULL) {
        munmap(m->at, m->bytes);
        m->at = NULL;
    }
}

void code_memory_destroy(struct code_memory *m)
{
    if (m->write != NULL) {
        munmap(m->write, m->bytes);
        munmap((void *)(uintptr_t)m->run, m->bytes);
        m->write = NULL;
    }
}
