/* seccomp_same_test.c - our filters say what libseccomp's say, call by call.
 * rows: OSL-19 SEC-02 */
#include <errno.h>
#include <linux/audit.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "tests/base/check.h"
#include "virt/container/confine/seccomp_plan.h"

#define X32_BIT      0x40000000U
#define NUMBERS_MOST 620
#define RANDOM_RUNS  40

/* ---- the other compiler ---- */

static const char *const op_names[] = {"SCMP_CMP_NE",       "SCMP_CMP_LT", "SCMP_CMP_LE",
                                       "SCMP_CMP_EQ",       "SCMP_CMP_GE", "SCMP_CMP_GT",
                                       "SCMP_CMP_MASKED_EQ"};

static const enum scmp_compare ops[] = {SCMP_CMP_NE,       SCMP_CMP_LT, SCMP_CMP_LE,
                                        SCMP_CMP_EQ,       SCMP_CMP_GE, SCMP_CMP_GT,
                                        SCMP_CMP_MASKED_EQ};

static uint32_t action_of(const json_t *rule, const char *key, const char *number_key)
{
    const char *word = json_string_value(json_object_get(rule, key));
    const json_t *given = json_object_get(rule, number_key);
    uint16_t number = given != NULL ? (uint16_t)json_integer_value(given) : EPERM;

    return strcmp(word, "SCMP_ACT_ALLOW") == 0          ? SCMP_ACT_ALLOW
           : strcmp(word, "SCMP_ACT_ERRNO") == 0        ? SCMP_ACT_ERRNO(number)
           : strcmp(word, "SCMP_ACT_KILL_PROCESS") == 0 ? SCMP_ACT_KILL_PROCESS
           : strcmp(word, "SCMP_ACT_LOG") == 0          ? SCMP_ACT_LOG
                                                        : SCMP_ACT_TRAP;
}

static void add_theirs(scmp_filter_ctx ctx, uint32_t fallback, const json_t *rule)
{
    struct scmp_arg_cmp args[16];
    uint32_t action = action_of(rule, "action", "errnoRet");
    unsigned n = 0;
    bool tested[6] = {false};
    bool split = false;
    size_t i;
    json_t *item;

    json_array_foreach(json_object_get(rule, "args"), i, item)
    {
        const char *word = json_string_value(json_object_get(item, "op"));

        args[n].arg = (unsigned)json_integer_value(json_object_get(item, "index"));
        args[n].datum_a = (uint64_t)json_integer_value(json_object_get(item, "value"));
        args[n].datum_b = (uint64_t)json_integer_value(json_object_get(item, "valueTwo"));
        for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
            if (strcmp(op_names[k], word) == 0) {
                args[n].op = ops[k];
            }
        }
        split = split || tested[args[n].arg];
        tested[args[n].arg] = true;
        n++;
    }
    json_array_foreach(json_object_get(rule, "names"), i, item)
    {
        int call = seccomp_syscall_resolve_name(json_string_value(item));

        if (call == __NR_SCMP_ERROR || action == fallback) {
            continue;
        }
        for (unsigned k = 0; split && k < n; k++) {
            (void)seccomp_rule_add_array(ctx, action, call, 1, &args[k]);
        }
        if (!split) {
            (void)seccomp_rule_add_array(ctx, action, call, n, args);
        }
    }
}

