/* program_test.c - which file is executed, and what can be seen of who executes it.
 * rows: OSL-04 OSL-19 SEC-02 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/file.h"
#include "tests/base/check.h"
#include "tests/virt/container/box.h"
#include "virt/container/target.h"

#define RACES 150

/* ---- nobody can exchange it ---- */

/* A process that exchanges two files for each other as fast as it can. */
static pid_t exchange_for_ever(const char *a, const char *b)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            (void)renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
        }
    }
    return pid;
}

/* Run `program` again and again while its parts change: it runs, or it is refused as what
 * it is.  Anything else means that the runtime itself was executed. */
static void is_never_the_runtime(struct box *b, const char *program)
{
    json_t *process = json_pack("{s:[s]}", "args", program);
    struct container_exec x = {.process = process, .stdio = {0, 1, 2}};
    int ran = 0;
    int refused = 0;

    for (int i = 0; i < RACES; i++) {
        int status = 0;
        pid_t pid = 0;
        int r;

        err_clear(&b->e);
        r = container_exec(b->c, &x, &pid, NULL, &b->e);
        if (r == 0) {
            assert_int_equal(waitpid(pid, &status, 0), pid);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            ran++;
        } else if (r == -EPERM || r == -ELOOP || r == -EAGAIN) {
            refused++;
        } else {
            fail_msg("%d: %s", r, b->e.text);
        }
    }
    assert_true(ran > 0 && refused > 0);
    json_decref(process);
}

