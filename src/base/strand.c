/* strand.c - coroutines with stacks of their own.
 *
 * A strand's stack is a private mapping with a guard page below it; finished
 * strands keep theirs in the pool, so that in steady state a start costs no
 * call of the kernel.  On x86-64 a switch saves what the System V ABI says that a
 * callee keeps (rbx, rbp, r12 to r15, the stack pointer; the control words of
 * floating point are never changed by users of strands) in a dozen
 * instructions; elsewhere swapcontext() does it, with two calls of the kernel.
 *
 * Invariant: `pool->current` is the strand whose stack the processor is on.  A
 * resumed strand remembers in `caller` who resumed it; suspend goes back there.
 * The chain of callers ends at the thread's own stack, `pool->base`.
 *
 * The address sanitizer is told of each switch, as it keeps one shadow of fake
 * stacks per stack. */
#include "base/strand.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fault.h"

#if !defined(__x86_64__)
#    include <ucontext.h>
#endif

/* gcc defines a name, clang answers a question. */
#if !defined(__has_feature)
#    define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#    define WITH_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#    define WITH_TSAN 1
#endif

#if defined(WITH_ASAN)
#    include <sanitizer/asan_interface.h>
#    include <sanitizer/common_interface_defs.h>
#    define STACK_BYTES (512 * 1024) /* frames are several times as large */
#else
#    define STACK_BYTES (128 * 1024) /* touched pages only are memory */
#endif
#if defined(WITH_TSAN)
#    include <sanitizer/tsan_interface.h>
#endif

#define GUARD_BYTES 4096
#define SPARE_MOST  256 /* stacks that a pool keeps */

/* Where a stack was left. */
struct place {
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t context;
#endif
#if defined(WITH_ASAN)
    void *fake;
    const void *bottom;
    size_t bytes;
#endif
#if defined(WITH_TSAN)
    void *fiber;
#endif
};

struct strand {
    struct strand_pool *pool;
    struct strand *next;   /* in a queue or among the spare ones */
    struct strand *caller; /* who resumed it; NULL: the thread */
    struct place place;
    void (*fn)(void *arg);
    void *arg;
    char *stack; /* the mapping, guard page first */
    bool done;
};

struct strand_pool {
    struct strand *current;
    struct strand *spare;
    unsigned spare_count;
    unsigned count; /* started and not returned */
    struct place base;
};

#if defined(__x86_64__)
/* Save the callee-saved registers on the present stack, its pointer at `from`,
 * and go on from the stack pointer `to`. */
void strand_switch_stack(void **from, void *to);

__asm__(".text\n"
        ".p2align 4\n"
        ".hidden strand_switch_stack\n"
        ".globl strand_switch_stack\n"
        ".type strand_switch_stack, @function\n"
        "strand_switch_stack:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    retq\n"
        ".size strand_switch_stack, . - strand_switch_stack\n");
#endif

/* Leave `from` for `to`; `leaving` when `from` never goes on. */
static void go(struct place *from, struct place *to, bool leaving)
{
#if defined(WITH_ASAN)
    __sanitizer_start_switch_fiber(leaving ? NULL : &from->fake, to->bottom, to->bytes);
#endif
#if defined(WITH_TSAN)
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    (void)leaving;
#if defined(__x86_64__)
    strand_switch_stack(&from->sp, to->sp);
#else
    (void)swapcontext(&from->context, &to->context);
#endif
#if defined(WITH_ASAN)
    __sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
#endif
}

static struct place *place_of(struct strand_pool *pool, struct strand *s)
{
    return s != NULL ? &s->place : &pool->base;
}

/* The first frame of each strand; serves one function after the other, since a
 * spare strand is resumed where it ended the last one. */
static void strand_main(struct strand *s)
{
#if defined(WITH_ASAN)
    const void *bottom = NULL;
    size_t bytes = 0;

    __sanitizer_finish_switch_fiber(NULL, &bottom, &bytes);
    if (s->caller == NULL) {
        s->pool->base.bottom = bottom;
        s->pool->base.bytes = bytes;
    }
#endif
    for (;;) {
        struct strand_pool *pool = s->pool;

        s->fn(s->arg);
        s->done = true;
        pool->current = s->caller;
        go(&s->place, place_of(pool, s->caller), false);
    }
}

#if defined(__x86_64__)
/* Where a new stack begins: `ret` of the switch comes here with the stack as
 * after a call, and the strand in rbx. */
void strand_first(void);

__asm__(".text\n"
        ".p2align 4\n"
        ".hidden strand_first\n"
        ".globl strand_first\n"
        ".type strand_first, @function\n"
        "strand_first:\n"
        "    xorl %ebp, %ebp\n"
        "    movq %rbx, %rdi\n"
        "    callq *%r12\n"
        "    ud2\n"
        ".size strand_first, . - strand_first\n");

static void make_context(struct strand *s)
{
    uintptr_t *sp = (uintptr_t *)(void *)(s->stack + GUARD_BYTES + STACK_BYTES);

    *--sp = 0;
    *--sp = 0; /* a multiple of 16 remains for the call there */
    *--sp = (uintptr_t)strand_first;
    *--sp = 0;                      /* rbp */
    *--sp = (uintptr_t)s;           /* rbx */
    *--sp = (uintptr_t)strand_main; /* r12 */
    *--sp = 0;
    *--sp = 0;
    *--sp = 0;
    s->place.sp = sp;
}
#else
static void enter(unsigned high, unsigned low)
{
    strand_main((struct strand *)(((uintptr_t)high << 32) | low));
}

