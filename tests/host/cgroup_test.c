/* Control groups on the real hierarchies of this host, where it lets us, and on
 * a made-up tree for controllers that it does not have in v2.
 * rows: OSL-09 */
#include "host/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/sched.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "contract/task.h"
#include "host/cgroup_private.h"
#include "host/file.h"

#define PARENT "/strata-test"

static char path[CGROUP_PATH_BYTES];

static int name_the_group(void **state)
{
    struct err e = {0};
    char text[64];

    (void)state;
    (void)snprintf(text, sizeof text, PARENT "/t%d", (int)getpid());
    return cgroup_path(text, "x", path, &e);
}

static bool nobody(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return false;
}

static int sweep(void **state)
{
    struct err e = {0};

    (void)state;
    if (geteuid() == 0) {
        (void)cgroup_sweep(PARENT, nobody, NULL, &e);
    }
    return 0;
}

static struct cgroup *make(const struct cgroup_want *want)
{
    struct cgroup *cg = NULL;
    struct err e = {0};
    int r;

    if (geteuid() != 0 || access("/sys/fs/cgroup", W_OK) < 0) {
        print_message("needs root and a writable /sys/fs/cgroup\n");
        skip();
    }
    r = cgroup_create(path, want, &cg, &e);
    if (r < 0) {
        fail_msg("%s", e.text);
    }
    return cg;
}

/* A child that is born in the group, joins it and waits for a byte. */
static pid_t start_child(const struct cgroup *cg, int *ret_go)
{
    int go[2];
    int ready[2];
    char byte;
    struct clone_args args = {.exit_signal = SIGCHLD};
    bool born = cgroup_birth_fd(cg) >= 0;
    pid_t pid;

    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    if (born) {
        args.flags = CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_birth_fd(cg);
    }
    pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    assert_true(pid >= 0);
    if (pid == 0) {
        byte = cgroup_join_self(cg, born) == 0 ? 'y' : 'n';
        (void)close(go[1]);
        if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) < 0) {
            _exit(1);
        }
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    (void)close(ready[0]);
    (void)close(ready[1]);
    (void)close(go[0]);
    *ret_go = go[1];
    return pid;
}

static void reap(pid_t pid, int go)
{
    (void)close(go);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static char *read_own(pid_t pid)
{
    char name[64];
    char *text = NULL;

    (void)snprintf(name, sizeof name, "/proc/%d/cgroup", (int)pid);
    assert_int_equal(file_read(AT_FDCWD, name, 65536, &text, NULL), 0);
    return text;
}

static void destroy(struct cgroup *cg)
{
    struct err e = {0};

    if (cgroup_destroy(cg, 5000, &e) < 0) {
        fail_msg("%s", e.text);
    }
}

static void a_child_is_in_every_group_that_was_asked_for(void **state)
{
    struct cgroup_want want = {.account = CGROUP_ACCOUNT_CPU | CGROUP_ACCOUNT_MEMORY};
    struct cgroup *cg = make(&want);
    SCOPED(scope_free) char *own = NULL;
    pid_t *pids = NULL;
    size_t n = 0;
    struct err e = {0};
    int go;
    pid_t pid = start_child(cg, &go);
    int places = 0;

    (void)state;
    own = read_own(pid);
    for (const char *at = own; (at = strstr(at, path)) != NULL; at++) {
        places++;
    }
    for (size_t i = 0; i < CGROUP_CTL_COUNT; i++) {
        places -= cg->dir[i].fd >= 0;
    }
    assert_int_equal(places, 0);
    assert_int_equal(cgroup_pids(cg, &pids, &n, &e), 0);
    assert_int_equal(n, 1);
    assert_int_equal(pids[0], pid);
    free(pids);
    reap(pid, go);
    destroy(cg);
}

static void nothing_is_made_that_nobody_asked_for(void **state)
{
    struct cgroup_want want = {.account = CGROUP_ACCOUNT_CPU | CGROUP_ACCOUNT_PIDS};
    struct cgroup *cg = make(&want);
    size_t n = 0;

    (void)state;
    for (size_t i = 0; i < CGROUP_CTL_COUNT; i++) {
        n += cg->dir[i].path != NULL;
    }
    if (cgroup_birth_fd(cg) >= 0) {
        assert_int_equal(n, 1);
    }
    destroy(cg);
}

static void destroy_ends_processes_and_removes_nested_groups(void **state)
{
    struct cgroup_want want = {.account = CGROUP_ACCOUNT_MEMORY};
    struct cgroup *cg = make(&want);
    char *place = cgroup_place(cg);
    struct cgroup *again = NULL;
    struct err e = {0};
    char deep[CGROUP_PATH_BYTES + 64];
    int go;
    pid_t pid = start_child(cg, &go);

    (void)state;
    assert_non_null(place);
    if (cg->dir[CGROUP_CTL_CORE].path != NULL) {
        (void)snprintf(deep, sizeof deep, "%s/a", cg->dir[CGROUP_CTL_CORE].path);
        assert_int_equal(mkdir(deep, 0755), 0);
        (void)snprintf(deep, sizeof deep, "%s/a/.b", cg->dir[CGROUP_CTL_CORE].path);
        assert_int_equal(mkdir(deep, 0755), 0);
    }
    cgroup_close(cg);
    assert_int_equal(cgroup_open(place, &again, &e), 0);
    (void)snprintf(deep, sizeof deep, "%s", again->dir[CGROUP_CTL_CORE].path);
    destroy(again);
    assert_int_equal(access(deep, F_OK), -1);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), pid);
    (void)close(go);
    free(place);
}

