/* vendor.h - whose processor runs a test.
 *
 * Where the manuals leave results open - flags behind shifts, shifts of 16 bits by more,
 * prefixes and encodings without a meaning, x87 pointers without an exception - the engines
 * give what Intel's processors give.  Another vendor's gives something else there: tests that
 * compare with the host leave those results out on it, or skip and say so. */
#ifndef TESTS_BASE_VENDOR_H
#define TESTS_BASE_VENDOR_H

#include <cpuid.h>
#include <stdbool.h>

#define VENDOR_REASON                                                                    \
    "this processor is not Intel's: it gives other results where the manuals leave "     \
    "them open\n"

static inline bool vendor_is_intel(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;

    return __get_cpuid(0, &a, &b, &c, &d) != 0 && b == signature_INTEL_ebx;
}

#endif
