/* text.c - numbers and bytes as hexadecimal digits. */
#include "virt/monitor/gdb/private.h"

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool text_take(const char **at, char c)
{
    if (**at != c) {
        return false;
    }
    (*at)++;
    return true;
}

bool text_number(const char **at, uint64_t *ret)
{
    uint64_t v = 0;
    unsigned n = 0;

    for (; digit(**at) >= 0; n++, (*at)++) {
        if (n == 16) {
            return false;
        }
        v = v << 4 | (uint64_t)digit(**at);
    }
    *ret = v;
    return n > 0;
}

bool text_bytes(const char **at, uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = digit((*at)[0]);
        int low = high < 0 ? -1 : digit((*at)[1]);

        if (low < 0) {
            return false;
        }
        to[i] = (uint8_t)(high << 4 | low);
        *at += 2;
    }
    return true;
}
