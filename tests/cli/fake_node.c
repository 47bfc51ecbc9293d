/* fake_node.c - a `node` that does nothing but remember what it was asked. */
#include "tests/cli/fake_node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "node/keeper/keeper.h"
#include "node/node.h"

struct fake_node fake;

static struct node *const the_node = (struct node *)&fake;

static int note(const char *what, const char *name, const json_t *order, json_t **ret,
                struct err *e)
{
    str_addf(&fake.calls, "%s", what);
    if (name != NULL) {
        str_addf(&fake.calls, " %s", name);
    }
    if (order != NULL) {
        char *text = json_dumps(order, JSON_COMPACT | JSON_SORT_KEYS);
        str_addf(&fake.calls, " %s", text);
        free(text);
    }
    str_add(&fake.calls, "\n");
    if (fake.fail != NULL && name != NULL && strcmp(name, fake.fail) == 0) {
        return err_set(e, -ENOENT, "guest '%s' does not exist", name);
    }
    if (ret != NULL && fake.result != NULL) {
        *ret = json_loads(fake.result, 0, NULL);
    }
    return 0;
}

/* A keeper that says `fake.out` and ends with `fake.code`. */
static int console(void)
{
    int pair[2];
    const unsigned char end[] = {KEEPER_EXIT, (unsigned char)fake.code, 0, 0, 0};
    char packet[256] = {KEEPER_OUT};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    if (fake.out != NULL) {
        (void)str_print(packet + 1, sizeof packet - 1, "%s", fake.out);
        (void)send(pair[1], packet, 1 + strlen(fake.out), 0);
    }
    (void)send(pair[1], end, sizeof end, 0);
    (void)close(pair[1]);
    return pair[0];
}

int node_open(const struct node_options *o, struct node **ret, struct err *e)
{
    (void)o;
    (void)e;
    *ret = the_node;
    return 0;
}

int node_need_places(struct node *n, struct err *e)
{
    (void)n;
    (void)e;
    return 0;
}

void node_close(struct node *n)
{
    (void)n;
}

void node_set_progress(struct node *n, node_progress_fn *fn, void *arg)
{
    (void)n;
    (void)fn;
    (void)arg;
}

int node_guest_create(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    (void)n;
    return note("create", NULL, order, ret, e);
}

int node_run(struct node *n, const json_t *order, struct node_run_result *ret,
             struct err *e)
{
    (void)n;
    int r = note("run", NULL, order, NULL, e);
    ret->guest = json_pack("{s:s, s:s}", "id", "0123", "name", "web");
    ret->console = json_is_true(json_object_get(order, "detach")) ? -1 : console();
    return r;
}

int node_run_end(struct node *n, const json_t *guest, struct err *e)
{
    (void)n;
    return note("run_end", json_string_value(json_object_get(guest, "name")), NULL, NULL,
                e);
}

int node_guest_start(struct node *n, const char *guest, const json_t *order,
                     int *ret_console, struct err *e)
{
    bool attach = json_is_true(json_object_get(order, "attach"));
    (void)n;
    int r = note(attach ? "start attached" : "start", guest, NULL, NULL, e);
    *ret_console = attach && r == 0 ? console() : -1;
    return r;
}

int node_guest_stop(struct node *n, const char *guest, int signal, uint64_t timeout_ms,
                    struct err *e)
{
    char what[64];
    (void)n;
    (void)signal;
    (void)str_print(what, sizeof what, "stop %lld", (long long)timeout_ms);
    return note(what, guest, NULL, NULL, e);
}

int node_guest_kill(struct node *n, const char *guest, int signal, bool all,
                    struct err *e)
{
    char what[64];
    (void)n;
    (void)str_print(what, sizeof what, "kill %d %d", signal, all);
    return note(what, guest, NULL, NULL, e);
}

int node_guest_restart(struct node *n, const char *guest, uint64_t timeout_ms,
                       struct err *e)
{
    (void)n;
    (void)timeout_ms;
    return note("restart", guest, NULL, NULL, e);
}

int node_guest_pause(struct node *n, const char *guest, struct err *e)
{
    (void)n;
    return note("pause", guest, NULL, NULL, e);
}

int node_guest_resume(struct node *n, const char *guest, struct err *e)
{
    (void)n;
    return note("resume", guest, NULL, NULL, e);
}

int node_guest_reset(struct node *n, const char *guest, struct err *e)
{
    (void)n;
    return note("reset", guest, NULL, NULL, e);
}

int node_guest_save(struct node *n, const char *guest, struct err *e)
{
    (void)n;
    return note("save", guest, NULL, NULL, e);
}

