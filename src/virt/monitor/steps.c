/* steps.c - a machine whose runs repeat: its time is counted in instructions.
 *
 * One thread, the loop's, does all.  Its one processor runs in steps, each up to the next
 * timer that is due, and each exit ends one; between two steps timers fire, in the order in
 * which they are due, and the loop turns until devices have answered what they were asked.
 * So nothing comes to the guest but at an instruction, and which one follows from what it did
 * before: not from how quick the host is, nor from what executes the guest, since engines
 * count exactly (`cpu_left`).
 *
 * An instruction takes a nanosecond.  Within a step the time-stamp counter goes on with every
 * instruction; at an exit the board's time is set to it.  A processor that halts has the time
 * of the next timer at once: an idle guest is in a hurry, and has no idle host.
 *
 * All else that a guest could tell one run from the next by follows from the seed: what
 * RDRAND gives, the machine's generation; the time of day begins at a fixed moment
 * (board/clock.c).  What people do meanwhile - the power button - comes between two steps, and
 * makes another run of it. */
#include <errno.h>

#include "base/err.h"
#include "base/series.h"
#include "contract/snap.h"
#include "virt/monitor/identity.h"
#include "virt/monitor/pci/card.h"
#include "virt/monitor/private.h"

#define STEP_MOST   100000u /* instructions: what the loop waits for */
#define QUIET_MOST  16u     /* steps without a look at the loop's descriptors */
#define PATIENCE_MS 100     /* a request that the disk has */
#define HASH_FIRST  UINT64_C(0xcbf29ce484222325) /* of FNV-1a, 64 bits: RFC 9923, 5 */
#define HASH_PRIME  UINT64_C(0x00000100000001b3)

/* ---- what is counted ---- */

static uint64_t now(const struct machine *m)
{
    const struct steps *s = &m->steps;

    return s->granted == 0 ? board_now(m->board)
                           : s->began_ns + s->granted - cpu_left(m->vcpu[0].cpu);
}

uint64_t steps_now(const struct machine *m)
{
    return m->options.is_deterministic ? now(m) : board_now(m->board);
}

void steps_reach(struct machine *m)
{
    if (m->options.is_deterministic) {
        board_set_now(m->board, now(m));
    }
}

static void add(struct steps *s, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++) {
        s->exits = (s->exits ^ (v >> i * 8 & 0xff)) * HASH_PRIME;
    }
}

/* What the guest left for.  Where steps end is our own affair, as is how often one that
 * halts is looked at. */
void steps_note(struct machine *m, const struct cpu_exit *x)
{
    struct steps *s = &m->steps;
    uint64_t at;

    if (!m->options.is_deterministic || x->kind == CPU_EXIT_KICKED ||
        x->kind == CPU_EXIT_BUDGET) {
        return;
    }
    at = s->done + s->granted - cpu_left(m->vcpu[0].cpu);
    s->is_halted = x->kind == CPU_EXIT_HALT;
    if (s->is_halted && s->halted_at == at) {
        return;
    }
    s->halted_at = s->is_halted ? at : UINT64_MAX;
    add(s, at);
    add(s, (uint64_t)x->kind << 8 | x->bytes);
    add(s, x->address);
    add(s, x->value);
}

static uint64_t give_random(void *who)
{
    struct machine *m = who;

    return series_next(&m->steps.random);
}

bool machine_repeats(const struct machine *m, uint64_t *ret_done, uint64_t *ret_exits)
{
    *ret_done = m->steps.done;
    *ret_exits = m->steps.exits;
    return m->options.is_deterministic;
}

/* ---- time ---- */

static uint64_t next_due(const struct machine *m)
{
    uint64_t due = board_next_due(m->board);
    uint64_t local = m->vcpu[0].due_ns;

    return local != 0 && local < due ? local : due;
}

/* Timers that are due by then fire; of those of one moment the local APIC's is the last. */
static void move_to(struct machine *m, uint64_t to)
{
    struct vcpu *v = &m->vcpu[0];
    uint64_t from = board_now(m->board);

    while (v->due_ns != 0 && v->due_ns <= to) {
        from = v->due_ns > from ? v->due_ns : from;
        board_advance(m->board, from);
        v->due_ns = 0;
        lapic_expire(&v->lapic);
    }
    board_advance(m->board, to);
}

