/* verbs.c - what the command line calls: one function per verb for guests. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "contract/kv.h"
#include "contract/task.h"
#include "node/keeper/keeper.h"
#include "node/private.h"
#include "node/record.h"
#include "virt/container/container.h"

#define LOCK_WAIT_MS    10000
#define STOP_DEFAULT_MS 10000
#define STOP_GRACE_MS   5000
#define LOOK_AGAIN_MS   50

/* A guest and what it is doing now; the caller ends it with `guest_fini`. */
static int find(struct node *n, const char *word, struct guest *g,
                struct guest_status *st, struct err *e)
{
    int r = guest_find(n, word, g, e);

    if (r < 0) {
        return r;
    }
    r = guest_state_now(n, g, st, e);
    if (r < 0) {
        guest_fini(g);
    }
    return r;
}

static int set_desired(struct node *n, struct guest *g, const char *word, struct err *e)
{
    if (strcmp(guest_text(g, "desired"), word) == 0) {
        return 0;
    }
    (void)json_object_set_new(g->record, "desired", json_string(word));
    return guest_save(n, g, e);
}

/* Start a guest that is not running and whose lock is ours. */
/* A guest that ran before, and whose run-time files are gone: nothing tells what is
 * left of it, so that its control group is looked for. */
static int clear_stale(struct node *n, const struct guest *g, struct err *e)
{
    struct guest_status st;
    char root[PATH_MAX];
    char path[64];
    int r = guest_status(n, g->id, &st, e);

    if (r < 0 || st.ever_started || n->rootless ||
        (json_object_get(g->record, "last") == NULL &&
         strcmp(guest_text(g, "desired"), "running") != 0)) {
        return r;
    }
    (void)str_print(root, sizeof root, "%s/containers", n->run);
    (void)str_print(path, sizeof path, "/strata/%s", g->id);
    return container_sweep(root, g->id, path, e);
}

static int start(struct node *n, struct guest *g, int lock, bool attach, int *ret_console,
                 struct err *e)
{
    int r = net_ensure_up(n, g, e);

    if (r == 0) {
        r = clear_stale(n, g, e);
    }
    if (r == 0) {
        r = set_desired(n, g, "running", e);
    }
    (void)fault_step("guest.start.locked");
    if (r < 0) {
        return r;
    }
    r = launch_guest(n, g, lock, attach, ret_console, e);
    if (r < 0) {
        struct err ignored = {0};

        (void)set_desired(n, g, "stopped", &ignored);
        (void)finish_guest(n, g, &ignored);
        return r;
    }
    event_write(n, "started", g, NULL);
    return 0;
}

int node_guest_create(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    struct guest_status st = {.state = GUEST_CREATED};
    struct guest g = {0};
    int r = guest_make(n, order, NULL, &g, &lock, e);

    if (r == 0) {
        *ret = guest_describe(&g, &st);
    }
    guest_fini(&g);
    return r;
}

int node_run(struct node *n, const json_t *order, struct node_run_result *ret,
             struct err *e)
{
    bool detach = json_is_true(json_object_get(order, "detach"));
    struct guest_status st = {.state = GUEST_RUNNING};
    struct guest g = {0};
    SCOPED(scope_close) int lock = -1;
    int console = -1;
    int r = guest_make(n, order, NULL, &g, &lock, e);

    if (r < 0) {
        guest_fini(&g);
        return r;
    }
    r = start(n, &g, lock, !detach, &console, e);
    if (r < 0) {
        struct err ignored = {0};

        (void)remove_guest(n, &g, &ignored);
    } else {
        ret->guest = guest_describe(&g, &st);
        ret->console = console;
        ret->terminal = json_is_true(json_object_get(guest_config(&g), "tty"));
        ret->interactive = json_is_true(json_object_get(guest_config(&g), "interactive"));
    }
    guest_fini(&g);
    return r;
}

