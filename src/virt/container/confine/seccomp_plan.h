/* seccomp_plan.h - a profile between reading it and making the filter. */
#ifndef VIRT_CONTAINER_CONFINE_SECCOMP_PLAN_H
#define VIRT_CONTAINER_CONFINE_SECCOMP_PLAN_H

#include "virt/container/confine/seccomp_private.h"

#define SECCOMP_ARGS 6 /* of a system call */

#if defined(__aarch64__)
#    define SECCOMP_ARCHES 2
#else
#    define SECCOMP_ARCHES 3
#endif

enum seccomp_op {
    SECCOMP_NE,
    SECCOMP_LT,
    SECCOMP_LE,
    SECCOMP_EQ,
    SECCOMP_GE,
    SECCOMP_GT,
    SECCOMP_MASKED_EQ
};

/* What this machine executes; the first is its own. */
extern const struct seccomp_arch {
    const char *name; /* in a profile */
    uint32_t audit;   /* AUDIT_ARCH_..., what the kernel tells the filter */
    uint32_t bit;     /* in every number of it */
    bool is_wide;     /* arguments have 64 bits */
    bool has_socketcall;
} seccomp_arches[SECCOMP_ARCHES];

struct seccomp_cond {
    uint8_t arg;
    uint8_t op; /* enum seccomp_op */
    uint64_t value;
    uint64_t mask;
};

/* One rule for one call. */
struct seccomp_call {
    uint32_t arch; /* index */
    uint32_t nr;
    uint32_t action; /* SECCOMP_RET_... */
    uint32_t first;  /* of its conditions */
    uint32_t n_conds;
    uint32_t order; /* in the profile */
};

struct seccomp_plan {
    uint32_t fallback;          /* for calls that no rule is about */
    uint32_t arches;            /* mask of indices */
    struct seccomp_call *calls; /* owned */
    size_t n_calls;
    struct seccomp_cond *conds; /* owned */
    size_t n_conds;
};

/* seccomp_names.c: the number of a call, without `bit`; -1: none. */
long seccomp_number(const char *name, uint32_t arch);
const char *seccomp_name(size_t i); /* in order; NULL: no more */

/* seccomp_emit.c: fills insns and n.  Sorts the calls. */
int seccomp_emit(struct seccomp_plan *p, struct seccomp_filter *f);

#endif
