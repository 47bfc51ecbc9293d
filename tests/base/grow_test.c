/* grow_test.c - arrays that grow.
 *
 * rows: ISA-03 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/grow.h"

static void keeps_what_is_there_and_makes_room(void **state)
{
    uint16_t *item = NULL;
    uint32_t room = 0, n;

    (void)state;
    for (n = 0; n < 1000; n++) {
        assert_true(grow_for(&item, n + 1, &room));
        assert_true(room > n);
        item[n] = (uint16_t)(n * 7);
    }
    for (n = 0; n < 1000; n++) {
        assert_int_equal(item[n], (uint16_t)(n * 7));
    }
    assert_int_equal(room, 1024);
    free(item);
}

static void moves_only_when_it_has_to(void **state)
{
    uint64_t *item = NULL, *before;
    uint32_t room = 0;

    (void)state;
    assert_true(grow_for(&item, 100, &room));
    assert_int_equal(room, 128);
    before = item;
    fault_fail_alloc_at(0);
    assert_true(grow_for(&item, 128, &room));
    assert_ptr_equal(item, before);
    fault_fail_alloc_at(-1);
    free(item);
}

static void without_memory_all_stays(void **state)
{
    uint64_t *item = NULL, *before;
    uint32_t room = 0;

    (void)state;
    assert_true(grow_for(&item, 1, &room));
    item[0] = 42;
    before = item;
    fault_fail_alloc_at(0);
    assert_false(grow_for(&item, 65, &room));
    fault_fail_alloc_at(-1);
    assert_ptr_equal(item, before);
    assert_int_equal(item[0], 42);
    assert_int_equal(room, 64);
    free(item);
}

static void more_than_can_be_counted_is_refused(void **state)
{
    void *item = NULL;
    uint32_t room = 0;

    (void)state;
    assert_false(grow_to(&item, UINT32_MAX, &room, 1));
    assert_false(grow_to(&item, 64, &room, SIZE_MAX / 2));
    assert_null(item);
    assert_int_equal(room, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_is_there_and_makes_room),
        cmocka_unit_test(moves_only_when_it_has_to),
        cmocka_unit_test(without_memory_all_stays),
        cmocka_unit_test(more_than_can_be_counted_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
