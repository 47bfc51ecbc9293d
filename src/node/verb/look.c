/* look.c - what is only looked at: list, inspect, stats. */
#include "node/verb/private.h"

#include <errno.h>
#include <string.h>

#include "base/scope.h"
#include "base/str.h"
#include "contract/task.h"

int verb_find(struct node *n, const char *word, struct guest *g, struct guest_status *st,
              struct err *e)
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
    net_mend_quietly(n, records);
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
    int r = verb_find(n, guest, &g, &st, e);

    if (r == 0) {
        SCOPED(scope_json) json_t *records = NULL;

        if (guest_is_alive(&st) && guest_all(n, &records, NULL) == 0) {
            net_mend_quietly(n, records);
        }
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

static bool counts_all(const json_t *disks)
{
    size_t i;
    json_t *disk;

    json_array_foreach(disks, i, disk)
    {
        if (!json_is_integer(json_object_get(disk, "read_bytes"))) {
            return false;
        }
    }
    return json_array_size(disks) > 0;
}

/* The kernel counts what reaches disks of the host; a machine may know what its guest moved. */
static void count_disks(struct node *n, const struct guest *g,
                        const struct guest_status *st, struct task_stats *s)
{
    json_t *told = guest_told(n, g, st);
    const json_t *disks = json_object_get(told, "disks");
    size_t i;
    json_t *disk;

    if (!counts_all(disks)) {
        json_decref(told);
        return;
    }
    s->io_read_bytes = s->io_write_bytes = 0;
    json_array_foreach(disks, i, disk)
    {
        s->io_read_bytes +=
            (uint64_t)json_integer_value(json_object_get(disk, "read_bytes"));
        s->io_write_bytes +=
            (uint64_t)json_integer_value(json_object_get(disk, "written_bytes"));
    }
    json_decref(told);
}

int node_guest_stats(struct node *n, const char *guest, json_t **ret, struct err *e)
{
    uint64_t received = UINT64_MAX;
    uint64_t sent = UINT64_MAX;
    struct task_stats s;
    struct guest_status st;
    struct task *t = NULL;
    struct guest g = {0};
    int r = verb_find(n, guest, &g, &st, e);

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
    if (r == 0 && guest_is_machine(&g)) {
        count_disks(n, &g, &st, &s);
    }
    if (r == 0) {
        (void)net_traffic(&g, &received, &sent);
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
        set_number(*ret, "net_rx_bytes", received);
        set_number(*ret, "net_tx_bytes", sent);
    }
    guest_fini(&g);
    return r;
}
