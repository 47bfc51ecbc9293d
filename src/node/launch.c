/* launch.c - from a recorded guest to a running one.
 *
 * The command forks.  The child makes the guest with the container code it
 * already has in memory, so that the guest's first program is its own child,
 * and then becomes the small keeper by execve: process id, child, lock and
 * sockets stay.  Nothing else is executed on the way.
 *
 * The two talk over one pipe: the child writes an error record; or it writes
 * ALL_IS_WELL and executes the keeper, which closes the pipe. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/boot.h"
#include "node/keeper/keeper.h"
#include "node/private.h"
#include "node/worker.h"
#include "virt/container/container.h"

#define ALL_IS_WELL '+'
#define PLAN_MOST   (4u << 20) /* bytes */

static int write_run_file(struct node *n, const struct guest *g, const char *name,
                          const char *text, mode_t mode, struct err *e)
{
    char path[PATH_MAX];
    int r;

    (void)guest_run_path(n, g->id, name, path);
    r = file_replace(AT_FDCWD, path, text, strlen(text), mode, false);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", path) : 0;
}

static int write_files(struct node *n, const struct guest *g, const json_t *spec,
                       struct err *e)
{
    SCOPED(scope_free) char *text = json_dumps(spec, JSON_COMPACT);
    const char *hostname =
        json_string_value(json_object_get(json_object_get(spec, "oci"), "hostname"));
    char line[256];
    int r;

    if (text == NULL) {
        return err_set(e, -ENOMEM, "cannot start guest '%s': no memory",
                       guest_text(g, "name"));
    }
    r = write_run_file(n, g, "spec.json", text, 0600, e);
    if (r == 0 && hostname != NULL) { /* a machine has files of its own */
        (void)str_print(line, sizeof line, "%s\n", hostname);
        r = write_run_file(n, g, "hostname", line, 0644, e);
    }
    return r < 0 ? r : net_write_hosts(n, g, e);
}

static int open_control(struct node *n, const struct guest *g, struct err *e)
{
    SCOPED(scope_close)
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    SCOPED(scope_close) int dir = -1;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char path[PATH_MAX];

    (void)guest_run_path(n, g->id, "", path);
    dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    (void)str_print(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/control", dir);
    (void)unlinkat(dir, "control", 0);
    if (fd < 0 || dir < 0 || bind(fd, (const struct sockaddr *)&at, sizeof at) < 0 ||
        listen(fd, KEEPER_VIEWERS_MAX) < 0 || fchmodat(dir, "control", 0600, 0) < 0) {
        return err_sys(e, -errno, "cannot make the control socket of guest '%s'",
                       guest_text(g, "name"));
    }
    return scope_take_fd(&fd);
}

/* What the keeper writes to; -1 where it must do without. */
static int open_outputs(struct node *n, const struct guest *g, struct keeper_config *k,
                        struct err *e)
{
    char path[PATH_MAX];
    char blank[KEEPER_STATUS_BYTES];

    (void)guest_state_path(n, g->id, "logs", path);
    k->log_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    k->log = openat(k->log_dir, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (k->log < 0) {
        return err_sys(e, -errno, "cannot write the log of guest '%s'",
                       guest_text(g, "name"));
    }
    (void)guest_run_path(n, g->id, "status", path);
    k->status = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    memset(blank, ' ', sizeof blank);
    if (k->status < 0 ||
        pwrite(k->status, blank, sizeof blank, 0) != (ssize_t)sizeof blank) {
        return err_sys(e, -errno, "cannot write the status of guest '%s'",
                       guest_text(g, "name"));
    }
    k->events_dir = event_dir(n);
    k->control = open_control(n, g, e);
    return k->control < 0 ? k->control : 0;
}

static void close_all(struct keeper_config *k)
{
    int fds[] = {k->log_dir, k->log, k->status, k->events_dir, k->control};

    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
}

static uint64_t u64_of(const json_t *obj, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(obj, key));

    return v > 0 ? (uint64_t)v : 0;
}

static bool may_reboot(const json_t *spec)
{
    const json_t *process = json_object_get(json_object_get(spec, "oci"), "process");
    const json_t *list =
        json_object_get(json_object_get(process, "capabilities"), "bounding");
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        if (strcmp(json_string_value(item), "CAP_SYS_BOOT") == 0) {
            return true;
        }
    }
    return false;
}

