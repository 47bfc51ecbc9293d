/* Device rules: the kernel judges opens by a process in the leaf.
 * rows: OSL-08 */
#include "host/device_bpf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/cgroup.h"

static struct cgroup *make_group(void)
{
    struct cgroup_want want = {.optional = true};
    struct cgroup *cg = NULL;
    struct err e = {0};
    char path[CGROUP_PATH_BYTES];
    char name[64];

    (void)snprintf(name, sizeof name, "/strata-test/device-%d", (int)getpid());
    if (geteuid() != 0 || device_bpf_probe() < 0) {
        print_message("needs root and BPF\n");
        skip();
    }
    assert_int_equal(cgroup_path(name, "x", path, &e), 0);
    assert_int_equal(cgroup_create(path, &want, &cg, &e), 0);
    if (cgroup_birth_fd(cg) < 0) {
        (void)cgroup_destroy(cg, 1000, &e);
        print_message("needs cgroup v2\n");
        skip();
    }
    return cg;
}

/* The errno of open (0: it succeeded) inside the group. */
static int try_open(const struct cgroup *cg, const char *path, int flags)
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (cgroup_join_self(cg, false) < 0) {
            _exit(255);
        }
        _exit(open(path, flags | O_CLOEXEC) < 0 ? errno : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void put(const struct cgroup *cg, const struct device_rule *rules, size_t n)
{
    struct err e = {0};

    if (device_bpf_attach(cgroup_birth_fd(cg), rules, n, &e) < 0) {
        fail_msg("%s", e.text);
    }
}

#define NULL_DEVICE 'c', 1, 3
#define ZERO_DEVICE 'c', 1, 5
#define EVERY       'a', DEVICE_ANY, DEVICE_ANY
#define RW          (DEVICE_ACCESS_READ | DEVICE_ACCESS_WRITE)

static void the_last_rule_that_matches_decides(void **state)
{
    const struct device_rule allow_null[] = {{false, EVERY, DEVICE_ACCESS_ALL},
                                             {true, NULL_DEVICE, DEVICE_ACCESS_ALL}};
    const struct device_rule deny_last[] = {{true, NULL_DEVICE, DEVICE_ACCESS_ALL},
                                            {false, EVERY, DEVICE_ACCESS_ALL}};
    const struct device_rule all_but_zero[] = {{true, EVERY, DEVICE_ACCESS_ALL},
                                               {false, ZERO_DEVICE, DEVICE_ACCESS_ALL}};
    const struct device_rule in_parts[] = {{true, NULL_DEVICE, DEVICE_ACCESS_READ},
                                           {true, NULL_DEVICE, DEVICE_ACCESS_WRITE},
                                           {true, ZERO_DEVICE, RW},
                                           {false, ZERO_DEVICE, DEVICE_ACCESS_WRITE}};
    struct cgroup *cg = make_group();
    struct err e = {0};

    (void)state;
    assert_int_equal(try_open(cg, "/dev/zero", O_RDONLY), 0);
    put(cg, allow_null, 2);
    assert_int_equal(try_open(cg, "/dev/null", O_RDWR), 0);
    assert_int_equal(try_open(cg, "/dev/zero", O_RDONLY), EPERM);
    put(cg, deny_last, 2); /* takes the place of the others */
    assert_int_equal(try_open(cg, "/dev/null", O_RDONLY), EPERM);
    put(cg, all_but_zero, 2);
    assert_int_equal(try_open(cg, "/dev/null", O_RDWR), 0);
    assert_int_equal(try_open(cg, "/dev/zero", O_RDONLY), EPERM);
    put(cg, in_parts, 4);
    assert_int_equal(try_open(cg, "/dev/null", O_RDWR), 0);
    assert_int_equal(try_open(cg, "/dev/zero", O_RDONLY), 0);
    assert_int_equal(try_open(cg, "/dev/zero", O_RDWR), EPERM);
    assert_int_equal(try_open(cg, "/dev/full", O_RDONLY), EPERM); /* no rule at all */
    put(cg, NULL, 0);
    assert_int_equal(try_open(cg, "/dev/null", O_RDONLY), EPERM);
    assert_int_equal(device_bpf_detach(cgroup_birth_fd(cg)), 0);
    assert_int_equal(try_open(cg, "/dev/zero", O_RDONLY), 0);
    assert_int_equal(cgroup_destroy(cg, 5000, &e), 0);
}

/* Against a plain reading of the rules, for many random lists: the verifier
 * must take each, and the kernel must answer as the reading does. */
static bool allowed(const struct device_rule *rules, size_t n, int minor, unsigned access)
{
    for (unsigned bit = 1; bit <= DEVICE_ACCESS_MKNOD; bit <<= 1) {
        bool ok = false;

        for (size_t i = 0; (access & bit) != 0 && i < n; i++) {
            const struct device_rule *r = &rules[i];
            bool hit = r->type != 'b' && (r->major == DEVICE_ANY || r->major == 1) &&
                       (r->minor == DEVICE_ANY || r->minor == minor) &&
                       (r->access & bit) != 0;

            ok = hit ? r->allow : ok;
        }
        if ((access & bit) != 0 && !ok) {
            return false;
        }
    }
    return true;
}

static void random_lists_mean_what_they_say(void **state)
{
    static const int64_t majors[] = {DEVICE_ANY, 1, 8, INT64_C(1) << 40};
    static const int64_t minors[] = {DEVICE_ANY, 3, 5, INT64_C(1) << 40};
    struct cgroup *cg = make_group();
    struct err e = {0};
    unsigned seed = 7;

    (void)state;
    for (int round = 0; round < 40; round++) {
        struct device_rule rules[12];
        size_t n = (size_t)(rand_r(&seed) % 12);

        for (size_t i = 0; i < n; i++) {
            rules[i] = (struct device_rule){
                .allow = rand_r(&seed) % 2 == 0,
                .type = "abc"[rand_r(&seed) % 3],
                .major = majors[rand_r(&seed) % 4],
                .minor = minors[rand_r(&seed) % 4],
                .access = (unsigned)rand_r(&seed) % 8,
            };
        }
        put(cg, rules, n);
        assert_int_equal(try_open(cg, "/dev/null", O_RDWR) == 0,
                         allowed(rules, n, 3, RW));
        assert_int_equal(try_open(cg, "/dev/zero", O_RDONLY) == 0,
                         allowed(rules, n, 5, DEVICE_ACCESS_READ));
    }
    assert_int_equal(cgroup_destroy(cg, 5000, &e), 0);
}

static void without_rights_the_error_says_so(void **state)
{
    int status = 0;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        struct err e = {0};

        if (geteuid() == 0 && setuid(65534) < 0) {
            _exit(1);
        }
        _exit(device_bpf_attach(-1, NULL, 0, &e) < 0 && strstr(e.text, "device") ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void too_many_rules_and_no_memory_are_errors(void **state)
{
    struct bpf_insn *insns = NULL;
    size_t n = 0;

    (void)state;
    assert_int_equal(device_bpf_compile(NULL, 1000000, &insns, &n), -E2BIG);
    fault_fail_alloc_at(0);
    assert_int_equal(device_bpf_compile(NULL, 0, &insns, &n), -ENOMEM);
    fault_fail_alloc_at(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_rule_that_matches_decides),
        cmocka_unit_test(random_lists_mean_what_they_say),
        cmocka_unit_test(without_rights_the_error_says_so),
        cmocka_unit_test(too_many_rules_and_no_memory_are_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
