/* escape_test.c - known ways out of a container, each blocked.
 * rows: OSL-04 OSL-13 OSL-19 SEC-02 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "host/file.h"
#include "tests/base/check.h"
#include "tests/virt/container/box.h"

#define SECRET "the-hosts-own-secret"

static int set_up(void **state)
{
    int r = box_begin(state);

    box_write(*state, "outside", SECRET);
    return r;
}

/* Nothing of the secret came out, whatever the script's code is. */
static void blocked(struct box *b, const char *script)
{
    int r = box_run(b, script);

    if (strstr(b->out, SECRET) != NULL) {
        fail_msg("'%s' got out (%d): %s", script, r, b->out);
    }
}

/* ---- the five of chroot ---- */

static void an_absolute_path_stays_inside(void **state)
{
    struct box *b = *state;
    char script[256];

    (void)snprintf(script, sizeof script, "cat %s", box_path(b, "outside"));
    blocked(b, script);
}

static void dots_stay_inside(void **state)
{
    blocked(*state, "cat ../outside ../../outside /../outside /proc/../../outside; "
                    "cd /..; cat outside; cd ../../..; cat outside");
}

static void a_link_stays_inside(void **state)
{
    struct box *b = *state;

    assert_int_equal(symlink(box_path(b, "outside"), box_path(b, "rootfs/absolute")), 0);
    assert_int_equal(symlink("../outside", box_path(b, "rootfs/relative")), 0);
    blocked(b, "cat /absolute /relative; busybox ln -s ../../outside /tmp/l; cat /tmp/l");
}

/* CVE-2024-21626: a descriptor of the host that was left open. */
static void a_descriptor_of_the_host_is_not_inherited(void **state)
{
    struct box *b = *state;
    int fd = open(b->dir, O_RDONLY | O_DIRECTORY); /* not close-on-exec */
    char cwd[64];

    assert_true(fd > 2);
    box_must(
        b,
        box_run(b,
                "ls /proc/self/fd | busybox wc -l; cat /proc/self/fd/*/outside; exit 0"));
    assert_null(strstr(b->out, SECRET));
    for (int i = 3; i < 24; i++) {
        (void)snprintf(cwd, sizeof cwd, "/proc/self/fd/%d", i);
        box_set(b, "process.cwd", json_string(cwd));
        assert_true(box_run(b, "cat outside ../outside; pwd") < 0); /* not even its own */
    }
    box_set(b, "process.cwd", json_string("/proc/self/root"));
    assert_int_equal(box_run(b, "pwd"), -ELOOP);
    (void)close(fd);
}

static void a_second_chroot_does_not_help(void **state)
{
    /* The classic: a root below, the working directory above it, and up. */
    blocked(*state,
            "busybox mkdir -p /tmp/new/bin; busybox cp /bin/busybox /tmp/new/bin/; cd /; "
            "exec busybox chroot /tmp/new /bin/busybox sh -c "
            "'cd ..; cd ..; cd ../../..; /bin/busybox cat outside ../outside'");
}

/* ---- the runtime itself ---- */

/* CVE-2019-5736. */
static void the_runtime_is_not_executed_inside(void **state)
{
    static const char *const direct[] = {"/proc/self/exe", NULL};
    static const char *const linked[] = {"/evil", NULL};
    static const char *const script[] = {"/script", NULL};
    static const char *const nested[] = {"/nested", NULL};
    struct box *b = *state;

    assert_int_equal(symlink("/proc/self/exe", box_path(b, "rootfs/evil")), 0);
    box_write(b, "rootfs/script", "#!/proc/self/exe\n");
    box_write(b, "rootfs/nested", "#! /script x\n");
    assert_int_equal(box_run_args(b, direct), -EPERM);
    assert_non_null(strstr(b->e.text, "runtime"));
    assert_int_equal(box_run_args(b, linked), -EPERM);
    assert_int_equal(box_run_args(b, script), -EPERM);
    assert_int_equal(box_run_args(b, nested), -EPERM);
}

