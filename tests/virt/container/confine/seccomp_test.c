/* Seccomp profiles, judged by the kernel: a child loads the filter and calls.
 * rows: OSL-13 OSL-19 SEC-01 */
#include "virt/container/confine/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"

static char dir[] = "/tmp/seccomp-test.XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return file_remove_tree(AT_FDCWD, dir);
}

static struct seccomp_filter *make(const char *text, const char *cache)
{
    SCOPED(scope_json) json_t *profile = json_loads(text, 0, NULL);
    struct seccomp_filter *f = NULL;
    struct err e = {0};

    assert_non_null(profile);
    if (seccomp_filter_create(profile, cache, NULL, &f, &e) < 0) {
        fail_msg("%s", e.text);
    }
    return f;
}

/* The errno of the call (0: it succeeded) as a child under the filter sees it. */
typedef int call_fn(void);

static int under(const struct seccomp_filter *f, call_fn *call)
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int notify = -1;

        (void)signal(SIGSYS, SIG_DFL); /* the test library catches it */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            seccomp_filter_load(f, &notify) < 0) {
            _exit(254);
        }
        _exit(call());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int result(long r)
{
    return r < 0 ? errno : 0;
}

static int call_getppid(void)
{
    return result(syscall(SYS_getppid));
}

static int call_mount(void)
{
    return result(mount("", "/nowhere", NULL, 0, NULL));
}

static int call_unshare(void)
{
    return result(unshare(CLONE_NEWUSER));
}

