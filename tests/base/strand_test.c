/* strand_test.c - functions that stop in the middle. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/strand.h"
#include "tests/base/check.h"

struct note {
    struct strand_pool *pool;
    char text[64];
    struct strand *self;
    struct strand_queue *queue;
    struct strand_lock *lock;
    const char *name;
};

static void say(struct note *n, const char *word)
{
    strcat(n->text, word);
}

static void two_parts(void *arg)
{
    struct note *n = arg;

    n->self = strand_current(n->pool);
    say(n, "a");
    strand_suspend(n->pool);
    say(n, "c");
}

static void goes_on_behind_the_suspend(void **state)
{
    struct note n = {0};

    (void)state;
    assert_int_equal(strand_pool_create(&n.pool), 0);
    assert_null(strand_current(n.pool));
    assert_int_equal(strand_start(n.pool, two_parts, &n), 0);
    assert_null(strand_current(n.pool));
    assert_int_equal(strand_count(n.pool), 1);
    say(&n, "b");
    strand_resume(n.self);
    say(&n, "d");
    assert_string_equal(n.text, "abcd");
    assert_int_equal(strand_count(n.pool), 0);
    strand_pool_destroy(n.pool);
}

static void inner(void *arg)
{
    struct note *n = arg;

    say(n, "2");
    two_parts(arg);
}

static void outer(void *arg)
{
    struct note *n = arg;
    struct strand *me = strand_current(n->pool);

    say(n, "1");
    assert_int_equal(strand_start(n->pool, inner, n), 0);
    assert_ptr_equal(strand_current(n->pool), me);
    say(n, "3");
    strand_resume(n->self);
    say(n, "4");
}

static void one_starts_and_resumes_another(void **state)
{
    struct note n = {0};

    (void)state;
    assert_int_equal(strand_pool_create(&n.pool), 0);
    assert_int_equal(strand_start(n.pool, outer, &n), 0);
    assert_string_equal(n.text, "12a3c4");
    strand_pool_destroy(n.pool);
}

struct aligned {
    _Alignas(32) char bytes[32];
};

static void look_at_frame(void *arg)
{
    struct aligned here;
    struct aligned *volatile at = &here;

    *(bool *)arg =
        (uintptr_t)__builtin_frame_address(0) % 16 == 0 && (uintptr_t)at % 32 == 0;
}

/* System V ABI, AMD64 supplement 1.0, 3.2.2: the stack is aligned at a call. */
static void frames_are_aligned_as_the_abi_says(void **state)
{
    struct strand_pool *pool = NULL;
    bool aligned = false;

    (void)state;
    assert_int_equal(strand_pool_create(&pool), 0);
    assert_int_equal(strand_start(pool, look_at_frame, &aligned), 0);
    assert_true(aligned);
    strand_pool_destroy(pool);
}

/* Callee-saved registers, floating point and deep frames survive the switches. */
static double deep(struct strand_pool *pool, unsigned depth, double x)
{
    char room[512];

    memset(room, (int)depth, sizeof room);
    if (depth == 0) {
        strand_suspend(pool);
        return x;
    }
    x = deep(pool, depth - 1, x * 1.5 + (double)depth);
    assert_int_equal(room[depth % sizeof room], (char)depth);
    return x + (double)depth;
}

struct sum {
    struct strand_pool *pool;
    struct strand *self;
    double x;
    double result;
};

static void add_deep(void *arg)
{
    struct sum *s = arg;

    s->self = strand_current(s->pool);
    s->result = deep(s->pool, 20, s->x);
}

static double plain(unsigned depth, double x)
{
    return depth == 0 ? x : plain(depth - 1, x * 1.5 + (double)depth) + (double)depth;
}

static void many_keep_their_own_frames(void **state)
{
    enum {
        MANY = 300
    };
    static struct sum sums[MANY];
    struct strand_pool *pool = NULL;

    (void)state;
    assert_int_equal(strand_pool_create(&pool), 0);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            sums[i] = (struct sum){.pool = pool, .x = (double)i};
            assert_int_equal(strand_start(pool, add_deep, &sums[i]), 0);
        }
        assert_int_equal(strand_count(pool), MANY);
        for (unsigned i = 0; i < MANY; i++) {
            strand_resume(sums[(i * 7) % MANY].self);
        }
        for (unsigned i = 0; i < MANY; i++) {
            assert_true(sums[i].result == plain(20, (double)i));
        }
    }
    strand_pool_destroy(pool);
}

