/* Probes answer by trying, in bounded time, and leave nothing. */
#include "host/probe.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"

static size_t count_lines(const char *path)
{
    SCOPED(scope_file) FILE *f = fopen(path, "re");
    size_t n = 0;
    int c;

    assert_non_null(f);
    while ((c = fgetc(f)) != EOF) {
        n += c == '\n';
    }
    return n;
}

/* What other programs mount and make meanwhile is not seen: who may has namespaces of his own. */
static void be_alone(void)
{
    if (unshare(CLONE_NEWNS | CLONE_NEWNET) == 0) {
        assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    }
}

static void every_probe_answers_and_leaves_nothing(void **state)
{
    size_t mounts;
    size_t links;
    struct probe_result *all = NULL;
    size_t n = 0;
    struct err e = {0};

    (void)state;
    be_alone();
    mounts = count_lines("/proc/self/mounts");
    links = count_lines("/proc/net/dev");
    assert_int_equal(probe_run(NULL, &all, &n, &e), 0);
    assert_true(n > 30);
    for (size_t i = 0; i < n; i++) {
        assert_true(all[i].answer < PROBE_ANSWER_COUNT);
        assert_true(strlen(all[i].detail) > 0);
        assert_non_null(strchr(all[i].key, all[i].key[0]));
        assert_true(all[i].answer != PROBE_YES || all[i].remedy == NULL);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(all[i].key, all[k].key);
        }
    }
    free(all);
    assert_int_equal(count_lines("/proc/self/mounts"), mounts);
    assert_int_equal(count_lines("/proc/net/dev"), links);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(probe_run("machine", &all, &n, &e), 0);
    assert_true(n >= 2);
    free(all);
    assert_int_equal(probe_run("nowhere", &all, &n, &e), -EINVAL);
}

/* In a child for which the kernel answers ENOSYS to one call. */
static enum probe_answer answer_without(int call, const char *key)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog prog = {.len = 4, .filter = code};
        struct probe_result r;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ||
            probe_one(key, &r) < 0 || r.remedy == NULL || strlen(r.detail) == 0) {
            _exit(9);
        }
        _exit((int)r.answer);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return (enum probe_answer)WEXITSTATUS(status);
}

static void a_kernel_without_the_call_is_told_apart(void **state)
{
    (void)state;
    assert_int_equal(answer_without(SYS_unshare, "ns.pid"), PROBE_NO);
    assert_int_equal(answer_without(SYS_mount, "mount.overlay"), PROBE_NO);
    assert_int_equal(answer_without(SYS_fsopen, "mount.api"), PROBE_NO);
    assert_int_equal(answer_without(SYS_landlock_create_ruleset, "landlock"), PROBE_NO);
    assert_int_equal(answer_without(SYS_seccomp, "seccomp.filter"), PROBE_NO);
    assert_int_equal(answer_without(SYS_socket, "net.nft"), PROBE_NO);
    assert_int_equal(answer_without(SYS_mprotect, "machine.jit"), PROBE_NO);
    assert_int_equal(answer_without(SYS_ioctl, "machine.kvm"), PROBE_NO);
}

static void an_unknown_key_is_said_to_be_one(void **state)
{
    struct probe_result r;

    (void)state;
    assert_int_equal(probe_one("no.such", &r), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_probe_answers_and_leaves_nothing),
        cmocka_unit_test(a_kernel_without_the_call_is_told_apart),
        cmocka_unit_test(an_unknown_key_is_said_to_be_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
