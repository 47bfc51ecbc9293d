/* snapshot.c - a machine to files, and back.
 *
 * Two files: the stream has what is small (processors, chips, time), the other one memory,
 * which is mapped when the machine comes back, so that a page is read when it is touched.
 * Neither names an engine: registers and chips are in the words of their manuals.
 *
 * The stream is checked to its last byte before anything of the machine changes; so is, if
 * asked for, the file of memory.  Machine time goes on where it stood, and with it the
 * time-stamp counter, the guest's clock pages and the timers; the real-time clock follows
 * the host's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/err.h"
#include "contract/cpu_x86.h"
#include "contract/snap.h"
#include "host/ram.h"
#include "virt/monitor/private.h"
#include "virt/monitor/snap/ramfile.h"
#include "virt/monitor/snap/regs.h"
#include "virt/monitor/snap/stream.h"

#define NAME_BYTES 28

/* What a guest was told that not every engine can keep to. */
struct told {
    uint64_t hz;
    bool is_known; /* the guest was told, by a clock page */
    uint64_t pair_tsc, pair_ns;
    uint32_t features; /* of the interface that it was shown */
};

static struct told told_of(const struct machine *m)
{
    struct told t = {.hz = engine_tsc_hz(m),
                     .pair_tsc = m->pair_tsc,
                     .pair_ns = m->pair_ns,
                     .features = m->features};

    for (unsigned i = 0; i < m->cpus; i++) {
        t.is_known = t.is_known || (m->vcpu[i].pv.system_time & 1) != 0;
    }
    return t;
}

/* Whether it can go on here.  A guest that was never told its frequency has none to miss. */
static int check_told(const struct machine *m, const struct told *t, struct err *e)
{
    if ((t->features & ~engine_features(m)) != 0) {
        return err_set(e, -ENOTSUP,
                       "the guest uses hypercalls that engine '%s' cannot give it",
                       machine_engine(m));
    }
    return t->is_known ? engine_check_tsc(m, t->hz, e) : 0;
}

static void set_told(struct machine *m, const struct told *t)
{
    if (engine_check_tsc(m, t->hz, NULL) == 0) {
        engine_set_tsc(m, t->hz);
    }
    m->features = t->features;
    m->pair_tsc = t->pair_tsc;
    m->pair_ns = t->is_known ? t->pair_ns : 0;
}

/* What both machines must agree in; loading: refused where they do not. */
static void carry_plan(struct machine *m, struct snap *s, struct told *t)
{
    const char *word = m->options.model != NULL ? m->options.model : "host-like";
    char model[32] = "";
    uint64_t cpus = m->cpus;
    uint64_t bytes = machine_memory_bytes(m);
    uint64_t hides = m->options.hides;

    (void)snprintf(model, sizeof model, "%s", word);
    (void)snap_begin(s, "machine", 2);
    SNAP_FIELD(s, cpus);
    SNAP_FIELD(s, bytes);
    SNAP_FIELD(s, hides);
    SNAP_FIELD(s, model);
    SNAP_FIELD(s, m->wall_clock);
    SNAP_FIELD(s, t->features);
    SNAP_FIELD(s, t->hz);
    snap_bool(s, &t->is_known);
    SNAP_FIELD(s, t->pair_tsc);
    SNAP_FIELD(s, t->pair_ns);
    if (cpus != m->cpus || bytes != machine_memory_bytes(m) ||
        hides != m->options.hides || strncmp(model, word, sizeof model) != 0) {
        snap_refuse(s);
    }
    snap_end(s);
}

static void carry_board(struct machine *m, struct snap *s)
{
    (void)snap_begin(s, "board", 1);
    board_carry(m->board, s);
    snap_end(s);
}

static void carry_cpu(struct vcpu *v, struct snap *s, struct err *e)
{
    char name[NAME_BYTES];
    struct x86_regs r = {0};
    uint32_t asks = atomic_load(&v->asks);
    uint64_t page = atomic_load(&v->start_page);
    uint64_t untaken = (uint64_t)(v->untaken + 1);

    (void)snprintf(name, sizeof name, "cpu.%u", v->index);
    (void)snap_begin(s, name, 2);
    if (!s->is_loading) {
        time_get(v, &r);
    }
    regs_carry(&r, s);
    v->state = (enum vcpu_state)snap_number(s, v->state, VCPU_WAITS);
    asks = (uint32_t)snap_number(s, asks,
                                 VCPU_ASK_INIT | VCPU_ASK_START | VCPU_ASK_POWER_ON);
    page = snap_number(s, page, UINT8_MAX);
    untaken = snap_number(s, untaken, UINT8_MAX + 1);
    lapic_carry(&v->lapic, s);
    pv_carry(&v->pv, s);
    if (s->is_loading && snap_error(s) == 0) {
        atomic_store(&v->start_page, (uint8_t)page);
        atomic_store(&v->asks, asks);
        v->untaken = (int)untaken - 1;
        if (time_set(v, &r, e) != 0) {
            snap_refuse(s);
        }
        vcpu_kick(v, CPU_KICK_INTERRUPT); /* it looks at its local APIC */
    }
    snap_end(s);
}

static void name_device(const struct dev *d, unsigned n, char name[NAME_BYTES])
{
    (void)snprintf(name, NAME_BYTES, "dev.%u.%.12s", n, d->class->name);
}

