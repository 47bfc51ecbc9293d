/* watch.c - data breakpoints: DR0..DR3 as DR7 arms them.
 *
 * A page in which one is armed never enters the fast path for the accesses that it
 * watches, so that each of them comes by here.  A hit is remembered in
 * `dr6_pending`; the loop makes a trap of it behind the instruction.
 * Intel SDM volume 3B, 18.2.4 and 18.2.5.
 *
 * What the host's debugger watches goes the same way, and is remembered in `is_hit`. */
#include "contract/cpu_debug.h"
#include "virt/isa/x86/memory/memory.h"

#define ON_WRITE 1u
#define ON_BOTH  3u

/* Length by the LEN field: 1, 2, 8, 4. */
static unsigned watched_bytes(uint64_t dr7, unsigned n)
{
    static const uint8_t bytes[] = {1, 2, 8, 4};

    return bytes[(dr7 >> (18 + n * 4)) & 3];
}

/* Does breakpoint `n` cover any of [at, at+bytes) for this access? */
static bool covers(const struct x86_cpu *c, unsigned n, uint64_t at, uint64_t bytes,
                   enum x86_access access)
{
    uint64_t dr7 = c->r.dr[7];
    unsigned kind = (unsigned)(dr7 >> (16 + n * 4)) & 3;
    unsigned length = watched_bytes(dr7, n);
    uint64_t first = c->r.dr[n] & ~(uint64_t)(length - 1);

    if ((dr7 >> (n * 2) & 3) == 0) {
        return false;
    }
    if (kind != ON_BOTH && !(kind == ON_WRITE && access == X86_WRITE)) {
        return false;
    }
    return first < at + bytes && at < first + length;
}

/* What the host's debugger watches of [at, at+bytes) for this access; NULL: nothing. */
static const struct cpu_watch *host_watch(const struct x86_cpu *c, uint64_t at,
                                          uint64_t bytes, enum x86_access access)
{
    for (unsigned n = 0; n < c->debug->watches; n++) {
        const struct cpu_watch *w = &c->debug->watch[n];

        if ((w->reads || access == X86_WRITE) &&
            (w->at - at < bytes || at - w->at < w->bytes)) {
            return w;
        }
    }
    return NULL;
}

bool x86_is_watched(const struct x86_cpu *c, uint64_t page, enum x86_access access)
{
    if (c->debug != NULL && host_watch(c, page, MEM_PAGE_BYTES, access) != NULL) {
        return true;
    }
    if ((c->r.dr[7] & 0xff) == 0) {
        return false;
    }
    for (unsigned n = 0; n < 4; n++) {
        if (covers(c, n, page, MEM_PAGE_BYTES, access)) {
            return true;
        }
    }
    return false;
}

void x86_note_watched(struct x86_cpu *c, uint64_t linear, unsigned bytes,
                      enum x86_access access)
{
    const struct cpu_watch *w =
        c->debug != NULL ? host_watch(c, linear, bytes, access) : NULL;

    if (w != NULL) {
        c->hit_at = w->at;
        c->is_hit = true;
        c->wants |= X86_WANT_TRAP;
    }
    if ((c->r.dr[7] & 0xff) == 0) {
        return;
    }
    for (unsigned n = 0; n < 4; n++) {
        if (covers(c, n, linear, bytes, access)) {
            c->dr6_pending |= 1u << n;
            c->wants |= X86_WANT_TRAP;
        }
    }
}
