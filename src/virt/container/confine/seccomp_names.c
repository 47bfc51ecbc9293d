/* seccomp_names.c - system calls by name. */
#include <linux/audit.h>
#include <stdlib.h>
#include <string.h>

#include "virt/container/confine/seccomp_plan.h"

#define NAME_BYTES 30
#define X32_BIT    0x40000000U /* __X32_SYSCALL_BIT, <asm/unistd.h> */

/* No pointers: a table with them would be written to at every start. */
struct row {
    char name[NAME_BYTES];
#if defined(__aarch64__)
    int32_t numbers[SECCOMP_ARCHES];
#else
    int16_t numbers[SECCOMP_ARCHES];
#endif
};

#if defined(__aarch64__)
#    define SYSCALL(name, x86_64, i386, x32, arm64, arm) {name, {arm64, arm}},
const struct seccomp_arch seccomp_arches[SECCOMP_ARCHES] = {
    {"SCMP_ARCH_AARCH64", AUDIT_ARCH_AARCH64, 0, true, false},
    {"SCMP_ARCH_ARM", AUDIT_ARCH_ARM, 0, false, false},
};
#else
#    define SYSCALL(name, x86_64, i386, x32, arm64, arm) {name, {x86_64, i386, x32}},
const struct seccomp_arch seccomp_arches[SECCOMP_ARCHES] = {
    {"SCMP_ARCH_X86_64", AUDIT_ARCH_X86_64, 0, true, false},
    {"SCMP_ARCH_X86", AUDIT_ARCH_I386, 0, false, true},
    {"SCMP_ARCH_X32", AUDIT_ARCH_X86_64, X32_BIT, false, false},
};
#endif

static const struct row rows[] = {
#include "virt/container/confine/syscalls.rows.h"
};

const char *seccomp_name(size_t i)
{
    return i < sizeof rows / sizeof *rows ? rows[i].name : NULL;
}

static int compare(const void *name, const void *row)
{
    return strcmp(name, ((const struct row *)row)->name);
}

long seccomp_number(const char *name, uint32_t arch)
{
    const struct row *row =
        bsearch(name, rows, sizeof rows / sizeof *rows, sizeof *rows, compare);

    return row != NULL ? row->numbers[arch] : -1;
}
