/* worker_machine.c - a machine from its plan: its files opened, its worker started. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/boot.h"
#include "node/keeper/keeper.h"
#include "node/private.h"
#include "node/worker.h"
#include "virt/monitor/remote/remote.h"

#define BACKLOG     8
#define DISKS_MOST  10 /* with the root and the seed */
#define SHARES_MOST 8

/* All that a worker is given; owned. */
struct given {
    int guest[3];  /* its standard streams, */
    int keeper[3]; /* and our ends of them */
    struct far_fd fds[FAR_FDS_MOST];
    unsigned n_fds;
    char card[NET_CARD_BYTES]; /* of its network; "": none */
};

static const char *place(const json_t *spec, const char *key)
{
    return json_string_value(json_object_get(json_object_get(spec, "place"), key));
}

static void directory(const json_t *spec, char out[PATH_MAX])
{
    (void)str_print(out, PATH_MAX, "%s/guests/%s", place(spec, "run"),
                    json_string_value(json_object_get(spec, "id")));
}

static void close_given(struct given *g, bool with_keepers)
{
    for (int i = 0; i < 3; i++) {
        scope_close(&g->guest[i]);
        if (with_keepers) {
            scope_close(&g->keeper[i]);
        }
    }
    for (unsigned i = 0; i < g->n_fds; i++) {
        int fd = g->fds[i].fd;

        scope_close(&fd);
    }
}

/* The first serial port: always open, whoever types. */
static int make_streams(struct given *g, struct err *e)
{
    for (int i = 0; i < 3; i++) {
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0) {
            return err_sys(e, -errno, "cannot make a pipe");
        }
        g->guest[i] = ends[i == 0 ? 0 : 1];
        g->keeper[i] = ends[i == 0 ? 1 : 0];
    }
    return 0;
}

static int give(struct given *g, const char *name, int fd, const char *what,
                struct err *e)
{
    if (fd < 0) {
        return err_sys(e, -errno, "cannot open %s", what);
    }
    g->fds[g->n_fds++] = (struct far_fd){name, fd};
    return 0;
}

/* Without its packing; a file that was made long ago may have gone. */
static int open_kernel(const json_t *boot)
{
    const char *path = json_string_value(json_object_get(boot, "unpacked"));

    return path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
}

/* By its path; of a volume, which the command has opened; or made for the guest. */
static int open_disk(const json_t *spec, const char *word, const json_t *volume,
                     struct err *e)
{
    json_int_t given = json_integer_value(json_object_get(volume, "fd"));
    int flags = strstr(word, ",read-only") != NULL ? O_RDONLY : O_RDWR;
    char path[PATH_MAX];
    int fd;

    if (volume == NULL && word[0] != '/') {
        return guest_boot_volume(spec, e);
    }
    (void)str_print(path, sizeof path, "%.*s", (int)strcspn(word, ","), word);
    fd = volume != NULL ? fcntl((int)given, F_DUPFD_CLOEXEC, 3)
                        : open(path, flags | O_CLOEXEC | O_NONBLOCK);
    return fd < 0 ? err_sys(e, -errno, "cannot open disk '%s'", path) : fd;
}

/* What the first disk stands on, if it is the root of a machine made from an image. */
static int open_base(const json_t *spec, struct given *g, struct err *e)
{
    const char *base = json_string_value(json_object_get(
        json_object_get(json_object_get(spec, "machine"), "root"), "base"));

    return base == NULL ? 0
                        : give(g, "base0", open(base, O_RDONLY | O_CLOEXEC),
                               "the image's disk", e);
}

