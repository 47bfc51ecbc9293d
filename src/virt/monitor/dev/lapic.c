/* lapic.c - the local APIC (SDM volume 3A, chapter 11).
 *
 * Requests come from any thread into `irr` (and `tmr`), one atomic bit each, followed by a
 * kick of the vCPU; all else belongs to the vCPU's thread.  An expired timer is a flag that
 * the vCPU turns into a request, so that a signal handler may note it. */
#include "virt/monitor/dev/lapic.h"

#include <string.h>

#include "contract/snap.h"

enum lapic_lvt {
    LVT_CMCI,
    LVT_TIMER,
    LVT_THERMAL,
    LVT_PERF,
    LVT_LINT0,
    LVT_LINT1,
    LVT_ERROR,
};

#define REG_ID      0x020u
#define REG_VERSION 0x030u
#define REG_TPR     0x080u
#define REG_PPR     0x0a0u
#define REG_EOI     0x0b0u
#define REG_LDR     0x0d0u
#define REG_DFR     0x0e0u
#define REG_SVR     0x0f0u
#define REG_ISR     0x100u
#define REG_TMR     0x180u
#define REG_IRR     0x200u
#define REG_ESR     0x280u
#define REG_CMCI    0x2f0u
#define REG_ICR     0x300u
#define REG_ICR2    0x310u
#define REG_LVT     0x320u /* timer; the others behind it */
#define REG_INITIAL 0x380u
#define REG_CURRENT 0x390u
#define REG_DIVIDE  0x3e0u
#define REG_SELF    0x3f0u

#define VERSION         0x00050014u /* 6 LVT entries */
#define SVR_ENABLED     0x100u
#define LVT_MASKED      0x10000u
#define LVT_PERIODIC    0x20000u
#define LVT_TSC         0x40000u
#define LVT_MODES       0x60000u
#define BASE_ENABLED    0x800u
#define BASE_X2APIC     0x400u
#define BASE_BSP        0x100u
#define MSR_BASE        0x1bu
#define MSR_DEADLINE    0x6e0u
#define ICR_BUSY        0x1000u
#define ESR_ILLEGAL_REG 0x80u
#define NS              1000000000u
#define TIMER_MOST_NS   (UINT64_C(1) << 60) /* it is looked at then, and set anew */

/* Bits that an entry keeps. */
static const uint32_t lvt_bits[7] = {0x107ff, 0x700ff, 0x107ff, 0x107ff,
                                     0x1a7ff, 0x1a7ff, 0x100ff};

static bool is_x2(const struct lapic *l)
{
    return (l->base & (BASE_ENABLED | BASE_X2APIC)) == (BASE_ENABLED | BASE_X2APIC);
}

static bool is_on(const struct lapic *l)
{
    return (l->base & BASE_ENABLED) != 0 && (l->svr & SVR_ENABLED) != 0;
}

void lapic_reset(struct lapic *l, bool is_init)
{
    l->tpr = l->ldr = l->esr = l->esr_seen = l->divide = l->initial = 0;
    l->dfr = UINT32_MAX;
    l->svr = 0xff;
    l->icr = l->deadline = l->timer_start_ns = 0;
    for (unsigned i = 0; i < 7; i++) {
        l->lvt[i] = LVT_MASKED;
    }
    l->is_counting = false;
    memset(l->isr, 0, sizeof l->isr);
    for (unsigned i = 0; i < LAPIC_WORDS; i++) {
        atomic_store(&l->irr[i], 0);
        atomic_store(&l->tmr[i], 0);
    }
    atomic_store(&l->is_expired, false);
    if (!is_init) {
        l->base = LAPIC_BASE | BASE_ENABLED | (l->id == 0 ? BASE_BSP : 0);
    }
    if (l->host.timer != NULL) {
        l->host.timer(l->host.who, 0);
    }
}

void lapic_init(struct lapic *l, uint32_t id, const struct lapic_host *h)
{
    memset(l, 0, sizeof *l);
    l->host = *h;
    l->id = id;
    lapic_reset(l, false);
}

uint64_t lapic_page(const struct lapic *l)
{
    return (l->base & BASE_ENABLED) != 0 && !is_x2(l) ? l->base & ~UINT64_C(0xfff) : 0;
}

/* ---- requests ---- */

static int highest(const uint32_t word[LAPIC_WORDS])
{
    for (int i = LAPIC_WORDS - 1; i >= 0; i--) {
        if (word[i] != 0) {
            return i * 32 + 31 - __builtin_clz(word[i]);
        }
    }
    return LAPIC_NO_VECTOR;
}

