/* hostinfo.c - what this host is, and what it can do for each level. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/probe.h"
#include "node/verb/private.h"
#include "virt/container/container.h"

static const char *const answer_words[PROBE_ANSWER_COUNT] = {"ok", "limited", "missing"};

const char *verb_answer(int answer)
{
    return answer_words[answer];
}

int node_doctor(struct node *n, json_t **ret, struct err *e)
{
    SCOPED(scope_free) struct probe_result *rows = NULL;
    size_t count = 0;
    int r = probe_run(NULL, &rows, &count, e);

    if (r < 0) {
        return r;
    }
    *ret = json_array();
    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(
            *ret, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "check", rows[i].what,
                            "key", rows[i].key, "result", answer_words[rows[i].answer],
                            "why", rows[i].detail, "remedy",
                            rows[i].remedy != NULL ? rows[i].remedy : "", "level",
                            rows[i].level));
    }
    if (n != NULL) {
        net_doctor(n, *ret);
    }
    return 0;
}

static json_t *by_prefix(const struct probe_result *rows, size_t count,
                         const char *prefix)
{
    json_t *out = json_object();

    for (size_t i = 0; i < count; i++) {
        if (str_starts(rows[i].key, prefix)) {
            (void)json_object_set_new(out, rows[i].key,
                                      json_string(rows[i].detail[0] != '\0'
                                                      ? rows[i].detail
                                                      : answer_words[rows[i].answer]));
        }
    }
    return out;
}

/* A level is as good as the worst of what it needs. */
static json_t *levels(const struct probe_result *rows, size_t count)
{
    json_t *out = json_object();

    for (size_t i = 0; i < count; i++) {
        const char *have = json_string_value(json_object_get(out, rows[i].level));
        int now = (int)rows[i].answer;

        if (have != NULL && strcmp(have, "limited") == 0 && now < PROBE_PARTIAL) {
            now = PROBE_PARTIAL;
        }
        if (have != NULL && strcmp(have, "missing") == 0) {
            now = PROBE_PARTIAL;
        }
        (void)json_object_set_new(
            out, rows[i].level,
            json_string(
                answer_words[now == PROBE_NO && have != NULL ? PROBE_PARTIAL : now]));
    }
    return out;
}

static json_t *guests_by_state(struct node *n)
{
    SCOPED(scope_json) json_t *list = NULL;
    json_t *out = json_object();
    size_t i;
    json_t *guest;

    if (node_guest_list(n, true, NULL, &list, NULL) < 0) {
        return out;
    }
    json_array_foreach(list, i, guest)
    {
        const char *state = json_string_value(json_object_get(guest, "state"));
        json_int_t now = json_integer_value(json_object_get(out, state));

        (void)json_object_set_new(out, state, json_integer(now + 1));
    }
    return out;
}

static json_t *storage(struct node *n)
{
    struct statvfs v;
    json_t *out = json_pack("{s:s, s:s}", "state", n->state, "run", n->run);

    if (statvfs(n->state, &v) == 0) {
        (void)json_object_set_new(out, "free_bytes",
                                  json_integer((json_int_t)(v.f_bavail * v.f_frsize)));
        (void)json_object_set_new(out, "total_bytes",
                                  json_integer((json_int_t)(v.f_blocks * v.f_frsize)));
    }
    return out;
}

int node_host_info(struct node *n, json_t **ret, struct err *e)
{
    SCOPED(scope_free) struct probe_result *rows = NULL;
    size_t count = 0;
    struct utsname u;
    struct sysinfo si;
    cpu_set_t cpus;
    int r = node_need_places(n, e);

    if (r == 0) {
        r = probe_run(NULL, &rows, &count, e);
    }
    if (r < 0) {
        return r;
    }
    (void)uname(&u);
    (void)sysinfo(&si);
    CPU_ZERO(&cpus);
    (void)sched_getaffinity(0, sizeof cpus, &cpus);
    *ret = json_pack("{s:s, s:s, s:s, s:i, s:I}", "hostname", u.nodename, "kernel",
                     u.release, "arch", u.machine, "cpus", CPU_COUNT(&cpus),
                     "memory_bytes", (json_int_t)si.totalram * si.mem_unit);
    (void)json_object_set_new(*ret, "cgroup", by_prefix(rows, count, "cgroup"));
    (void)json_object_set_new(*ret, "namespaces", by_prefix(rows, count, "ns."));
    (void)json_object_set_new(*ret, "security", by_prefix(rows, count, "seccomp"));
    (void)json_object_set_new(*ret, "network", by_prefix(rows, count, "net."));
    (void)json_object_set_new(*ret, "storage", storage(n));
    (void)json_object_set_new(*ret, "guests", guests_by_state(n));
    (void)json_object_set_new(*ret, "rootless", json_boolean(n->rootless));
    (void)json_object_set_new(*ret, "levels", levels(rows, count));
    (void)json_object_set_new(*ret, "strategies", verb_strategies(rows, count));
    (void)json_object_set_new(*ret, "features", verb_features());
    return 0;
}

/* The plan of a guest, which must use the default profile. */
static int plan_of(struct node *n, const char *guest, json_t **ret, struct err *e)
{
    const char *profile;
    struct guest g = {0};
    int r = guest_find(n, guest, &g, e);

    if (r == 0) {
        r = spec_build(n, &g, ret, e);
    }
    guest_fini(&g);
    profile = json_string_value(json_object_get(*ret, "seccomp"));
    if (r == 0 && (profile == NULL || strcmp(profile, "default") != 0)) {
        r = err_set(
            e, -EINVAL, "cannot list the system calls of guest '%s': it has %s", guest,
            json_object_get(json_object_get(json_object_get(*ret, "oci"), "linux"),
                            "seccomp") != NULL
                ? "a profile of its own"
                : "no profile, and may make all of them");
    }
    return r;
}

int node_syscalls(struct node *n, const char *guest, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *plan = NULL;
    SCOPED(scope_json) json_t *list = NULL;
    size_t i;
    json_t *call;
    int r = guest != NULL ? plan_of(n, guest, &plan, e) : 0;

    if (r == 0) {
        r = container_default_syscalls(
            json_object_get(json_object_get(plan, "oci"), "process"), &list, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = json_array();
    json_array_foreach(list, i, call)
    {
        bool always = json_is_true(json_object_get(call, "always"));

        (void)json_array_append_new(
            *ret, json_pack("{s:O, s:s}", "name", json_object_get(call, "name"), "rule",
                            always ? "always" : "by its arguments"));
    }
    return 0;
}
