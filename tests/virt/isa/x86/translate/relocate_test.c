/* relocate_test.c - relocation: a program whose memory goes to other physical places
 * while it runs ends as one that stays; outside its bounds it faults.  Once by pages,
 * its code among them, once by a segment's base and limit; on both engines.
 * rows: PAR-03 */
#include <string.h>

#include "engines.h"

#define WINDOW     0x600000u /* linear: one page of code, three of data, one of stack */
#define PAGES      5u
#define WINDOW_END (WINDOW + PAGES * 4096u)
#define PLACES     3u
#define MONITOR    0x20000u
#define SLICE      1777u /* instructions between two moves */

/* Offsets from the window, or from the segment's base, in rbp. */
#define PROGRAM                                                                          \
    "mov $6000, %ecx\n mov $0x9e3779b9, %edx\n"                                          \
    "1: imul $25173, %edx, %edx\n add $13849, %edx\n mov %edx, %eax\n shr $8, %eax\n"    \
    "and $0x2ffc, %eax\n"

CODE(paged, ".code64",
     PROGRAM
     "add %edx, 0x601000(%rax)\n mov %eax, %esi\n xor $0x1ff0, %esi\n"
     "and $0x2ffc, %esi\n add 0x601000(%rsi), %rbx\n call 2f\n dec %ecx\n jnz 1b\n"
     "3: hlt\n 2: lea 5(%rbx,%rcx), %rbx\n ret")
CODE(segmented, ".code32",
     PROGRAM "add %edx, 0x1000(%eax)\n mov %eax, %esi\n xor $0x1ff0, %esi\n"
             "and $0x2ffc, %esi\n add 0x1000(%esi), %ebx\n call 2f\n dec %ecx\n jnz 1b\n"
             "3: hlt\n 2: lea 5(%ebx,%ecx), %ebx\n ret")

/* What a supervisor does behind a change of its tables. */
CODE(reload, ".code64", "mov %cr3, %rax\n mov %rax, %cr3\n hlt")

CODE(read_beyond, ".code64", "mov 0x604ffc, %eax\n mov 0x605000, %eax\n hlt")
CODE(write_below, ".code64", "mov %eax, 0x600010\n mov %eax, 0x5ffffc\n hlt")
CODE(read_limit, ".code32", "mov 0x4ffc, %eax\n mov 0x4ffd, %eax\n hlt")
CODE(jump_limit, ".code32", "mov $0x5000, %eax\n jmp *%eax")

static gpa frame(unsigned place, unsigned page)
{
    return 0x300000 + place * 0x40000u + (place == 1 ? PAGES - page : page) * 0x2000u;
}

/* All of the window to another place; what was there is overwritten. */
static void move_pages(struct machine *m, unsigned from, unsigned to)
{
    static uint8_t bytes[4096], trash[4096];
    struct x86_regs r, monitor;
    unsigned page;

    memset(trash, 0xf4, sizeof trash);
    for (page = 0; page < PAGES; page++) {
        assert_int_equal(mem_read(m->mem, frame(from, page), bytes, sizeof bytes), 0);
        machine_put(m, frame(to, page), bytes, sizeof bytes);
        machine_put(m, frame(from, page), trash, sizeof trash);
        machine_poke(m, machine_entry(WINDOW + page * 4096u), frame(to, page) + 3, 8);
    }
    machine_get(m, &r);
    monitor = r;
    monitor.gpr[X86_RIP] = MONITOR;
    machine_set(m, &monitor);
    assert_int_equal(cpu_run(m->cpu[0], 100), 0);
    machine_set(m, &r);
}

struct end {
    struct x86_regs r;
    uint8_t data[3 * 4096];
    unsigned moves;
};

static void prepare_pages(struct machine *m, const uint8_t *from, const uint8_t *to)
{
    struct x86_regs r;
    unsigned page;

    machine_put(m, MONITOR, reload, (uint64_t)(reload_end - reload));
    machine_put(m, frame(0, 0), from, (uint64_t)(to - from));
    machine_poke(m, machine_entry(WINDOW - 4096), 0, 8);
    machine_poke(m, machine_entry(WINDOW_END), 0, 8);
    for (page = 0; page < PAGES; page++) {
        machine_poke(m, machine_entry(WINDOW + page * 4096u), frame(0, page) + 3, 8);
    }
    machine_regs(m, &r);
    r.gpr[X86_RIP] = WINDOW;
    r.gpr[X86_RSP] = WINDOW_END;
    machine_set(m, &r);
}

static bool run_paged(enum engine engine, bool moves, struct end *ret)
{
    struct end end = {.moves = 0};
    struct machine m;
    unsigned place = 0, page;

    if (!engines_init(&m, MACHINE_LONG, engine)) {
        return false;
    }
    prepare_pages(&m, paged, paged_end);
    for (;;) {
        assert_int_equal(cpu_run(m.cpu[0], SLICE), 0);
        machine_get(&m, &end.r);
        if (end.r.halted) {
            break;
        }
        if (moves) {
            move_pages(&m, place, (place + 1) % PLACES);
            place = (place + 1) % PLACES;
            end.moves++;
        }
    }
    for (page = 0; page < 3; page++) {
        assert_int_equal(
            mem_read(m.mem, frame(place, page + 1), end.data + page * 4096u, 4096), 0);
    }
    machine_fini(&m);
    *ret = end;
    return true;
}