static int highest_request(struct lapic *l)
{
    for (int i = LAPIC_WORDS - 1; i >= 0; i--) {
        uint32_t word = atomic_load(&l->irr[i]);

        if (word != 0) {
            return i * 32 + 31 - __builtin_clz(word);
        }
    }
    return LAPIC_NO_VECTOR;
}

static uint32_t priority(const struct lapic *l)
{
    int serviced = highest(l->isr);
    uint32_t service = serviced < 0 ? 0 : (uint32_t)serviced & 0xf0;

    return (l->tpr & 0xf0) >= service ? l->tpr : service;
}

void lapic_accept(struct lapic *l, uint8_t vector, bool is_level)
{
    uint32_t bit = UINT32_C(1) << (vector & 31);

    if (vector < 16) {
        return;
    }
    if (is_level) {
        atomic_fetch_or(&l->tmr[vector / 32], bit);
    } else {
        atomic_fetch_and(&l->tmr[vector / 32], ~bit);
    }
    atomic_fetch_or(&l->irr[vector / 32], bit);
    l->host.kick(l->host.who);
}

static void accept_local(struct lapic *l, enum lapic_lvt n)
{
    if ((l->lvt[n] & LVT_MASKED) == 0 && is_on(l)) {
        lapic_accept(l, (uint8_t)l->lvt[n], false);
    }
}

static uint64_t period_ns(const struct lapic *l);

/* The host's timer for a deadline of the time-stamp counter; false: it has come. */
static bool await_deadline(struct lapic *l)
{
    uint64_t hz;
    uint64_t now = l->host.tsc(l->host.who, &hz);
    unsigned __int128 left = l->deadline - now;

    if (l->deadline <= now) {
        return false;
    }
    left = (left * NS + hz - 1) / hz;
    l->host.timer(l->host.who,
                  l->host.now(l->host.who) +
                      (left < TIMER_MOST_NS ? (uint64_t)left : TIMER_MOST_NS));
    return true;
}

/* Whether the deadline has come; else it was set anew meanwhile. */
static bool meets_deadline(struct lapic *l)
{
    if (l->deadline == 0 || await_deadline(l)) {
        return false;
    }
    l->deadline = 0;
    return true;
}

static bool ends_count(struct lapic *l)
{
    uint64_t period = period_ns(l);
    uint64_t now = l->host.now(l->host.who);

    if (!l->is_counting) {
        return false;
    }
    if (now < l->timer_start_ns + period) {
        l->host.timer(l->host.who, l->timer_start_ns + period);
        return false;
    }
    l->is_counting = (l->lvt[LVT_TIMER] & LVT_MODES) == LVT_PERIODIC;
    if (l->is_counting) {
        l->timer_start_ns = now - (now - l->timer_start_ns) % period;
        l->host.timer(l->host.who, l->timer_start_ns + period);
    }
    return true;
}

/* Turn a timer that fired into a request. */
static void settle_timer(struct lapic *l)
{
    bool is_due;

    if (!atomic_exchange(&l->is_expired, false)) {
        return;
    }
    is_due =
        (l->lvt[LVT_TIMER] & LVT_MODES) == LVT_TSC ? meets_deadline(l) : ends_count(l);
    if (is_due) {
        accept_local(l, LVT_TIMER);
    }
}

int lapic_take(struct lapic *l)
{
    int vector;

    settle_timer(l);
    vector = highest_request(l);
    if (vector < 0 || !is_on(l) || ((uint32_t)vector & 0xf0) <= (priority(l) & 0xf0)) {
        return LAPIC_NO_VECTOR;
    }
    atomic_fetch_and(&l->irr[vector / 32], ~(UINT32_C(1) << (vector & 31)));
    l->isr[vector / 32] |= UINT32_C(1) << (vector & 31);
    return vector;
}

bool lapic_has_pending(struct lapic *l)
{
    int vector;

    settle_timer(l);
    vector = highest_request(l);
    return vector >= 0 && is_on(l) && ((uint32_t)vector & 0xf0) > (priority(l) & 0xf0);
}

bool lapic_serves_one(struct lapic *l)
{
    int vector = highest(l->isr);
    unsigned served = 0;

    for (unsigned i = 0; i < LAPIC_WORDS; i++) {
        served += (unsigned)__builtin_popcount(l->isr[i]);
    }
    return served == 1 && highest_request(l) < 0 &&
           (atomic_load(&l->tmr[vector / 32]) >> (vector & 31) & 1) == 0;
}