static int call_clone_namespace(void)
{
    return result(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
}

static int call_clone3(void)
{
    return result(syscall(SYS_clone3, NULL, 0));
}

static int call_keyctl(void)
{
    return result(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
}

static int call_io_uring(void)
{
    return result(syscall(SYS_io_uring_setup, 1, NULL));
}

static int call_fchmodat2(void)
{
    return result(syscall(452, AT_FDCWD, "/nowhere", 0, 0));
}

static int call_vsock(void)
{
    return result(socket(40, SOCK_STREAM, 0));
}

static int call_inet(void)
{
    return result(socket(AF_INET, SOCK_STREAM, 0));
}

static int call_personality(void)
{
    return result(syscall(SYS_personality, 0x0400000)); /* READ_IMPLIES_EXEC */
}

static int call_true(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        (void)execl("/bin/sh", "sh", "-c", "ls / >/dev/null && exit 0", (char *)NULL);
        _exit(99);
    }
    return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 98;
}

static struct seccomp_filter *make_default(uint64_t caps)
{
    SCOPED(scope_json) json_t *profile = seccomp_default_profile(caps);
    struct seccomp_filter *f = NULL;
    struct err e = {0};

    assert_non_null(profile);
    if (seccomp_filter_create(profile, NULL, NULL, &f, &e) < 0) {
        fail_msg("%s", e.text);
    }
    return f;
}

static void the_default_profile_lets_programs_run_and_keeps_the_rest_out(void **state)
{
    struct seccomp_filter *f = make_default(0);

    (void)state;
    assert_int_equal(under(f, call_true), 0);
    assert_int_equal(under(f, call_inet), 0);
    assert_int_equal(under(f, call_mount), EPERM);
    assert_int_equal(under(f, call_unshare), EPERM);
    assert_int_equal(under(f, call_clone_namespace), ENOSYS);
    assert_int_equal(under(f, call_clone3), ENOSYS);
    assert_int_equal(under(f, call_keyctl), ENOSYS);
    assert_int_equal(under(f, call_io_uring), ENOSYS);
    assert_int_equal(under(f, call_personality), ENOSYS);
    assert_int_equal(under(f, call_vsock), EAFNOSUPPORT);
    assert_int_equal(under(f, call_fchmodat2), ENOENT); /* younger than the library */
    seccomp_filter_destroy(f);
}

static void a_capability_opens_its_calls(void **state)
{
    struct seccomp_filter *f = make_default(UINT64_C(1) << CAP_SYS_ADMIN);

    (void)state;
    assert_int_equal(under(f, call_mount), ENOENT);
    assert_int_equal(under(f, call_clone3), EINVAL);
    assert_int_equal(under(f, call_keyctl), ENOSYS);
    seccomp_filter_destroy(f);
}

static int setpriority_one(void)
{
    return result(syscall(SYS_getpriority, 1, 7));
}

static int setpriority_two(void)
{
    return result(syscall(SYS_getpriority, 2, 7));
}

static int setpriority_low(void)
{
    return result(syscall(SYS_getpriority, 0, 0x10));
}

static void arguments_are_compared_as_the_profile_says(void **state)
{
    struct seccomp_filter *f = make(
        "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": "
        "[\"getpriority\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 91, \"args\": "
        "[{\"index\": 0, \"value\": 1, \"op\": \"SCMP_CMP_EQ\"}, {\"index\": 1, "
        "\"value\": 7, \"op\": \"SCMP_CMP_EQ\"}]}, {\"names\": [\"getpriority\"], "
        "\"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 92, \"args\": [{\"index\": 1, "
        "\"value\": 240, \"valueTwo\": 16, \"op\": \"SCMP_CMP_MASKED_EQ\"}]}]}",
        NULL);

    (void)state;
    assert_int_equal(under(f, setpriority_one), 91);
    assert_int_equal(under(f, setpriority_low), 92);
    assert_true(under(f, setpriority_two) != 91);
    seccomp_filter_destroy(f);

    /* one argument tested twice: either is enough */
    f = make("{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": "
             "[\"getpriority\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 93, "
             "\"args\": [{\"index\": 0, \"value\": 1, \"op\": \"SCMP_CMP_EQ\"}, "
             "{\"index\": 0, \"value\": 2, \"op\": \"SCMP_CMP_EQ\"}]}]}",
             NULL);
    assert_int_equal(under(f, setpriority_one), 93);
    assert_int_equal(under(f, setpriority_two), 93);
    seccomp_filter_destroy(f);
}

static void actions_do_what_they_are_called(void **state)
{
    static const struct {
        const char *action;
        int want;
    } rows[] = {{"SCMP_ACT_KILL_PROCESS", 1000 + SIGSYS},
                {"SCMP_ACT_KILL", 1000 + SIGSYS},
                {"SCMP_ACT_TRAP", 1000 + SIGSYS},
                {"SCMP_ACT_ERRNO", EPERM},
                {"SCMP_ACT_TRACE", ENOSYS},
                {"SCMP_ACT_LOG", 0},
                {"SCMP_ACT_ALLOW", 0}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct seccomp_filter *f;
        char text[256];

        (void)snprintf(text, sizeof text,
                       "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": "
                       "[{\"names\": [\"getppid\"], \"action\": \"%s\"}]}",
                       rows[i].action);
        f = make(text, NULL);
        assert_int_equal(under(f, call_getppid), rows[i].want);
        seccomp_filter_destroy(f);
    }
}

#define SMALL                                                                            \
    "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": "                \
    "[\"getppid\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 77}]}"

/* The one file of the cache directory. */
static void find_file(const char *cache, char *out, size_t size)
{
    SCOPED(scope_dir) DIR *d = opendir(cache);
    const struct dirent *entry;

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(out, size, "%s/%s", cache, entry->d_name);
            return;
        }
    }
    fail_msg("nothing was kept in %s", cache);
}

static void expect_again(const char *cache, bool cached)
{
    struct seccomp_filter *f = make(SMALL, cache);

    assert_int_equal(seccomp_filter_was_cached(f), cached);
    assert_int_equal(under(f, call_getppid), 77);
    seccomp_filter_destroy(f);
}

