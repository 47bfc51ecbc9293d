/* settings_test.c - parts of a configuration that need more than the container itself: a
 * listener of its filter, devices that move in, where memory comes from.
 * rows: OSL-11 OSL-19 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "tests/base/check.h"
#include "tests/virt/container/box.h"

#define LISTEN_WAIT_MS 20000
#define FAKE_PID       4711

/* ---- linux.seccomp.listenerPath ---- */

static int listen_at(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

/* The message of one container process and its descriptor, or -1. */
static int take_listener(int server, char *text, size_t size)
{
    struct pollfd p = {.fd = server, .events = POLLIN};
    SCOPED(scope_close)
    int fd = poll(&p, 1, LISTEN_WAIT_MS) == 1 ? accept(server, NULL, NULL) : -1;
    char room[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
    struct iovec iov = {.iov_base = text, .iov_len = size - 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = room,
                       .msg_controllen = sizeof room};
    ssize_t n = fd >= 0 ? recvmsg(fd, &m, MSG_CMSG_CLOEXEC) : -1;
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    int got = -1;

    text[n > 0 ? n : 0] = '\0';
    if (c != NULL && c->cmsg_type == SCM_RIGHTS) {
        memcpy(&got, CMSG_DATA(c), sizeof got);
    }
    return got;
}

/* Answer calls of `n` container processes; each message becomes DIR/message.I. */
static pid_t serve(const struct box *b, int server, int n)
{
    pid_t pid = fork();

    if (pid != 0) {
        return pid;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < n; i++) {
        struct seccomp_notif ask;
        struct seccomp_notif_resp answer = {0};
        char name[32];
        char text[4096];
        int fd = take_listener(server, text, sizeof text);

        (void)snprintf(name, sizeof name, "message.%d", i);
        box_write(b, name, text);
        memset(&ask, 0, sizeof ask);
        if (fd < 0 || ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &ask) < 0) {
            _exit(2);
        }
        answer.id = ask.id;
        answer.error = -FAKE_PID % 100;
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0) {
            _exit(3);
        }
        (void)close(fd);
    }
    _exit(0);
}

static json_t *message(const struct box *b, const char *name)
{
    char *text = NULL;
    json_t *out;

    assert_int_equal(file_read(AT_FDCWD, box_path(b, name), 8192, &text, NULL), 0);
    out = json_loads(text, 0, NULL);
    free(text);
    assert_non_null(out);
    return out;
}

static void ask_a_listener(struct box *b)
{
    box_set(b, "linux.seccomp",
            json_pack("{s:s, s:s, s:s, s:[{s:[s], s:s}]}", "defaultAction",
                      "SCMP_ACT_ALLOW", "listenerPath", box_path(b, "listener"),
                      "listenerMetadata", "about-it", "syscalls", "names", "mkdir",
                      "action", "SCMP_ACT_NOTIFY"));
    box_set(b, "annotations.color", json_string("blue"));
}

static void the_listener_of_a_filter_gets_state_and_calls(void **state)
{
    struct box *b = *state;
    int server = listen_at(box_path(b, "listener"));
    pid_t pid = serve(b, server, 2);
    int status = 0;
    json_t *m;

    ask_a_listener(b);
    box_must(b, box_create(b, "listened",
                           "busybox mkdir /tmp/never; echo $? > /tmp/code; sleep 1000"));
    box_must(b, task_start(container_task(b->c), &b->e));
    /* One more program has a filter, and so a listener, of its own. */
    assert_int_equal(box_exec(b, "busybox mkdir /tmp/never"), 1);
    assert_non_null(strstr(b->out, "mkdir")); /* the errno that was answered */
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);

    m = message(b, "message.0");
    assert_string_equal(json_string_value(json_object_get(m, "metadata")), "about-it");
    assert_string_equal(json_string_value(json_array_get(json_object_get(m, "fds"), 0)),
                        "seccompFd");
    assert_int_equal(json_integer_value(json_object_get(m, "pid")), container_pid(b->c));
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(m, "state"), "id")),
        "listened");
    assert_string_equal(
        json_string_value(json_object_get(
            json_object_get(json_object_get(m, "state"), "annotations"), "color")),
        "blue");
    json_decref(m);
    /* The process is the one more, not the first (config-linux.md, "The Container
     * Process State"). */
    m = message(b, "message.1");
    assert_int_not_equal(json_integer_value(json_object_get(m, "pid")),
                         container_pid(b->c));
    assert_true(json_integer_value(json_object_get(m, "pid")) > 0);
    json_decref(m);
    (void)close(server);
}