int node_guest_mark(struct node *n, const char *guest, struct err *e)
{
    (void)n;
    return note("mark", guest, NULL, NULL, e);
}

int node_guest_rewind(struct node *n, const char *guest, struct err *e)
{
    (void)n;
    return note("rewind", guest, NULL, NULL, e);
}

int node_guest_screen(struct node *n, const char *guest, int fd, struct err *e)
{
    (void)n;
    (void)fd;
    return note("screen", guest, NULL, NULL, e);
}

int node_guest_type(struct node *n, const char *guest, const char *const *keys,
                    size_t n_keys, struct err *e)
{
    (void)n;
    (void)keys;
    (void)n_keys;
    return note("type", guest, NULL, NULL, e);
}

int node_guest_dump(struct node *n, const char *guest, const char *file, struct err *e)
{
    (void)n;
    (void)file;
    return note("dump", guest, NULL, NULL, e);
}

int node_guest_gdb(struct node *n, const char *guest, int fd, bool listens, struct err *e)
{
    (void)n;
    (void)fd;
    return note(listens ? "gdb listens" : "gdb", guest, NULL, NULL, e);
}

int node_guest_look(struct node *n, const char *what, const json_t *order, json_t **ret,
                    struct err *e)
{
    (void)n;
    return note(what, json_string_value(json_object_get(order, "guest")), order, ret, e);
}

int node_guest_delete(struct node *n, const char *guest, bool force, struct err *e)
{
    (void)n;
    return note(force ? "delete forced" : "delete", guest, NULL, NULL, e);
}

int node_guest_resize(struct node *n, const char *guest, const json_t *order,
                      struct err *e)
{
    (void)n;
    return note("resize", guest, order, NULL, e);
}

int node_guest_attach(struct node *n, const char *guest, const json_t *order,
                      struct err *e)
{
    (void)n;
    return note("attach", guest, order, NULL, e);
}

int node_guest_detach(struct node *n, const char *guest, const json_t *order,
                      struct err *e)
{
    (void)n;
    return note("detach", guest, order, NULL, e);
}

int node_guest_rename(struct node *n, const char *guest, const char *name, struct err *e)
{
    (void)n;
    (void)name;
    return note("rename", guest, NULL, NULL, e);
}

int node_guest_clone(struct node *n, const char *guest, const json_t *order, json_t **ret,
                     struct err *e)
{
    (void)n;
    return note("clone", guest, order, ret, e);
}

int node_guest_list(struct node *n, bool all, const char *const *filters, json_t **ret,
                    struct err *e)
{
    (void)n;
    return note(all ? "list all" : "list", filters != NULL ? filters[0] : NULL, NULL, ret,
                e);
}

int node_guest_inspect(struct node *n, const char *guest, json_t **ret, struct err *e)
{
    (void)n;
    return note("inspect", guest, NULL, ret, e);
}

int node_guest_stats(struct node *n, const char *guest, json_t **ret, struct err *e)
{
    (void)n;
    int r = note("stats", guest, NULL, NULL, e);
    if (r == 0) {
        *ret = json_pack("{s:s, s:i, s:i}", "name", guest, "cpu_ns", 1000, "pids", 2);
    }
    return r;
}

int node_guest_logs(struct node *n, const char *guest, const struct node_log_query *q,
                    struct err *e)
{
    static const struct node_log_line lines[] = {
        {"2026-01-02T03:04:05Z", "stdout", "one", 3, false},
        {"2026-01-02T03:04:06Z", "stdout", "t\xffo", 3, false},
        {"2026-01-02T03:04:09Z", "stdout", "late", 4, false},
    };
    (void)n;
    int r = note("logs", guest, NULL, NULL, e);
    for (size_t i = 0; r == 0 && i < sizeof lines / sizeof *lines; i++) {
        if (q->fn(q->arg, &lines[i]) != 0) {
            break;
        }
    }
    return r;
}

int node_guest_console(struct node *n, const char *guest, int *ret_fd, bool *ret_terminal,
                       struct err *e)
{
    (void)n;
    *ret_terminal = false;
    *ret_fd = console();
    return note("console", guest, NULL, NULL, e);
}

int node_guest_wait(struct node *n, const char *guest, int *ret_code, struct err *e)
{
    (void)n;
    *ret_code = fake.code;
    return note("wait", guest, NULL, NULL, e);
}