static void waiting(void *arg)
{
    struct note *n = arg;

    strand_wait(n->pool, n->queue);
    say(n, n->name);
}

static void a_queue_wakes_in_order(void **state)
{
    struct strand_queue q = {0};
    struct note n[3] = {{.name = "x"}, {.name = "y"}, {.name = "z"}};
    struct strand_pool *pool = NULL;

    (void)state;
    assert_int_equal(strand_pool_create(&pool), 0);
    for (int i = 0; i < 3; i++) {
        n[i].pool = pool;
        n[i].queue = &q;
        assert_int_equal(strand_start(pool, waiting, &n[i]), 0);
    }
    assert_true(strand_wake(&q));
    assert_string_equal(n[0].text, "x");
    assert_string_equal(n[1].text, "");
    assert_true(strand_wake_all(&q));
    assert_string_equal(n[2].text, "z");
    assert_false(strand_wake(&q));
    assert_false(strand_wake_all(&q));
    strand_pool_destroy(pool);
}

static void hold(void *arg)
{
    struct note *n = arg;

    n->self = strand_current(n->pool);
    strand_lock(n->pool, n->lock);
    say(n, "in");
    strand_suspend(n->pool);
    say(n, "out");
    strand_unlock(n->lock);
}

static void a_lock_is_held_over_a_suspend(void **state)
{
    struct strand_lock lock = {0};
    struct note n[2] = {{.lock = &lock}, {.lock = &lock}};

    (void)state;
    assert_int_equal(strand_pool_create(&n[0].pool), 0);
    n[1].pool = n[0].pool;
    assert_int_equal(strand_start(n[0].pool, hold, &n[0]), 0);
    assert_int_equal(strand_start(n[1].pool, hold, &n[1]), 0);
    assert_string_equal(n[1].text, "");
    strand_resume(n[0].self);
    assert_string_equal(n[0].text, "inout");
    assert_string_equal(n[1].text, "in");
    strand_resume(n[1].self);
    assert_string_equal(n[1].text, "inout");
    strand_pool_destroy(n[0].pool);
}

static int create_and_start(void *arg)
{
    struct note n = {0};
    int r = strand_pool_create(&n.pool);

    (void)arg;
    if (r != 0) {
        return r;
    }
    r = strand_start(n.pool, two_parts, &n);
    if (r == 0) {
        strand_resume(n.self);
    }
    assert_string_equal(n.text, r == 0 ? "ac" : "");
    strand_pool_destroy(n.pool);
    return r;
}

static void note_place(void *arg)
{
    char here = 0;

    *(uintptr_t *)arg = (uintptr_t)&here;
}

/* The address sanitizer complains here if marks of a frame are left. */
static void memory_where_a_stack_was_can_be_used(void **state)
{
    struct strand_pool *pool = NULL;
    uintptr_t place = 0;
    size_t bytes = 64 * 1024;
    char *room;

    (void)state;
    assert_int_equal(strand_pool_create(&pool), 0);
    assert_int_equal(strand_start(pool, note_place, &place), 0);
    strand_pool_destroy(pool);
    place = (place & ~(uintptr_t)4095) + 4096 - bytes;
    room = mmap((void *)place, bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (room == MAP_FAILED) { /* somebody else has it by now */
        return;
    }
    memset(room, 1, bytes);
    assert_int_equal(munmap(room, bytes), 0);
}

static void no_memory_means_that_nothing_ran(void **state)
{
    (void)state;
    assert_true(check_each_allocation(create_and_start, NULL, -ENOMEM) >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_behind_the_suspend),
        cmocka_unit_test(one_starts_and_resumes_another),
        cmocka_unit_test(frames_are_aligned_as_the_abi_says),
        cmocka_unit_test(many_keep_their_own_frames),
        cmocka_unit_test(a_queue_wakes_in_order),
        cmocka_unit_test(memory_where_a_stack_was_can_be_used),
        cmocka_unit_test(a_lock_is_held_over_a_suspend),
        cmocka_unit_test(no_memory_means_that_nothing_ran),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
