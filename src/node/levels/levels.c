/* levels.c - the levels of virtualization, as far as this program has them.
 *
 * A layer virtualizes what it offers to the one above (Smith and Nair, Virtual Machines,
 * chapter 1): the instruction set (ISA), or the system calls with the instructions that a
 * user may execute (ABI).  By what executes the instructions a machine is at the level of
 * the instruction set (interpreted, translated) or of the hardware abstraction (kvm). */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/levels/private.h"

#define UNITS_USUAL   20
#define MACHINE_BYTES (128 << 20)

static const struct level {
    const char *word; /* of --level */
    const char *level, *guest, *engine, *interface, *example;
} levels[] = {
    {"host", "none", "host", "native", "", "job"},
    {"container", "operating system", "container", "native", "ABI",
     "strata run --as container IMAGE"},
    {"kvm", "hardware abstraction", "machine", "kvm", "ISA",
     "strata run --as machine --engine kvm IMAGE"},
    {"translate", "instruction set", "machine", "translate", "ISA",
     "strata run --as machine --engine translate IMAGE"},
    {"interpret", "instruction set", "machine", "interpret", "ISA",
     "strata run --as machine --engine interpret IMAGE"},
};

#define LEVEL_COUNT (sizeof levels / sizeof levels[0])

static bool is_wanted(const json_t *wanted, const char *word)
{
    size_t i;
    json_t *one;

    json_array_foreach(wanted, i, one)
    {
        if (strcmp(json_string_value(one), word) == 0) {
            return true;
        }
    }
    return json_array_size(wanted) == 0;
}

static int check_words(const json_t *wanted, struct err *e)
{
    size_t i;
    json_t *one;

    json_array_foreach(wanted, i, one)
    {
        size_t k = 0;

        while (k < LEVEL_COUNT && strcmp(levels[k].word, json_string_value(one)) != 0) {
            k++;
        }
        if (k == LEVEL_COUNT) {
            return err_set(e, -EINVAL,
                           "cannot find level '%s': there are host, container, kvm, "
                           "translate and interpret",
                           json_string_value(one));
        }
    }
    return 0;
}

static json_t *show(const struct level *l)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "level", l->level, "guest", l->guest,
                     "engine", l->engine, "interface", l->interface, "example",
                     l->example);
}

static int run_container(struct node *n, struct levels_job *j, struct levels_told *told,
                         struct err *e)
{
    SCOPED(scope_json) json_t *order = NULL;
    char units[24];
    int r = levels_need_image(n, j, e);

    if (r < 0) {
        return r;
    }
    (void)str_print(units, sizeof units, "%" PRIu64, j->units);
    order = json_pack("{s:s, s:s, s:[s, s]}", "as", "container", "image", j->image,
                      "command", "/job", units);
    return levels_run_guest(n, order, NULL, told, e);
}

/* The hardware is used where the probe of the usual choice takes it, and nowhere else: a
 * host may offer one that does not come back. */
static int run_machine(struct node *n, const struct level *l, const struct levels_job *j,
                       struct levels_told *told, struct err *e)
{
    SCOPED(scope_json) json_t *order = NULL;
    char append[64];

    if (j->kernel[0] == '\0') {
        return err_set(e, -ENOENT, "%s", j->no_kernel.text);
    }
    (void)str_print(append, sizeof append, "console=ttyS0 quiet -- %" PRIu64, j->units);
    order = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:b}", "as", "machine", "kernel",
                      j->kernel, "initrd", j->initrd, "append", append, "engine",
                      strcmp(l->engine, "kvm") == 0 ? "auto" : l->engine, "memory",
                      MACHINE_BYTES, "no_reboot", true);
    return levels_run_guest(n, order, l->engine, told, e);
}

static void set_ms(json_t *row, const char *key, int64_t from, int64_t to)
{
    if (from != 0 && to >= from) {
        (void)json_object_set_new(row, key, json_integer((to - from) / 1000000));
    }
}

/* One level with its figures, or why there are none. */
static void run_level(struct node *n, const struct level *l, struct levels_job *j,
                      const struct levels_told *truth, json_t *row)
{
    struct levels_told told = {0};
    struct err why = {0};
    int r = 0;

    node_report(n, l->word, 0, 0);
    if (strcmp(l->guest, "host") == 0) {
        told = *truth;
    } else if (strcmp(l->guest, "container") == 0) {
        r = run_container(n, j, &told, &why);
    } else {
        r = run_machine(n, l, j, &told, &why);
    }
    set_ms(row, "start_ms", told.ordered_ns, told.began_ns);
    set_ms(row, "run_ms", told.began_ns, told.ended_ns);
    if (told.memory_bytes != 0) {
        (void)json_object_set_new(row, "memory_bytes",
                                  json_integer((json_int_t)told.memory_bytes));
    }
    (void)json_object_set_new(
        row, "result",
        r < 0 && told.began_ns == 0 ? json_sprintf("not here: %s", why.text)
        : r < 0                     ? json_sprintf("wrong: %s", why.text)
        : strcmp(told.found, truth->found) != 0
            ? json_sprintf("wrong: found %s, the host %s", told.found, truth->found)
            : json_string("right"));
}

int node_levels(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const json_t *wanted = json_object_get(order, "level");
    const char *kernel = json_string_value(json_object_get(order, "kernel"));
    json_int_t units = json_integer_value(json_object_get(order, "work"));
    bool runs = json_is_true(json_object_get(order, "run"));
    struct levels_told truth = {0};
    struct levels_job job = {0};
    int r = check_words(wanted, e);

    if (r == 0 && runs) {
        r = levels_prepare(n, kernel, units > 0 ? (uint64_t)units : UNITS_USUAL, &job, e);
        r = r == 0 ? levels_run_here(&job, &truth, e) : r;
        if (r == 0 && truth.ended_ns == 0) {
            r = err_set(e, -EPROTO, "the job did not end on this host");
        }
    }
    *ret = r == 0 ? json_array() : NULL;
    for (size_t i = 0; r == 0 && i < LEVEL_COUNT; i++) {
        json_t *row = is_wanted(wanted, levels[i].word) ? show(&levels[i]) : NULL;

        if (row != NULL && runs) {
            run_level(n, &levels[i], &job, &truth, row);
        }
        if (row != NULL) {
            (void)json_array_append_new(*ret, row);
        }
    }
    if (runs) {
        levels_clear(n, &job);
    }
    return r;
}