static void compile_theirs(const json_t *profile, struct seccomp_filter *f)
{
    uint32_t fallback = action_of(profile, "defaultAction", "defaultErrnoRet");
    scmp_filter_ctx ctx = seccomp_init(fallback);
    int fd = memfd_create("filter", MFD_CLOEXEC);
    size_t i;
    json_t *item;
    off_t len;

    assert_non_null(ctx);
    json_array_foreach(json_object_get(profile, "architectures"), i, item)
    {
        const char *name = json_string_value(item);

        (void)seccomp_arch_add(ctx, strcmp(name, "SCMP_ARCH_X86") == 0 ? SCMP_ARCH_X86
                                    : strcmp(name, "SCMP_ARCH_X32") == 0
                                        ? SCMP_ARCH_X32
                                        : SCMP_ARCH_NATIVE);
    }
    json_array_foreach(json_object_get(profile, "syscalls"), i, item)
    {
        add_theirs(ctx, fallback, item);
    }
    (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    assert_int_equal(seccomp_export_bpf(ctx, fd), 0);
    seccomp_release(ctx);
    len = lseek(fd, 0, SEEK_END);
    memset(f, 0, sizeof *f);
    f->n = (uint32_t)((size_t)len / sizeof *f->insns);
    f->insns = malloc((size_t)len);
    (void)lseek(fd, 0, SEEK_SET);
    assert_int_equal(file_read_all(fd, f->insns, (size_t)len), len);
    (void)close(fd);
}

/* ---- comparing ---- */

/* Values at which a condition can change its mind. */
static size_t gather(const json_t *profile, uint64_t values[], size_t most)
{
    size_t n = 0;
    size_t i;
    size_t k;
    json_t *rule;
    json_t *arg;

    values[n++] = 0;
    values[n++] = UINT64_MAX;
    json_array_foreach(json_object_get(profile, "syscalls"), i, rule)
    {
        json_array_foreach(json_object_get(rule, "args"), k, arg)
        {
            uint64_t v = (uint64_t)json_integer_value(json_object_get(arg, "value"));
            uint64_t w = (uint64_t)json_integer_value(json_object_get(arg, "valueTwo"));
            const uint64_t near[] = {v, v - 1, v + 1, w, v | 1ULL << 32, v ^ (w << 1)};

            for (size_t j = 0; j < sizeof near / sizeof *near && n < most; j++) {
                values[n++] = near[j];
            }
        }
    }
    return n;
}

static const json_t *shown; /* the profile being compared, for a failure's text */

static void print_rules(const struct seccomp_data *d)
{
    size_t i;
    json_t *rule;

    json_array_foreach(json_object_get(shown, "syscalls"), i, rule)
    {
        const char *name =
            json_string_value(json_array_get(json_object_get(rule, "names"), 0));

        for (uint32_t arch = 0; arch < SECCOMP_ARCHES; arch++) {
            if (seccomp_number(name, arch) == (d->nr & ~(long)X32_BIT)) {
                char *text = json_dumps(rule, JSON_COMPACT);

                print_message("%s\n", text);
                free(text);
            }
        }
    }
}

static void compare_call(const struct seccomp_filter *ours,
                         const struct seccomp_filter *theirs, struct seccomp_data *d,
                         const uint64_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t a;
        uint32_t b;

        for (size_t k = 0; k < 6; k++) {
            d->args[k] = values[(i + k * (i / n + (i & 3))) % n];
        }
        a = seccomp_filter_verdict(ours, d);
        b = seccomp_filter_verdict(theirs, d);
        if (a != b) {
            print_rules(d);
            fail_msg("arch %x call %d (%llx %llx %llx): %x, not %x", d->arch, d->nr,
                     (unsigned long long)d->args[0], (unsigned long long)d->args[1],
                     (unsigned long long)d->args[2], a, b);
        }
    }
}

static void compare(const json_t *profile, unsigned *ret_ours, unsigned *ret_theirs)
{
    static const uint32_t arches[] = {AUDIT_ARCH_X86_64, AUDIT_ARCH_I386,
                                      AUDIT_ARCH_AARCH64};
    struct seccomp_filter *ours = NULL;
    struct seccomp_filter theirs;
    uint64_t values[400];
    size_t n = gather(profile, values, sizeof values / sizeof *values);
    struct err e = {0};

    shown = profile;
    if (seccomp_filter_create(profile, NULL, NULL, &ours, &e) < 0) {
        fail_msg("%s", e.text);
    }
    compile_theirs(profile, &theirs);
    for (size_t a = 0; a < sizeof arches / sizeof *arches; a++) {
        struct seccomp_data d = {.arch = arches[a]};

        for (uint32_t nr = 0; nr < NUMBERS_MOST; nr++) {
            d.nr = (int)nr;
            compare_call(ours, &theirs, &d, values, n);
            d.nr = (int)(nr | X32_BIT);
            compare_call(ours, &theirs, &d, values, n);
        }
        d.nr = -1;
        compare_call(ours, &theirs, &d, values, n);
        d.nr = -2;
        compare_call(ours, &theirs, &d, values, n);
    }
    *ret_ours = ours->n;
    *ret_theirs = theirs.n;
    free(theirs.insns);
    seccomp_filter_destroy(ours);
}