static void set_policy(struct keeper_config *k, const json_t *part)
{
    static const char *const words[] = {"no", "on-failure", "always", "unless-stopped"};
    const char *restart = json_string_value(json_object_get(part, "restart"));

    for (int i = 0; restart != NULL && i < KEEPER_RESTART_COUNT; i++) {
        if (strncmp(restart, words[i], strlen(words[i])) == 0) {
            k->restart = (enum keeper_restart)i;
        }
    }
    if (restart != NULL && str_starts(restart, "on-failure:")) {
        k->restart_most = strtoull(restart + strlen("on-failure:"), NULL, 10);
    }
    k->log_bytes = u64_of(part, "log_size");
    k->log_count = u64_of(part, "log_count");
    k->health_interval_ms = u64_of(part, "health_interval");
    k->health_timeout_ms = u64_of(part, "health_timeout");
    k->health_retries = u64_of(part, "health_retries");
    k->health_start_ms = u64_of(part, "health_start");
    k->run_ms = u64_of(part, "timeout");
}

static void use_null(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int i = 0; i < 3 && fd >= 0; i++) {
        (void)dup2(fd, i);
    }
    if (fd > 2) {
        (void)close(fd);
    }
}

static void be_child(struct node *n, const json_t *spec, struct keeper_config *k,
                     int report) __attribute__((noreturn));

static void be_child(struct node *n, const json_t *spec, struct keeper_config *k,
                     int report)
{
    struct err e = {0};
    sigset_t none;

    (void)setsid();
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    for (int s = 1; s < 32; s++) {
        (void)signal(s, SIG_DFL);
    }
    (void)umask(022);
    use_null();
    /* ours are so already; what the caller had open is no business of keeper and helpers */
    (void)syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
    if (worker_make(spec, k, n->log, &e) == 0) {
        (void)fault_step("launch.made");
        (void)file_write_all(report, &(char){ALL_IS_WELL}, 1);
        (void)worker_become_keeper(spec, k, &e);
    }
    if (e.code == 0) {
        (void)err_set(&e, -EIO, "cannot start the guest");
    }
    (void)file_write_all(report, &e, sizeof e);
    _exit(1);
}

/* Wait for the child's word; on an error reap it. */
static int hear(int report, pid_t pid, const struct guest *g, struct err *e)
{
    char bytes[1 + sizeof(struct err)] = "";
    struct err said;
    ssize_t n = file_read_all(report, bytes, sizeof bytes);
    bool well = n > 0 && bytes[0] == ALL_IS_WELL;
    int status;

    if (n == 1 && well) {
        return 0;
    }
    (void)waitpid(pid, &status, 0);
    if (n != (ssize_t)sizeof said + (well ? 1 : 0)) {
        return err_set(e, -EIO,
                       "cannot start guest '%s': its keeper died while starting it",
                       guest_text(g, "name"));
    }
    memcpy(&said, bytes + (well ? 1 : 0), sizeof said);
    said.text[sizeof said.text - 1] = '\0';
    return err_set(e, said.code, "cannot start guest '%s': %s", guest_text(g, "name"),
                   said.text);
}

static int spawn(struct node *n, const struct guest *g, const json_t *spec,
                 struct keeper_config *k, struct err *e)
{
    SCOPED(scope_close) int report = -1;
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot start guest '%s'", guest_text(g, "name"));
    }
    report = ends[0];
    pid = fork();
    if (pid == 0) {
        be_child(n, spec, k, ends[1]);
    }
    (void)close(ends[1]);
    if (pid < 0) {
        return err_sys(e, -errno, "cannot start guest '%s'", guest_text(g, "name"));
    }
    return hear(report, pid, g, e);
}

static void add_place(struct node *n, json_t *spec)
{
    (void)json_object_set_new(spec, "place",
                              json_pack("{s:s, s:s, s:s, s:s, s:b}", "state", n->state,
                                        "run", n->run, "program", n->program, "libexec",
                                        n->libexec, "rootless", n->rootless));
}

/* What checks of the last run said, and who wanted it to stand still. */
static void forget_last_run(struct node *n, const struct guest *g)
{
    static const char *const files[] = {"health", "held"};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)guest_run_path(n, g->id, files[i], path);
        (void)unlink(path);
    }
}

/* For the person at the terminal: who starts the guest has none any more. */
static void tell_lowered(const struct node *n, const json_t *spec)
{
    const json_t *process = json_object_get(json_object_get(spec, "oci"), "process");
    size_t i;
    json_t *item;

    json_array_foreach(json_object_get(process, "rlimits"), i, item)
    {
        const char *type = json_string_value(json_object_get(item, "type"));
        uint64_t hard = (uint64_t)json_integer_value(json_object_get(item, "hard"));
        uint64_t most;

        if (type != NULL && container_limit_stays(type, hard, &most)) {
            log_warn(n->log,
                     "%s %" PRIu64 " is lowered to %" PRIu64 ": the host allows no more",
                     type, hard, most);
        }
    }
}