static void exec_refuses_the_runtime_too(void **state)
{
    struct box *b = *state;
    json_t *process = json_pack("{s:[s]}", "args", "/proc/self/exe");
    struct container_exec x = {.process = process, .stdio = {0, 1, 2}};
    pid_t pid;

    box_must(b, box_create(b, "exec-exe", "sleep 100"));
    box_must(b, task_start(container_task(b->c), &b->e));
    assert_int_equal(container_exec(b->c, &x, &pid, NULL, &b->e), -EPERM);
    json_decref(process);
}

/* ---- an image that lies ---- */

static void system_directories_may_not_be_links(void **state)
{
    static const char *const names[] = {"dev", "proc", "sys"};
    struct box *b = *state;

    for (size_t i = 0; i < 3; i++) {
        char path[32];

        (void)snprintf(path, sizeof path, "rootfs/%s", names[i]);
        assert_int_equal(rmdir(box_path(b, path)), 0);
        assert_int_equal(symlink("/tmp", box_path(b, path)), 0);
        assert_int_equal(box_run(b, "true"), -ELOOP);
        assert_non_null(strstr(b->e.text, names[i]));
        assert_int_equal(unlink(box_path(b, path)), 0);
        assert_int_equal(mkdir(box_path(b, path), 0755), 0);
    }
}

static void a_link_leads_no_mount_into_proc(void **state)
{
    struct box *b = *state;

    assert_int_equal(symlink("/proc/sys", box_path(b, "rootfs/volume")), 0);
    box_mount(b, "/volume", "tmpfs", "tmpfs", "");
    assert_int_equal(box_run(b, "true"), -EPERM);
    assert_non_null(strstr(b->e.text, "/volume"));
}

static void a_mount_point_outside_is_made_inside(void **state)
{
    struct box *b = *state;
    struct stat st;

    assert_int_equal(symlink("../../../..", box_path(b, "rootfs/up")), 0);
    box_mount(b, "/up/strata-escape-test", "tmpfs", "tmpfs", "");
    box_must(b, box_run(b, "ls -d /strata-escape-test"));
    assert_true(stat("/strata-escape-test", &st) < 0);
}

/* A false /dev/null would show what it hides; a device that is none is replaced. */
static void a_false_null_device_is_replaced(void **state)
{
    struct box *b = *state;
    json_t *mounts = json_object_get(b->config, "mounts");

    box_write(b, "rootfs/dev/null", SECRET);
    box_write(b, "rootfs/hidden", SECRET);
    (void)json_array_remove(mounts, 2); /* devpts */
    (void)json_array_remove(mounts, 1); /* the tmpfs of /dev */
    box_add(b, "linux.maskedPaths", json_string("/hidden"));
    box_must(b, box_run(b, "[ -c /dev/null ] && cat /hidden /dev/null; echo end"));
    assert_string_equal(b->out, "end\n");
}

/* What the runtime writes to /proc must not end up in a file of the image. */
static void a_false_proc_is_not_written_to(void **state)
{
    struct box *b = *state;
    json_t *process = json_pack("{s:[s], s:i}", "args", "/bin/true", "oomScoreAdj", 500);
    struct container_exec x = {.process = process, .stdio = {0, 1, 2}};
    char *text = NULL;
    pid_t pid;

    (void)json_array_remove(json_object_get(b->config, "mounts"), 0); /* proc */
    assert_int_equal(mkdir(box_path(b, "rootfs/proc/self"), 0755), 0);
    box_write(b, "rootfs/proc/self/oom_score_adj", "untouched");
    box_must(b, box_create(b, "false-proc", "sleep 100"));
    box_must(b, task_start(container_task(b->c), &b->e));
    assert_int_equal(container_exec(b->c, &x, &pid, NULL, &b->e), -ENODEV);
    assert_int_equal(file_read(AT_FDCWD, box_path(b, "rootfs/proc/self/oom_score_adj"),
                               64, &text, NULL),
                     0);
    assert_string_equal(text, "untouched");
    free(text);
    json_decref(process);
}

/* ---- from inside, as root with the usual capabilities ---- */