/* Without the names that this libseccomp is too old for. */
static void leave_out_newer(json_t *profile)
{
    size_t i;
    json_t *rule;

    json_array_foreach(json_object_get(profile, "syscalls"), i, rule)
    {
        json_t *names = json_object_get(rule, "names");

        for (size_t k = json_array_size(names); k-- > 0;) {
            const char *name = json_string_value(json_array_get(names, k));

            if (seccomp_syscall_resolve_name(name) == __NR_SCMP_ERROR) {
                (void)json_array_remove(names, k);
            }
        }
    }
}

static void the_default_profile_is_the_same(void **state)
{
    static const uint64_t caps[] = {0, UINT64_MAX, 1ULL << 21, 1ULL << 18, 0xa80425fb};

    (void)state;
    for (size_t i = 0; i < sizeof caps / sizeof *caps; i++) {
        SCOPED(scope_json) json_t *profile = seccomp_default_profile(caps[i]);
        unsigned ours;
        unsigned theirs;

        leave_out_newer(profile);
        compare(profile, &ours, &theirs);
        print_message("default %llx: %u instructions, theirs %u\n",
                      (unsigned long long)caps[i], ours, theirs);
        assert_true(ours < theirs);
    }
}

/* ---- profiles of chance ---- */

static unsigned long seed;

static unsigned any(unsigned below)
{
    seed = seed * 6364136223846793005UL + 1442695040888963407UL;
    return (unsigned)(seed >> 33) % below;
}

static json_t *any_condition(int index)
{
    static const json_int_t some[] = {
        0, 1, 2, 7, 8, 0x80, 0x7fffffff, 0xffffffff, 0x100000000, 0x123456789abcdef, -1};
    size_t n = sizeof some / sizeof *some;

    return json_pack("{s:i, s:I, s:I, s:s}", "index", index, "value",
                     some[any((unsigned)n)], "valueTwo", some[any((unsigned)n)], "op",
                     op_names[any(7)]);
}

static json_t *any_rule(const char *name)
{
    static const char *const actions[] = {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO",
                                          "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG"};
    json_t *rule = json_pack("{s:[s], s:s, s:i}", "names", name, "action",
                             actions[any(4)], "errnoRet", (int)any(40));
    json_t *args = json_array();

    /* One argument is tested once: for two tests libseccomp 2.5.4 makes filters that let
     * through what neither allows (pipe2 with a[1] < 1 or a[1] > 1 << 32, given 7). */
    for (int n = any(3) == 0 ? 1 + (int)any(3) : 0, first = (int)any(3); n > 0; n--) {
        (void)json_array_append_new(args, any_condition(first + n));
    }
    (void)json_object_set_new(rule, "args", args);
    return rule;
}