static void a_frozen_group_stands_still_and_can_be_killed(void **state)
{
    struct cgroup *cg = make(&(struct cgroup_want){0});
    struct cgroup_events ev;
    struct err e = {0};
    int go;
    pid_t pid = start_child(cg, &go);
    char byte = 'x';

    (void)state;
    assert_int_equal(cgroup_freeze(cg, &e), 0);
    assert_int_equal(cgroup_events(cg, &ev), 0);
    assert_true(ev.frozen && ev.populated);
    assert_int_equal(write(go, &byte, 1), 1);
    assert_int_equal(poll(NULL, 0, 20), 0);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0); /* it would have ended */
    assert_int_equal(cgroup_thaw(cg, &e), 0);
    reap(pid, go);
    pid = start_child(cg, &go);
    assert_int_equal(cgroup_freeze(cg, &e), 0);
    assert_int_equal(cgroup_kill(cg, &e), 0);
    reap(pid, go);
    destroy(cg);
}

static void the_watch_tells_when_the_last_process_ends(void **state)
{
    struct cgroup *cg = make(&(struct cgroup_want){0});
    struct cgroup_events ev;
    struct err e = {0};
    struct pollfd p = {.events = POLLIN};
    int go;
    pid_t pid = start_child(cg, &go);

    (void)state;
    p.fd = cgroup_watch_fd(cg, &e);
    if (p.fd < 0) {
        reap(pid, go);
        destroy(cg);
        print_message("this host cannot watch: %s\n", e.text);
        skip();
    }
    assert_int_equal(cgroup_events(cg, &ev), 0);
    assert_true(ev.populated);
    reap(pid, go);
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(cgroup_events(cg, &ev), 0);
    assert_false(ev.populated);
    destroy(cg);
}

static struct cgroup_limits parse(const char *text)
{
    json_t *j = json_loads(text, 0, NULL);
    struct cgroup_limits l = {0};
    struct err e = {0};

    assert_non_null(j);
    if (cgroup_limits_parse(j, "linux.resources", false, &l, &e) < 0) {
        fail_msg("%s", e.text);
    }
    json_decref(j);
    return l;
}