/* LINT0 has the 8259's output: a virtual wire, also while the APIC is off. */
bool lapic_takes_extint(const struct lapic *l)
{
    return (l->base & BASE_ENABLED) == 0 || ((l->lvt[LVT_LINT0] & LVT_MASKED) == 0 &&
                                             (l->lvt[LVT_LINT0] >> 8 & 7) == APIC_EXTINT);
}

bool lapic_takes_nmi(const struct lapic *l)
{
    return (l->lvt[LVT_LINT1] & LVT_MASKED) == 0 &&
           (l->lvt[LVT_LINT1] >> 8 & 7) == APIC_NMI;
}

void lapic_eoi(struct lapic *l)
{
    int vector = highest(l->isr);
    uint32_t bit;

    if (vector < 0) {
        return;
    }
    bit = UINT32_C(1) << (vector & 31);
    l->isr[vector / 32] &= ~bit;
    if ((atomic_load(&l->tmr[vector / 32]) & bit) != 0) {
        l->host.eoi(l->host.who, (uint8_t)vector);
    }
    if (highest_request(l) >= 0) {
        l->host.kick(l->host.who);
    }
}

static void set_task_priority(struct lapic *l, uint32_t value)
{
    uint32_t old = l->tpr;

    l->tpr = value & 0xff;
    if (l->tpr < old) {
        l->host.kick(l->host.who);
    }
}

void lapic_set_tpr(struct lapic *l, uint8_t cr8)
{
    set_task_priority(l, (uint32_t)cr8 << 4);
}

/* ---- the timer: its clock has 1 GHz ---- */

static unsigned divisor(const struct lapic *l)
{
    unsigned shift = ((l->divide >> 1 & 4) | (l->divide & 3)) + 1;

    return 1u << (shift & 7);
}

static uint64_t period_ns(const struct lapic *l)
{
    return (uint64_t)l->initial * divisor(l);
}

static uint32_t current_count(struct lapic *l)
{
    uint64_t passed;
    uint64_t period = period_ns(l);

    if (l->initial == 0 || (l->lvt[LVT_TIMER] & LVT_MODES) == LVT_TSC) {
        return 0;
    }
    passed = l->host.now(l->host.who) - l->timer_start_ns;
    if (passed >= period) {
        if ((l->lvt[LVT_TIMER] & LVT_PERIODIC) == 0) {
            return 0;
        }
        passed %= period;
    }
    return l->initial - (uint32_t)(passed / divisor(l));
}

static void start_count(struct lapic *l, uint32_t initial)
{
    if ((l->lvt[LVT_TIMER] & LVT_MODES) == LVT_TSC) {
        return;
    }
    l->initial = initial;
    l->is_counting = initial != 0;
    l->timer_start_ns = l->host.now(l->host.who);
    atomic_store(&l->is_expired, false);
    l->host.timer(l->host.who, initial == 0 ? 0 : l->timer_start_ns + period_ns(l));
}

static void set_deadline(struct lapic *l, uint64_t tsc)
{
    if ((l->lvt[LVT_TIMER] & LVT_MODES) != LVT_TSC) {
        return;
    }
    l->deadline = tsc;
    if (tsc == 0) {
        l->host.timer(l->host.who, 0);
    } else if (!await_deadline(l)) {
        l->deadline = 0;
        l->host.timer(l->host.who, 0);
        accept_local(l, LVT_TIMER);
    }
}

void lapic_expire(struct lapic *l)
{
    atomic_store(&l->is_expired, true);
    l->host.kick(l->host.who);
}

static void set_lvt(struct lapic *l, unsigned n, uint32_t value)
{
    uint32_t old = l->lvt[n];

    l->lvt[n] = value & lvt_bits[n];
    if (!(l->svr & SVR_ENABLED)) {
        l->lvt[n] |= LVT_MASKED;
    }
    if (n == LVT_TIMER && ((old ^ l->lvt[n]) & LVT_MODES) != 0) {
        l->initial = 0;
        l->is_counting = false;
        l->deadline = 0;
        l->host.timer(l->host.who, 0);
    }
}

/* ---- interprocessor interrupts ---- */

