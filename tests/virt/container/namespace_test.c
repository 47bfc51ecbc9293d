/* namespace_test.c - every namespace is the container's own, or the one it was told.
 * rows: OSL-01 OSL-05 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/file.h"
#include "tests/base/check.h"
#include "tests/virt/container/box.h"

#define BASE 300000 /* first id of the mapped user namespaces */

/* "pid:[4026531836]" of this process. */
static const char *own(const char *file, char out[64])
{
    char path[64];
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/self/ns/%s", file);
    n = readlink(path, out, 63);
    out[n > 0 ? n : 0] = '\0';
    return out;
}

static const char all_links[] =
    "for n in pid net ipc uts mnt cgroup user time; do busybox readlink /proc/self/ns/$n; done";

static void those_asked_for_are_new_and_the_others_the_callers(void **state)
{
    static const char *const fresh[] = {"pid", "net", "ipc", "uts", "mnt", "cgroup"};
    struct box *b = *state;
    char link[64];

    box_must(b, box_run(b, all_links));
    for (size_t i = 0; i < sizeof fresh / sizeof fresh[0]; i++) {
        assert_null(strstr(b->out, own(fresh[i], link)));
    }
    assert_non_null(strstr(b->out, own("user", link)));
    assert_non_null(strstr(b->out, own("time", link)));
}

static void each_can_be_left_out(void **state)
{
    static const char *const kinds[][2] = {
        {"network", "net"}, {"ipc", "ipc"}, {"cgroup", "cgroup"}, {"pid", "pid"}};
    struct box *b = *state;
    char link[64];

    for (size_t i = 0; i < 4; i++) {
        box_namespace(b, kinds[i][0], false, NULL);
    }
    box_must(b, box_run(b, all_links));
    for (size_t i = 0; i < 4; i++) {
        assert_non_null(strstr(b->out, own(kinds[i][1], link)));
    }
}

static void processes_and_names_are_its_own(void **state)
{
    struct box *b = *state;

    box_must(b, box_run(b, "echo pid $$; hostname; ls -d /proc/[0-9]* | busybox wc -l"
                           " ; busybox ifconfig lo | busybox grep -c 'UP LOOPBACK'"));
    assert_non_null(strstr(b->out, "pid 1\n"));
    assert_non_null(strstr(b->out, "box\n"));
    assert_non_null(strstr(b->out, "\n1\n"));
}

static void the_cgroup_namespace_is_rooted_at_its_own_group(void **state)
{
    struct box *b = *state;

    box_set(b, "linux.resources.pids.limit", json_integer(20));
    box_must(b, box_run(b, "cat /proc/self/cgroup; ls /sys/fs/cgroup"));
    assert_null(strstr(b->out, "strata")); /* no path of the host */
    assert_non_null(strstr(b->out, ":/\n"));
}

/* A process that waits in new namespaces; their paths in `out`. */
static pid_t hold(int flags)
{
    int ends[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        (void)unshare(flags);
        if ((flags & CLONE_NEWPID) != 0 && fork() != 0) {
            assert_int_equal(write(ends[1], "x", 1), 1);
            (void)pause();
        }
        if ((flags & CLONE_NEWPID) == 0) {
            assert_int_equal(write(ends[1], "x", 1), 1);
        }
        (void)pause();
        _exit(0);
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    (void)close(ends[0]);
    (void)close(ends[1]);
    return pid;
}

static void it_joins_those_it_is_given(void **state)
{
    static const char *const kinds[][2] = {
        {"network", "net"}, {"ipc", "ipc"}, {"uts", "uts"}};
    struct box *b = *state;
    pid_t holder = hold(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS);
    char path[64];
    char link[64];

    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "/proc/%d/ns/%s", holder, kinds[i][1]);
        box_namespace(b, kinds[i][0], true, path);
    }
    box_must(b, box_run(b, all_links));
    for (size_t i = 0; i < 3; i++) {
        ssize_t n;

        (void)snprintf(path, sizeof path, "/proc/%d/ns/%s", holder, kinds[i][1]);
        n = readlink(path, link, sizeof link - 1);
        assert_true(n > 0);
        link[n] = '\0';
        assert_non_null(strstr(b->out, link));
    }
    (void)kill(holder, SIGKILL);
    (void)waitpid(holder, NULL, 0);
}

static void it_joins_a_pid_namespace_and_the_caller_stays(void **state)
{
    struct box *b = *state;
    struct box *other = malloc(sizeof *other);
    char before[64];
    char after[64];
    char path[64];

    box_init(other);
    assert_int_equal(box_create(other, "holder", "sleep 100"), 0);
    assert_int_equal(task_start(container_task(other->c), &other->e), 0);
    (void)snprintf(path, sizeof path, "/proc/%d/ns/pid", container_pid(other->c));
    (void)own("pid_for_children", before);
    box_namespace(b, "pid", true, path);
    box_must(b, box_run(b, "cat /proc/1/comm; echo self $$"));
    assert_non_null(strstr(b->out, "sleep"));
    assert_null(strstr(b->out, "self 1\n"));
    assert_string_equal(own("pid_for_children", after), before);
    box_fini(other);
    free(other);
}