static void a_listener_that_is_not_there_is_named(void **state)
{
    struct box *b = *state;

    ask_a_listener(b);
    assert_true(box_run(b, "true") < 0);
    assert_non_null(strstr(b->e.text, "/listener"));
}

static void a_program_whose_listener_is_gone_is_ended(void **state)
{
    struct box *b = *state;
    int server = listen_at(box_path(b, "listener"));
    struct timespec begin;
    struct timespec end;

    ask_a_listener(b);
    box_must(b, box_create(b, "left", "sleep 1000"));
    box_must(b, task_start(container_task(b->c), &b->e));
    (void)close(server);
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    assert_true(box_exec(b, "sleep 30") < 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    assert_non_null(strstr(b->e.text, "/listener"));
    assert_in_range(end.tv_sec - begin.tv_sec, 0, 9);
}

/* ---- linux.netDevices ---- */

static void devices_move_in_with_their_addresses(void **state)
{
    struct box *b = *state;

    if (unshare(CLONE_NEWNET) < 0 ||
        system(
            "ip link add sd0 type veth peer name sd1 && ip addr add 10.9.8.7/24 dev sd0 && "
            "ip link set sd0 up && ip link set sd1 up 2>/dev/null") != 0) {
        skip(); /* no veth or no ip here */
    }
    box_set(b, "linux.netDevices", json_pack("{s:{s:s}}", "sd0", "name", "eth7"));
    box_must(b, box_run(b, "busybox ip addr show eth7; [ ! -e /sys/class/net/sd0 ]"));
    assert_non_null(strstr(b->out, "10.9.8.7/24"));
    assert_non_null(strstr(b->out, "UP"));
    box_set(b, "linux.netDevices", json_pack("{s:{}}", "no-such-device"));
    assert_true(box_run(b, "true") < 0);
    assert_non_null(strstr(b->e.text, "no-such-device"));
    box_namespace(b, "network", false, NULL);
    assert_true(box_run(b, "true") < 0);
    assert_non_null(strstr(b->e.text, "netDevices"));
}

/* ---- linux.memoryPolicy ---- */

static void memory_comes_from_the_nodes_that_are_named(void **state)
{
    struct box *b = *state;

    if (syscall(SYS_get_mempolicy, NULL, NULL, 0, NULL, 0) < 0) {
        skip(); /* no memory nodes in this kernel */
    }
    box_set(b, "linux.memoryPolicy",
            json_pack("{s:s, s:s, s:[s]}", "mode", "MPOL_BIND", "nodes", "0", "flags",
                      "MPOL_F_STATIC_NODES"));
    box_must(b, box_run(b, "busybox grep -m 1 -o 'bind=static:0' /proc/self/numa_maps"));
    assert_string_equal(b->out, "bind=static:0\n");
    box_set(b, "linux.memoryPolicy",
            json_pack("{s:s, s:s}", "mode", "MPOL_INTERLEAVE", "nodes", "0"));
    box_must(b, box_run(b, "busybox grep -m 1 -o 'interleave:0' /proc/self/numa_maps"));
    box_set(b, "linux.memoryPolicy",
            json_pack("{s:s, s:s}", "mode", "MPOL_DEFAULT", "nodes", ""));
    box_must(b, box_run(b, "true"));
}

static void a_memory_policy_that_is_none_is_refused(void **state)
{
    static const struct {
        const char *mode, *nodes, *flag;
    } rows[] = {
        {"MPOL_NONSENSE", "0", "MPOL_F_STATIC_NODES"},
        {"MPOL_BIND", "zero", "MPOL_F_STATIC_NODES"},
        {"MPOL_BIND", "0", "MPOL_F_NONSENSE"},
        {"MPOL_BIND", "900", "MPOL_F_STATIC_NODES"}, /* no such node */
    };
    struct box *b = *state;

    if (syscall(SYS_get_mempolicy, NULL, NULL, 0, NULL, 0) < 0) {
        skip();
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        box_set(b, "linux.memoryPolicy",
                json_pack("{s:s, s:s, s:[s]}", "mode", rows[i].mode, "nodes",
                          rows[i].nodes, "flags", rows[i].flag));
        assert_true(box_run(b, "true") < 0);
        if (strstr(b->e.text, "emory") == NULL) {
            fail_msg("row %zu: %s", i, b->e.text);
        }
    }
}

/* ---- the state that hooks and others are shown ---- */

static void hooks_inside_know_the_process(void **state)
{
    struct box *b = *state;

    box_write(b, "rootfs/hook", "#!/bin/sh\nbusybox cat > /state\n");
    box_add(b, "hooks.startContainer", json_pack("{s:s}", "path", "/hook"));
    box_must(b, box_run(b, "cat /state"));
    assert_non_null(strstr(b->out, "\"status\":\"created\""));
    assert_non_null(strstr(b->out, "\"pid\":1"));
}

static void hooks_outside_know_the_process(void **state)
{
    struct box *b = *state;
    char *text = NULL;

    box_write(b, "hook", "#!/bin/sh\ncat > $1.json\n");
    for (int i = 0; i < 2; i++) {
        static const char *const kinds[] = {"prestart", "createRuntime"};
        char path[64];

        (void)snprintf(path, sizeof path, "hooks.%s", kinds[i]);
        box_add(b, path,
                json_pack("{s:s, s:[s, s], s:[s]}", "path", box_path(b, "hook"), "args",
                          "hook", box_path(b, kinds[i]), "env", "PATH=/bin:/usr/bin"));
    }
    box_must(b, box_create(b, "hooked", "true"));
    for (int i = 0; i < 2; i++) {
        char pid[32];

        assert_int_equal(
            file_read(AT_FDCWD,
                      box_path(b, i == 0 ? "prestart.json" : "createRuntime.json"), 8192,
                      &text, NULL),
            0);
        (void)snprintf(pid, sizeof pid, "\"pid\":%d", container_pid(b->c));
        assert_non_null(strstr(text, pid));
        assert_non_null(strstr(text, "\"status\":\"creating\""));
        free(text);
    }
}

/* ---- a root without room for changes ---- */

static void mount_points_are_made_in_a_root_that_keeps_nothing(void **state)
{
    struct box *b = *state;
    char more[300];
    const char *lower[] = {more, box_path(b, "rootfs")};
    struct container_overlay overlay = {.lower = lower + 1, .n = 1};
    struct stat st;

    (void)snprintf(more, sizeof more, "%s", box_path(b, "more"));
    assert_int_equal(mkdir(more, 0755), 0);
    b->overlay = &overlay;
    box_write(b, "file", "a file of the host");
    box_mount(b, "/not/in/the/image", "tmpfs", "tmpfs", "");
    box_mount(b, "/etc/new", "bind", box_path(b, "file"), "bind ro");
    for (int layers = 1; layers <= 2; layers++) {
        overlay.lower = lower + 2 - layers;
        overlay.n = (size_t)layers;
        for (int user = 0; user < 2; user++) {
            if (user == 1) {
                box_map(b, 700000);
            }
            box_must(b, box_run(b, "[ -d /not/in/the/image ] && cat /etc/new && "
                                   "! busybox touch /new 2>/dev/null"));
            assert_string_equal(b->out, "a file of the host");
        }
        box_namespace(b, "user", false, NULL);
        box_set(b, "linux.uidMappings", json_array());
        box_set(b, "linux.gidMappings", json_array());
    }
    assert_true(stat(box_path(b, "rootfs/not"), &st) < 0); /* the layer is untouched */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, box_begin, box_end)
    const struct CMUnitTest tests[] = {
        T(the_listener_of_a_filter_gets_state_and_calls),
        T(a_listener_that_is_not_there_is_named),
        T(a_program_whose_listener_is_gone_is_ended),
        T(memory_comes_from_the_nodes_that_are_named),
        T(a_memory_policy_that_is_none_is_refused),
        T(hooks_inside_know_the_process),
        T(hooks_outside_know_the_process),
        T(mount_points_are_made_in_a_root_that_keeps_nothing),
        T(devices_move_in_with_their_addresses), /* last: leaves the host's network */
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