static void send(struct lapic *l)
{
    struct apic_message msg = {
        .vector = (uint8_t)l->icr,
        .mode = l->icr >> 8 & 7,
        .is_logical = (l->icr >> 11 & 1) != 0,
        .dest = is_x2(l) ? (uint32_t)(l->icr >> 32) : (uint32_t)(l->icr >> 56),
    };
    unsigned shorthand = l->icr >> 18 & 3;

    if (msg.mode == APIC_INIT && (l->icr >> 14 & 1) == 0) {
        return; /* INIT level de-assert: nothing on these processors */
    }
    if (shorthand == 1) {
        if (msg.mode == APIC_FIXED) {
            lapic_accept(l, msg.vector, false);
        }
    } else if (shorthand != 0) {
        l->host.send_others(l->host.who, &msg, shorthand == 2);
    } else {
        if (!is_x2(l) && msg.dest == 0xff) {
            msg.dest = UINT32_MAX;
        }
        l->host.send(l->host.who, &msg);
    }
}

/* x2APIC: the cluster in bits 16 and above, one bit of 16 in it; xAPIC: flat or clusters of
 * four (SDM 11.6.2). */
bool lapic_matches(const struct lapic *l, uint32_t dest, bool is_logical)
{
    uint32_t ldr;

    if (dest == UINT32_MAX) {
        return true;
    }
    if (!is_logical) {
        return is_x2(l) ? dest == l->id : (dest & 0xff) == l->id || dest == 0xff;
    }
    if (is_x2(l)) {
        ldr = (l->id >> 4) << 16 | UINT32_C(1) << (l->id & 15);
        return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff) != 0;
    }
    ldr = l->ldr >> 24;
    if (l->dfr >> 28 == 15) {
        return (dest & ldr) != 0;
    }
    return (dest >> 4 & 15) == ldr >> 4 && (dest & ldr & 15) != 0;
}

/* ---- registers ---- */

static uint32_t read_vectors(struct lapic *l, uint32_t offset)
{
    unsigned n = offset >> 4 & 7;

    if (offset < REG_TMR) {
        return l->isr[n];
    }
    return offset < REG_IRR ? atomic_load(&l->tmr[n]) : atomic_load(&l->irr[n]);
}

uint32_t lapic_read(struct lapic *l, uint32_t offset)
{
    offset &= 0xff0;
    if (offset >= REG_ISR && offset < REG_ESR) {
        settle_timer(l);
        return read_vectors(l, offset);
    }
    if (offset >= REG_LVT && offset < REG_INITIAL) {
        return l->lvt[LVT_TIMER + (offset - REG_LVT) / 16];
    }
    switch (offset) {
    case REG_ID:
        return is_x2(l) ? l->id : l->id << 24;
    case REG_VERSION:
        return VERSION;
    case REG_TPR:
        return l->tpr;
    case REG_PPR:
        return priority(l);
    case REG_LDR:
        return is_x2(l) ? (l->id >> 4) << 16 | UINT32_C(1) << (l->id & 15) : l->ldr;
    case REG_DFR:
        return l->dfr;
    case REG_SVR:
        return l->svr;
    case REG_ESR:
        return l->esr;
    case REG_CMCI:
        return l->lvt[LVT_CMCI];
    case REG_ICR:
        return (uint32_t)l->icr & ~ICR_BUSY;
    case REG_ICR2:
        return (uint32_t)(l->icr >> 32);
    case REG_INITIAL:
        return l->initial;
    case REG_CURRENT:
        return current_count(l);
    case REG_DIVIDE:
        return l->divide;
    default:
        l->esr_seen |= ESR_ILLEGAL_REG;
        return 0;
    }
}

static void set_svr(struct lapic *l, uint32_t value)
{
    l->svr = value & 0x1ff;
    if ((value & SVR_ENABLED) == 0) {
        for (unsigned i = 0; i < 7; i++) {
            l->lvt[i] |= LVT_MASKED;
        }
    } else {
        l->host.kick(l->host.who);
    }
}

void lapic_write(struct lapic *l, uint32_t offset, uint32_t value)
{
    offset &= 0xff0;
    if (offset >= REG_LVT && offset < REG_INITIAL) {
        set_lvt(l, LVT_TIMER + (offset - REG_LVT) / 16, value);
        return;
    }
    switch (offset) {
    case REG_TPR:
        set_task_priority(l, value);
        break;
    case REG_EOI:
        lapic_eoi(l);
        break;
    case REG_LDR:
        l->ldr = value & 0xff000000u;
        break;
    case REG_DFR:
        l->dfr = value | 0x0fffffffu;
        break;
    case REG_SVR:
        set_svr(l, value);
        break;
    case REG_ESR:
        l->esr = l->esr_seen;
        l->esr_seen = 0;
        break;
    case REG_CMCI:
        set_lvt(l, LVT_CMCI, value);
        break;
    case REG_ICR:
        l->icr = (l->icr & ~UINT64_C(0xffffffff)) | value;
        send(l);
        break;
    case REG_ICR2:
        l->icr = (uint32_t)l->icr | (uint64_t)value << 32;
        break;
    case REG_INITIAL:
        start_count(l, value);
        break;
    case REG_DIVIDE:
        l->divide = value & 11;
        break;
    default:
        l->esr_seen |= ESR_ILLEGAL_REG;
        break;
    }
}