int node_run_end(struct node *n, const json_t *guest, struct err *e)
{
    const char *id = json_string_value(json_object_get(guest, "id"));
    SCOPED(scope_close) int lock = -1;
    struct guest g = {0};
    struct err gone = {0};
    struct guest_status st;
    int r = guest_load(n, id, &g, &gone);

    if (r == 0 && guest_status(n, g.id, &st, NULL) == 0 && guest_is_alive(&st)) {
        guest_fini(&g); /* it goes on without us, and its keeper cleans up */
        return 0;
    }
    if (r == 0) {
        guest_await_free(n, &g, LOCK_WAIT_MS);
        r = guest_lock_known(n, &g, LOCK_WAIT_MS, &lock, &gone);
    }
    if (r < 0) { /* somebody else was quicker to clean up */
        guest_fini(&g);
        return r == -ENOENT ? 0 : err_set(e, r, "%s", gone.text);
    }
    if (json_is_true(json_object_get(guest_config(&g), "rm"))) {
        r = remove_guest(n, &g, e);
        event_write(n, "deleted", &g, NULL);
    } else {
        r = finish_guest(n, &g, e);
        if (r == 0) {
            r = set_desired(n, &g, "stopped", e);
        }
    }
    guest_fini(&g);
    return r;
}

int node_guest_start(struct node *n, const char *guest, bool attach, int *ret_console,
                     struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    struct guest_status st;
    struct guest g = {0};
    int r = find(n, guest, &g, &st, e);

    *ret_console = -1;
    if (r < 0) {
        return r;
    }
    if (guest_is_alive(&st)) {
        r = err_set(e, -EBUSY, "cannot start guest '%s': it is %s", guest,
                    guest_state_name(st.state));
    } else {
        r = guest_lock_known(n, &g, LOCK_WAIT_MS, &lock, e);
    }
    if (r == 0) {
        r = start(n, &g, lock, attach, ret_console, e);
    }
    guest_fini(&g);
    return r;
}

static int signal_number(const char *text)
{
    static const struct {
        const char *name;
        int number;
    } names[] = {{"HUP", SIGHUP},   {"INT", SIGINT},     {"QUIT", SIGQUIT},
                 {"KILL", SIGKILL}, {"USR1", SIGUSR1},   {"USR2", SIGUSR2},
                 {"TERM", SIGTERM}, {"WINCH", SIGWINCH}, {"CONT", SIGCONT},
                 {"STOP", SIGSTOP}, {"ALRM", SIGALRM},   {"ABRT", SIGABRT}};

    int number = atoi(text);

    if (strncmp(text, "SIG", 3) == 0) {
        text += 3;
    }
    if (strncmp(text, "RTMIN+", 6) == 0) {
        return SIGRTMIN + atoi(text + 6);
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i].name, text) == 0) {
            return names[i].number;
        }
    }
    return number > 0 && number <= 64 ? number : SIGTERM;
}

static int own_stop_signal(const struct guest *g)
{
    const json_t *v = json_object_get(guest_config(g), "stop_signal");
    const char *text = json_string_value(
        json_object_get(json_object_get(g->record, "image_config"), "stop_signal"));

    if (json_is_integer(v) && json_integer_value(v) > 0) {
        return (int)json_integer_value(v);
    }
    if (json_is_string(v)) {
        text = json_string_value(v);
    }
    return text != NULL && text[0] != '\0' ? signal_number(text) : SIGTERM;
}

static void put_u32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) {
        p[i] = (unsigned char)(v >> (8 * i));
    }
}

/* Ask the keeper; returns when the guest and what it held are gone. */
static int stop(struct node *n, struct guest *g, int signal, uint64_t timeout_ms,
                struct err *e)
{
    const json_t *own = json_object_get(guest_config(g), "stop_timeout");
    unsigned char packet[9] = {KEEPER_STOP};
    SCOPED(scope_close) int fd = -1;
    struct guest_status st;
    struct task *t = NULL;
    struct err ended = {0};
    int code;
    int r;

    if (timeout_ms == UINT64_MAX) {
        timeout_ms =
            json_is_integer(own) ? (uint64_t)json_integer_value(own) : STOP_DEFAULT_MS;
    }
    if (timeout_ms > UINT32_MAX) {
        timeout_ms = UINT32_MAX;
    }
    put_u32(packet + 1, (uint32_t)(signal > 0 ? signal : own_stop_signal(g)));
    put_u32(packet + 5, (uint32_t)timeout_ms);
    if (guest_task(n, g, &t, NULL) == 0 && task_state(t) == TASK_PAUSED) {
        (void)task_resume(t, NULL); /* or it could not end */
    }
    task_close(t);
    r = guest_connect(n, g, packet, sizeof packet, &fd, &ended);
    if (r == 0) {
        (void)guest_await_end(fd, &code);
    } else if (r != -ESRCH) { /* else it ended by itself meanwhile */
        return err_set(e, r, "%s", ended.text);
    }
    guest_await_free(n, g, STOP_GRACE_MS);
    r = guest_refresh(n, g, &st, &ended); /* in case nobody else cleans up */
    return r == 0 || r == -ENOENT ? 0 : err_set(e, r, "%s", ended.text);
}