/* Each call has rules of one action, so that their order does not matter. */
static json_t *any_profile(void)
{
    static const char *const names[] = {
#define SYSCALL(name, ...) name,
#include "virt/container/confine/syscalls.rows.h"
    };
    json_t *rules = json_array();
    json_t *arches = json_pack("[s]", "SCMP_ARCH_X86_64");
    unsigned density = 1 + any(6);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        /* A rule for one of those is one for the calls that stand for many, too. */
        bool part = strcmp(names[i], "socketcall") == 0 || strcmp(names[i], "ipc") == 0;

        if (!part && any(density) == 0 &&
            seccomp_syscall_resolve_name(names[i]) != __NR_SCMP_ERROR) {
            (void)json_array_append_new(rules, any_rule(names[i]));
        }
    }
    if (any(2) == 0) {
        (void)json_array_append_new(arches, json_string("SCMP_ARCH_X86"));
    }
    if (any(2) == 0) {
        (void)json_array_append_new(arches, json_string("SCMP_ARCH_X32"));
    }
    return json_pack("{s:s, s:i, s:o, s:o}", "defaultAction",
                     any(2) == 0 ? "SCMP_ACT_ERRNO" : "SCMP_ACT_ALLOW", "defaultErrnoRet",
                     (int)any(100), "architectures", arches, "syscalls", rules);
}

static void profiles_of_chance_are_the_same(void **state)
{
    (void)state;
    for (unsigned long i = 1; i <= RANDOM_RUNS; i++) {
        SCOPED(scope_json) json_t *profile = NULL;
        unsigned ours;
        unsigned theirs;

        seed = i;
        profile = any_profile();
        print_message("seed %lu\n", i);
        compare(profile, &ours, &theirs);
    }
}

static uint32_t verdict_of(const json_t *profile, int nr, uint64_t second)
{
    struct seccomp_filter *f = NULL;
    struct seccomp_data d = {.arch = AUDIT_ARCH_X86_64, .nr = nr, .args = {0, second}};
    struct err e = {0};
    uint32_t out;

    assert_int_equal(seccomp_filter_create(profile, NULL, NULL, &f, &e), 0);
    out = seccomp_filter_verdict(f, &d);
    seccomp_filter_destroy(f);
    return out;
}

