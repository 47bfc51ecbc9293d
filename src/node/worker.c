/* worker.c - the worker half: make, hold, restart, check and clean one guest.
 *
 * What it needs is in the plan (spec.c); the store is opened only to finish a
 * guest that nobody waits for.  Roles of `strata --worker ROLE RUN-DIR WORDS`,
 * executed by keepers:
 *
 *     restart   make the guest again and become its keeper
 *     finish    clean up after it, record its end, tell who waits
 *     health    run its health check; the exit code is the answer
 *
 * and by the program `image`: build-step, see build_step.c. */
#include "node/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "contract/task.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "node/health.h"
#include "node/keeper/keeper.h"
#include "node/mount/mount.h"
#include "node/private.h"
#include "virt/container/container.h"
#include "virt/monitor/remote/remote.h"

static const char *place(const json_t *spec, const char *key)
{
    return json_string_value(json_object_get(json_object_get(spec, "place"), key));
}

static void container_root(const json_t *spec, char out[PATH_MAX])
{
    (void)str_print(out, PATH_MAX, "%s/containers", place(spec, "run"));
}

int guest_task(struct node *n, const struct guest *g, struct task **ret, struct err *e)
{
    struct container *c = NULL;
    struct far *f = NULL;
    char root[PATH_MAX];
    int r;

    if (guest_is_machine(g)) {
        (void)guest_run_path(n, g->id, "", root);
        r = far_open(root, g->id, &f, e);
        *ret = r == 0 ? far_task(f) : *ret;
        return r;
    }
    (void)str_print(root, sizeof root, "%s/containers", n->run);
    r = container_open(root, g->id, &c, e);
    if (r == 0) {
        *ret = container_task(c);
    }
    return r;
}

/* Pipes or /dev/null for a guest without a terminal: its ends and ours. */
struct stdio {
    int guest[3];
    int keeper[3];
};

static int make_stdio(struct stdio *io, bool interactive, struct err *e)
{
    for (int i = 0; i < 3; i++) {
        int ends[2];

        io->keeper[i] = -1;
        if (i == 0 && !interactive) {
            io->guest[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
            continue;
        }
        if (pipe2(ends, O_CLOEXEC) < 0) {
            return err_sys(e, -errno, "cannot make a pipe");
        }
        io->guest[i] = ends[i == 0 ? 0 : 1];
        io->keeper[i] = ends[i == 0 ? 1 : 0];
    }
    return 0;
}

static void close_guest_ends(struct stdio *io)
{
    for (int i = 0; i < 3; i++) {
        if (io->guest[i] >= 0) {
            (void)close(io->guest[i]);
        }
    }
}

static void take_output(struct keeper_config *k, struct stdio *io, int master)
{
    if (master >= 0) {
        k->master = master;
        k->input = master;
        return;
    }
    k->input = io->keeper[0];
    k->output = io->keeper[1];
    k->error = io->keeper[2];
}

static int make_container(const json_t *spec, const struct log *log, struct stdio *io,
                          struct container **ret, int *ret_master, struct err *e)
{
    const json_t *overlay = json_object_get(spec, "overlay");
    const json_t *list = json_object_get(overlay, "lower");
    const char *choice = json_string_value(json_object_get(spec, "seccomp"));
    const char *lower[512];
    char root[PATH_MAX];
    char cache[PATH_MAX];
    struct container_overlay o = {
        .lower = lower,
        .upper = json_string_value(json_object_get(overlay, "upper")),
        .work = json_string_value(json_object_get(overlay, "work")),
        .is_volatile = json_is_true(json_object_get(overlay, "volatile"))};
    struct container_new n = {
        .root = root,
        .id = json_string_value(json_object_get(spec, "id")),
        .bundle = place(spec, "run"),
        .config = json_object_get(spec, "oci"),
        .overlay = &o,
        .want_master = true,
        .seccomp_cache = cache,
        .default_seccomp = choice != NULL && strcmp(choice, "default") == 0,
        .account = CGROUP_ACCOUNT_CPU | CGROUP_ACCOUNT_MEMORY | CGROUP_ACCOUNT_PIDS,
        .die_with_parent = true,
        .log = log};
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        if (i < sizeof lower / sizeof lower[0]) {
            lower[i] = json_string_value(item);
            o.n = i + 1;
        }
    }
    container_root(spec, root);
    (void)str_print(cache, sizeof cache, "%s/seccomp", place(spec, "state"));
    memcpy(n.stdio, io->guest, sizeof n.stdio);
    return container_create(&n, ret, ret_master, e);
}

static bool is_machine(const json_t *spec)
{
    return json_is_object(json_object_get(spec, "machine"));
}

static const char *program_of(const json_t *spec)
{
    const json_t *process = json_object_get(json_object_get(spec, "oci"), "process");

    return json_string_value(json_array_get(json_object_get(process, "args"), 0));
}