int node_guest_stop(struct node *n, const char *guest, int signal, uint64_t timeout_ms,
                    struct err *e)
{
    struct guest_status st;
    struct guest g = {0};
    int r = find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    r = set_desired(n, &g, "stopped", e);
    if (r == 0 && guest_is_alive(&st)) {
        r = stop(n, &g, signal, timeout_ms, e);
        event_write(n, "stopped", &g, NULL);
    }
    guest_fini(&g);
    return r;
}

int node_guest_kill(struct node *n, const char *guest, int signal, bool all,
                    struct err *e)
{
    struct guest_status st;
    struct task *t = NULL;
    struct guest g = {0};
    int r = find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    if (!guest_is_alive(&st)) {
        r = err_set(e, -ESRCH, "cannot kill guest '%s': it is %s", guest,
                    guest_state_name(st.state));
    }
    if (r == 0) {
        r = guest_task(n, &g, &t, e);
    }
    if (r == 0) {
        r = task_signal(t, signal > 0 ? signal : SIGKILL, all, e);
    }
    task_close(t);
    if (r == 0) {
        event_write(n, "killed", &g, NULL);
    }
    guest_fini(&g);
    return r;
}

int node_guest_restart(struct node *n, const char *guest, uint64_t timeout_ms,
                       struct err *e)
{
    struct guest_status st;
    struct guest g = {0};
    SCOPED(scope_close) int lock = -1;
    int console = -1;
    int r = find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    if (guest_is_alive(&st)) {
        r = stop(n, &g, 0, timeout_ms, e);
    }
    if (r == 0) {
        r = guest_lock_known(n, &g, LOCK_WAIT_MS, &lock, e);
    }
    if (r == 0) {
        r = start(n, &g, lock, false, &console, e);
    }
    guest_fini(&g);
    return r;
}

static int pause_or_resume(struct node *n, const char *guest, bool pause, struct err *e)
{
    struct guest_status st;
    struct task *t = NULL;
    struct guest g = {0};
    int r = find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    if (st.state != (pause ? GUEST_RUNNING : GUEST_PAUSED)) {
        r = err_set(e, -EBUSY, "cannot %s guest '%s': it is %s, not %s",
                    pause ? "pause" : "resume", guest, guest_state_name(st.state),
                    pause ? "running" : "paused");
    }
    if (r == 0) {
        r = guest_task(n, &g, &t, e);
    }
    if (r == 0) {
        r = pause ? task_pause(t, e) : task_resume(t, e);
    }
    task_close(t);
    if (r == 0) {
        event_write(n, pause ? "paused" : "resumed", &g, NULL);
    }
    guest_fini(&g);
    return r;
}

int node_guest_pause(struct node *n, const char *guest, struct err *e)
{
    return pause_or_resume(n, guest, true, e);
}

int node_guest_resume(struct node *n, const char *guest, struct err *e)
{
    return pause_or_resume(n, guest, false, e);
}

int node_guest_delete(struct node *n, const char *guest, bool force, struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    struct guest_status st;
    struct guest g = {0};
    int r = find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    if (guest_is_alive(&st) && !force) {
        r = err_set(e, -EBUSY,
                    "cannot delete guest '%s': it is %s (stop it first, or use --force)",
                    guest, guest_state_name(st.state));
    } else if (guest_is_alive(&st)) {
        r = stop(n, &g, SIGKILL, 0, e);
    }
    if (r == 0) {
        struct err gone = {0};

        r = guest_lock_known(n, &g, LOCK_WAIT_MS, &lock, &gone);
        if (r == -ENOENT && guest_is_alive(&st)) {
            guest_fini(&g); /* it was to be removed at its end */
            return 0;
        }
        r = r < 0 ? err_set(e, r, "%s", gone.text) : 0;
    }
    if (r == 0) {
        event_write(n, "deleted", &g, NULL);
        r = remove_guest(n, &g, e);
    }
    guest_fini(&g);
    return r;
}