static void a_kept_filter_is_used_only_while_it_is_whole(void **state)
{
    char cache[64];
    char file[512];
    struct stat st;
    int fd;

    (void)state;
    (void)snprintf(cache, sizeof cache, "%s/a/cache", dir);
    expect_again(cache, false);
    expect_again(cache, true);
    find_file(cache, file, sizeof file);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    /* every byte matters, and so do the length and the mode */
    for (off_t at = 0; at < st.st_size; at += 5) {
        unsigned char byte = 0;
        struct seccomp_filter *f;

        fd = open(file, O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x40;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        (void)close(fd);
        f = make(SMALL, cache);
        assert_false(seccomp_filter_was_cached(f));
        seccomp_filter_destroy(f);
    }
    expect_again(cache, true);
    assert_int_equal(truncate(file, st.st_size - 8), 0);
    expect_again(cache, false);
    assert_int_equal(chmod(file, 0644), 0);
    expect_again(cache, false);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(symlink("/etc/passwd", file), 0);
    expect_again(cache, false);
    expect_again(cache, true);
}

static void a_directory_that_others_can_write_is_not_used(void **state)
{
    SCOPED(scope_json) json_t *profile = json_loads(SMALL, 0, NULL);
    struct seccomp_filter *f = NULL;
    struct strv warnings = {0};
    struct err e = {0};
    char cache[64];

    (void)state;
    (void)snprintf(cache, sizeof cache, "%s/open", dir);
    assert_int_equal(mkdir(cache, 0700), 0);
    assert_int_equal(chmod(cache, 0777), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(seccomp_filter_create(profile, cache, &warnings, &f, &e), 0);
        assert_false(seccomp_filter_was_cached(f));
        seccomp_filter_destroy(f);
    }
    assert_int_equal(warnings.n, 2);
    strv_fini(&warnings);
}

static void another_profile_is_another_filter(void **state)
{
    char cache[64];
    struct seccomp_filter *f;

    (void)state;
    (void)snprintf(cache, sizeof cache, "%s/two", dir);
    expect_again(cache, false);
    f = make("{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": "
             "[\"getppid\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 78}]}",
             cache);
    assert_false(seccomp_filter_was_cached(f));
    assert_int_equal(under(f, call_getppid), 78);
    seccomp_filter_destroy(f);
    expect_again(cache, true);
}

static void the_default_filter_is_kept_by_its_capabilities(void **state)
{
    struct seccomp_filter *f = NULL;
    struct seccomp_filter *whole = make_default(0);
    struct err e = {0};
    char cache[64];

    (void)state;
    (void)snprintf(cache, sizeof cache, "%s/default", dir);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(seccomp_filter_create_default(0, cache, NULL, &f, &e), 0);
        assert_int_equal(seccomp_filter_was_cached(f), i == 1);
        assert_int_equal(seccomp_filter_len(f), seccomp_filter_len(whole));
        assert_int_equal(under(f, call_mount), EPERM);
        seccomp_filter_destroy(f);
    }
    assert_int_equal(
        seccomp_filter_create_default(UINT64_C(1) << CAP_SYS_ADMIN, cache, NULL, &f, &e),
        0);
    assert_false(seccomp_filter_was_cached(f));
    assert_int_equal(under(f, call_mount), ENOENT);
    seccomp_filter_destroy(f);
    seccomp_filter_destroy(whole);
}

