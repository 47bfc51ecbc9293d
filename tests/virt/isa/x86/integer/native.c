/* native.c - see native.h.  The order of the block: flags, rax, rcx, ... without rsp. */
#include "native.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define CODE_BYTES 4096
#define SLOTS      16 /* flags and 15 registers */

static struct {
    uint8_t *code;
    uint64_t host_rsp;
    uint64_t before[64]; /* room below the block for signals that are not ours */
    uint64_t block[SLOTS];
    uint8_t *behind; /* where the instruction ends: #DE goes on there */
    bool failed;
} n;

static void on_fpe(int signo, siginfo_t *info, void *context)
{
    ucontext_t *u = context;

    (void)signo;
    (void)info;
    n.failed = true;
    u->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)n.behind;
}

void native_begin(void)
{
    static uint8_t stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction a = {.sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    if (n.code == NULL) {
        n.code = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (n.code == MAP_FAILED || sigaltstack(&alternate, NULL) < 0 ||
        sigaction(SIGFPE, &a, NULL) < 0) {
        abort();
    }
}

static uint8_t *put(uint8_t *p, const void *bytes, unsigned count)
{
    memcpy(p, bytes, count);
    return p + count;
}

static uint8_t *put_address(uint8_t *p, const void *at)
{
    uint64_t v = (uint64_t)(uintptr_t)at;

    return put(p, &v, 8);
}

/* push or pop of register `r` */
static uint8_t *put_stack(uint8_t *p, uint8_t opcode, unsigned r)
{
    if (r >= 8) {
        *p++ = 0x41;
    }
    *p++ = (uint8_t)(opcode + (r & 7));
    return p;
}

static void assemble(const uint8_t *bytes, unsigned count)
{
    static const unsigned saved[] = {3, 5, 12, 13, 14, 15};
    uint8_t *p = n.code;

    for (unsigned k = 0; k < 6; k++) {
        p = put_stack(p, 0x50, saved[k]);
    }
    p = put(p, "\x48\xb8", 2); /* mov rax, imm64 */
    p = put_address(p, &n.host_rsp);
    p = put(p, "\x48\x89\x20", 3); /* mov [rax], rsp */
    p = put(p, "\x48\xbc", 2);     /* mov rsp, imm64 */
    p = put_address(p, n.block);
    *p++ = 0x9d;
    for (unsigned r = 0; r < 16; r++) {
        p = r == 4 ? p : put_stack(p, 0x58, r);
    }
    p = put(p, bytes, count);
    n.behind = p;
    for (unsigned r = 16; r-- > 0;) {
        p = r == 4 ? p : put_stack(p, 0x50, r);
    }
    p = put(p, "\x9c\xfc\x48\xb8", 4); /* pushfq; cld; mov rax, imm64 */
    p = put_address(p, &n.host_rsp);
    p = put(p, "\x48\x8b\x20", 3); /* mov rsp, [rax] */
    for (unsigned k = 6; k-- > 0;) {
        p = put_stack(p, 0x58, saved[k]);
    }
    *p = 0xc3;
}

bool native_run(struct native_state *s, const uint8_t *bytes, unsigned count)
{
    void (*call)(void);
    unsigned slot = 0;

    assemble(bytes, count);
    n.block[slot++] = (s->flags & 0x8d5) | 0x202;
    for (unsigned r = 0; r < 16; r++) {
        if (r != 4) {
            n.block[slot++] = s->gpr[r];
        }
    }
    n.failed = false;
    memcpy(&call, &n.code, sizeof call);
    call();
    if (n.failed) {
        return false;
    }
    slot = 0;
    s->flags = n.block[slot++] & 0xcd5;
    for (unsigned r = 0; r < 16; r++) {
        if (r != 4) {
            s->gpr[r] = n.block[slot++];
        }
    }
    return true;
}

#define LOW_BYTES  8192
#define LOW_BLOCK  4096 /* the 32-bit block, behind the code */
#define LOW_CODE32 128
#define LOW_CODE64 192

/* Code below 4 GiB:  0 64-bit: save rsp, far return to LOW_CODE32;  LOW_CODE32: load,
 * the instruction, store, far jump to LOW_CODE64: back. */
static uint8_t *low;

static uint8_t *put32(uint8_t *p, const void *at)
{
    uint32_t v = (uint32_t)(uintptr_t)at;

    return put(p, &v, 4);
}

static void assemble32(const uint8_t *bytes, unsigned count)
{
    uint8_t *p = low;

    p = put(p, "\x53\x48\xb8", 3); /* push rbx; mov rax, imm64 */
    p = put_address(p, &n.host_rsp);
    p = put(p, "\x48\x89\x20\xbc", 4); /* mov [rax], rsp; mov esp, imm32 */
    p = put32(p, low + LOW_BLOCK - 16);
    p = put(p, "\x6a\x23\x68", 3); /* push CODE32; push imm32; lretq */
    p = put32(p, low + LOW_CODE32);
    (void)put(p, "\x48\xcb", 2);
    p = low + LOW_CODE32;
    *p++ = 0xbc; /* mov esp, imm32 */
    p = put32(p, low + LOW_BLOCK);
    p = put(p, "\x9d\x58", 2); /* popfd; pop eax */
    p = put(p, bytes, count);
    n.behind = p;
    p = put(p, "\x50\x9c\xea", 3); /* push eax; pushfd; ljmp */
    p = put32(p, low + LOW_CODE64);
    (void)put(p, "\x33\x00", 2);
    p = put(low + LOW_CODE64, "\x48\xb8", 2);
    p = put_address(p, &n.host_rsp);
    (void)put(p, "\x48\x8b\x20\x5b\xc3", 5); /* mov rsp, [rax]; pop rbx; ret */
}

bool native_run32(struct native_state *s, const uint8_t *bytes, unsigned count)
{
    uint32_t block[2] = {(uint32_t)(s->flags & 0x8d5) | 0x202, (uint32_t)s->gpr[0]};
    void (*call)(void);

    if (low == NULL) {
        low = mmap(NULL, LOW_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
        if (low == MAP_FAILED) {
            abort();
        }
    }
    assemble32(bytes, count);
    memcpy(low + LOW_BLOCK, block, sizeof block);
    n.failed = false;
    memcpy(&call, &low, sizeof call);
    call();
    if (n.failed) {
        return false;
    }
    memcpy(block, low + LOW_BLOCK, sizeof block);
    s->flags = block[0] & 0xcd5;
    s->gpr[0] = block[1];
    return true;
}