static void limits_are_in_force_and_shown_in_the_figures(void **state)
{
    struct cgroup_limits l = parse("{\"memory\": {\"limit\": 33554432}, \"pids\": "
                                   "{\"limit\": 5}, \"cpu\": {\"quota\": 20000, "
                                   "\"period\": 100000}}");
    struct cgroup_want want = {.limits = &l};
    struct cgroup *cg = make(&want);
    struct task_stats s;
    struct err e = {0};
    int go;
    pid_t pid;

    (void)state;
    if (cgroup_warnings(cg)->n > 0) {
        print_message("%s\n", cgroup_warnings(cg)->items[0]);
        cgroup_limits_fini(&l);
        destroy(cg);
        skip();
    }
    pid = start_child(cg, &go);
    assert_int_equal(cgroup_stats(cg, &s, &e), 0);
    assert_int_equal(s.memory_limit_bytes, 33554432);
    assert_int_equal(s.pids, 1);
    assert_int_equal(s.oom_kills, 0);
    assert_true(s.cpu_ns != UINT64_MAX);
    cgroup_limits_fini(&l);

    /* a change takes effect; a refused one changes nothing */
    l = parse("{\"memory\": {\"limit\": 67108864}}");
    assert_int_equal(cgroup_apply(cg, &l, true, &e), 0);
    cgroup_limits_fini(&l);
    l = parse("{\"memory\": {\"limit\": 134217728}, \"cpu\": {\"cpus\": \"0-4095\"}}");
    assert_true(cgroup_apply(cg, &l, true, &e) < 0);
    assert_int_equal(cgroup_stats(cg, &s, &e), 0);
    assert_int_equal(s.memory_limit_bytes, 67108864);
    cgroup_limits_fini(&l);
    reap(pid, go);
    destroy(cg);
}