int node_guest_exec(struct node *n, const char *guest, const json_t *order,
                    int *ret_pidfd, int *ret_master, struct err *e)
{
    int ends[2];
    (void)n;
    *ret_master = -1;
    int r = note("exec", guest, order, NULL, e);
    if (r == 0 && pipe2(ends, O_CLOEXEC) == 0) {
        (void)close(ends[1]); /* readable at once, as the pidfd of one that ended */
        *ret_pidfd = ends[0];
    }
    return r;
}

int node_exec_code(int pidfd)
{
    (void)pidfd;
    return fake.code;
}

int node_guest_cp(struct node *n, const char *from, const char *to, bool follow,
                  struct err *e)
{
    (void)n;
    (void)follow;
    (void)to;
    return note("cp", from, NULL, NULL, e);
}

int node_events(struct node *n, int64_t since_ns, bool follow, node_event_fn *fn,
                void *arg, struct err *e)
{
    json_t *event = json_pack("{s:s, s:s, s:s, s:s}", "time", "2026-01-02T03:04:05Z",
                              "type", "guest", "name", "web", "event", "started");
    (void)n;
    (void)since_ns;
    (void)follow;
    (void)fn(arg, event);
    (void)json_object_set_new(event, "name", json_string("other"));
    (void)fn(arg, event);
    json_decref(event);
    return note("events", NULL, NULL, NULL, e);
}

void node_refused(struct node *n, const char *op, const char *object, const struct err *e)
{
    (void)n;
    str_addf(&fake.refused, "%s %s: %s\n", op, object != NULL ? object : "-", e->text);
}

int node_snapshot_create(struct node *n, const char *guest, const char *name,
                         json_t **ret, struct err *e)
{
    (void)n;
    (void)name;
    return note("snapshot create", guest, NULL, ret, e);
}

int node_snapshot_list(struct node *n, const char *guest, json_t **ret, struct err *e)
{
    (void)n;
    return note("snapshot list", guest, NULL, ret, e);
}

int node_snapshot_restore(struct node *n, const char *guest, const char *name,
                          struct err *e)
{
    (void)n;
    (void)name;
    return note("snapshot restore", guest, NULL, NULL, e);
}

int node_snapshot_delete(struct node *n, const char *guest, const char *name,
                         struct err *e)
{
    (void)n;
    (void)guest;
    return note("snapshot delete", name, NULL, NULL, e);
}

int node_image(struct node *n, const char *op, const json_t *order, json_t **ret,
               struct err *e)
{
    (void)n;
    return note("image", op, order, ret, e);
}

int node_network(struct node *n, const char *op, const json_t *order, json_t **ret,
                 struct err *e)
{
    (void)n;
    return note("network", op, order, ret, e);
}

int node_volume(struct node *n, const char *op, const json_t *order, json_t **ret,
                struct err *e)
{
    (void)n;
    return note("volume", op, order, ret, e);
}

int node_image_move(struct node *n, const char *op, const json_t *order, json_t **ret,
                    struct err *e)
{
    (void)n;
    return note("image", op, order, ret, e);
}

int node_pool(struct node *n, const char *op, const json_t *order, json_t **ret,
              struct err *e)
{
    (void)n;
    return note("pool", op, order, ret, e);
}

int node_care(struct node *n, const char *op, const json_t *order, json_t **ret,
              struct err *e)
{
    (void)n;
    return note("pool", op, order, ret, e);
}

int node_volume_export(struct node *n, const char *name, const json_t *order,
                       void (*ready)(void *arg, const char *address), void *arg,
                       struct err *e)
{
    (void)n;
    (void)name;
    (void)order;
    (void)e;
    ready(arg, "nbd+unix:///?socket=s");
    return 0;
}

int node_host_info(struct node *n, json_t **ret, struct err *e)
{
    (void)n;
    return note("host info", NULL, NULL, ret, e);
}

int node_levels(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    (void)n;
    return note("levels", NULL, order, ret, e);
}

int node_doctor(struct node *n, json_t **ret, struct err *e)
{
    (void)n;
    return note("doctor", NULL, NULL, ret, e);
}

int node_syscalls(struct node *n, const char *guest, json_t **ret, struct err *e)
{
    (void)n;
    return note("syscalls", guest, NULL, ret, e);
}

int node_reconcile(struct node *n, json_t **ret, struct err *e)
{
    (void)n;
    return note("reconcile", NULL, NULL, ret, e);
}

int node_autostart(struct node *n, json_t **ret, struct err *e)
{
    (void)n;
    return note("autostart", NULL, NULL, ret, e);
}

int node_oci(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        str_addf(&fake.calls, "%s ", argv[i]);
    }
    return 42;
}