/* ---- MSRs ---- */

bool lapic_read_msr(struct lapic *l, uint32_t msr, uint64_t *ret)
{
    if (msr == MSR_BASE) {
        *ret = l->base;
        return true;
    }
    if (msr == MSR_DEADLINE) {
        settle_timer(l);
        *ret = l->deadline;
        return true;
    }
    if (!is_x2(l) || msr < LAPIC_X2APIC || msr > LAPIC_X2APIC + 0x3f) {
        return false;
    }
    if (msr == LAPIC_X2APIC + (REG_ICR >> 4)) {
        *ret = l->icr;
        return true;
    }
    if (msr == LAPIC_X2APIC + (REG_EOI >> 4) || msr == LAPIC_X2APIC + (REG_DFR >> 4) ||
        msr == LAPIC_X2APIC + (REG_ICR2 >> 4) || msr == LAPIC_X2APIC + (REG_SELF >> 4)) {
        return false;
    }
    *ret = lapic_read(l, (msr - LAPIC_X2APIC) << 4);
    return true;
}

static bool set_base(struct lapic *l, uint64_t value)
{
    uint64_t modes = value & (BASE_ENABLED | BASE_X2APIC);

    if (modes == BASE_X2APIC || (is_x2(l) && modes == BASE_ENABLED) ||
        (value & 0x2ff) != 0) {
        return false;
    }
    l->base = (value & ~(uint64_t)BASE_BSP) | (l->base & BASE_BSP);
    return true;
}

bool lapic_write_msr(struct lapic *l, uint32_t msr, uint64_t value)
{
    if (msr == MSR_BASE) {
        return set_base(l, value);
    }
    if (msr == MSR_DEADLINE) {
        set_deadline(l, value);
        return true;
    }
    if (!is_x2(l) || msr < LAPIC_X2APIC || msr > LAPIC_X2APIC + 0x3f) {
        return false;
    }
    switch ((msr - LAPIC_X2APIC) << 4) {
    case REG_ICR:
        l->icr = value;
        send(l);
        return true;
    case REG_SELF:
        lapic_accept(l, (uint8_t)value, false);
        return true;
    case REG_ID:
    case REG_VERSION:
    case REG_LDR:
    case REG_DFR:
    case REG_ICR2:
        return false;
    default:
        lapic_write(l, (msr - LAPIC_X2APIC) << 4, (uint32_t)value);
        return true;
    }
}

static void carry_words(struct snap *s, _Atomic uint32_t word[LAPIC_WORDS])
{
    for (unsigned i = 0; i < LAPIC_WORDS; i++) {
        uint32_t v = atomic_load(&word[i]);

        SNAP_FIELD(s, v);
        atomic_store(&word[i], v);
    }
}

static void carry_registers(struct lapic *l, struct snap *s)
{
    SNAP_FIELD(s, l->tpr);
    SNAP_FIELD(s, l->ldr);
    SNAP_FIELD(s, l->dfr);
    SNAP_FIELD(s, l->svr);
    SNAP_FIELD(s, l->esr);
    SNAP_FIELD(s, l->esr_seen);
    SNAP_FIELD(s, l->divide);
    SNAP_FIELD(s, l->icr);
    SNAP_FIELD(s, l->lvt);
    SNAP_FIELD(s, l->initial);
}

void lapic_carry(struct lapic *l, struct snap *s)
{
    SNAP_FIELD(s, l->base);
    carry_registers(l, s);
    l->is_counting = snap_number(s, l->is_counting, 1) != 0;
    if (l->is_counting && l->initial == 0) {
        snap_refuse(s);
        l->is_counting = false;
    }
    l->timer_start_ns = snap_number(s, l->timer_start_ns, l->host.now(l->host.who));
    SNAP_FIELD(s, l->deadline);
    SNAP_FIELD(s, l->isr);
    carry_words(s, l->irr);
    carry_words(s, l->tmr);
    if (s->is_loading) {
        l->host.timer(l->host.who, 0);
        lapic_expire(l); /* looks at the clock, and sets the timer anew */
    }
}