int worker_make(const json_t *spec, struct keeper_config *k, const struct log *log,
                struct err *e)
{
    bool terminal = json_is_true(json_object_get(
        json_object_get(json_object_get(spec, "oci"), "process"), "terminal"));
    struct stdio io = {.guest = {-1, -1, -1}, .keeper = {-1, -1, -1}};
    struct container *c = NULL;
    int master = -1;
    int r = 0;

    if (is_machine(spec)) {
        return worker_make_machine(spec, k, log, e);
    }
    r = disks_attach(spec, e);
    if (r < 0) {
        return r;
    }
    if (!terminal) {
        r = make_stdio(&io, json_is_true(json_object_get(spec, "interactive")), e);
    }
    if (r == 0) {
        r = make_container(spec, log, &io, &c, &master, e);
    }
    close_guest_ends(&io);
    if (r < 0) {
        (void)disks_detach(spec, NULL);
        return guest_program_error(program_of(spec), e);
    }
    (void)fault_step("worker.container");
    k->pid = container_pid(c);
    take_output(k, &io, master);
    r = net_join(spec, c, e);
    (void)fault_step("worker.network");
    if (r == 0) {
        r = task_start(container_task(c), e);
        if (r < 0) {
            r = guest_program_error(program_of(spec), e);
        }
    }
    task_close(container_task(c));
    if (r < 0) {
        (void)worker_clean(spec, NULL);
    }
    return r;
}

static void keep_open(int fd)
{
    if (fd >= 0) {
        (void)fcntl(fd, F_SETFD, 0);
    }
}

int worker_become_keeper(const json_t *spec, struct keeper_config *k, struct err *e)
{
    const int fds[] = {k->input,  k->output,  k->error,     k->master,
                       k->status, k->control, k->log,       k->log_dir,
                       k->lock,   k->events,  k->events_dir};
    struct strv argv = {0};
    char path[PATH_MAX];

    (void)str_print(path, sizeof path, "%s/keeper", place(spec, "libexec"));
    strv_add(&argv, "keeper");
    keeper_config_words(k, &argv);
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        keep_open(fds[i]);
    }
    for (uint64_t i = 0; i < k->n_viewers; i++) {
        keep_open(k->viewers[i]);
    }
    keeper_announce(k);
    if (!strv_failed(&argv)) {
        (void)execv(path, argv.items);
    }
    (void)err_sys(e, -errno, "cannot execute '%s'", path);
    strv_fini(&argv);
    (void)worker_clean(spec, NULL);
    return e->code;
}

static int end_container(const json_t *spec, struct err *e)
{
    const char *id = json_string_value(json_object_get(spec, "id"));
    struct container *c = NULL;
    struct err none = {0};
    char root[PATH_MAX];
    int r;

    container_root(spec, root);
    r = container_open(root, id, &c, &none);
    if (r == 0) {
        r = container_delete(c, true, &none);
        task_close(container_task(c));
    } else if (r ==
               -ENOENT) { /* died before its state was written: the group and directory */
        r = container_sweep(
            root, id,
            json_string_value(json_object_get(
                json_object_get(json_object_get(spec, "oci"), "linux"), "cgroupsPath")),
            &none);
    }
    if (r < 0) {
        return err_set(e, r, "%s", none.text);
    }
    (void)fault_step("worker.clean.container");
    return 0;
}

static int end_guest(const json_t *spec, struct err *e)
{
    return is_machine(spec) ? worker_end_machine(spec, e) : end_container(spec, e);
}

int worker_clean(const json_t *spec, struct err *e)
{
    int r = end_guest(spec, e);

    r = r < 0 ? r : disks_detach(spec, e);
    return r < 0 ? r : net_leave(spec, e);
}

static int read_spec(const char *run_dir, json_t **ret, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    char path[PATH_MAX];
    size_t len = 0;
    int r;

    (void)str_print(path, sizeof path, "%s/spec.json", run_dir);
    r = file_read(AT_FDCWD, path, 4 << 20, &text, &len);
    return r < 0 ? err_sys(e, r, "cannot read '%s'", path)
                 : json_parse(text, len, path, ret, e);
}

static void set_cloexec(const struct keeper_config *k)
{
    const int fds[] = {k->status, k->control, k->log,       k->log_dir,
                       k->lock,   k->events,  k->events_dir};

    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (fds[i] >= 0) {
            (void)fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        }
    }
    for (uint64_t i = 0; i < k->n_viewers; i++) {
        (void)fcntl(k->viewers[i], F_SETFD, FD_CLOEXEC);
    }
}

