/* fault.c - failing allocations and interruptible steps, for tests. */
#include "base/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long alloc_countdown = -1; /* test switch: the one mutable global of this folder */

static bool alloc_fails(void)
{
    if (alloc_countdown < 0) {
        return false;
    }
    alloc_countdown -= 1;
    return alloc_countdown == -1;
}

void fault_fail_alloc_at(long n)
{
    alloc_countdown = n;
}

void *fault_malloc(size_t size)
{
    return alloc_fails() ? NULL : malloc(size);
}

void *fault_calloc(size_t n, size_t size)
{
    return alloc_fails() ? NULL : calloc(n, size);
}

void *fault_aligned(size_t align, size_t size)
{
    void *p =
        alloc_fails() ? NULL : aligned_alloc(align, (size + align - 1) & ~(align - 1));

    return p == NULL ? NULL : memset(p, 0, size);
}

void *fault_realloc(void *old, size_t size)
{
    return alloc_fails() ? NULL : realloc(old, size);
}

char *fault_strdup(const char *text)
{
    return alloc_fails() ? NULL : strdup(text);
}

#ifdef FAULTS
static atomic_long step_count;

/* `passed` is the number of this step, from 1. */
static bool is_chosen(const char *which, const char *name, long passed)
{
    char *end;
    long n = strtol(which, &end, 10);

    return *end == '\0' && end != which ? n == passed : strcmp(which, name) == 0;
}

int fault_step(const char *name)
{
    const char *order = getenv("STRATA_FAULT");
    long passed;

    if (order == NULL) {
        return 0;
    }
    passed = atomic_fetch_add(&step_count, 1) + 1;
    if (strncmp(order, "list:", 5) == 0) {
        (void)dprintf((int)strtol(order + 5, NULL, 10), "%s\n", name);
        return 0;
    }
    if (strlen(order) < 6 || order[4] != ':' || !is_chosen(order + 5, name, passed)) {
        return 0;
    }
    if (strncmp(order, "kill", 4) == 0) {
        (void)raise(SIGKILL); /* a confined process may send none to others */
    }
    return strncmp(order, "full", 4) == 0 ? -ENOSPC : -EIO;
}
#endif