static void bad_profiles_are_refused_by_name(void **state)
{
    static const char *const bad[][2] = {
        {"[]", "linux.seccomp"},
        {"{}", "defaultAction"},
        {"{\"defaultAction\": \"SCMP_ACT_NOTIFY\"}", "defaultAction"},
        {"{\"defaultAction\": \"ALLOW\"}", "defaultAction"},
        {"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"flags\": [\"X\"]}", "flags[0]"},
        {"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": {}}", "syscalls"},
        {"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [3]}", "syscalls[0]"},
        {"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [1], "
         "\"action\": \"SCMP_ACT_KILL\"}]}",
         "syscalls[0].names[0]"},
        {"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"read\"], "
         "\"action\": \"SCMP_ACT_KILL\", \"args\": [{\"index\": 6, \"op\": "
         "\"SCMP_CMP_EQ\"}]}]}",
         "syscalls[0].args[0]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        SCOPED(scope_json) json_t *profile = json_loads(bad[i][0], 0, NULL);
        struct seccomp_filter *f = NULL;
        struct err e = {0};

        assert_non_null(profile);
        assert_int_equal(seccomp_filter_create(profile, NULL, NULL, &f, &e), -EINVAL);
        if (strstr(e.text, bad[i][1]) == NULL) {
            fail_msg("'%s' does not name '%s'", e.text, bad[i][1]);
        }
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static int receive(int listener, char *text, size_t size)
{
    SCOPED(scope_close) int fd = accept(listener, NULL, NULL);
    struct iovec io = {.iov_base = text, .iov_len = size - 1};
    char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
    struct msghdr msg = {.msg_iov = &io,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &msg, 0);
    int out;

    assert_true(n > 0 && CMSG_FIRSTHDR(&msg) != NULL);
    text[n] = '\0';
    memcpy(&out, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof out);
    return out;
}

static void the_listener_gets_the_state_and_answers_calls(void **state)
{
    char path[64];
    char text[1024];
    char profile_text[512];
    struct err e = {0};
    int status = 0;
    SCOPED(scope_close) int listener = -1;
    SCOPED(scope_close) int notify = -1;
    SCOPED(scope_json) json_t *profile = NULL;
    struct seccomp_filter *f = NULL;
    pid_t pid;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/listener", dir);
    listener = listen_at(path);
    (void)snprintf(profile_text, sizeof profile_text,
                   "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"listenerPath\": \"%s\", "
                   "\"listenerMetadata\": \"hello\", \"syscalls\": [{\"names\": "
                   "[\"getppid\"], \"action\": \"SCMP_ACT_NOTIFY\"}]}",
                   path);
    profile = json_loads(profile_text, 0, NULL);
    assert_int_equal(seccomp_filter_create(profile, NULL, NULL, &f, &e), 0);
    assert_true(seccomp_filter_notifies(f));
    pid = fork();
    if (pid == 0) {
        SCOPED(scope_json) json_t *container = json_pack("{s:s}", "id", "web");
        int fd = -1;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            seccomp_filter_load(f, &fd) < 0 || fd < 0 ||
            seccomp_filter_send_notify(profile, fd, getpid(), container, &e) < 0) {
            _exit(1);
        }
        _exit(syscall(SYS_getppid) == 4711 ? 0 : 2);
    }
    notify = receive(listener, text, sizeof text);
    {
        SCOPED(scope_json) json_t *message = json_loads(text, 0, NULL);
        struct seccomp_notif ask = {0};
        struct seccomp_notif_resp answer = {0};

        assert_string_equal(json_string_value(json_object_get(message, "metadata")),
                            "hello");
        assert_int_equal(json_integer_value(json_object_get(message, "pid")), pid);
        assert_int_equal(ioctl(notify, SECCOMP_IOCTL_NOTIF_RECV, &ask), 0);
        assert_int_equal(ask.data.nr, SYS_getppid);
        answer.id = ask.id;
        answer.val = 4711;
        assert_int_equal(ioctl(notify, SECCOMP_IOCTL_NOTIF_SEND, &answer), 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    seccomp_filter_destroy(f);
}

static void running_out_of_memory_is_an_error(void **state)
{
    SCOPED(scope_json) json_t *profile = json_loads(SMALL, 0, NULL);

    (void)state;
    for (long at = 0;; at++) {
        struct seccomp_filter *f = NULL;
        struct err e = {0};
        int r;

        fault_fail_alloc_at(at);
        r = seccomp_filter_create(profile, NULL, NULL, &f, &e);
        fault_fail_alloc_at(-1);
        if (r == 0) {
            seccomp_filter_destroy(f);
            return;
        }
        assert_int_equal(r, -ENOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_profile_lets_programs_run_and_keeps_the_rest_out),
        cmocka_unit_test(a_capability_opens_its_calls),
        cmocka_unit_test(arguments_are_compared_as_the_profile_says),
        cmocka_unit_test(actions_do_what_they_are_called),
        cmocka_unit_test(a_kept_filter_is_used_only_while_it_is_whole),
        cmocka_unit_test(a_directory_that_others_can_write_is_not_used),
        cmocka_unit_test(another_profile_is_another_filter),
        cmocka_unit_test(the_default_filter_is_kept_by_its_capabilities),
        cmocka_unit_test(bad_profiles_are_refused_by_name),
        cmocka_unit_test(the_listener_gets_the_state_and_answers_calls),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
