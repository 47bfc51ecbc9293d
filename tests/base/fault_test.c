/* fault_test.c - failures happen at the asked call, once. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "tests/base/check.h"

static void the_nth_allocation_fails_once(void **state)
{
    void *p[4];

    (void)state;
    fault_fail_alloc_at(2);
    p[0] = fault_malloc(1);
    p[1] = fault_calloc(1, 1);
    p[2] = fault_realloc(NULL, 1);
    p[3] = fault_strdup("x");
    assert_true(p[0] != NULL && p[1] != NULL && p[2] == NULL && p[3] != NULL);
    for (int i = 0; i < 4; i++) {
        free(p[i]);
    }
}

static void aligned_memory_is_zeroed_and_fails_like_the_rest(void **state)
{
    unsigned char *p = fault_aligned(64, 100);

    (void)state;
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(p[i], 0);
    }
    free(p);
    fault_fail_alloc_at(0);
    assert_null(fault_aligned(64, 100));
}

static void a_failed_realloc_keeps_the_old_block(void **state)
{
    char *old = fault_strdup("kept");

    (void)state;
    fault_fail_alloc_at(0);
    assert_null(fault_realloc(old, 100));
    assert_string_equal(old, "kept");
    free(old);
}

/* Pass the steps a, b, a in a child with that order; its wait status.  The
 * exit code is the number of the step that failed, plus 10 when it was full. */
static int steps_under(const char *order)
{
    static const char *const names[] = {"a", "b", "a"};
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        if (order != NULL) {
            (void)setenv("STRATA_FAULT", order, 1);
        } else {
            (void)unsetenv("STRATA_FAULT");
        }
        for (int i = 0; i < 3; i++) {
            int r = fault_step(names[i]);

            if (r != 0) {
                _exit(i + 1 + (r == -ENOSPC ? 10 : r == -EIO ? 0 : 100));
            }
        }
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int code_of(const char *order)
{
    int status = steps_under(order);

    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void steps_fail_or_kill_where_asked(void **state)
{
    (void)state;
#ifndef FAULTS
    print_message("no fault steps in this build\n");
    skip();
#endif
    assert_int_equal(code_of(NULL), 0);
    assert_int_equal(code_of("fail:2"), 2);
    assert_int_equal(code_of("fail:b"), 2);
    assert_int_equal(code_of("fail:a"), 1);
    assert_int_equal(code_of("full:3"), 13);
    assert_int_equal(code_of("full:b"), 12);
    assert_int_equal(code_of("kill:1"), -SIGKILL);
    assert_int_equal(code_of("kill:b"), -SIGKILL);
}

static void an_order_that_fits_no_step_changes_nothing(void **state)
{
    static const char *const orders[] = {
        "fail:4", "kill:c", "fail:", "kill", "", "fail:1x"};

    (void)state;
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        assert_int_equal(code_of(orders[i]), 0);
    }
}

static void list_writes_each_name(void **state)
{
    char order[32];
    char text[32] = "";
    int ends[2];

    (void)state;
#ifndef FAULTS
    print_message("no fault steps in this build\n");
    skip();
#endif
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(str_print(order, sizeof order, "list:%d", ends[1]), 0);
    assert_int_equal(code_of(order), 0);
    assert_int_equal(read(ends[0], text, sizeof text - 1), 6);
    assert_string_equal(text, "a\nb\na\n");
    (void)close(ends[0]);
    (void)close(ends[1]);
}

#define THREADS      8
#define STEPS_EACH   2000
#define STEP_TO_FAIL "9000"

static void *pass_steps(void *arg)
{
    intptr_t failed = 0;

    (void)arg;
    for (int i = 0; i < STEPS_EACH; i++) {
        failed += fault_step("many") != 0;
    }
    return (void *)failed;
}

static void threads_side_by_side_pass_the_nth_step_once(void **state)
{
    pthread_t thread[THREADS];
    intptr_t failed = 0;

    (void)state;
    (void)setenv("STRATA_FAULT", "fail:" STEP_TO_FAIL, 1);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, pass_steps, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *ret = NULL;

        assert_int_equal(pthread_join(thread[i], &ret), 0);
        failed += (intptr_t)ret;
    }
    (void)unsetenv("STRATA_FAULT");
    assert_int_equal(failed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_allocation_fails_once),
        cmocka_unit_test(aligned_memory_is_zeroed_and_fails_like_the_rest),
        cmocka_unit_test(a_failed_realloc_keeps_the_old_block),
        cmocka_unit_test(steps_fail_or_kill_where_asked),
        cmocka_unit_test(an_order_that_fits_no_step_changes_nothing),
        cmocka_unit_test(list_writes_each_name),
        cmocka_unit_test(threads_side_by_side_pass_the_nth_step_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
