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
    KEPT(16, "\xe2\xfe"),                             /* loop to itself */
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