static void read_limits(const json_t *order, struct task_limits *l)
{
    const struct {
        const char *key;
        uint64_t *to;
    } rows[] = {{"cpus", &l->cpu_millis},     {"cpu_weight", &l->cpu_weight},
                {"memory", &l->memory_bytes}, {"pids", &l->pids},
                {"io_read", &l->io_read_bps}, {"io_write", &l->io_write_bps}};

    memset(l, 0, sizeof *l);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const json_t *v = json_object_get(order, rows[i].key);

        if (json_is_integer(v)) {
            *rows[i].to =
                json_integer_value(v) < 0 ? UINT64_MAX : (uint64_t)json_integer_value(v);
        }
    }
}

int node_guest_resize(struct node *n, const char *guest, const json_t *order,
                      struct err *e)
{
    static const char *const keys[] = {"cpus",    "cpu_weight", "memory", "pids",
                                       "io_read", "io_write",   "restart"};
    struct task_limits limits;
    struct guest_status st;
    struct task *t = NULL;
    struct guest g = {0};
    json_t *checked = NULL;
    int r = find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    read_limits(order, &limits);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        json_t *v = json_object_get(order, keys[i]);

        if (json_is_integer(v) && json_integer_value(v) < 0) {
            (void)json_object_del(guest_config(&g), keys[i]);
        } else if (v != NULL) {
            (void)json_object_set(guest_config(&g), keys[i], v);
        }
    }
    r = order_to_config(n, guest_config(&g), &checked, e);
    json_decref(checked);
    if (r == 0 && (st.state == GUEST_RUNNING || st.state == GUEST_PAUSED)) {
        r = guest_task(n, &g, &t, e);
        if (r == 0) {
            r = task_resize(t, &limits, e);
        }
    }
    task_close(t);
    if (r == 0) {
        r = guest_save(n, &g, e);
    }
    if (r == 0) {
        event_write(n, "resized", &g, NULL);
    }
    guest_fini(&g);
    return r;
}

int node_guest_rename(struct node *n, const char *guest, const char *name, struct err *e)
{
    char old_key[128];
    char new_key[128];
    char own_key[64];
    SCOPED(scope_free) char *text = NULL;
    struct guest g = {0};
    struct kv_result result;
    struct kv *kv;
    int r = guest_find(n, guest, &g, e);

    if (r == 0 && !word_is_name(name)) {
        r = err_set(e, -EINVAL, "'%s' cannot be the name of a guest", name);
    }
    if (r == 0) {
        r = node_kv(n, &kv, e);
    }
    if (r < 0) {
        guest_fini(&g);
        return r;
    }
    (void)str_print(old_key, sizeof old_key, "/names/%s", guest_text(&g, "name"));
    (void)str_print(new_key, sizeof new_key, "/names/%s", name);
    (void)str_print(own_key, sizeof own_key, "/guests/%s", g.id);
    (void)json_object_set_new(g.record, "name", json_string(name));
    text = json_dumps(g.record, JSON_COMPACT);
    {
        const struct kv_cmp compare[] = {kv_cmp_mod(new_key, 0),
                                         kv_cmp_mod(own_key, g.revision)};
        const struct kv_op then[] = {kv_op_delete(kv_key(old_key)),
                                     kv_op_put(new_key, kv_text(g.id)),
                                     kv_op_put(own_key, kv_text(text))};
        const struct kv_txn t = {
            .compare = compare, .n_compare = 2, .then_ops = then, .n_then = 3};

        r = kv_txn(kv, &t, &result, e);
    }
    if (r == 0 && !result.succeeded) {
        r = err_set(e, -EEXIST, "cannot rename guest '%s': '%s' is taken", guest, name);
    }
    if (r == 0) {
        kv_result_fini(&result);
        event_write(n, "renamed", &g, name);
        r = net_write_hosts(n, &g, e);
    }
    guest_fini(&g);
    return r;
}

int node_guest_clone(struct node *n, const char *guest, const json_t *order, json_t **ret,
                     struct err *e)
{
    SCOPED(scope_json) json_t *copy = NULL;
    struct guest_status st = {.state = GUEST_CREATED};
    struct guest_status from_st;
    SCOPED(scope_close) int lock = -1;
    struct guest from = {0};
    struct guest to = {0};
    struct guest_source source = {.guest = &from};
    int r = find(n, guest, &from, &from_st, e);

