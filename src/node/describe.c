/* describe.c - a guest as `list` and `inspect` show it. */
#include <fcntl.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/scope.h"
#include "base/str.h"
#include "contract/task.h"
#include "host/file.h"
#include "node/health.h"
#include "node/private.h"
#include "virt/monitor/remote/remote.h"

static void set_text(json_t *out, const char *key, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        (void)json_object_set_new(out, key, json_string(text));
    }
}

static void set_from(json_t *out, const char *key, const json_t *from,
                     const char *from_key)
{
    json_t *v = json_object_get(from, from_key);

    if (v != NULL && !json_is_null(v)) {
        (void)json_object_set(out, key, v);
    }
}

static json_t *address_list(const json_t *network)
{
    json_t *list = json_array();

    for (int i = 0; i < 2; i++) {
        json_t *ip = json_object_get(network, i == 0 ? "addr4" : "addr6");

        if (json_is_string(ip)) {
            (void)json_array_append(list, ip);
        }
    }
    return list;
}

/* "key=value" texts to an object. */
static json_t *label_object(const struct guest *g)
{
    json_t *out = json_object();
    const json_t *image =
        json_object_get(json_object_get(g->record, "image_config"), "labels");
    size_t i;
    json_t *item;

    if (json_is_object(image)) {
        (void)json_object_update(out, (json_t *)(uintptr_t)image);
    }
    json_array_foreach(json_object_get(guest_config(g), "label"), i, item)
    {
        const char *pair = json_string_value(item);
        const char *equals = pair != NULL ? strchr(pair, '=') : NULL;
        char key[256];

        if (equals != NULL &&
            str_print(key, sizeof key, "%.*s", (int)(equals - pair), pair) == 0) {
            (void)json_object_set_new(out, key, json_string(equals + 1));
        }
    }
    return out;
}

static json_t *limits_object(const json_t *config)
{
    static const struct {
        const char *to;
        const char *from;
    } pairs[] = {{"memory_bytes", "memory"},   {"cpu_millis", "cpus"},
                 {"cpu_weight", "cpu_weight"}, {"pids", "pids"},
                 {"io_read_bps", "io_read"},   {"io_write_bps", "io_write"}};

    json_t *out = json_object();

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        set_from(out, pairs[i].to, config, pairs[i].from);
    }
    return out;
}

json_t *guest_limits(const struct guest *g)
{
    json_t *out = limits_object(guest_config(g));

    set_text(out, "name", guest_text(g, "name"));
    return out;
}

static void copy_text(char *out, size_t size, const json_t *text)
{
    (void)str_print(out, size, "%s", json_is_string(text) ? json_string_value(text) : "");
}

/* What the store last heard, for a guest whose run-time files are gone. */
static void use_last(const struct guest *g, struct guest_status *st)
{
    const json_t *last = json_object_get(g->record, "last");

    if (st->ever_started) {
        return;
    }
    if (!json_is_object(last)) {
        /* Started once, and now without a trace: the host was started anew. */
        if (strcmp(guest_text(g, "desired"), "running") == 0) {
            st->state = GUEST_STOPPED;
            st->exit_code = 128 + 9;
        }
        return;
    }
    st->state = GUEST_STOPPED;
    st->exit_code = (int)json_integer_value(json_object_get(last, "exit_code"));
    st->restarts = json_integer_value(json_object_get(last, "restarts"));
    copy_text(st->started, sizeof st->started, json_object_get(last, "started"));
    copy_text(st->finished, sizeof st->finished, json_object_get(last, "finished"));
}

int guest_state_now(struct node *n, struct guest *g, struct guest_status *ret,
                    struct err *e)
{
    int r = guest_refresh(n, g, ret, e);

    if (r < 0) {
        return r;
    }
    use_last(g, ret);
    if (ret->state == GUEST_RUNNING) {
        struct task *t = NULL;

        if (guest_task(n, g, &t, NULL) == 0 && task_state(t) == TASK_PAUSED &&
            !hold_forgotten(n, g, t)) {
            ret->state = GUEST_PAUSED;
        }
        task_close(t);
    }
    return 0;
}

json_t *guest_describe(const struct guest *g, const struct guest_status *st)
{
    const json_t *network = json_object_get(g->record, "network");
    json_t *out = json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", g->id, "name",
                            guest_text(g, "name"), "kind", guest_text(g, "kind"), "image",
                            guest_text(g, "image"), "state", guest_state_name(st->state));

    set_text(out, "created_at", guest_text(g, "created"));
    set_text(out, "started_at", st->started);
    if (st->state == GUEST_STOPPED) {
        set_text(out, "stopped_at", st->finished);
        (void)json_object_set_new(out, "exit_code", json_integer(st->exit_code));
    } else {
        set_text(out, "health", st->health);
    }
    if (st->pid > 0 && st->state != GUEST_STOPPED) {
        (void)json_object_set_new(out, "pid", json_integer(st->pid));
    }
    (void)json_object_set_new(out, "restarts", json_integer(st->restarts));
    (void)json_object_set_new(out, "addresses", address_list(network));
    set_from(out, "ports", network, "publish");
    (void)json_object_set_new(out, "labels", label_object(g));
    return out;
}

