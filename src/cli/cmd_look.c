/* cmd_look.c - list, inspect, logs, stats, events, wait. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/cmd.h"

#define POLL_MS        100 /* between two looks at a state that is waited for */
#define FIRST_ROUND_MS 250 /* of `stats` without --follow */

int cmd_list(struct cli *c, const struct op_list *a)
{
    struct err e = {0};
    struct strv filters = {0};
    json_t *list = NULL;
    struct node *n = cli_node(c, &e);
    for (size_t i = 0; i < a->n_label; i++) {
        strv_addf(&filters, "label=%s", a->label[i]);
    }
    int r = n == NULL ? -1 : 0;
    if (r == 0 && strv_failed(&filters)) {
        r = err_set(&e, -ENOMEM, "out of memory");
    }
    if (r == 0) {
        r = node_guest_list(n, !a->running, (const char *const *)filters.items, &list,
                            &e);
    }
    strv_fini(&filters);
    c->output.quiet = a->quiet;
    return cli_finish(c, r, list, &e);
}

int cmd_inspect(struct cli *c, const struct op_inspect *a)
{
    struct err e = {0};
    json_t *all = json_array();
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : 0;
    int code = 0;
    for (size_t i = 0; r == 0 && i < a->n_guest; i++) {
        json_t *one = NULL;
        err_clear(&e);
        if (node_guest_inspect(n, a->guest[i], &one, &e) < 0) {
            code = cli_fail(c, &e);
        } else {
            (void)json_array_append_new(all, one);
        }
    }
    int printed = cli_finish(c, r, all, &e);
    return code != 0 ? code : printed;
}

struct log_view {
    struct cli *c;
    int64_t until;
    bool timestamps;
};

static int64_t time_of(const char *text)
{
    int64_t when = 0;
    (void)units_parse_time(text, &when);
    return when;
}

static int print_log_json(struct cli *c, const struct node_log_line *line)
{
    json_t *text = json_stringn(line->text, line->len);
    if (text == NULL) { /* not UTF-8: each byte as the character of that number */
        struct str s = {0};
        for (size_t i = 0; i < line->len; i++) {
            unsigned char b = (unsigned char)line->text[i];
            char two[] = {(char)(0xc0 | b >> 6), (char)(0x80 | (b & 0x3f))};
            str_add_bytes(&s, b < 0x80 ? (const char *)&b : two, b < 0x80 ? 1 : 2);
        }
        text = json_string(str_text(&s));
        str_fini(&s);
    }
    SCOPED(scope_json)
    json_t *event = json_pack("{s:s, s:s, s:o}", "time", line->time, "stream",
                              line->stream, "text", text);
    return event == NULL ? -ENOMEM : output_event(&c->output, c->op, event);
}

static int print_log_line(void *arg, const struct node_log_line *line)
{
    const struct log_view *v = arg;
    FILE *out = strcmp(line->stream, "stderr") == 0 ? stderr : stdout;
    if (v->until != 0 && time_of(line->time) > v->until) {
        return 1;
    }
    if (v->c->global.json) {
        return print_log_json(v->c, line);
    }
    if (v->timestamps) {
        (void)fprintf(out, "%s ", line->time);
    }
    (void)fwrite(line->text, 1, line->len, out);
    if (!line->partial) {
        (void)fputc('\n', out);
    }
    return fflush(out) == 0 ? 0 : -EIO;
}

int cmd_logs(struct cli *c, const struct op_logs *a)
{
    struct err e = {0};
    struct log_view view = {c, a->until, a->timestamps};
    struct node_log_query q = {.since_ns = a->since,
                               .tail = a->tail == WIRE_NONE ? -1 : (int64_t)a->tail,
                               .follow = a->follow,
                               .fn = print_log_line,
                               .arg = &view};
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : node_guest_logs(n, a->guest, &q, &e);
    return cli_finish(c, r, NULL, &e);
}

struct event_view {
    struct cli *c;
    const struct op_events *a;
};

static bool is_wanted(const struct op_events *a, const json_t *event)
{
    const char *name = json_string_value(json_object_get(event, "name"));
    const char *id = json_string_value(json_object_get(event, "id"));
    for (size_t i = 0; i < a->n_guest; i++) {
        if ((name != NULL && strcmp(name, a->guest[i]) == 0) ||
            (id != NULL && str_starts(id, a->guest[i]))) {
            return true;
        }
    }
    return a->n_guest == 0;
}

static int print_event(void *arg, const json_t *event)
{
    const struct event_view *v = arg;
    const char *time = json_string_value(json_object_get(event, "time"));
    if (v->a->until != 0 && time != NULL && time_of(time) > v->a->until) {
        return 1;
    }
    return is_wanted(v->a, event) ? output_event(&v->c->output, v->c->op, event) : 0;
}

int cmd_events(struct cli *c, const struct op_events *a)
{
    struct err e = {0};
    struct event_view view = {c, a};
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : node_events(n, a->since, a->follow, print_event, &view, &e);
    return cli_finish(c, r, NULL, &e);
}