    if (r < 0) {
        return r;
    }
    source.snapshot = json_string_value(json_object_get(order, "snapshot"));
    copy = json_deep_copy(guest_config(&from));
    (void)json_object_del(copy, "publish");
    (void)json_object_del(copy, "ip");
    (void)json_object_set_new(copy, "image",
                              json_string(guest_text(&from, "image_digest")));
    if (json_object_get(order, "name") != NULL) {
        (void)json_object_set(copy, "name", json_object_get(order, "name"));
    }
    r = guest_make(n, copy, &source, &to, &lock, e);
    if (r == 0) {
        *ret = guest_describe(&to, &st);
    }
    guest_fini(&from);
    guest_fini(&to);
    return r;
}

static bool filter_matches(const json_t *guest, const char *filter)
{
    const char *word = filter + strcspn(filter, "=") + 1;

    if (str_starts(filter, "state=")) {
        return strcmp(json_string_value(json_object_get(guest, "state")), word) == 0;
    }
    if (str_starts(filter, "label=")) {
        char key[256];
        const char *value = strchr(word, '=');
        const char *have;

        (void)str_print(key, sizeof key, "%.*s",
                        value != NULL ? (int)(value - word) : (int)strlen(word), word);
        have = json_string_value(json_object_get(json_object_get(guest, "labels"), key));
        return have != NULL && (value == NULL || strcmp(have, value + 1) == 0);
    }
    return str_starts(filter, "name=") &&
           strstr(json_string_value(json_object_get(guest, "name")), word) != NULL;
}

int node_guest_list(struct node *n, bool all, const char *const *filters, json_t **ret,
                    struct err *e)
{
    SCOPED(scope_json) json_t *records = NULL;
    size_t i;
    json_t *record;
    int r = guest_all(n, &records, e);

    if (r < 0) {
        return r;
    }
    *ret = json_array();
    json_array_foreach(records, i, record)
    {
        struct guest_status st;
        struct guest g = {.record = json_incref(record)};
        json_t *shown = NULL;
        bool wanted;

        (void)str_print(g.id, sizeof g.id, "%s", guest_text(&g, "id"));
        if (guest_need_whole(n, &g, NULL) == 0 &&
            guest_state_now(n, &g, &st, NULL) == 0) {
            shown = guest_describe(&g, &st);
        }
        wanted = shown != NULL && (all || guest_is_alive(&st));
        for (size_t k = 0; wanted && filters != NULL && filters[k] != NULL; k++) {
            wanted = filter_matches(shown, filters[k]);
        }
        if (wanted) {
            (void)json_array_append(*ret, shown);
        }
        json_decref(shown);
        guest_fini(&g);
    }
    return 0;
}

int node_guest_inspect(struct node *n, const char *guest, json_t **ret, struct err *e)
{
    struct guest_status st;
    struct guest g = {0};
    int r = find(n, guest, &g, &st, e);

    if (r == 0) {
        *ret = guest_inspection(n, &g, &st);
    }
    guest_fini(&g);
    return r;
}

static void set_number(json_t *out, const char *key, uint64_t v)
{
    if (v != UINT64_MAX) {
        (void)json_object_set_new(out, key, json_integer((json_int_t)v));
    }
}

int node_guest_stats(struct node *n, const char *guest, json_t **ret, struct err *e)
{
    struct task_stats s;
    struct guest_status st;
    struct task *t = NULL;
    struct guest g = {0};
    int r = find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    if (st.state != GUEST_RUNNING && st.state != GUEST_PAUSED) {
        r = err_set(e, -ESRCH, "guest '%s' is not running", guest);
    }
    if (r == 0) {
        r = guest_task(n, &g, &t, e);
    }
    memset(&s, 0xff, sizeof s);
    if (r == 0) {
        r = task_stats(t, &s, e);
    }
    task_close(t);
    if (r == 0) {
        *ret = json_pack("{s:s, s:s, s:s}", "name", guest_text(&g, "name"), "id", g.id,
                         "started_at", st.started);
        set_number(*ret, "cpu_ns", s.cpu_ns);
        set_number(*ret, "cpu_user_ns", s.cpu_user_ns);
        set_number(*ret, "cpu_system_ns", s.cpu_system_ns);
        set_number(*ret, "throttled_ns", s.throttled_ns);
        set_number(*ret, "memory_bytes", s.memory_bytes);
        set_number(*ret, "memory_peak_bytes", s.memory_peak_bytes);
        set_number(*ret, "memory_limit_bytes", s.memory_limit_bytes);
        set_number(*ret, "oom_kills", s.oom_kills);
        set_number(*ret, "pids", s.pids);
        set_number(*ret, "io_read_bytes", s.io_read_bytes);
        set_number(*ret, "io_write_bytes", s.io_write_bytes);
    }
    guest_fini(&g);
    return r;
}