/* What the worker tells of a machine that runs, or told when it was paused or ended; NULL: nothing. */
json_t *guest_told(struct node *n, const struct guest *g, const struct guest_status *st)
{
    SCOPED(scope_free) char *text = NULL;
    json_t *out = NULL;
    char path[PATH_MAX];
    size_t len = 0;

    (void)guest_run_path(n, g->id, "", path);
    if (st->state == GUEST_RUNNING && far_ask(path, FAR_STATS, NULL, &out, NULL) == 0) {
        return out;
    }
    (void)guest_run_path(n, g->id, FAR_COUNTERS, path);
    if (file_read(AT_FDCWD, path, FAR_MOST_BYTES, &text, &len) == 0 && len > 0) {
        (void)json_parse(text, len, path, &out, NULL);
    }
    return out;
}

static const char *technique_of(const json_t *worker)
{
    const char *engine = json_string_value(json_object_get(worker, "engine"));

    return engine == NULL                     ? "a processor in software"
           : strcmp(engine, "kvm") == 0       ? "hardware virtualization"
           : strcmp(engine, "translate") == 0 ? "binary translation"
                                              : "interpretation";
}

/* What becomes of the guest's instructions. */
static const char *execution_of(const struct guest *g, const json_t *worker)
{
    const char *engine = json_string_value(json_object_get(worker, "engine"));

    return !guest_is_machine(g)               ? "direct"
           : engine == NULL                   ? "in software"
           : strcmp(engine, "kvm") == 0       ? "direct, but what leaves the processor"
           : strcmp(engine, "translate") == 0 ? "translated"
                                              : "interpreted";
}

/* The guest, the layer with what it offers, and the host below both. */
static json_t *parts_object(const struct guest *g, const struct guest_status *st,
                            const json_t *worker)
{
    bool machine = guest_is_machine(g);
    struct utsname host = {.nodename = ""};
    json_t *out;

    (void)uname(&host);
    out = json_pack("{s:{s:s, s:s, s:s}, s:{s:s, s:s, s:s, s:s, s:i}, s:{s:s, s:s, s:s}}",
                    "guest", "name", guest_text(g, "name"), "image",
                    guest_text(g, "image"), "digest", guest_text(g, "image_digest"),
                    "layer", "level", machine ? "hardware" : "operating system",
                    "technique", machine ? technique_of(worker) : "container",
                    "execution", execution_of(g, worker), "interface",
                    machine ? "ISA" : "ABI", "keeper", (int)st->keeper, "host", "kernel",
                    machine ? "the guest's own" : "shared", "name", host.nodename,
                    "release", host.release);
    if (machine && st->pid > 0 && st->state != GUEST_STOPPED) { /* who is the machine */
        (void)json_object_set_new(json_object_get(out, "layer"), "worker",
                                  json_integer(st->pid));
    }
    return out;
}

static json_t *health_object(struct node *n, const struct guest *g,
                             const struct guest_status *st)
{
    char run_dir[PATH_MAX];

    (void)guest_run_path(n, g->id, "", run_dir);
    return json_pack("{s:s, s:o}", "state", st->health, "checks", health_read(run_dir));
}

json_t *guest_inspection(struct node *n, const struct guest *g,
                         const struct guest_status *st)
{
    json_t *out = guest_describe(g, st);
    json_t *config = json_deep_copy(guest_config(g));
    char path[PATH_MAX];

    (void)json_object_set_new(out, "image",
                              json_pack("{s:s, s:s}", "name", guest_text(g, "image"),
                                        "digest", guest_text(g, "image_digest")));
    (void)json_object_set_new(out, "config", config);
    (void)json_object_set_new(out, "limits", limits_object(config));
    set_from(out, "network", g->record, "network");
    set_from(out, "userns", g->record, "userns");
    (void)guest_state_path(n, g->id,
                           guest_is_machine(g) ? "disk/root.qcow2" : "disk/upper", path);
    (void)json_object_set_new(
        out, "disk",
        json_pack("{s:s, s:s}", "mode",
                  json_string_value(json_object_get(config, "disk")) != NULL
                      ? json_string_value(json_object_get(config, "disk"))
                      : "private",
                  "path", path));
    if (guest_is_machine(g)) {
        json_t *worker = guest_told(n, g, st);

        (void)json_object_set_new(out, "parts", parts_object(g, st, worker));
        (void)json_object_set_new(out, "machine", worker);
    } else {
        (void)json_object_set_new(out, "parts", parts_object(g, st, NULL));
    }
    if (json_object_get(out, "health") != NULL) {
        (void)json_object_set_new(out, "health", health_object(n, g, st));
    }
    (void)json_object_set_new(out, "notes", notes_read(n, g));
    set_text(out, "desired", guest_text(g, "desired"));
    set_from(out, "owner", g->record, "owner");
    return out;
}