static void carry_device(struct dev *d, unsigned n, struct snap *s)
{
    char name[NAME_BYTES];

    if (d->class->carry == NULL) {
        return;
    }
    name_device(d, n, name);
    (void)snap_begin(s, name, 1);
    d->class->carry(d, s);
    snap_end(s);
}

/* Everything but memory, both ways; memory is there already. */
static void carry_state(struct machine *m, struct snap *s, struct err *e)
{
    board_lock(m->board);
    carry_board(m, s);
    for (unsigned i = 0; i < m->cpus; i++) {
        carry_cpu(&m->vcpu[i], s, e);
    }
    for (unsigned i = 0; i < m->devices && snap_error(s) == 0; i++) {
        carry_device(m->dev[i], i, s);
    }
    steps_carry(m, s);
    board_unlock(m->board);
}

static int need_pause(const struct machine *m, struct err *e)
{
    return m->pauses > 0 && !m->is_moving
               ? 0
               : err_set(e, -EINVAL, "cannot take a snapshot: the machine is not paused");
}

int snapshot_take(struct machine *m, struct stream *s, int memory_fd, struct err *e)
{
    uint8_t id[STREAM_ID_BYTES] = {0};
    struct told t = told_of(m);
    int r = need_pause(m, e);

    if (r != 0) {
        return r;
    }
    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id) {
        return err_set(e, -EIO, "cannot take a snapshot: the host has no random bytes");
    }
    stream_init(s, id);
    carry_plan(m, &s->snap, &t);
    r = ramfile_save(m->mem, memory_fd, s, e);
    if (r == 0) {
        carry_state(m, &s->snap, e);
        r = stream_seal(s);
        if (r != 0) {
            err_set(e, r, "cannot take a snapshot: %s", strerror(-r));
        }
    }
    if (r != 0) {
        stream_fini(s);
    }
    return r;
}

/* The stream has what this machine has, and nothing else. */
static void pass_sections(const struct machine *m, struct stream *s)
{
    char name[NAME_BYTES];

    stream_pass(s, "board");
    for (unsigned i = 0; i < m->cpus; i++) {
        (void)snprintf(name, sizeof name, "cpu.%u", i);
        stream_pass(s, name);
    }
    for (unsigned i = 0; i < m->devices; i++) {
        if (m->dev[i]->class->carry != NULL) {
            name_device(m->dev[i], i, name);
            stream_pass(s, name);
        }
    }
    if (m->options.is_deterministic) {
        stream_pass(s, "steps");
    }
    stream_pass(s, "end");
}

int snapshot_check(struct machine *m, struct stream *s, int memory_fd, bool reads_all,
                   struct err *e)
{
    uint64_t wall = m->wall_clock;
    struct told t = {0};
    int r;

    stream_rewind(s);
    carry_plan(m, &s->snap, &t);
    m->wall_clock = wall; /* nothing changes yet */
    if (snap_error(&s->snap) != 0) {
        return stream_why(s, e);
    }
    r = check_told(m, &t, e);
    r = r == 0 ? ramfile_check(m->mem, memory_fd, s, reads_all, e) : r;
    if (r != 0) {
        return r;
    }
    pass_sections(m, s);
    return stream_why(s, e);
}

int snapshot_return(struct machine *m, struct stream *s, int memory_fd, struct err *e)
{
    struct told t = {0};
    int r;

    stream_rewind(s);
    carry_plan(m, &s->snap, &t);
    r = ramfile_check(m->mem, memory_fd, s, false, e);
    if (r != 0) {
        return r;
    }
    set_told(m, &t);
    carry_state(m, &s->snap, e);
    (void)snap_begin(&s->snap, "end", 1); /* no device is left over */
    return stream_why(s, e);
}

int machine_save(struct machine *m, int fd, int memory_fd, struct err *e)
{
    struct stream s;
    int r = snapshot_take(m, &s, memory_fd, e);

    if (r != 0) {
        return r;
    }
    r = ftruncate(fd, 0) < 0 ? err_sys(e, -errno, "cannot write a snapshot") : 0;
    r = r == 0 ? stream_save(&s, fd, e) : r;
    stream_fini(&s);
    return r;
}

int machine_saved_memory(int fd, uint64_t *ret_bytes, struct err *e)
{
    struct stream s;
    uint64_t cpus = 0;
    int r = stream_load(&s, fd, e);

    if (r != 0) {
        return r;
    }
    *ret_bytes = 0;
    stream_rewind(&s);
    (void)snap_begin(&s.snap, "machine", 2);
    SNAP_FIELD(&s.snap, cpus);
    SNAP_FIELD(&s.snap, *ret_bytes);
    r = snap_error(&s.snap) == 0 ? 0 : stream_why(&s, e);
    stream_fini(&s);
    return r;
}

int machine_restore(struct machine *m, int fd, int memory_fd, unsigned how, struct err *e)
{
    struct stream s;
    int r;

    if (m->is_running) {
        return err_set(e, -EBUSY, "cannot restore into a machine that runs");
    }
    r = stream_load(&s, fd, e);
    if (r != 0) {
        return r;
    }
    r = machine_pause(m, e);
    if (r != 0) {
        stream_fini(&s);
        return r;
    }
    r = snapshot_check(m, &s, memory_fd, (how & MACHINE_RESTORE_LAZY) == 0, e);
    r = r == 0 ? ram_map_file(m->mem, memory_fd, e) : r;
    r = r == 0 ? snapshot_return(m, &s, memory_fd, e) : r;
    stream_fini(&s);
    (void)machine_resume(m, NULL); /* devices start with what was carried */
    return r;
}