static void what_belongs_to_the_host_cannot_be_done(void **state)
{
    static const struct {
        const char *what, *script;
    } rows[] = {
        {"make a disk's node", "busybox mknod /tmp/d b 8 0 && cat /tmp/d"},
        {"mount", "busybox mount -t tmpfs t /tmp"},
        {"mount a disk", "busybox mount /dev/vda /tmp"},
        {"load a module", "busybox insmod /bin/busybox"},
        {"set the clock",
         "busybox date -s 2001-01-01 2>&1 | busybox grep -q permitted && exit 1"},
        {"set the host name", "busybox hostname other"},
        {"write a kernel setting", "echo x > /proc/sys/kernel/core_pattern"},
        {"press sysrq", "echo h > /proc/sysrq-trigger"},
        {"read kernel memory",
         "[ \"$(busybox head -c 4 /proc/kcore | busybox wc -c)\" = 4 ]"},
        {"enter the host's init",
         "busybox nsenter -t 1 -m true && busybox nsenter -t 2 -m true"},
        {"unshare mounts", "busybox unshare -m true"},
        {"write the control groups", "echo 0 > /sys/fs/cgroup/cgroup.procs"},
        {"remount the root", "busybox mount -o remount,rw /sys"},
        {"unmount a hidden path", "busybox umount /proc/sys"},
        {"raise its limits", "ulimit -n 1000000000"},
        {"reboot", "busybox reboot -f"},
        {"trace others", "[ -e /proc/2 ] || cat /proc/1/../2/mem"},
        {"set the time zone of the kernel", "busybox hwclock -s"},
        {"swap", "busybox swapon /bin/busybox"},
        {"change the network of the host", "busybox ifconfig lo down"},
    };
    struct box *b = *state;

    box_set(b, "linux.resources.devices", json_array());
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int r = box_run(b, rows[i].script);

        if (r == 0) {
            fail_msg("could %s: %s", rows[i].what, b->out);
        }
    }
}

static void neighbours_are_not_seen(void **state)
{
    struct box *b = *state;
    struct box *other = malloc(sizeof *other);
    char script[256];

    box_init(other);
    assert_int_equal(
        box_create(other, "neighbour", "echo " SECRET " > /tmp/x; sleep 100"), 0);
    assert_int_equal(task_start(container_task(other->c), &other->e), 0);
    (void)snprintf(
        script, sizeof script,
        "kill -9 %d; kill -9 2; cat /proc/%d/root/tmp/x /proc/[0-9]*/root/tmp/x; true",
        container_pid(other->c), container_pid(other->c));
    blocked(b, script);
    assert_int_equal(task_state(container_task(other->c)), TASK_RUNNING);
    box_fini(other);
    free(other);
}

/* The waiting first program and one that joins must not be opened from inside. */
static void a_joining_process_cannot_be_opened(void **state)
{
    struct box *b = *state;

    box_must(b,
             box_create(b, "peek",
                        "while true; do for p in /proc/[0-9]*; do "
                        "busybox readlink $p/exe; done; done > /tmp/exes 2>/dev/null"));
    box_must(b, task_start(container_task(b->c), &b->e));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(box_exec(b, "true"), 0);
    }
    assert_int_equal(box_exec(b, "busybox sort -u /tmp/exes"), 0);
    assert_non_null(strstr(b->out, "/bin/busybox"));
    assert_null(strstr(b->out, "_test"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, box_end)
    const struct CMUnitTest tests[] = {
        T(an_absolute_path_stays_inside),
        T(dots_stay_inside),
        T(a_link_stays_inside),
        T(a_descriptor_of_the_host_is_not_inherited),
        T(a_second_chroot_does_not_help),
        T(the_runtime_is_not_executed_inside),
        T(exec_refuses_the_runtime_too),
        T(system_directories_may_not_be_links),
        T(a_link_leads_no_mount_into_proc),
        T(a_mount_point_outside_is_made_inside),
        T(a_false_null_device_is_replaced),
        T(a_false_proc_is_not_written_to),
        T(what_belongs_to_the_host_cannot_be_done),
        T(neighbours_are_not_seen),
        T(a_joining_process_cannot_be_opened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