static void tell_end(const struct keeper_config *k, int code)
{
    const unsigned char packet[5] = {KEEPER_EXIT, (unsigned char)(code & 255),
                                     (unsigned char)(code >> 8 & 255), 0, 0};

    for (uint64_t i = 0; i < k->n_viewers; i++) {
        struct pollfd p = {.fd = k->viewers[i], .events = POLLOUT};

        if (i == 0 && k->owner) {
            (void)poll(&p, 1, -1); /* who reads slowly still wants the code */
        }
        (void)send(k->viewers[i], packet, sizeof packet, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

int worker_open_node(const json_t *spec, struct node **ret, struct err *e)
{
    struct node_options o = {.state = NULL,
                             .program = place(spec, "program"),
                             .libexec = place(spec, "libexec")};

    return node_open_at(&o, place(spec, "state"), place(spec, "run"), ret, e);
}

/* `failed`: why the guest could not come back, said where it is looked for; or NULL. */
static int finish(const json_t *spec, const struct keeper_config *k,
                  const struct err *failed, struct err *e)
{
    struct guest_status st = {0};
    struct node *n = NULL;
    struct guest g = {0};
    int r = worker_open_node(spec, &n, e);

    if (r == 0) {
        r = guest_load(n, k->id, &g, e);
    }
    if (r == 0 && failed != NULL) {
        event_write(n, "restart-failed", &g, failed->text);
    }
    if (r == 0) {
        (void)guest_status(n, k->id, &st, NULL);
        r = json_is_true(json_object_get(guest_config(&g), "rm"))
                ? delete_guest(n, &g, e)
                : finish_guest(n, &g, e);
    }
    guest_fini(&g);
    node_close(n);
    tell_end(k, st.exit_code);
    return r;
}

int worker_reset_disk(const json_t *spec)
{
    static const char *const keys[] = {"upper", "work"};
    const json_t *maps = json_object_get(
        json_object_get(json_object_get(spec, "oci"), "linux"), "uidMappings");
    uid_t base =
        (uid_t)json_integer_value(json_object_get(json_array_get(maps, 0), "hostID"));
    int r = 0;

    for (size_t i = 0; i < 2 && r == 0; i++) {
        const char *path =
            json_string_value(json_object_get(json_object_get(spec, "overlay"), keys[i]));

        r = file_remove_tree(AT_FDCWD, path);
        if (r == 0 && (mkdir(path, i == 0 ? 0755 : 0700) < 0 ||
                       (i == 0 && chown(path, base, base) < 0))) {
            r = -errno;
        }
    }
    return r;
}

static int restart(json_t *spec, struct keeper_config *k, struct err *e)
{
    int r;

    /* its disks stay attached: in between somebody could freeze the layers of the plan */
    if (end_guest(spec, NULL) == 0) {
        (void)net_leave(spec, NULL);
    }
    if (is_machine(spec)) {
        r = worker_make_machine_again(spec, k, e);
        return r < 0 ? r : worker_become_keeper(spec, k, e);
    }
    if (!disks_are_attached(spec)) {
        return err_set(e, -ENODEV, "cannot start guest '%s' again: it lost a disk",
                       json_string_value(json_object_get(spec, "name")));
    }
    if (json_is_true(json_object_get(json_object_get(spec, "overlay"), "volatile"))) {
        (void)worker_reset_disk(spec);
    }
    r = worker_make(spec, k, NULL, e);
    return r < 0 ? r : worker_become_keeper(spec, k, e);
}

static int check_health(const json_t *spec, const char *run_dir)
{
    struct container *c = NULL;
    char root[PATH_MAX];
    int code = 1;

    container_root(spec, root);
    if (container_open(root, json_string_value(json_object_get(spec, "id")), &c, NULL) ==
        0) {
        code = health_check(spec, run_dir, container_task(c));
        task_close(container_task(c));
    }
    return code;
}

int node_worker(int argc, char **argv)
{
    SCOPED(scope_json) json_t *spec = NULL;
    struct keeper_config k;
    struct err e = {0};
    int r;

    if (argc < 2) {
        return 2;
    }
    if (strcmp(argv[0], "build-step") == 0) {
        return build_step(argv[1]);
    }
    r = read_spec(argv[1], &spec, &e);
    if (r == 0 && strcmp(argv[0], "health") == 0) {
        return check_health(spec, argv[1]);
    }
    if (r == 0) {
        r = keeper_config_parse(&k, argv + 2, &e);
    }
    if (r < 0) {
        return 1;
    }
    set_cloexec(&k);
    (void)signal(SIGPIPE, SIG_IGN);
    if (strcmp(argv[0], "restart") == 0) {
        struct err failed = {0};

        (void)restart(spec, &k, &failed);
        return finish(spec, &k, &failed, &e) < 0 ? 1 : 0;
    }
    return finish(spec, &k, NULL, &e) < 0 ? 1 : 0;
}

int node_oci(int argc, char **argv)
{
    return container_oci_main(argc, argv);
}