static void a_namespace_that_is_none_is_named(void **state)
{
    struct box *b = *state;

    box_namespace(b, "network", true, "/no/such/net");
    assert_int_equal(box_run(b, "true"), -ENOENT);
    assert_non_null(strstr(b->e.text, "/no/such/net"));
    box_namespace(b, "network", true, "/proc/self/ns/uts");
    assert_true(box_run(b, "true") < 0);
    assert_non_null(strstr(b->e.text, "network"));
}

static void clocks_are_moved_by_their_offsets(void **state)
{
    struct box *b = *state;
    double host = 0;
    double inside = 0;
    FILE *f = fopen("/proc/uptime", "r");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lf", &host), 1);
    (void)fclose(f);
    box_namespace(b, "time", true, NULL);
    box_set(b, "linux.timeOffsets",
            json_pack("{s:{s:i}, s:{s:i}}", "boottime", "secs", 1000000, "monotonic",
                      "secs", 5000));
    box_must(b, box_run(b, "cat /proc/uptime"));
    inside = strtod(b->out, NULL);
    assert_true(inside > host + 999990 && inside < host + 1000100);
}

static void root_in_it_is_not_root_on_the_host(void **state)
{
    struct box *b = *state;
    char path[64];
    char *text = NULL;

    box_map(b, BASE);
    box_must(b, box_create(b, "mapped", "sleep 100"));
    box_must(b, task_start(container_task(b->c), &b->e));
    assert_int_equal(
        box_exec(b, "busybox id -u; cat /proc/self/uid_map; ls -la /dev/null"), 0);
    assert_int_equal(strncmp(b->out, "0\n", 2), 0);
    assert_non_null(strstr(b->out, "300000"));
    (void)snprintf(path, sizeof path, "/proc/%d/status", container_pid(b->c));
    assert_int_equal(file_read(AT_FDCWD, path, 8192, &text, NULL), 0);
    assert_non_null(strstr(text, "Uid:\t300000\t300000\t300000\t300000"));
    free(text);
}

static void it_joins_a_user_namespace_with_new_ones_below(void **state)
{
    struct box *b = *state;
    struct box *other = malloc(sizeof *other);
    char path[64];

    box_init(other);
    box_map(other, BASE);
    assert_int_equal(box_create(other, "user-holder", "sleep 100"), 0);
    assert_int_equal(task_start(container_task(other->c), &other->e), 0);
    (void)snprintf(path, sizeof path, "/proc/%d/ns/user", container_pid(other->c));
    box_namespace(b, "user", true, path);
    box_must(b, box_run(b, "busybox id -u; cat /proc/self/uid_map; echo pid $$"));
    assert_non_null(strstr(b->out, "300000"));
    assert_non_null(strstr(b->out, "pid 1\n"));
    box_fini(other);
    free(other);
}

static void layers_are_mapped_and_nothing_is_chowned(void **state)
{
    struct box *b = *state;
    const char *lower[1];
    struct container_overlay o = {.lower = lower, .n = 1};
    char upper[256];
    char work[256];
    char root[256];
    struct stat st;

    (void)snprintf(root, sizeof root, "%s/rootfs", b->dir);
    (void)snprintf(upper, sizeof upper, "%s/o/upper", b->dir);
    (void)snprintf(work, sizeof work, "%s/o/work", b->dir);
    assert_int_equal(file_make_dirs(upper, 0755), 0);
    assert_int_equal(mkdir(work, 0755), 0);
    assert_int_equal(chown(upper, BASE, BASE), 0);
    lower[0] = root;
    o.upper = upper;
    o.work = work;
    b->overlay = &o;
    box_map(b, BASE);
    box_must(b, box_run(b, "ls -lan /bin/busybox; echo new > /made; ls -lan /made; "
                           "echo more >> /etc/changed; busybox id -u"));
    assert_null(strstr(b->out, "65534"));
    assert_int_equal(stat(box_path(b, "rootfs/bin/busybox"), &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_true(stat(box_path(b, "rootfs/made"), &st) < 0);
    assert_int_equal(stat(box_path(b, "o/upper/made"), &st), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, box_begin, box_end)
    const struct CMUnitTest tests[] = {
        T(those_asked_for_are_new_and_the_others_the_callers),
        T(each_can_be_left_out),
        T(processes_and_names_are_its_own),
        T(the_cgroup_namespace_is_rooted_at_its_own_group),
        T(it_joins_those_it_is_given),
        T(it_joins_a_pid_namespace_and_the_caller_stays),
        T(a_namespace_that_is_none_is_named),
        T(clocks_are_moved_by_their_offsets),
        T(root_in_it_is_not_root_on_the_host),
        T(it_joins_a_user_namespace_with_new_ones_below),
        T(layers_are_mapped_and_nothing_is_chowned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
