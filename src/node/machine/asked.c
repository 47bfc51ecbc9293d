/* asked.c - what a running machine does when it is asked, and what it tells of itself.
 *
 * The file of counters holds the same as the answer to "stats": written when the state
 * changes and at the end, so that whoever comes later still reads how it went. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "contract/cpu.h"
#include "node/machine/private.h"
#include "virt/monitor/control/control.h"

/* ---- what it tells ---- */

static void set_number(json_t *to, const char *name, uint64_t v)
{
    if (v != 0) {
        (void)json_object_set_new(to, name, json_integer((json_int_t)v));
    }
}

static json_t *exits_part(const struct machine_exits *x, uint64_t *ret_sum)
{
    json_t *part = json_object();

    *ret_sum = 0;
    for (unsigned k = 0; machine_exit_name(k) != NULL; k++) {
        set_number(part, machine_exit_name(k), x->by_kind[k]);
        *ret_sum += x->by_kind[k];
    }
    return part;
}

static json_t *routes_part(const struct machine_exits *x)
{
    json_t *part = json_object();

    for (int k = 0; k < MACHINE_ROUTE_COUNT; k++) {
        set_number(part, machine_route_name((enum machine_route)k), x->by_route[k]);
    }
    return part;
}

/* What executed the guest: nothing directly so far. */
static json_t *work_part(const struct cpu_counters *c, uint64_t exits)
{
    return json_pack("{s:I, s:{s:I, s:I, s:I}, s:I, s:I}", "direct", (json_int_t)0,
                     "translated", "blocks", (json_int_t)c->blocks,
                     "instructions_in_them", (json_int_t)c->lifted, "optimised",
                     (json_int_t)c->optimised, "interpreted", (json_int_t)c->interpreted,
                     "emulated", (json_int_t)exits);
}

json_t *asked_stats(const struct run *run)
{
    const char *model = run->plan.options.model;
    struct cpu_counters c;
    struct machine_exits x;
    uint64_t exits;
    json_t *by_kind;

    machine_count(run->machine, &c);
    machine_count_exits(run->machine, &x);
    by_kind = exits_part(&x, &exits);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o}", "state", asked_state(run), "engine",
        machine_engine(run->machine), "why", machine_engine_why(run->machine), "model",
        model != NULL ? model : "host-like", "exits_in_all", (json_int_t)exits, "exits",
        by_kind, "routes", routes_part(&x), "instructions", work_part(&c, exits));
}

const char *asked_state(const struct run *run)
{
    return run->has_ended ? "ended" : run->is_paused ? "paused" : "running";
}

void asked_write(const struct run *run)
{
    SCOPED(scope_json) json_t *stats = NULL;
    SCOPED(scope_free) char *text = NULL;

    if (run->plan.counters < 0) {
        return;
    }
    stats = asked_stats(run);
    text = stats != NULL ? json_dumps(stats, JSON_COMPACT) : NULL;
    if (text != NULL && ftruncate(run->plan.counters, 0) == 0) {
        (void)!pwrite(run->plan.counters, text, strlen(text), 0);
    }
}

/* ---- what it does ---- */

/* No word takes anything yet. */
static int want_nothing(const json_t *arg, struct err *e)
{
    return arg == NULL || json_object_size(arg) == 0
               ? 0
               : err_set(e, -EINVAL, "nothing is wanted behind this word");
}

static int do_hello(void *who, const json_t *arg, json_t **ret, struct err *e)
{
    json_t *list = json_array();
    int r = want_nothing(arg, e);

    (void)who;
    for (unsigned v = 0; far_verb_name(v) != NULL; v++) {
        (void)json_array_append_new(list, json_string(far_verb_name(v)));
    }
    *ret = json_pack("{s:i, s:o}", "version", FAR_VERSION, "words", list);
    return r;
}

static int do_state(void *who, const json_t *arg, json_t **ret, struct err *e)
{
    *ret = json_pack("{s:s}", "state", asked_state(who));
    return want_nothing(arg, e);
}

static int do_stats(void *who, const json_t *arg, json_t **ret, struct err *e)
{
    int r = want_nothing(arg, e);

    *ret = r == 0 ? asked_stats(who) : NULL;
    return r;
}

static int do_power(void *who, const json_t *arg, json_t **ret, struct err *e)
{
    int r = want_nothing(arg, e);

    (void)ret;
    if (r == 0) {
        machine_press(((struct run *)who)->machine);
    }
    return r;
}

static int do_end(void *who, const json_t *arg, json_t **ret, struct err *e)
{
    struct run *run = who;
    int r = want_nothing(arg, e);

    (void)ret;
    if (r == 0) {
        run->ended_by = SIGKILL;
        machine_stop(run->machine);
    }
    return r;
}

int asked_listen(struct run *run, struct err *e)
{
    const struct control_words w = {.fn = {[FAR_HELLO] = do_hello,
                                           [FAR_STATE] = do_state,
                                           [FAR_STATS] = do_stats,
                                           [FAR_POWER] = do_power,
                                           [FAR_END] = do_end},
                                    .who = run};
    int fd = run->plan.control;

    run->plan.control = -1;
    return fd < 0 ? 0 : control_create(run->loop, fd, &w, &run->control, e);
}
