/* rewind.c - back to a mark, in the same process: for trying the same thing many times.
 *
 * The mark is a snapshot, in memory or in a file that nobody else has.  The guest's RAM becomes a private mapping of it, so that
 * the host knows which pages were stored to since: going back drops those, and tells the
 * engines, which forget what they made of their code.  The machine's time goes back, too. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/ram.h"
#include "virt/monitor/private.h"
#include "virt/monitor/snap/stream.h"

struct mark {
    struct stream stream;
    int memory; /* owned */
};

void rewind_forget(struct machine *m)
{
    if (m->mark != NULL) {
        stream_fini(&m->mark->stream);
        (void)close(m->mark->memory);
        free(m->mark);
        m->mark = NULL;
    }
}

static int take(struct machine *m, int take_fd, struct err *e)
{
    struct mark *k = fault_calloc(1, sizeof *k);
    int r;

    if (slots_move(m)) { /* a mark would have it, and the machine not */
        free(k);
        (void)close(take_fd);
        return err_set(e, -EBUSY, "cannot mark the machine: a device is being detached");
    }
    if (k == NULL) {
        (void)close(take_fd);
        return err_set(e, -ENOMEM, "out of memory");
    }
    k->memory = take_fd;
    r = snapshot_take(m, &k->stream, k->memory, e);
    r = r == 0 ? ram_map_file(m->mem, k->memory, e) : r;
    if (r != 0) {
        stream_fini(&k->stream);
        (void)close(k->memory);
        free(k);
        return r;
    }
    rewind_forget(m);
    m->mark = k;
    return 0;
}

int machine_mark(struct machine *m, struct err *e)
{
    return machine_mark_at(m, memfd_create("mark", MFD_CLOEXEC), e);
}

int machine_mark_at(struct machine *m, int take_fd, struct err *e)
{
    int why = -errno;
    int r = take_fd < 0 ? err_sys(e, why, "cannot keep a guest's memory")
                        : machine_pause(m, e);

    if (r != 0) {
        (void)close(take_fd);
        return r;
    }
    r = take(m, take_fd, e);
    (void)machine_resume(m, NULL);
    return r;
}

static int go_back(struct machine *m, struct err *e)
{
    int64_t pages = ram_revert(m->mem, e);

    if (pages < 0) {
        return (int)pages;
    }
    for (unsigned i = 0; i < m->cpus; i++) {
        atomic_fetch_and(&m->vcpu[i].cpu->kicks, CPU_KICK_FLUSH);
    }
    return snapshot_return(m, &m->mark->stream, m->mark->memory, e);
}

int machine_rewind(struct machine *m, struct err *e)
{
    int r;

    if (m->mark == NULL) {
        return err_set(e, -ENOENT, "cannot rewind: there is no mark");
    }
    r = machine_pause(m, e);
    if (r != 0) {
        return r;
    }
    r = go_back(m, e);
    if (r != 0) {
        machine_finish(m, MACHINE_BROKEN, 0);
    }
    reset_cancel(m);
    (void)machine_resume(m, NULL);
    return r;
}