static void sleep_ms(uint64_t ms)
{
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The names to watch: those given, or all that run. */
static int names_to_watch(struct node *n, const struct op_stats *a, struct strv *names,
                          struct err *e)
{
    SCOPED(scope_json) json_t *list = NULL;
    size_t i;
    json_t *guest;
    for (i = 0; i < a->n_guest; i++) {
        strv_add(names, a->guest[i]);
    }
    int r = a->n_guest > 0 ? 0 : node_guest_list(n, false, NULL, &list, e);
    json_array_foreach(list, i, guest)
    {
        strv_add(names, json_string_value(json_object_get(guest, "name")));
    }
    return r < 0 || !strv_failed(names) ? r : err_set(e, -ENOMEM, "out of memory");
}

/* One sample of every guest; one that ended meanwhile is left out, unless named. */
static int sample(struct node *n, const struct op_stats *a, json_t **ret, struct err *e)
{
    struct strv names = {0};
    json_t *all = json_array();
    int r = names_to_watch(n, a, &names, e);
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        json_t *one = NULL;
        struct err why = {0};
        if (node_guest_stats(n, names.items[i], &one, &why) == 0) {
            (void)json_array_append_new(all, one);
        } else if (a->n_guest > 0) {
            r = err_set(e, why.code, "%s", why.text);
        }
    }
    strv_fini(&names);
    if (r < 0) {
        json_decref(all);
        return r;
    }
    *ret = all;
    return 0;
}

/* Processor time between two samples, as percent of one processor. */
static void add_percent(json_t *now, const json_t *before, uint64_t ms)
{
    size_t i, k;
    json_t *one, *old;
    json_array_foreach(now, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        const json_t *cpu = json_object_get(one, "cpu_ns");
        json_array_foreach(before, k, old)
        {
            const char *other = json_string_value(json_object_get(old, "name"));
            if (name != NULL && other != NULL && strcmp(name, other) == 0 &&
                cpu != NULL) {
                double ns = (double)(json_integer_value(cpu) -
                                     json_integer_value(json_object_get(old, "cpu_ns")));
                (void)json_object_set_new(
                    one, "cpu_percent",
                    json_real(ns < 0 ? 0 : ns / 10000 / (double)(ms > 0 ? ms : 1)));
            }
        }
    }
}

int cmd_stats(struct cli *c, const struct op_stats *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *before = NULL;
    struct node *n = cli_node(c, &e);
    uint64_t since = now_ms();
    int r = n == NULL ? -1 : sample(n, a, &before, &e);
    do {
        json_t *now = NULL;
        if (r == 0 && (a->follow || json_array_size(before) > 0)) {
            sleep_ms(a->follow ? a->interval : FIRST_ROUND_MS);
        }
        r = r < 0 ? r : sample(n, a, &now, &e);
        if (r == 0) {
            uint64_t until = now_ms();
            add_percent(now, before, until - since);
            since = until;
            json_decref(before);
            before = json_incref(now);
        }
        int code = cli_finish(c, r, now, &e);
        if (code != 0 || !a->follow) {
            return code;
        }
    } while (true);
}

static bool has_reached(enum op_wait_for want, const json_t *guest)
{
    const char *state = json_string_value(json_object_get(guest, "state"));
    const json_t *health = json_object_get(guest, "health");
    const char *text = json_is_object(health)
                           ? json_string_value(json_object_get(health, "state"))
                           : json_string_value(health);
    switch (want) {
    case OP_WAIT_FOR_RUNNING:
        return state != NULL && strcmp(state, "running") == 0;
    case OP_WAIT_FOR_HEALTHY:
        return text != NULL && strcmp(text, "healthy") == 0;
    case OP_WAIT_FOR_STOPPED:
        break;
    }
    return state != NULL && strcmp(state, "stopped") == 0;
}

/* Look again and again: for states that nobody reports, and with a time limit. */
static int wait_by_looking(struct node *n, const struct op_wait *a, const char *guest,
                           uint64_t until, struct err *e)
{
    do {
        SCOPED(scope_json) json_t *seen = NULL;
        int r = node_guest_inspect(n, guest, &seen, e);
        if (r < 0 || has_reached(a->for_, seen)) {
            return r;
        }
        if (now_ms() >= until) {
            return err_set(e, -ETIMEDOUT, "cannot wait for guest '%s': it is still %s",
                           guest, json_string_value(json_object_get(seen, "state")));
        }
        sleep_ms(POLL_MS);
    } while (true);
}

static int wait_one(struct node *n, const struct op_wait *a, const char *guest,
                    uint64_t until, json_t *list, struct err *e)
{
    int code = 0;
    int r = 0;
    bool for_end = a->for_ == OP_WAIT_FOR_STOPPED;
    if (!for_end || until != UINT64_MAX) {
        r = wait_by_looking(n, a, guest, until, e);
    }
    if (r == 0 && for_end) {
        r = node_guest_wait(n, guest, &code, e);
    }
    if (r == 0) {
        json_t *one = for_end ? json_pack("{s:i, s:s}", "exit_code", code, "name", guest)
                              : json_pack("{s:s}", "name", guest);
        (void)json_array_append_new(list, one);
    }
    return r;
}

int cmd_wait(struct cli *c, const struct op_wait *a)
{
    struct err e = {0};
    json_t *list = json_array();
    struct node *n = cli_node(c, &e);
    uint64_t until = UINT64_MAX;
    int r = n == NULL ? -1 : 0;
    if (a->timeout != WIRE_NONE && __builtin_add_overflow(now_ms(), a->timeout, &until)) {
        until = UINT64_MAX;
    }
    for (size_t i = 0; r == 0 && i < a->n_guest; i++) {
        r = wait_one(n, a, a->guest[i], until, list, &e);
    }
    if (a->for_ != OP_WAIT_FOR_STOPPED && !c->global.json) {
        json_decref(list);
        list = NULL;
    }
    return cli_finish(c, r, list, &e);
}