static gpa base_of(unsigned place)
{
    return 0x300000 + place * 0x41230u;
}

static void set_base(struct x86_regs *r, unsigned place)
{
    unsigned s;

    for (s = X86_ES; s <= X86_GS; s++) {
        r->seg[s].base = base_of(place);
        r->seg[s].limit = PAGES * 4096u - 1;
        r->seg[s].attr = (uint16_t)(r->seg[s].attr & ~X86_ATTR_G);
    }
}

static void move_segment(struct machine *m, unsigned from, unsigned to)
{
    static uint8_t bytes[PAGES * 4096], trash[PAGES * 4096];
    struct x86_regs r;

    memset(trash, 0xf4, sizeof trash);
    assert_int_equal(mem_read(m->mem, base_of(from), bytes, sizeof bytes), 0);
    machine_put(m, base_of(from), trash, sizeof trash);
    machine_put(m, base_of(to), bytes, sizeof bytes);
    machine_get(m, &r);
    set_base(&r, to);
    machine_set(m, &r);
}

static void prepare_segment(struct machine *m, const uint8_t *from, const uint8_t *to)
{
    struct x86_regs r;

    machine_put(m, base_of(0), from, (uint64_t)(to - from));
    machine_regs(m, &r);
    set_base(&r, 0);
    r.gpr[X86_RIP] = 0;
    r.gpr[X86_RSP] = PAGES * 4096u;
    machine_set(m, &r);
}

static bool run_segmented(enum engine engine, bool moves, struct end *ret)
{
    struct end end = {.moves = 0};
    struct machine m;
    unsigned place = 0;

    if (!engines_init(&m, MACHINE_FLAT32, engine)) {
        return false;
    }
    prepare_segment(&m, segmented, segmented_end);
    for (;;) {
        assert_int_equal(cpu_run(m.cpu[0], SLICE), 0);
        machine_get(&m, &end.r);
        if (end.r.halted) {
            break;
        }
        if (moves) {
            move_segment(&m, place, (place + 1) % PLACES);
            place = (place + 1) % PLACES;
            end.moves++;
        }
    }
    assert_int_equal(mem_read(m.mem, base_of(place) + 4096, end.data, sizeof end.data),
                     0);
    machine_fini(&m);
    *ret = end;
    return true;
}

static void assert_same_whether_moved(bool (*run)(enum engine, bool, struct end *))
{
    static struct end stays, moved;
    unsigned engine, seen = 0;

    assert_true(run(ENGINE_INTERPRET, false, &stays));
    assert_int_equal(stays.r.gpr[X86_RCX], 0);
    for (engine = 0; engine < ENGINES; engine++) {
        if (!run((enum engine)engine, true, &moved)) {
            continue;
        }
        assert_true(moved.moves > 30);
        assert_memory_equal(moved.r.gpr, stays.r.gpr, sizeof stays.r.gpr);
        assert_int_equal(moved.r.rflags, stays.r.rflags);
        assert_memory_equal(moved.data, stays.data, sizeof stays.data);
        seen++;
    }
    assert_true(seen > 0);
}

static void a_move_of_its_pages_is_invisible(void **state)
{
    (void)state;
    assert_same_whether_moved(run_paged);
}

static void a_move_of_its_segment_is_invisible(void **state)
{
    (void)state;
    assert_same_whether_moved(run_segmented);
}

struct stray {
    const uint8_t *from, *to;
    enum machine_mode mode;
    int vector;
    uint64_t address;     /* CR2 */
    uint64_t instruction; /* its offset */
};

static void outside_its_bounds_it_faults_at_the_access(void **state)
{
    static const struct stray strays[] = {
        {read_beyond, read_beyond_end, MACHINE_LONG, X86_PF, WINDOW_END, 7},
        {write_below, write_below_end, MACHINE_LONG, X86_PF, WINDOW - 4, 7},
        {read_limit, read_limit_end, MACHINE_FLAT32, X86_GP, 0, 5},
        {jump_limit, jump_limit_end, MACHINE_FLAT32, X86_GP, 0, 5},
    };
    struct machine m;
    struct x86_regs r;
    unsigned engine, n;

    (void)state;
    for (engine = 0; engine < ENGINES; engine++) {
        for (n = 0; n < sizeof strays / sizeof *strays; n++) {
            const struct stray *s = &strays[n];

            if (!engines_init(&m, s->mode, (enum engine)engine)) {
                return;
            }
            (s->mode == MACHINE_LONG ? prepare_pages : prepare_segment)(&m, s->from,
                                                                        s->to);
            assert_int_equal(cpu_run(m.cpu[0], 100), 0);
            machine_get(&m, &r);
            assert_int_equal(machine_vector(&m, &r), s->vector);
            assert_int_equal(r.cr2, s->address);
            assert_int_equal(s->mode == MACHINE_LONG
                                 ? machine_peek(&m, frame(0, PAGES - 1) + 4096 - 40, 8)
                                 : machine_peek(&m, base_of(0) + PAGES * 4096 - 12, 4),
                             (s->mode == MACHINE_LONG ? WINDOW : 0) + s->instruction);
            machine_fini(&m);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_move_of_its_pages_is_invisible),
        cmocka_unit_test(a_move_of_its_segment_is_invisible),
        cmocka_unit_test(outside_its_bounds_it_faults_at_the_access),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
