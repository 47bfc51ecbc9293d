/* marks.c - sets of bytes of a page. */
#include "virt/isa/x86/translate/unit.h"

/* The bits [from, to) of one word, as a mask; `word` counts words. */
static uint64_t bits_of(unsigned word, unsigned from, unsigned to)
{
    unsigned first = from > word * 64 ? from - word * 64 : 0;
    unsigned last = to < word * 64 + 64 ? to - word * 64 : 64; /* behind the last bit */

    return UINT64_MAX << first & UINT64_MAX >> (64 - last);
}

void marks_set(struct marks *m, unsigned from, unsigned to, bool on)
{
    unsigned word;

    for (word = from / 64; word * 64 < to; word++) {
        uint64_t bits = bits_of(word, from, to);

        m->word[word] = on ? m->word[word] | bits : m->word[word] & ~bits;
    }
}

bool marks_touch(const struct marks *m, unsigned from, unsigned to)
{
    uint64_t found = 0;
    unsigned word;

    for (word = from / 64; word * 64 < to; word++) {
        found |= m->word[word] & bits_of(word, from, to);
    }
    return found != 0;
}