void steps_shorten(struct machine *m)
{
    const struct steps *s = &m->steps;

    if (m->options.is_deterministic && s->granted != 0 &&
        next_due(m) < s->began_ns + s->granted) {
        cpu_kick(m->vcpu[0].cpu, CPU_KICK_STOP); /* the timer was set within the step */
    }
}

/* ---- the run ---- */

static bool stands(const struct machine *m)
{
    return m->pauses > 0 || atomic_load(&m->holds) != 0 ||
           atomic_load(&m->vcpu[0].is_held);
}

static bool is_busy(const struct machine *m)
{
    for (unsigned i = 0; i < m->options.card_count; i++) {
        const struct pci_card *c = &m->options.cards[i];

        if (c->is_busy != NULL && c->is_busy(c->device)) {
            return true;
        }
    }
    return false;
}

/* Until devices have answered; and now and then what comes from outside. */
static int serve(struct machine *m)
{
    struct steps *s = &m->steps;
    int r = 0;

    if (++s->quiet >= QUIET_MOST) {
        s->quiet = 0;
        r = loop_turn(m->loop, 0);
    }
    while (r == 0 && !atomic_load(&m->is_over) &&
           (!loop_is_idle(m->loop) || is_busy(m))) {
        r = loop_turn(m->loop, PATIENCE_MS);
    }
    return r;
}

/* It has nothing to do until a timer comes, or somebody. */
static int skip(struct machine *m)
{
    uint64_t due = next_due(m);

    if (due == UINT64_MAX) {
        return loop_turn(m->loop, -1);
    }
    move_to(m, due);
    return 0;
}

static int step(struct machine *m)
{
    struct steps *s = &m->steps;
    struct vcpu *v = &m->vcpu[0];
    uint64_t begun = board_now(m->board);
    uint64_t due, done;
    int r;

    move_to(m, begun);
    (void)atomic_fetch_and(&v->cpu->kicks, ~(uint32_t)CPU_KICK_STOP);
    if ((s->is_halted && !vcpu_has_work(v)) || !vcpu_obey(v)) {
        return skip(m);
    }
    due = next_due(m);
    s->is_halted = false;
    s->began_ns = begun;
    s->granted = due - begun < STEP_MOST ? due - begun : STEP_MOST;
    r = cpu_run(v->cpu, s->granted);
    done = s->granted - cpu_left(v->cpu);
    s->granted = 0;
    s->done += done;
    move_to(m, begun + done);
    return r;
}

void steps_run(struct machine *m)
{
    int r = 0;

    while (r == 0 && !atomic_load(&m->is_over)) {
        if (stands(m)) {
            r = loop_turn(m->loop, -1);
            continue;
        }
        r = serve(m);
        if (r == 0 && !atomic_load(&m->is_over) && !stands(m)) {
            r = step(m);
        }
    }
    if (r != 0) {
        machine_finish(m, MACHINE_BROKEN, 0);
    }
    while (!m->is_over_heard && loop_turn(m->loop, -1) == 0) {
    }
}

/* ---- life ---- */

int steps_init(struct machine *m, struct err *e)
{
    struct machine_options *o = &m->options;
    uint64_t state = o->seed;

    if (!o->is_deterministic) {
        return 0;
    }
    if (o->cpus_most > 1) {
        return err_set(e, -EINVAL,
                       "cannot make a deterministic machine of more than one processor");
    }
    for (unsigned i = 0; i < IDENTITY_BYTES; i++) {
        o->generation[i] = (uint8_t)series_next(&state);
    }
    m->steps.random = series_next(&state);
    m->steps.exits = HASH_FIRST;
    m->steps.halted_at = UINT64_MAX;
    m->env.random = give_random;
    return 0;
}

void steps_carry(struct machine *m, struct snap *s)
{
    if (!m->options.is_deterministic) {
        return;
    }
    (void)snap_begin(s, "steps", 1);
    SNAP_FIELD(s, m->steps.done);
    SNAP_FIELD(s, m->steps.exits);
    SNAP_FIELD(s, m->steps.random);
    SNAP_FIELD(s, m->steps.halted_at);
    snap_bool(s, &m->steps.is_halted);
    snap_end(s);
}