static int open_disks(const json_t *spec, struct given *g, struct err *e)
{
    static const char *const names[DISKS_MOST] = {"disk0", "disk1", "disk2", "disk3",
                                                  "disk4", "disk5", "disk6", "disk7",
                                                  "disk8", "disk9"};
    const json_t *list = json_object_get(json_object_get(spec, "machine"), "disks");
    const json_t *volumes = json_object_get(spec, "disks");
    size_t paths = json_array_size(list) - json_array_size(volumes);
    size_t i;
    json_t *item;
    int r = open_base(spec, g, e);

    json_array_foreach(list, i, item)
    {
        const json_t *volume = i < paths ? NULL : json_array_get(volumes, i - paths);
        int fd;

        if (r < 0 || i >= DISKS_MOST) {
            return r < 0 ? r : err_set(e, -E2BIG, "there are too many disks");
        }
        fd = open_disk(spec, json_string_value(item), volume, e);
        r = fd < 0 ? fd : give(g, names[i], fd, "a disk", e);
    }
    return r;
}

static int open_card(const json_t *spec, struct given *g, struct err *e)
{
    int fd = -1;
    int r = net_join_machine(spec, getpid(), &fd, g->card, e);

    (void)fault_step("worker.network");
    return r < 0 || fd < 0 ? r : give(g, "net0", fd, "the machine's network", e);
}

static int open_shares(const json_t *spec, struct given *g, struct err *e)
{
    static const char *const names[SHARES_MOST] = {"fs0", "fs1", "fs2", "fs3",
                                                   "fs4", "fs5", "fs6", "fs7"};
    size_t i;
    json_t *item;
    int r = 0;

    json_array_foreach(json_object_get(spec, "shares"), i, item)
    {
        int fd = -1;

        r = r < 0              ? r
            : i >= SHARES_MOST ? err_set(e, -E2BIG, "too many directories are shared")
                               : worker_share(spec, item, &fd, e);
        r = r < 0 ? r : give(g, names[i], fd, "a shared directory", e);
    }
    return r;
}

/* What it goes on from, if it was saved. */
static int open_saved(const json_t *spec, struct given *g, struct err *e)
{
    static const char *const names[][2] = {{"saved", "state"}, {"memory", "memory"}};
    const char *where =
        json_string_value(json_object_get(json_object_get(spec, "machine"), "restore"));
    char path[PATH_MAX];
    int r = 0;

    for (size_t i = 0; where != NULL && r == 0 && i < 2; i++) {
        (void)str_print(path, sizeof path, "%s/%s", where, names[i][1]);
        r = give(g, names[i][0], open(path, O_RDONLY | O_CLOEXEC), "what was saved", e);
    }
    return r;
}

