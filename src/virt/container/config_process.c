/* config_process.c - values of a `process` object that make no sense. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "virt/container/private.h"

#define ID_MOST       4294967294LL
#define TERMINAL_MOST 65535
#define NICE_LEAST    (-20)
#define NICE_MOST     19
#define SCORE_MOST    1000

struct range {
    const char *path;
    int64_t least, most;
};

/* clang-format off */
static const struct range ranges[] = {
    {"user.uid",            0,           ID_MOST},
    {"user.gid",            0,           ID_MOST},
    {"user.umask",          0,           0777},
    {"consoleSize.height",  0,           TERMINAL_MOST},
    {"consoleSize.width",   0,           TERMINAL_MOST},
    {"oomScoreAdj",         -SCORE_MOST, SCORE_MOST},
    {"scheduler.nice",      NICE_LEAST,  NICE_MOST},
    {"scheduler.priority",  0,           99},
    {"ioPriority.priority", 0,           7},
};

/* clang-format on */

static int check_ranges(const json_t *p, const char *where, struct err *e)
{
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        int64_t v = config_number(p, ranges[i].path, ranges[i].least);

        if (v < ranges[i].least || v > ranges[i].most) {
            return err_set(e, -ERANGE, "'%s.%s' is not between %lld and %lld", where,
                           ranges[i].path, (long long)ranges[i].least,
                           (long long)ranges[i].most);
        }
    }
    return 0;
}

static int check_lists(const json_t *p, const char *where, struct err *e)
{
    size_t i;
    json_t *item;

    if (config_get(p, "args") != NULL && json_array_size(config_get(p, "args")) == 0) {
        return err_set(e, -EINVAL, "'%s.args' is empty", where);
    }
    json_array_foreach(config_get(p, "env"), i, item)
    {
        const char *text = json_string_value(item);

        if (strchr(text, '=') == NULL || text[0] == '=') {
            return err_set(e, -EINVAL, "'%s.env[%zu]' is not NAME=VALUE: '%s'", where, i,
                           text);
        }
    }
    json_array_foreach(config_get(p, "user.additionalGids"), i, item)
    {
        if (json_integer_value(item) > ID_MOST) {
            return err_set(e, -ERANGE, "'%s.user.additionalGids[%zu]' is no group", where,
                           i);
        }
    }
    return 0;
}

/* "0-3,7" */
static bool is_cpu_list(const char *text)
{
    return text[0] != '\0' && strspn(text, "0123456789,- ") == strlen(text);
}

static int check_words(const json_t *p, const char *where, struct err *e)
{
    static const char *const cpus[] = {"execCPUAffinity.initial",
                                       "execCPUAffinity.final"};

    for (size_t i = 0; i < sizeof cpus / sizeof cpus[0]; i++) {
        const char *text = config_text(p, cpus[i], NULL);

        if (text != NULL && !is_cpu_list(text)) {
            return err_set(e, -EINVAL, "'%s.%s' is no list of processors: '%s'", where,
                           cpus[i], text);
        }
    }
    return 0;
}

static int check_limits(const json_t *p, const char *where, struct err *e)
{
    const json_t *list = config_get(p, "rlimits");
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const char *type = config_text(item, "type", "");
        uint64_t soft = (uint64_t)config_number(item, "soft", 0);
        uint64_t hard = (uint64_t)config_number(item, "hard", 0);

        if (process_limit(type) < 0) {
            return err_set(e, -EINVAL, "'%s.rlimits[%zu].type' is no limit: '%s'", where,
                           i, type);
        }
        if (soft > hard) { /* -1, no limit, is the largest */
            return err_set(e, -EINVAL, "'%s.rlimits[%zu].soft' is above 'hard'", where,
                           i);
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(config_text(json_array_get(list, k), "type", ""), type) == 0) {
                return err_set(e, -EINVAL, "'%s.rlimits[%zu].type' is a second '%s'",
                               where, i, type);
            }
        }
    }
    return 0;
}

int config_sense_process(const json_t *process, const char *where, struct err *e)
{
    int r = check_ranges(process, where, e);

    r = r == 0 ? check_lists(process, where, e) : r;
    r = r == 0 ? check_words(process, where, e) : r;
    r = r == 0 ? check_limits(process, where, e) : r;
    return r == 0 ? schedule_check(process, where, e) : r;
}
