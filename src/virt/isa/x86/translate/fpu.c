/* fpu.c - whose the x87 state is.
 *
 * It lies in the processor's struct, and is lent to the host's x87 unit while generated
 * code uses it (emit/fpu.c).  C code never sees it there: whoever comes out of generated
 * code takes it first.  Those are three: the end of `enter`, a routine that generated
 * code calls, and a fault (`fault` in run.c, where every longjmp arrives).  What only
 * fetches or stores for generated code leaves it alone, and uses no x87 instruction.
 *
 * FIP, FOP, FDP stay in the struct: lifted code sets FIP, and the others change with
 * unmasked exceptions only, which there are none of while the state is lent. */
#include <string.h>

#include "virt/isa/x86/translate/private.h"

#define MASKS     0x003f
#define WAITING   0x8080 /* ES and B: an unmasked exception */
#define X87_PART  1      /* of XSAVE's components */
#define MXCSR_ALL 0x1f80
#define GIVEN_UP  2 /* as in slow.c */

bool fpu_can_lend(const struct x86_cpu *c)
{
    return (c->r.cr0 & (X86_CR0_EM | X86_CR0_TS)) == 0 &&
           (c->r.fpu.fcw & MASKS) == MASKS && (c->r.fpu.fsw & WAITING) == 0;
}

/* The image has the registers by their distance from TOP (SDM volume 1, table 10-2). */
static uint8_t *image_st(struct fpu_image *m, unsigned n)
{
    return m->legacy + 32 + (size_t)16 * n;
}

void fpu_lend(struct translate_cpu *t)
{
    struct x86_fpu *f = &t->x.r.fpu;
    struct fpu_image *m = &t->image;
    const uint32_t mxcsr = MXCSR_ALL;
    unsigned n;

    memcpy(m->legacy, &f->fcw, 2);
    memcpy(m->legacy + 2, &f->fsw, 2);
    m->legacy[4] = f->ftw;
    memcpy(m->legacy + 24, &mxcsr, 4);
    for (n = 0; n < 8; n++) {
        memcpy(image_st(m, n), f->st[((unsigned)(f->fsw >> 11) + n) & 7], 10);
    }
    m->components = X87_PART;
    __asm__ volatile("xrstor64 %0" : : "m"(*m), "a"(X87_PART), "d"(0) : "memory");
    t->frame.fpu_lent = 1;
}

void fpu_take(struct translate_cpu *t)
{
    struct x86_fpu *f = &t->x.r.fpu;
    struct fpu_image *m = &t->image;
    unsigned n;

    if (t->frame.fpu_lent == 0) {
        return;
    }
    __asm__ volatile("xsave64 %0\n\tfninit"
                     : "+m"(*m)
                     : "a"(X87_PART), "d"(0)
                     : "memory");
    t->frame.fpu_lent = 0;
    memcpy(&f->fcw, m->legacy, 2);
    memcpy(&f->fsw, m->legacy + 2, 2);
    f->ftw = m->legacy[4];
    for (n = 0; n < 8; n++) {
        memcpy(f->st[((unsigned)(f->fsw >> 11) + n) & 7], image_st(m, n), 10);
    }
}

/* The site is in front of an x87 instruction.  Its unit's key says that the state may be
 * lent; should it not be so, the interpreter executes the instruction. */
void fpu_helper(void *cpu)
{
    struct translate_cpu *t = cpu;

    if (!fpu_can_lend(&t->x)) {
        longjmp(t->x.unwind, GIVEN_UP);
    }
    fpu_lend(t);
}