static void two_tests_of_one_argument_are_alternatives(void **state)
{
    SCOPED(scope_json)
    json_t *profile = json_pack(
        "{s:s, s:[{s:[s], s:s, s:[{s:i, s:I, s:s}, {s:i, s:I, s:s}]}]}", "defaultAction",
        "SCMP_ACT_ERRNO", "syscalls", "names", "pipe2", "action", "SCMP_ACT_ALLOW",
        "args", "index", 1, "value", (json_int_t)1, "op", "SCMP_CMP_LT", "index", 1,
        "value", (json_int_t)1 << 32, "op", "SCMP_CMP_GT");

    (void)state;
    assert_int_equal(verdict_of(profile, 293, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(verdict_of(profile, 293, 1), SECCOMP_RET_ERRNO | EPERM);
    assert_int_equal(verdict_of(profile, 293, 7), SECCOMP_RET_ERRNO | EPERM);
    assert_int_equal(verdict_of(profile, 293, 1ULL << 32), SECCOMP_RET_ERRNO | EPERM);
    assert_int_equal(verdict_of(profile, 293, (1ULL << 32) + 1), SECCOMP_RET_ALLOW);
}

/* Jumps of a filter reach 255 instructions; this one is some thousands long. */
static void a_long_filter_still_finds_its_way(void **state)
{
    static const char *const names[] = {"read", "write", "pipe2", "ioctl"};
    json_t *rules = json_array();
    SCOPED(scope_json) json_t *profile = NULL;
    struct seccomp_filter *f = NULL;
    struct err e = {0};

    (void)state;
    for (json_int_t i = 0; i < 640; i++) {
        (void)json_array_append_new(
            rules,
            json_pack("{s:[s], s:s, s:i, s:[{s:i, s:I, s:s}]}", "names", names[i % 4],
                      "action", "SCMP_ACT_ERRNO", "errnoRet", (int)(i / 4) + 1, "args",
                      "index", 1, "value", i * 1000, "op", "SCMP_CMP_EQ"));
    }
    profile =
        json_pack("{s:s, s:o}", "defaultAction", "SCMP_ACT_ALLOW", "syscalls", rules);
    for (json_int_t i = 0; i < 640; i += 37) {
        static const int numbers[] = {0, 1, 293, 16};

        assert_int_equal(verdict_of(profile, numbers[i % 4], (uint64_t)i * 1000),
                         SECCOMP_RET_ERRNO | (uint32_t)(i / 4 + 1));
        assert_int_equal(verdict_of(profile, numbers[i % 4], (uint64_t)i * 1000 + 1),
                         SECCOMP_RET_ALLOW);
    }
    for (json_int_t i = 0; i < 640; i++) { /* ... and what is too long is refused */
        (void)json_array_append(rules, json_array_get(rules, (size_t)i));
    }
    assert_int_equal(seccomp_filter_create(profile, NULL, NULL, &f, &e), -E2BIG);
    assert_non_null(strstr(e.text, "seccomp"));
}

static bool theirs_allows(const struct seccomp_filter *theirs, long nr, uint64_t args)
{
    struct seccomp_data d = {.arch = AUDIT_ARCH_X86_64,
                             .nr = (int)nr,
                             .args = {args, args, args, args, args, args}};

    return seccomp_filter_verdict(theirs, &d) == SECCOMP_RET_ALLOW;
}

/* The list is what is told to people; the filter of the other compiler is the truth. */
static void the_list_of_allowed_calls_is_true(void **state)
{
    static const uint64_t caps[] = {0, 0xa80425fb, UINT64_MAX};

    (void)state;
    for (size_t k = 0; k < sizeof caps / sizeof *caps; k++) {
        SCOPED(scope_json) json_t *profile = seccomp_default_profile(caps[k]);
        SCOPED(scope_json) json_t *list = seccomp_default_allowed(caps[k]);
        struct seccomp_filter theirs;
        const char *name;
        size_t at = 0;

        assert_true(json_array_size(list) > 200);
        leave_out_newer(profile);
        compile_theirs(profile, &theirs);
        for (size_t i = 0; (name = seccomp_name(i)) != NULL; i++) {
            const json_t *row = json_array_get(list, at);
            const char *listed = json_string_value(json_object_get(row, "name"));
            bool is_listed = listed != NULL && strcmp(listed, name) == 0;
            bool always = is_listed && json_is_true(json_object_get(row, "always"));
            long nr = seccomp_number(name, 0);

            at += is_listed;
            if (nr < 0 || seccomp_syscall_resolve_name(name) == __NR_SCMP_ERROR) {
                continue;
            }
            if (always != (theirs_allows(&theirs, nr, 0) &&
                           theirs_allows(&theirs, nr, UINT64_MAX) &&
                           theirs_allows(&theirs, nr, 40)) ||
                (!is_listed && theirs_allows(&theirs, nr, 0))) {
                fail_msg("%s is listed wrongly for %llx", name,
                         (unsigned long long)caps[k]);
            }
        }
        assert_int_equal(at, json_array_size(list)); /* nothing else is in it */
        free(theirs.insns);
    }
}

static void every_name_is_found(void **state)
{
    static const struct {
        const char *name;
        long numbers[3];
    } rows[] = {

#define ROW(name, a, b, c) {name, {a, b, c}},
#undef SYSCALL
#define SYSCALL(name, a, b, c, d, e) ROW(name, a, b, c)
#include "virt/container/confine/syscalls.rows.h"
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) { /* sorted, that is */
        for (uint32_t arch = 0; arch < SECCOMP_ARCHES; arch++) {
            assert_int_equal(seccomp_number(rows[i].name, arch), rows[i].numbers[arch]);
        }
    }
    assert_int_equal(seccomp_number("no_such_call", 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_profile_is_the_same),
        cmocka_unit_test(profiles_of_chance_are_the_same),
        cmocka_unit_test(two_tests_of_one_argument_are_alternatives),
        cmocka_unit_test(a_long_filter_still_finds_its_way),
        cmocka_unit_test(every_name_is_found),
        cmocka_unit_test(the_list_of_allowed_calls_is_true),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