static void a_program_cannot_be_exchanged_for_the_runtime(void **state)
{
    struct box *b = *state;
    pid_t pid;

    box_must(b, box_create(b, "exchange", "sleep 1000"));
    box_must(b, task_start(container_task(b->c), &b->e));
    assert_int_equal(link(box_path(b, "rootfs/bin/busybox"), box_path(b, "rootfs/bin/a")),
                     0);
    assert_int_equal(unlink(box_path(b, "rootfs/bin/true")), 0);
    assert_int_equal(rename(box_path(b, "rootfs/bin/a"), box_path(b, "rootfs/bin/true")),
                     0);
    assert_int_equal(symlink("/proc/self/exe", box_path(b, "rootfs/bin/b")), 0);
    pid = exchange_for_ever(box_path(b, "rootfs/bin/true"), box_path(b, "rootfs/bin/b"));
    is_never_the_runtime(b, "/bin/true");
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

static void an_interpreter_cannot_be_exchanged_either(void **state)
{
    struct box *b = *state;
    pid_t pid;

    box_must(b, box_create(b, "exchange", "sleep 1000"));
    box_must(b, task_start(container_task(b->c), &b->e));
    box_write(b, "rootfs/script", "#!/bin/ash\nexit 0\n");
    assert_int_equal(
        link(box_path(b, "rootfs/bin/busybox"), box_path(b, "rootfs/bin/ash")), 0);
    assert_int_equal(symlink("/proc/self/exe", box_path(b, "rootfs/bin/c")), 0);
    pid = exchange_for_ever(box_path(b, "rootfs/bin/ash"), box_path(b, "rootfs/bin/c"));
    is_never_the_runtime(b, "/script");
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

/* ---- what the host's own look like from inside ---- */

static bool is_the_hosts(const struct box *b, const char *link)
{
    return strncmp(link, "/sys/fs/cgroup", 14) == 0 || strstr(link, "pidfd") != NULL ||
           strncmp(link, box_path(b, "outside"), strlen(b->dir) + 8) == 0;
}

/* How many descriptors of a process are the host's; the last of them in `name`. */
static int count_the_hosts(const struct box *b, pid_t pid, char name[256])
{
    char path[300];
    const struct dirent *entry;
    DIR *d;
    int n = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    d = opendir(path);
    while (d != NULL && (entry = readdir(d)) != NULL) {
        char link[256];
        ssize_t len;

        (void)snprintf(path, sizeof path, "/proc/%d/fd/%.16s", (int)pid, entry->d_name);
        len = readlink(path, link, sizeof link - 1);
        link[len > 0 ? len : 0] = '\0';
        if (is_the_hosts(b, link)) {
            (void)memcpy(name, link, sizeof link);
            n++;
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return n;
}

static void one_that_waits_holds_nothing_of_the_host(void **state)
{
    struct box *b = *state;
    char name[256] = "";
    int fd;

    assert_int_equal(mkdir(box_path(b, "outside"), 0755), 0);
    fd = open(box_path(b, "outside"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    box_must(b, box_create(b, "waits", "true"));
    if (count_the_hosts(b, container_pid(b->c), name) != 0) {
        fail_msg("it holds %s", name);
    }
    (void)close(fd);
}

/* Whether the process is in a PID namespace below ours. */
static bool is_inside(pid_t pid)
{
    char path[64];
    char *text = NULL;
    const char *line;
    bool inside = false;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (file_read(AT_FDCWD, path, 8192, &text, NULL) == 0) {
        line = strstr(text, "NSpid:");
        inside = line != NULL && strchr(line + 7, '\t') != NULL &&
                 strchr(line + 7, '\t') < strchr(line, '\n');
    }
    free(text);
    return inside;
}

/* Look at the children of `parent`, but `not`, until one inside holds what is the
 * host's. */
static void watch(const struct box *b, pid_t parent, pid_t not, int gate)
{
    char path[64];

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)!write(gate, "g", 1);
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent,
                   (int)parent);
    for (;;) {
        char *text = NULL;

        if (file_read(AT_FDCWD, path, 4096, &text, NULL) == 0) {
            char *at = text;
            char *end;

            for (long pid = strtol(at, &end, 10); end != at; pid = strtol(at, &end, 10)) {
                char name[256];

                at = end;
                if (pid != not &&pid != getpid() && is_inside((pid_t)pid) &&
                    count_the_hosts(b, (pid_t)pid, name) != 0) {
                    _exit(7);
                }
            }
        }
        free(text);
    }
}

static void one_that_joins_holds_nothing_of_the_host(void **state)
{
    struct box *b = *state;
    int status = 0;
    int gate[2];
    char byte;
    pid_t pid;
    int fd;

    assert_int_equal(mkdir(box_path(b, "outside"), 0755), 0);
    fd = open(box_path(b, "outside"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    box_must(b, box_create(b, "joined", "sleep 1000"));
    box_must(b, task_start(container_task(b->c), &b->e));
    assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        watch(b, getppid(), container_pid(b->c), gate[1]);
    }
    assert_int_equal(read(gate[0], &byte, 1), 1);
    for (int i = 0; i < 50; i++) {
        box_must(b, box_exec(b, "true"));
    }
    assert_int_equal(waitpid(pid, &status, WNOHANG), 0); /* it found nothing */
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    (void)close(gate[0]);
    (void)close(gate[1]);
    (void)close(fd);
}

/* ---- as the kernel would ---- */

/* The same program, executed by a shell inside, says what is right. */
static void a_script_is_run_as_the_kernel_runs_it(void **state)
{
    static const char *const lines[] = {
        "#!/show\n",         "#!/show one\n", "#! /show  one two  \n",
        "#!/show\tone \t\n", "#!/show -x",    "#!/nested\n",
        "#!/nested more\n",  "#!/show\t-e\n", "#!./show relative\n",
    };
    struct box *b = *state;
    char by_kernel[BOX_OUT_BYTES];

    box_write(b, "rootfs/show", "#!/bin/busybox sh\nfor a; do echo \"[$a]\"; done\n");
    box_write(b, "rootfs/nested", "#!/show first\n");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        static const char *const direct[] = {"/script", "a", "b c", NULL};
        int theirs;
        int ours;

        box_write(b, "rootfs/script", lines[i]);
        theirs = box_run(b, "exec /script a 'b c'");
        (void)snprintf(by_kernel, sizeof by_kernel, "%s", b->out);
        ours = box_run_args(b, direct);
        if (ours != theirs || strcmp(by_kernel, b->out) != 0) {
            fail_msg("'%s': %d '%s', not %d '%s'", lines[i], ours, b->out, theirs,
                     by_kernel);
        }
    }
}

static void a_script_that_cannot_run_says_why(void **state)
{
    static const char *const direct[] = {"/script", NULL};
    struct box *b = *state;

    box_write(b, "rootfs/script", "#!/no/such/interpreter\n");
    assert_int_equal(box_run_args(b, direct), -ENOENT);
    box_write(b, "rootfs/script", "#!\n");
    assert_int_equal(box_run_args(b, direct), -ENOEXEC);
    box_write(b, "rootfs/script", "#!/script\n");
    assert_int_equal(box_run_args(b, direct), -ELOOP);
    box_write(b, "rootfs/script", "#!/bin/sh\n");
    assert_int_equal(chmod(box_path(b, "rootfs/script"), 0644), 0);
    assert_int_equal(box_run_args(b, direct), -EACCES);
}

static void a_program_that_cannot_be_read_still_runs(void **state)
{
    static const char *const direct[] = {"/bin/secret", "echo", "ran", NULL};
    struct box *b = *state;
    char command[256];

    (void)snprintf(command, sizeof command, "cp /bin/busybox %s && chmod 0111 %s",
                   box_path(b, "rootfs/bin/secret"), box_path(b, "rootfs/bin/secret"));
    assert_int_equal(system(command), 0); /* a test's own setup */
    box_set(b, "process.user", json_pack("{s:i, s:i}", "uid", 1000, "gid", 1000));
    box_set(b, "process.capabilities", json_object());
    assert_int_equal(box_run_args(b, direct), 127); /* busybox knows no such applet */
    assert_non_null(strstr(b->out, "applet not found"));
}

static void a_program_can_be_a_descriptor_that_was_handed_on(void **state)
{
    static const char *const direct[] = {"/proc/self/fd/3", "echo", "by number", NULL};
    struct box *b = *state;
    int fd = open("/bin/busybox", O_RDONLY);

    if (fd != 3) {
        assert_int_equal(dup2(fd, 3), 3);
        (void)close(fd);
    }
    b->preserve_fds = 1;
    (void)box_run_args(b, direct);
    assert_non_null(strstr(b->out, "applet not found")); /* it is called "3" */
    (void)close(3);
}

/* Were one of the descriptors that are handed on closed meanwhile, its number would be
 * that of the program's directory: a way out. */
static void what_the_program_is_executed_by_is_not_handed_on(void **state)
{
    struct target t = {.file = open("/bin/busybox", O_PATH | O_CLOEXEC),
                       .dir = open("/bin", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    int file = t.file;
    int dir = t.dir;
    int least = (file > dir ? file : dir) + 1;
    struct stat st;
    struct stat want;

    (void)state;
    assert_int_equal(target_move_above(&t, least), 0);
    assert_true(t.file >= least && t.dir >= least && t.file != t.dir);
    assert_int_equal(fcntl(file, F_GETFD), -1);
    assert_int_equal(fcntl(dir, F_GETFD), -1);
    assert_int_equal(fcntl(t.dir, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(t.file, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fstat(t.dir, &st), 0);
    assert_int_equal(stat("/bin", &want), 0);
    assert_int_equal(st.st_ino, want.st_ino);
    file = t.file;
    assert_int_equal(target_move_above(&t, least), 0); /* they are above already */
    assert_int_equal(t.file, file);
    target_fini(&t);
    t = (struct target){.file = -1, .dir = -1};
    assert_int_equal(target_move_above(&t, least), 0);
    assert_int_equal(t.dir, -1);
}

/* Executed by a descriptor, and still called by a name: that of the file that runs. */
static void the_first_process_is_called_after_the_file_that_runs(void **state)
{
    static const char *const rows[][4] = {
        {"/bin/busybox", "cat", "/proc/self/comm", NULL}, /* itself */
        {"/bin/cat", "/proc/self/comm", NULL},            /* a link to it */
        {"/script", "/proc/self/comm", NULL},             /* its interpreter's file */
    };
    struct box *b = *state;

    box_write(b, "rootfs/script", "#!/bin/cat\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        box_must(b, box_run_args(b, rows[i]));
        assert_non_null(strstr(b->out, "busybox\n"));
    }
}

/* A filter may know execve only. */
static void a_filter_without_execveat_is_respected(void **state)
{
    static const char *const actions[] = {"SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"};
    struct box *b = *state;

    for (size_t i = 0; i < 2; i++) {
        for (int first = 0; first < 2; first++) { /* before and after the capabilities */
            box_set(b, "process.noNewPrivileges", json_boolean(first));
            box_set(b, "linux.seccomp",
                    json_pack("{s:s, s:[{s:[s], s:s}]}", "defaultAction",
                              "SCMP_ACT_ALLOW", "syscalls", "names", "execveat", "action",
                              actions[i]));
            if (first == 0) {
                box_set(b, "process.capabilities.effective",
                        json_pack("[s]", "CAP_SYS_ADMIN"));
            }
            box_must(b, box_run(b, "echo ran"));
            assert_string_equal(b->out, "ran\n");
        }
    }
}

/* ---- failures of the parent's half ---- */

static void a_missing_root_is_named_with_a_user_namespace_too(void **state)
{
    struct box *b = *state;

    box_map(b, 700000);
    box_set(b, "root.path", json_string("no-such-root"));
    assert_int_equal(box_run(b, "true"), -ENOENT);
    assert_non_null(strstr(b->e.text, "no-such-root"));
}

static void ids_that_cannot_be_mapped_are_an_error(void **state)
{
    struct box *b = *state;

    box_map(b, 700000);
    box_set(b, "linux.gidMappings",
            json_pack("[{s:i, s:i, s:i}, {s:i, s:i, s:i}]", "containerID", 0, "hostID",
                      700000, "size", 10, "containerID", 5, "hostID", 800000, "size",
                      10)); /* they overlap */
    assert_true(box_run(b, "true") < 0);
    assert_non_null(strstr(b->e.text, "map"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, box_begin, box_end)
    const struct CMUnitTest tests[] = {
        T(a_program_cannot_be_exchanged_for_the_runtime),
        T(an_interpreter_cannot_be_exchanged_either),
        T(one_that_waits_holds_nothing_of_the_host),
        T(one_that_joins_holds_nothing_of_the_host),
        T(a_script_is_run_as_the_kernel_runs_it),
        T(a_script_that_cannot_run_says_why),
        T(a_program_that_cannot_be_read_still_runs),
        T(a_program_can_be_a_descriptor_that_was_handed_on),
        cmocka_unit_test(what_the_program_is_executed_by_is_not_handed_on),
        T(the_first_process_is_called_after_the_file_that_runs),
        T(a_filter_without_execveat_is_respected),
        T(a_missing_root_is_named_with_a_user_namespace_too),
        T(ids_that_cannot_be_mapped_are_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
