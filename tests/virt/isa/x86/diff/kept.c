/* kept.c - code that once was executed wrongly, or might easily be: with random starts
 * on every run, so that what was mended stays so. */
#include <string.h>

#include "make.h"

struct kept {
    enum x86_code_mode mode;
    uint8_t bytes;
    uint8_t code[24];
};

#define KEPT(mode, text)                                                                 \
    {                                                                                    \
        X86_CODE##mode, sizeof(text) - 1, text                                           \
    }

static const struct kept cases[] = {
    KEPT(64, "\x66\x63\x0b\x66\x63\x4b\x01"), /* movsxd cx,[rbx]; movsxd cx,[rbx+1] */
    KEPT(64, "\xff\x54\x24\xf8"),             /* call [rsp-8] */
    KEPT(64, "\x4d\x87\xcb\x41\xf7\xd9"),     /* xchg r11,r9; neg r9d */
    KEPT(64, "\x8a\xe9"),                     /* mov ch,cl */
    KEPT(64, "\x44\x0f\x29\x34\x25\x31\x00\x00\x00"), /* movaps [0x31],xmm14 */
    KEPT(64, "\xff\x64\x24\x08"),                     /* jmp [rsp+8] */
    KEPT(64, "\xc2\x08\x00"),                         /* ret 8 */
    KEPT(64, "\xff\xd4"),                             /* call rsp */
    KEPT(64, "\x5c"),                                 /* pop rsp */
    KEPT(64, "\x8f\x44\x24\xf8"),                     /* pop [rsp-8] */
    KEPT(64, "\x54\xff\x34\x24"),                     /* push rsp; push [rsp] */
    KEPT(64, "\xf3\xa4\xf3\xab"),                     /* rep movsb; rep stosd */
    KEPT(64, "\x48\x0f\xb1\x0b\x9c"),                 /* cmpxchg [rbx],rcx; pushfq */
    KEPT(64, "\xc8\x10\x00\x03\xc9"),                 /* enter 16,3; leave */
    KEPT(32, "\xff\x54\x24\xfc"),                     /* call [esp-4] */
    KEPT(32, "\x86\xe0\x86\xc4"),                     /* xchg al,ah; xchg ah,al */
    KEPT(32, "\x61"),                                 /* popa */
    KEPT(16, "\x60\x61"),                             /* pusha; popa */
    KEPT(16, "\xc8\x10\x00\x02\xc9"),                 /* enter 16,2; leave */
    KEPT(16, "\xbc\xfa\x0f\x61"),         /* mov sp,0xffa; popa: over the page's end */
    KEPT(32, "\xbc\xf4\x0f\x00\x30\x61"), /* mov esp,0x30000ff4; popa */
    KEPT(16, "\x16\x07\x26\x8a\x46\x00"), /* push ss; pop es; mov al,es:[bp] */
    KEPT(16, "\x1e\x17\x16\x0f\xa1\x64\x8a\x47\x01"), /* push ds; pop ss; push ss; pop fs;
                                                        * mov al,fs:[bx+1] */
    KEPT(32, "\x0f\xa8\x07\x26\x8a\x03"),     /* push gs; pop es; mov al,es:[ebx] */
    KEPT(16, "\xbe\xff\xff\xbf\xf0\x2f\xa7"), /* mov si,0xffff; mov di,0x2ff0; cmpsw */
    KEPT(16, "\xbf\xff\xff\xbe\x00\x20\xa7"), /* mov di,0xffff; mov si,0x2000; cmpsw */
    KEPT(64, "\x41\xbe\x06\x00\x00\x25\xc4\x43\x79\x1d\x56\x06\xaa"),
    /* mov r14d,0x25000006; vcvtps2ph [r14+6],xmm10,0xaa: its flags and its fault */
    KEPT(64,
         "\x49\xd1\xe6\xc4\x43\x79\x1d\x16\x04"), /* shl r14,1; vcvtps2ph [r14],xmm10,4 */
    KEPT(64, "\xc4\xc3\x7d\x1d\x66\x10\x30\x41\xd3\x6e\x20"),
    /* vcvtps2ph [r14+16],ymm4,0x30; shr [r14+32],cl: the first into a read-only page */
    KEPT(
        16,
        "\xbe\xfb\xff\xc4\xe2\x71\x2c\x1c"), /* mov si,0xfffb; vmaskmovps xmm3,xmm1,[si] */
    KEPT(
        16,
        "\xbe\xf8\xff\xc4\xe2\x71\x2f\x1c"), /* mov si,0xfff8; vmaskmovpd [si],xmm1,xmm3 */
    KEPT(16, "\xbf\xfb\xff\x66\x0f\xf7\xca"), /* mov di,0xfffb; maskmovdqu xmm1,xmm2 */
    KEPT(16, "\xbf\xfb\xff\x0f\xf7\xca"),     /* mov di,0xfffb; maskmovq mm1,mm2 */
    KEPT(16, "\x66\xc8\xfa\xf7\x01"), /* enterd 0xf7fa,1: its last check crosses pages */
    KEPT(16, "\xc8\xfd\xf7\x00"),     /* enter 0xf7fd,0 */
    KEPT(64,
         "\xbc\x00\x28\x00\x20\xc8\xf4\x07\x00"), /* mov esp,0x20002800; enter 0x7f4,0 */
    KEPT(16, "\xe2\xfe"),                         /* loop to itself */
};

/* The cell that an instruction is of, or `cells`. */
static unsigned cell_of(const struct make *m, const struct x86_insn *i)
{
    unsigned n, found = m->cells;

    for (n = m->first[i->mode]; n < m->end[i->mode]; n++) {
        const struct x86_cell *c = &m->cell[n].cell;

        if (c->row == i->row && c->is_memory == i->is_memory &&
            (found == m->cells || c->size == i->size)) {
            found = n;
        }
    }
    return found;
}

bool make_kept(const struct make *m, struct random *r, unsigned n, struct job *j,
               struct recipe *ret_recipe)
{
    struct x86_insn i;
    unsigned at;

    if (n >= sizeof cases / sizeof cases[0]) {
        return false;
    }
    make_begin(r, cases[n].mode, j, ret_recipe);
    memcpy(j->code, cases[n].code, cases[n].bytes);
    j->code_bytes = cases[n].bytes;
    for (at = 0; at < j->code_bytes; at += i.length) {
        unsigned cell;

        if (x86_decode(j->code + at, j->code_bytes - at, cases[n].mode, &i) !=
            X86_DECODED) {
            break;
        }
        cell = cell_of(m, &i);
        if (cell < m->cells) {
            make_note(m, ret_recipe, cell);
        }
    }
    return true;
}
