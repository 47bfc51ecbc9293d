/* tests/fuzz/target.h - what a fuzz target offers to libFuzzer or to `driver.c`. */
#ifndef TESTS_FUZZ_TARGET_H
#define TESTS_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* Feed one input; returns 0.  Must leave nothing behind.  The name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
