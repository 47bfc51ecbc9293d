/* code.h - room for code that a program writes itself. */
#ifndef BENCH_CPU_CODE_H
#define BENCH_CPU_CODE_H

#include "cpu.h"

#define CODE_BYTES (256 * 1024)

/* Writable and executable by the file's own headers, so that no call is needed. */
__attribute__((section(".code,\"awx\",@nobits#"),
               aligned(4096))) static uint8_t code[CODE_BYTES];

/* rax = rdi, or eax = the argument on the stack; WIDE is the prefix of 64-bit operands. */
#ifdef __x86_64__
typedef uint64_t function(uint64_t);
#    define WIDE           "\x48"
#    define WIDE_BYTES     1
#    define ARGUMENT       "\x48\x89\xf8"
#    define ARGUMENT_BYTES 3
#else
typedef uint32_t function(uint32_t);
#    define WIDE           ""
#    define WIDE_BYTES     0
#    define ARGUMENT       "\x8b\x44\x24\x04"
#    define ARGUMENT_BYTES 4
#endif

/* Tell the compiler that memory is what it is; x86 needs no more. */
static inline function *code_at(uint32_t offset)
{
    __asm__ volatile("" : : : "memory");
    return (function *)(uintptr_t)(code + offset);
}

static inline uint8_t *put(uint8_t *at, const char *bytes, int n)
{
    while (n-- > 0) {
        *at++ = (uint8_t)*bytes++;
    }
    return at;
}

static inline uint8_t *put32(uint8_t *at, uint32_t value)
{
    int i;

    for (i = 0; i < 4; i++) {
        *at++ = (uint8_t)(value >> (8 * i));
    }
    return at;
}

/* The argument; then `length` operations chosen by `seed`; return. */
static inline uint8_t *put_function(uint8_t *at, uint32_t length, uint64_t *seed)
{
    at = put(at, ARGUMENT, ARGUMENT_BYTES);
    while (length-- > 0) {
        uint32_t dice = (uint32_t)(cpu_random(seed) >> 32);

        switch (dice & 3) {
        case 0:
            at = put32(put(at, WIDE "\x05", WIDE_BYTES + 1), dice); /* add rax, dice */
            break;
        case 1:
            at = put32(put(at, WIDE "\x35", WIDE_BYTES + 1), dice); /* xor rax, dice */
            break;
        case 2:
            at = put(at, WIDE "\xc1\xc0\x07", WIDE_BYTES + 3); /* rol rax, 7 */
            break;
        default:
            at = put32(put(at, WIDE "\x69\xc0", WIDE_BYTES + 2),
                       dice | 1); /* imul rax, rax, dice */
            break;
        }
    }
    return put(at, "\xc3", 1);
}

#endif
