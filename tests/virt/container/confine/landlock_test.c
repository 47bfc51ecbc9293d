/* Landlock rules, judged by the kernel in a confined child.
 * rows: OSL-04 SEC-03 */
#include "virt/container/confine/landlock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"

static char dir[] = "/tmp/landlock-test.XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL || chdir(dir) < 0 || mkdir("ro", 0755) < 0 ||
        mkdir("rw", 0755) < 0 || mkdir("no", 0755) < 0) {
        return -1;
    }
    return file_replace(AT_FDCWD, "ro/file", "x", 1, 0644, false) |
           file_replace(AT_FDCWD, "no/file", "x", 1, 0644, false);
}

static int remove_dir(void **state)
{
    (void)state;
    return chdir("/") | file_remove_tree(AT_FDCWD, dir);
}

static int open_errno(const char *path, int flags)
{
    SCOPED(scope_close) int fd = open(path, flags | O_CLOEXEC, 0600);

    return fd < 0 ? errno : 0;
}

static int bind_errno(uint16_t port)
{
    SCOPED(scope_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    return bind(fd, (const struct sockaddr *)&at, sizeof at) < 0 ? errno : 0;
}

static int expect_inside(const json_t *rules)
{
    struct landlock *l = NULL;
    struct err e = {0};

    if (landlock_parse(rules, &l, &e) < 0 || landlock_apply(l, NULL, &e) < 0) {
        return 2;
    }
    landlock_destroy(l);
    if (open_errno("ro/file", O_RDONLY) != 0 ||
        open_errno("rw/new", O_CREAT | O_RDWR) != 0) {
        return 3;
    }
    if (open_errno("ro/file", O_RDWR) != EACCES ||
        open_errno("no/file", O_RDONLY) != EACCES ||
        open_errno("ro/new", O_CREAT | O_RDWR) != EACCES ||
        open_errno("/etc/passwd", O_RDONLY) != EACCES) {
        return 4;
    }
    if (symlink("../no/file", "rw/link") < 0 ||
        open_errno("rw/link", O_RDONLY) != EACCES) {
        return 5;
    }
    if (landlock_abi() >= 4 && bind_errno(1) != EACCES) {
        return 6;
    }
    return 0;
}

static void paths_and_ports_not_named_are_out_of_reach(void **state)
{
    SCOPED(scope_json) json_t *rules = NULL;
    char ro[64];
    char rw[64];
    int status = 0;
    pid_t pid;

    (void)state;
    if (landlock_abi() == 0) {
        print_message("needs Landlock\n");
        skip();
    }
    (void)snprintf(ro, sizeof ro, "%s/ro", dir);
    (void)snprintf(rw, sizeof rw, "%s/rw", dir);
    rules = json_pack("{s:[s], s:[s], s:[]}", "readOnly", ro, "readWrite", rw, "bind");
    pid = fork();
    if (pid == 0) {
        _exit(expect_inside(rules));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* A kernel without Landlock, played by a filter that answers ENOSYS. */
static void a_host_without_it_gives_one_line(void **state)
{
    int status = 0;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog prog = {.len = 4, .filter = code};
        struct landlock *l = landlock_create();
        struct strv w = {0};
        struct err e = {0};

        if (l == NULL || landlock_allow_path(l, "/", LANDLOCK_READ, false) < 0 ||
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0) {
            _exit(2);
        }
        status = landlock_apply(l, &w, &e) == 0 && w.n == 1 ? 0 : 3;
        landlock_destroy(l);
        strv_fini(&w);
        _exit(status);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void bad_rules_are_refused_by_name(void **state)
{
    static const char *const bad[][2] = {
        {"[]", "'landlock'"},
        {"{\"readonly\": []}", "'landlock.readonly'"},
        {"{\"readOnly\": [\"etc\"]}", "'landlock.readOnly[0]'"},
        {"{\"readOnly\": \"/etc\"}", "'landlock.readOnly'"},
        {"{\"bind\": [65536]}", "'landlock.bind[0]'"},
        {"{\"connect\": [\"x\"]}", "'landlock.connect[0]'"},
        {"{\"scoped\": 1}", "'landlock.scoped'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        SCOPED(scope_json) json_t *rules = json_loads(bad[i][0], 0, NULL);
        struct landlock *l = NULL;
        struct err e = {0};

        assert_non_null(rules);
        assert_int_equal(landlock_parse(rules, &l, &e), -EINVAL);
        if (strstr(e.text, bad[i][1]) == NULL) {
            fail_msg("'%s' does not name %s", e.text, bad[i][1]);
        }
    }
}

static void a_missing_path_is_an_error_unless_optional(void **state)
{
    int status = 0;
    pid_t pid;

    (void)state;
    if (landlock_abi() == 0) {
        skip();
    }
    pid = fork();
    if (pid == 0) {
        struct landlock *l = landlock_create();
        struct err e = {0};
        int r = landlock_allow_path(l, "/nowhere/at/all", LANDLOCK_READ, true);

        r |= landlock_apply(l, NULL, &e);
        r |= landlock_allow_path(l, "/nowhere/at/all", LANDLOCK_READ, false);
        status = r == 0 && landlock_apply(l, NULL, &e) == -ENOENT ? 0 : 1;
        landlock_destroy(l);
        _exit(status);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void running_out_of_memory_is_an_error(void **state)
{
    SCOPED(scope_json)
    json_t *rules =
        json_loads("{\"readOnly\": [\"/a\", \"/b\"], \"bind\": [80]}", 0, NULL);

    (void)state;
    for (long at = 0;; at++) {
        struct landlock *l = NULL;
        struct err e = {0};
        int r;

        fault_fail_alloc_at(at);
        r = landlock_parse(rules, &l, &e);
        fault_fail_alloc_at(-1);
        if (r == 0) {
            landlock_destroy(l);
            assert_true(at >= 5);
            return;
        }
        assert_int_equal(r, -ENOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_and_ports_not_named_are_out_of_reach),
        cmocka_unit_test(a_host_without_it_gives_one_line),
        cmocka_unit_test(bad_rules_are_refused_by_name),
        cmocka_unit_test(a_missing_path_is_an_error_unless_optional),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