static void make_context(struct strand *s)
{
    (void)getcontext(&s->place.context);
    s->place.context.uc_stack.ss_sp = s->stack + GUARD_BYTES;
    s->place.context.uc_stack.ss_size = STACK_BYTES;
    s->place.context.uc_link = NULL;
    makecontext(&s->place.context, (void (*)(void))enter, 2,
                (unsigned)((uintptr_t)s >> 32), (unsigned)(uintptr_t)s);
}
#endif

static void strand_free(struct strand *s)
{
#if defined(WITH_TSAN)
    __tsan_destroy_fiber(s->place.fiber);
#endif
#if defined(WITH_ASAN)
    /* The first frame never returned: what is mapped here next is not its own. */
    __asan_unpoison_memory_region(s->stack + GUARD_BYTES, STACK_BYTES);
#endif
    (void)munmap(s->stack, GUARD_BYTES + STACK_BYTES);
    free(s);
}

static struct strand *strand_new(struct strand_pool *pool)
{
    struct strand *s = fault_calloc(1, sizeof *s);

    if (s == NULL) {
        return NULL;
    }
    s->stack = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->stack == MAP_FAILED) {
        free(s);
        return NULL;
    }
    (void)mprotect(s->stack, GUARD_BYTES, PROT_NONE);
    s->pool = pool;
#if defined(WITH_ASAN)
    s->place.bottom = s->stack + GUARD_BYTES;
    s->place.bytes = STACK_BYTES;
#endif
#if defined(WITH_TSAN)
    s->place.fiber = __tsan_create_fiber(0);
#endif
    make_context(s);
    return s;
}

int strand_pool_create(struct strand_pool **ret_pool)
{
    struct strand_pool *pool = fault_calloc(1, sizeof *pool);

    if (pool == NULL) {
        return -ENOMEM;
    }
    *ret_pool = pool;
    return 0;
}

void strand_pool_destroy(struct strand_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    assert(pool->count == 0);
    while (pool->spare != NULL) {
        struct strand *s = pool->spare;

        pool->spare = s->next;
        strand_free(s);
    }
    free(pool);
}

struct strand *strand_current(const struct strand_pool *pool)
{
    return pool->current;
}

unsigned strand_count(const struct strand_pool *pool)
{
    return pool->count;
}

static void keep_or_free(struct strand *s)
{
    struct strand_pool *pool = s->pool;

    pool->count--;
    if (pool->spare_count >= SPARE_MOST) {
        pool->spare_count--; /* the one taken out below */
        struct strand *old = pool->spare;

        pool->spare = old->next;
        strand_free(old);
    }
    s->next = pool->spare;
    pool->spare = s;
    pool->spare_count++;
}

void strand_resume(struct strand *s)
{
    struct strand_pool *pool = s->pool;

    assert(s != pool->current && !s->done);
    s->caller = pool->current;
    pool->current = s;
#if defined(WITH_TSAN)
    if (s->caller == NULL) {
        pool->base.fiber = __tsan_get_current_fiber();
    }
#endif
    go(place_of(pool, s->caller), &s->place, false);
    if (s->done) {
        keep_or_free(s);
    }
}

int strand_start(struct strand_pool *pool, void (*fn)(void *arg), void *arg)
{
    struct strand *s = pool->spare;

    if (s != NULL) {
        pool->spare = s->next;
        pool->spare_count--;
    } else {
        s = strand_new(pool);
        if (s == NULL) {
            return -ENOMEM;
        }
    }
    s->fn = fn;
    s->arg = arg;
    s->done = false;
    s->next = NULL;
    pool->count++;
    strand_resume(s);
    return 0;
}

void strand_suspend(struct strand_pool *pool)
{
    struct strand *s = pool->current;

    assert(s != NULL);
    pool->current = s->caller;
    go(&s->place, place_of(pool, s->caller), false);
}

void strand_wait(struct strand_pool *pool, struct strand_queue *q)
{
    struct strand *s = pool->current;

    assert(s != NULL);
    s->next = NULL;
    if (q->first == NULL) {
        q->first = s;
    } else {
        q->last->next = s;
    }
    q->last = s;
    strand_suspend(pool);
}

bool strand_wake(struct strand_queue *q)
{
    struct strand *s = q->first;

    if (s == NULL) {
        return false;
    }
    q->first = s->next;
    s->next = NULL;
    strand_resume(s);
    return true;
}

bool strand_wake_all(struct strand_queue *q)
{
    struct strand_queue now = *q;

    *q = (struct strand_queue){0};
    if (now.first == NULL) {
        return false;
    }
    while (strand_wake(&now)) {
    }
    return true;
}

void strand_lock(struct strand_pool *pool, struct strand_lock *lock)
{
    while (lock->held) {
        strand_wait(pool, &lock->waiters);
    }
    lock->held = true;
}

void strand_unlock(struct strand_lock *lock)
{
    assert(lock->held);
    lock->held = false;
    (void)strand_wake(&lock->waiters);
}