static int make_plan(struct node *n, const struct guest *g, json_t **ret_spec,
                     struct err *e)
{
    int r;

    forget_last_run(n, g);
    r = disk_reset_shared(n, g, e);
    r = r < 0 ? r : spec_build(n, g, ret_spec, e);
    return r < 0 || !guest_is_machine(g) ? r : guest_boot_prepare(n, g, *ret_spec, e);
}

/* From what was saved. */
static bool goes_on(const json_t *spec)
{
    return json_object_get(json_object_get(spec, "machine"), "restore") != NULL;
}

static int launch(struct node *n, struct guest *g, int lock, bool attach,
                  int *ret_console, struct err *e)
{
    SCOPED(scope_json) json_t *spec = NULL;
    SCOPED(scope_close) int console = -1;
    SCOPED(scope_close) int viewer = -1;
    struct keeper_config k;
    char run_dir[PATH_MAX];
    int pair[2];
    int r;

    keeper_config_init(&k);
    (void)guest_run_path(n, g->id, "", run_dir);
    r = make_plan(n, g, &spec, e);
    if (r < 0) {
        return r;
    }
    tell_lowered(n, spec);
    add_place(n, spec);
    r = write_files(n, g, spec, e);
    if (r == 0 && attach) {
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
            return err_sys(e, -errno, "cannot make a console");
        }
        console = pair[0];
        viewer = pair[1];
        k.viewers[0] = viewer;
        k.n_viewers = 1;
        k.owner = true;
    }
    if (r == 0) {
        r = open_outputs(n, g, &k, e);
    }
    k.id = g->id;
    k.program = n->program;
    k.run_dir = run_dir;
    k.lock = lock;
    set_policy(&k, json_object_get(spec, "keeper"));
    k.reboots = may_reboot(spec);
    k.finishes = json_array_size(json_object_get(spec, "disks")) != 0;
    r = r == 0 ? volume_open_disks(n, spec, e) : r;
    r = r == 0 ? life_take_saved(n, g, spec, e) : r; /* not in "spec.json": once only */
    if (r == 0) {
        life_take_identity(g, spec);
        r = spawn(n, g, spec, &k, e);
        life_leave_saved(n, g, r == 0);
        if (r == 0) {
            life_renew(n, g, spec);
        }
        if (r == 0 && goes_on(spec)) {
            life_set_clock(n, g);
        }
    }
    volume_close_disks(spec);
    close_all(&k);
    if (r == 0) {
        *ret_console = scope_take_fd(&console);
    }
    return r;
}

/* What the start began with stays: the kernel, and what the root stands on. */
static int keep_boot(struct node *n, const struct guest *g, json_t *spec, struct err *e)
{
    static const char *const keys[] = {"boot", "root"};
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_json) json_t *old = NULL;
    json_t *machine = json_object_get(spec, "machine");
    char path[PATH_MAX];
    size_t len = 0;
    int r;

    (void)guest_run_path(n, g->id, "spec.json", path);
    r = file_read(AT_FDCWD, path, PLAN_MOST, &text, &len);
    r = r < 0 ? err_sys(e, r, "cannot read '%s'", path)
              : json_parse(text, len, path, &old, e);
    for (size_t i = 0; r == 0 && i < sizeof keys / sizeof keys[0]; i++) {
        json_t *was = json_object_get(json_object_get(old, "machine"), keys[i]);

        if (was != NULL) {
            (void)json_object_set(machine, keys[i], was);
        }
    }
    return r;
}

int launch_plan_anew(struct node *n, const struct guest *g, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *spec = NULL;
    SCOPED(scope_free) char *text = NULL;
    int r = spec_build(n, g, &spec, e);

    r = r == 0 ? keep_boot(n, g, spec, e) : r;
    if (r < 0) {
        return r;
    }
    add_place(n, spec);
    text = json_dumps(spec, JSON_COMPACT);
    r = text == NULL ? err_set(e, -ENOMEM, "no memory for a plan")
                     : write_run_file(n, g, "spec.json", text, 0600, e);
    if (r == 0 && ret != NULL) {
        *ret = json_incref(spec);
    }
    return r;
}

int launch_guest(struct node *n, struct guest *g, int lock, bool attach, int *ret_console,
                 struct err *e)
{
    struct volume_holds holds;
    int r = volume_hold(n, g, &holds, e);

    if (r == 0) {
        r = launch(n, g, lock, attach, ret_console, e);
    }
    volume_let_go(&holds);
    return r;
}