int node_guest_console(struct node *n, const char *guest, int *ret_fd, bool *ret_terminal,
                       struct err *e)
{
    const char packet = KEEPER_ATTACH;
    struct guest g = {0};
    int r = guest_find(n, guest, &g, e);

    if (r == 0) {
        r = guest_connect(n, &g, &packet, 1, ret_fd, e);
        *ret_terminal = json_is_true(json_object_get(guest_config(&g), "tty"));
    }
    guest_fini(&g);
    return r;
}

int node_guest_wait(struct node *n, const char *guest, int *ret_code, struct err *e)
{
    const char packet = KEEPER_WAIT;
    struct guest_status st;
    struct guest g = {0};
    int r = find(n, guest, &g, &st, e);

    while (r == 0 && guest_is_alive(&st)) {
        SCOPED(scope_close) int fd = -1;
        struct err ended = {0};

        r = guest_connect(n, &g, &packet, 1, &fd, &ended);
        if (r == 0 && guest_await_end(fd, ret_code) == 0) {
            guest_fini(&g);
            return 0;
        }
        if (r == -ESRCH) { /* between the two looks it ended, or its keeper starts */
            guest_await_free(n, &g, LOOK_AGAIN_MS);
            r = 0;
        }
        r = r < 0 ? err_set(e, r, "%s", ended.text) : guest_state_now(n, &g, &st, e);
    }
    if (r == 0) {
        *ret_code = st.exit_code;
    }
    guest_fini(&g);
    return r;
}

/* A NULL-terminated list of borrowed texts. */
static const char **texts_of(const json_t *list)
{
    const char **out = calloc(json_array_size(list) + 1, sizeof *out);
    size_t i;
    json_t *item;

    if (out != NULL) {
        json_array_foreach(list, i, item)
        {
            out[i] = json_string_value(item);
        }
    }
    return out;
}

int node_guest_exec(struct node *n, const char *guest, const json_t *order,
                    int *ret_pidfd, int *ret_master, struct err *e)
{
    SCOPED(scope_free) const char **argv = texts_of(json_object_get(order, "command"));
    SCOPED(scope_free) const char **env = texts_of(json_object_get(order, "env"));
    struct task_exec x = {.argv = argv,
                          .env = env,
                          .cwd = json_string_value(json_object_get(order, "workdir")),
                          .user = json_string_value(json_object_get(order, "user")),
                          .terminal = json_is_true(json_object_get(order, "tty"))};
    SCOPED(scope_close) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    bool detach = json_is_true(json_object_get(order, "detach"));
    struct guest_status st;
    struct task *t = NULL;
    struct guest g = {0};
    int r = find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    x.stdio[0] =
        !detach && json_is_true(json_object_get(order, "interactive")) ? 0 : null;
    x.stdio[1] = detach ? null : 1;
    x.stdio[2] = detach ? null : 2;
    if (st.state != GUEST_RUNNING) {
        r = err_set(e, -ESRCH,
                    "cannot run a program in guest '%s': it is %s, not running", guest,
                    guest_state_name(st.state));
    }
    if (r == 0) {
        r = guest_task(n, &g, &t, e);
    }
    if (r == 0) {
        r = task_exec(t, &x, ret_pidfd, ret_master, e);
        if (r < 0) {
            r = guest_program_error(argv[0], e);
        }
    }
    task_close(t);
    guest_fini(&g);
    return r;
}

int node_exec_code(int pidfd)
{
    siginfo_t si = {0};

    if (waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED) < 0) {
        return 255;
    }
    return si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
}