/* What firmware keeps; at first a copy. */
static int open_variables(const json_t *boot, struct err *e)
{
    const char *path = json_string_value(json_object_get(boot, "vars"));
    const char *from = json_string_value(json_object_get(boot, "vars_at_first"));
    char new_path[PATH_MAX];
    SCOPED(scope_close) int in = -1;
    SCOPED(scope_close) int out = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int r;

    if (out >= 0 || errno != ENOENT) {
        return out >= 0 ? scope_take_fd(&out)
                        : err_sys(e, -errno, "cannot open '%s'", path);
    }
    (void)str_print(new_path, sizeof new_path, "%s.new", path);
    in = open(from, O_RDONLY | O_CLOEXEC);
    out = open(new_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    r = in < 0 || out < 0 ? -errno : file_copy(in, out);
    r = r == 0 && rename(new_path, path) < 0 ? -errno : r;
    return r < 0 ? err_sys(e, r, "cannot make '%s' of '%s'", path, from)
                 : scope_take_fd(&out);
}

static int open_boot(const json_t *spec, struct given *g, struct err *e)
{
    const json_t *machine = json_object_get(spec, "machine");
    const json_t *boot = json_object_get(machine, "boot");
    const char *kernel = json_string_value(json_object_get(boot, "kernel"));
    const char *initrd = json_string_value(json_object_get(boot, "initrd"));
    const char *firmware = json_string_value(json_object_get(boot, "firmware"));
    const char *video = json_string_value(json_object_get(boot, "video"));
    char what[PATH_MAX + 16];
    int fd;
    int r;

    if (firmware != NULL) {
        (void)str_print(what, sizeof what, "firmware '%s'", firmware);
        r = give(g, "firmware", open(firmware, O_RDONLY | O_CLOEXEC | O_NONBLOCK), what,
                 e);
        if (r == 0 && json_object_get(boot, "vars") != NULL) {
            fd = open_variables(boot, e);
            r = fd < 0 ? fd : give(g, "vars", fd, "the firmware's variables", e);
        }
        return r < 0 || video == NULL
                   ? r
                   : give(g, "video", open(video, O_RDONLY | O_CLOEXEC | O_NONBLOCK),
                          "the screen's firmware", e);
    }
    fd = open_kernel(boot);
    (void)str_print(what, sizeof what, "kernel '%s'", kernel);
    fd = fd >= 0 ? fd : open(kernel, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    r = give(g, "kernel", fd, what, e);
    if (r < 0 || initrd == NULL) {
        return r;
    }
    (void)str_print(what, sizeof what, "initrd '%s'", initrd);
    if (json_object_get(machine, "root") == NULL) {
        return give(g, "initrd", open(initrd, O_RDONLY | O_CLOEXEC | O_NONBLOCK), what,
                    e);
    }
    fd = guest_boot_initrd(spec, e);
    return fd < 0 ? fd : give(g, "initrd", fd, what, e);
}

/* Where the worker ("machine", see virt/monitor/remote/message.h) or the guest's own agent
 * ("agent", virt/agent/frame) is spoken to. */
static int open_socket(const char *where, const char *name, struct given *g,
                       struct err *e)
{
    bool is_agent = strcmp(name, FAR_AGENT) == 0;
    int kind = is_agent ? SOCK_STREAM : SOCK_SEQPACKET;
    SCOPED(scope_close) int fd = socket(AF_UNIX, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    SCOPED(scope_close) int dir = open(where, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    (void)str_print(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/%s", dir, name);
    (void)unlinkat(dir, name, 0);
    if (fd < 0 || dir < 0 || bind(fd, (const struct sockaddr *)&at, sizeof at) < 0 ||
        listen(fd, BACKLOG) < 0 || fchmodat(dir, name, 0600, 0) < 0) {
        return err_sys(e, -errno, "cannot make the machine's socket");
    }
    return give(g, is_agent ? "agent" : "control", scope_take_fd(&fd),
                "the machine's socket", e);
}

static int open_counters(const char *where, struct given *g, struct err *e)
{
    char path[PATH_MAX];

    (void)str_print(path, sizeof path, "%s/" FAR_COUNTERS, where);
    return give(g, "counters", open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
                "the file of counters", e);
}

/* For an engine that may want it; only who insists on it misses it. */
static int open_kvm(const json_t *spec, struct given *g, struct err *e)
{
    const char *engine =
        json_string_value(json_object_get(json_object_get(spec, "machine"), "engine"));
    bool insists = engine != NULL && strcmp(engine, "kvm") == 0;
    int fd;

    if (!insists && engine != NULL && strcmp(engine, "auto") != 0) {
        return 0;
    }
    fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    return fd < 0 && !insists ? 0 : give(g, "kvm", fd, "/dev/kvm", e);
}

static uint64_t u64_of(const json_t *obj, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(obj, key));

    return v > 0 ? (uint64_t)v : 0;
}

static int start(const json_t *spec, const struct given *g, const struct log *log,
                 pid_t *ret_pid, struct err *e)
{
    const json_t *bounds = json_object_get(spec, "bounds");
    SCOPED(scope_json)
    json_t *plan = json_deep_copy(json_object_get(spec, "machine"));
    char where[PATH_MAX];
    char program[PATH_MAX];
    const struct far_new n = {
        .directory = where,
        .id = json_string_value(json_object_get(spec, "id")),
        .cgroup = json_string_value(json_object_get(bounds, "cgroup")),
        .program = program,
        .plan = plan,
        .stdio = {g->guest[0], g->guest[1], g->guest[2]},
        .fds = g->fds,
        .n_fds = g->n_fds,
        .memory_most = u64_of(bounds, "memory"),
        .cpu_weight = u64_of(bounds, "cpu_weight"),
        .cpu_millis = u64_of(bounds, "cpu_millis"),
        .tasks_most = u64_of(bounds, "tasks"),
        .rootless =
            json_is_true(json_object_get(json_object_get(spec, "place"), "rootless")),
        .log = log};

    directory(spec, where);
    (void)str_print(program, sizeof program, "%s/machine", place(spec, "libexec"));
    if (g->card[0] != '\0') {
        (void)json_object_set_new(plan, "nets", json_pack("[s]", g->card));
    }
    return plan == NULL ? err_set(e, -ENOMEM, "cannot start the machine: no memory")
                        : far_create(&n, ret_pid, e);
}

int worker_make_machine(const json_t *spec, struct keeper_config *k,
                        const struct log *log, struct err *e)
{
    struct given g = {.guest = {-1, -1, -1}, .keeper = {-1, -1, -1}};
    char where[PATH_MAX];
    int r;

    directory(spec, where);
    r = make_streams(&g, e);
    r = r == 0 ? open_boot(spec, &g, e) : r;
    r = r == 0 ? open_disks(spec, &g, e) : r;
    r = r == 0 ? open_kvm(spec, &g, e) : r;
    r = r == 0 ? open_saved(spec, &g, e) : r;
    r = r == 0 ? open_socket(where, "machine", &g, e) : r;
    if (r == 0 && json_object_get(json_object_get(spec, "machine"), "root") != NULL) {
        r = open_socket(where, FAR_AGENT, &g, e);
    }
    r = r == 0 ? open_counters(where, &g, e) : r;
    r = r == 0 ? open_shares(spec, &g, e) : r;
    r = r == 0 ? open_card(spec, &g, e) : r;
    r = r == 0 ? start(spec, &g, log, &k->pid, e) : r;
    (void)fault_step("worker.machine");
    close_given(&g, r < 0);
    if (r < 0) {
        (void)net_leave(spec, NULL);
    } else {
        k->input = g.keeper[0];
        k->output = g.keeper[1];
        k->error = g.keeper[2];
        k->keeps_input = true;
    }
    return r;
}

/* With its volumes opened anew, as a command opens them: nobody kept them for it. */
static int make_with_volumes(struct node *n, json_t *spec, struct keeper_config *k,
                             struct err *e)
{
    struct volume_holds holds;
    struct guest g = {0};
    int r = guest_load(n, k->id, &g, e);

    r = r == 0 ? volume_hold(n, &g, &holds, e) : r;
    if (r == 0) {
        r = volume_open_disks(n, spec, e);
        r = r == 0 ? worker_make_machine(spec, k, NULL, e) : r;
        volume_close_disks(spec);
        volume_let_go(&holds);
    }
    guest_fini(&g);
    return r;
}

int worker_make_machine_again(json_t *spec, struct keeper_config *k, struct err *e)
{
    struct node *n = NULL;
    int r;

    if (json_array_size(json_object_get(spec, "disks")) == 0) {
        return worker_make_machine(spec, k, NULL, e);
    }
    r = worker_open_node(spec, &n, e);
    r = r == 0 ? make_with_volumes(n, spec, k, e) : r;
    node_close(n);
    return r;
}

int worker_end_machine(const json_t *spec, struct err *e)
{
    char where[PATH_MAX];

    directory(spec, where);
    return far_clean(
        where, json_string_value(json_object_get(spec, "id")),
        json_string_value(json_object_get(json_object_get(spec, "bounds"), "cgroup")), e);
}