static void memory_beyond_the_limit_is_killed_and_counted(void **state)
{
    struct cgroup_limits l =
        parse("{\"memory\": {\"limit\": 8388608, \"swap\": 8388608}}");
    struct cgroup_want want = {.limits = &l};
    struct cgroup *cg = make(&want);
    struct task_stats s;
    struct err e = {0};
    int status = 0;
    pid_t pid;

    (void)state;
    cgroup_limits_fini(&l);
    if (cgroup_warnings(cg)->n > 0) {
        destroy(cg);
        skip();
    }
    pid = fork();
    if (pid == 0) {
        char *p;

        if (cgroup_join_self(cg, false) < 0 || (p = malloc(64 << 20)) == NULL) {
            _exit(1);
        }
        for (size_t i = 0; i < (64 << 20); i += 4096) {
            ((volatile char *)p)[i] = 1;
        }
        _exit(2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(cgroup_stats(cg, &s, &e), 0);
    assert_int_equal(s.oom_kills, 1);
    destroy(cg);
}

static void a_group_that_is_in_use_is_not_taken(void **state)
{
    struct cgroup *cg = make(&(struct cgroup_want){0});
    struct cgroup *other = NULL;
    struct cgroup_want want = {0};
    struct err e = {0};
    int go;
    pid_t pid = start_child(cg, &go);

    (void)state;
    assert_int_equal(cgroup_create(path, &want, &other, &e), -EBUSY);
    assert_non_null(strstr(e.text, "already has 1 process"));
    reap(pid, go);
    destroy(cg);
}

static void a_withheld_controller_is_a_line_or_when_strict_an_error(void **state)
{
    struct cgroup_limits l = parse("{\"network\": {\"classID\": 7}}");
    struct cgroup_want want = {.limits = &l};
    struct cgroup *cg;
    struct cgroup *none = NULL;
    struct err e = {0};

    (void)state;
    cg = make(&want);
    if (cgroup_warnings(cg)->n == 0) {
        cgroup_limits_fini(&l);
        destroy(cg);
        skip(); /* this host has net_cls */
    }
    assert_int_equal(cgroup_warnings(cg)->n, 1);
    assert_non_null(strstr(cgroup_warnings(cg)->items[0], "'net_cls'"));
    destroy(cg);
    want.strict = true;
    assert_int_equal(cgroup_create(path, &want, &none, &e), -EOPNOTSUPP);
    cgroup_limits_fini(&l);
}

/* The host as it looks with v1 alone: the v2 mount is taken off in a private
 * mount namespace. */
static int use_v1_only(void)
{
    struct cgroup_want want = {.account = CGROUP_ACCOUNT_CPU};
    struct cgroup *cg = NULL;
    struct cgroup_events ev;
    struct err e = {0};
    int go;
    pid_t pid;

    if (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        umount2("/sys/fs/cgroup/unified", MNT_DETACH) < 0) {
        return 77;
    }
    if (cgroup_create(path, &want, &cg, &e) < 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        return 77;
    }
    if (cgroup_birth_fd(cg) != -1) {
        return 2;
    }
    pid = start_child(cg, &go);
    if (cgroup_freeze(cg, &e) < 0 || cgroup_events(cg, &ev) < 0 || !ev.frozen) {
        return 3;
    }
    if (cgroup_destroy(cg, 5000, &e) < 0) { /* kills the frozen child */
        (void)fprintf(stderr, "%s\n", e.text);
        return 4;
    }
    return waitpid(pid, NULL, WNOHANG) == pid ? 0 : 5;
}

static void v1_alone_freezes_kills_and_removes(void **state)
{
    int status = 0;
    pid_t pid;

    (void)state;
    if (geteuid() != 0 || access("/sys/fs/cgroup/freezer", W_OK) < 0) {
        skip(); /* no v1 hierarchy here */
    }
    pid = fork();
    if (pid == 0) {
        _exit(use_v1_only());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* A process without rights gets a handle that does nothing, and one line. */
static void without_rights_an_optional_group_is_one_line(void **state)
{
    int status = 0;
    pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        struct cgroup_want want = {.optional = true};
        struct cgroup *cg = NULL;
        struct err e = {0};
        int r;

        if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)) {
            _exit(77);
        }
        r = cgroup_create("/strata/x", &want, &cg, &e);
        if (r < 0) {
            _exit(2);
        }
        if (cgroup_birth_fd(cg) >= 0) {
            _exit(cgroup_destroy(cg, 1000, &e) == 0 ? 77 : 3); /* delegated to us */
        }
        r = cgroup_warnings(cg)->n == 1 && cgroup_join_self(cg, false) == 0 ? 0 : 4;
        r = cgroup_destroy(cg, 1000, &e) == 0 ? r : 5;
        want.optional = false;
        _exit(cgroup_create("/strata/x", &want, &cg, &e) < 0 ? r : 6);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void paths_are_named_as_callers_name_them(void **state)
{
    char out[CGROUP_PATH_BYTES];
    struct err e = {0};

    (void)state;
    assert_int_equal(cgroup_path(NULL, "web", out, &e), 0);
    assert_string_equal(out, "/strata/web");
    assert_int_equal(cgroup_path("/a//./b/", "web", out, &e), 0);
    assert_string_equal(out, "/a/b");
    assert_int_equal(cgroup_path("a/b", "web", out, &e), 0);
    assert_string_equal(out, "a/b");
    assert_int_equal(cgroup_path("machine-x.slice:libpod:7f", "web", out, &e), 0);
    assert_string_equal(out, "/machine.slice/machine-x.slice/libpod-7f.scope");
    assert_int_equal(cgroup_path(":runc:7f", "web", out, &e), 0);
    assert_string_equal(out, "/system.slice/runc-7f.scope");
    assert_int_equal(cgroup_path("/a/../b", "web", out, &e), -EINVAL);
    assert_int_equal(cgroup_path("/", "web", out, &e), -EINVAL);
    assert_int_equal(cgroup_path("a.slice:b", "web", out, &e), -EINVAL);
    assert_int_equal(cgroup_path("/a\nb", "web", out, &e), -EINVAL);
}

static void make_file(const char *dir, const char *name, const char *text)
{
    char file[PATH_MAX];
    FILE *f;

    (void)snprintf(file, sizeof file, "%s/%s", dir, name);
    f = fopen(file, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void expect_file(const char *dir, const char *name, const char *want)
{
    SCOPED(scope_free) char *text = NULL;
    char file[PATH_MAX];

    (void)snprintf(file, sizeof file, "%s/%s", dir, name);
    assert_int_equal(file_read(AT_FDCWD, file, 65536, &text, NULL), 0);
    text[strcspn(text, "\n")] = '\0';
    if (strncmp(text, want, strlen(want)) != 0) {
        fail_msg("%s is '%s', not '%s'", name, text, want);
    }
}

/* Every limit that OCI knows, written to a directory of plain files that stands
 * for a v2 leaf; the expected texts are those of the kernel's cgroup-v2.rst. */
static void every_limit_has_its_v2_words(void **state)
{
    static const char *const files[] = {"cpu.weight",
                                        "cpu.max",
                                        "cpu.max.burst",
                                        "cpuset.cpus",
                                        "cpuset.mems",
                                        "memory.max",
                                        "memory.low",
                                        "memory.swap.max",
                                        "pids.max",
                                        "io.weight",
                                        "io.max",
                                        "hugetlb.2MB.max",
                                        "hugetlb.2MB.rsvd.max",
                                        "rdma.max",
                                        "memory.high"};
    char base[] = "/tmp/cgroup-test.XXXXXX";
    struct cgroup_layout layout = {.trust = true};
    struct cgroup_want want = {0};
    struct cgroup *cg = NULL;
    struct err e = {0};
    char dir[PATH_MAX / 4];
    struct cgroup_limits l = parse(
        "{\"cpu\": {\"shares\": 1024, \"quota\": 50000, \"period\": 100000, \"burst\": "
        "1000, \"cpus\": \"0-1\", \"mems\": \"0\"}, \"memory\": {\"limit\": 1000000, "
        "\"swap\": 1500000, \"reservation\": 500000, \"swappiness\": 10}, \"pids\": "
        "{\"limit\": -1}, \"blockIO\": {\"weight\": 10, \"throttleReadBpsDevice\": "
        "[{\"major\": 8, \"minor\": 0, \"rate\": 600}]}, \"hugepageLimits\": "
        "[{\"pageSize\": \"2MB\", \"limit\": 4096}], \"rdma\": {\"mlx5_1\": "
        "{\"hcaHandles\": 3, \"hcaObjects\": 10000}}, \"unified\": {\"memory.high\": "
        "\"900000\"}}");

    (void)state;
    assert_non_null(mkdtemp(base));
    (void)snprintf(dir, sizeof dir, "%s/unified", base);
    assert_int_equal(mkdir(dir, 0755), 0);
    make_file(dir, "cgroup.controllers", "cpu cpuset memory pids io hugetlb rdma\n");
    make_file(dir, "cgroup.subtree_control", "");
    layout.base = base;
    cgroup_layout_find(&layout);
    assert_int_equal(cgroup_create_in(&layout, "/g", &want, &cg, &e), 0);
    (void)snprintf(dir, sizeof dir, "%s/unified/g", base);
    make_file(dir, "cgroup.controllers", "cpu cpuset memory pids io hugetlb rdma\n");
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        make_file(dir, files[i], "");
    }
    if (cgroup_apply(cg, &l, true, &e) < 0) {
        fail_msg("%s", e.text);
    }
    expect_file(dir, "cpu.weight", "39");
    expect_file(dir, "cpu.max", "50000 100000");
    expect_file(dir, "cpu.max.burst", "1000");
    expect_file(dir, "cpuset.cpus", "0-1");
    expect_file(dir, "memory.max", "1000000");
    expect_file(dir, "memory.swap.max", "500000");
    expect_file(dir, "memory.low", "500000");
    expect_file(dir, "memory.high", "900000");
    expect_file(dir, "pids.max", "max");
    expect_file(dir, "io.weight", "1");
    expect_file(dir, "io.max", "8:0 rbps=600");
    expect_file(dir, "hugetlb.2MB.max", "4096");
    expect_file(dir, "rdma.max", "mlx5_1 hca_handle=3 hca_object=10000");
    assert_int_equal(cgroup_warnings(cg)->n, 1); /* swappiness */
    cgroup_limits_fini(&l);
    cgroup_close(cg);
    assert_int_equal(file_remove_tree(AT_FDCWD, base), 0);
}

static void bad_limits_name_the_member(void **state)
{
    static const char *const bad[][2] = {
        {"{\"cpu\": {\"shares\": \"x\"}}", "linux.resources.cpu.shares"},
        {"{\"cpu\": 3}", "linux.resources.cpu"},
        {"{\"cpu\": {\"cpus\": \"0;rm\"}}", "cpus"},
        {"{\"memory\": {\"limit\": -2}}", "linux.resources.memory.limit"},
        {"{\"memory\": {\"limit\": 9, \"swap\": 8}}", "swap"},
        {"{\"unified\": {\"../x\": \"1\"}}", "../x"},
        {"{\"hugepageLimits\": [{\"limit\": 1}]}", "pageSize"},
        {"{\"hugepageLimits\": [{\"pageSize\": \"../../x\", \"limit\": 1}]}", "pageSize"},
        {"{\"devices\": [{\"type\": \"x\"}]}", "devices[0].type"},
        {"{\"devices\": [{\"access\": \"rx\"}]}", "devices[0].access"},
        {"{\"devices\": [{\"major\": -5}]}", "devices[0]"},
        {"{\"blockIO\": {\"throttleReadBpsDevice\": [{}]}}", "throttleReadBpsDevice[0]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *j = json_loads(bad[i][0], 0, NULL);
        struct cgroup_limits l = {0};
        struct err e = {0};

        assert_non_null(j);
        assert_int_equal(cgroup_limits_parse(j, "linux.resources", true, &l, &e),
                         -EINVAL);
        if (strstr(e.text, bad[i][1]) == NULL) {
            fail_msg("'%s' does not name '%s'", e.text, bad[i][1]);
        }
        json_decref(j);
    }
}

static void running_out_of_memory_leaves_nothing(void **state)
{
    (void)state;
    if (geteuid() != 0 || access("/sys/fs/cgroup", W_OK) < 0) {
        skip();
    }
    for (long at = 0;; at++) {
        json_t *j = json_loads(
            "{\"pids\": {\"limit\": 9}, \"unified\": {\"a.b\": \"1\"}}", 0, NULL);
        struct cgroup_limits l = {0};
        struct cgroup_want want = {.limits = &l};
        struct cgroup *cg = NULL;
        struct err e = {0};
        int r;

        fault_fail_alloc_at(at);
        r = cgroup_limits_parse(j, "r", true, &l, &e);
        r = r == 0 ? cgroup_create(path, &want, &cg, &e) : r;
        fault_fail_alloc_at(-1);
        json_decref(j);
        cgroup_limits_fini(&l);
        if (r == 0) {
            destroy(cg);
            assert_true(at > 5);
            return;
        }
        assert_true(e.code < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_is_in_every_group_that_was_asked_for),
        cmocka_unit_test(nothing_is_made_that_nobody_asked_for),
        cmocka_unit_test(destroy_ends_processes_and_removes_nested_groups),
        cmocka_unit_test(a_frozen_group_stands_still_and_can_be_killed),
        cmocka_unit_test(the_watch_tells_when_the_last_process_ends),
        cmocka_unit_test(limits_are_in_force_and_shown_in_the_figures),
        cmocka_unit_test(memory_beyond_the_limit_is_killed_and_counted),
        cmocka_unit_test(a_group_that_is_in_use_is_not_taken),
        cmocka_unit_test(a_withheld_controller_is_a_line_or_when_strict_an_error),
        cmocka_unit_test(v1_alone_freezes_kills_and_removes),
        cmocka_unit_test(without_rights_an_optional_group_is_one_line),
        cmocka_unit_test(paths_are_named_as_callers_name_them),
        cmocka_unit_test(every_limit_has_its_v2_words),
        cmocka_unit_test(bad_limits_name_the_member),
        cmocka_unit_test(running_out_of_memory_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, name_the_group, sweep);
}
