/* seccomp_compile.c - an OCI profile to the list of what each system call gets.
 *
 * From here it goes to seccomp_emit.c, which makes the filter of it.  The rules are
 * those that libseccomp has, whose verdicts a test compares with ours:
 *
 *  - a rule without conditions beats those with, and the first of its kind counts;
 *    of rules with conditions the first that holds counts;
 *  - conditions of one rule must all hold; but OCI lets a rule test one argument more
 *    than once, and then, as in other runtimes, each condition is a rule of its own;
 *  - arguments of 32-bit architectures, and of x32, are compared by their low half;
 *  - on i386 a rule for socket(2) and its like, or for the calls of System V IPC, holds
 *    for socketcall(2) and ipc(2) as well; of its conditions the one on the first
 *    argument is lost there.
 *
 * Names that `syscalls.rows.h` lacks, or that an architecture lacks, are skipped: the
 * kernel then sees the default action.  Rules whose action is the default are
 * skipped, too, as they change nothing.  An architecture that this machine cannot execute
 * changes nothing either. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "virt/container/confine/seccomp_plan.h"

#define RULE_ARGS_MOST 64 /* conditions in one rule of a profile */
#define WHERE_BYTES    64
#define GROW_BY        256

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#    define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

struct build {
    struct seccomp_plan plan;
    uint32_t flags;
    bool notifies;
    struct strv *warnings;
    struct err *e;
};

struct word_number {
    const char *name;
    uint32_t value;
};

/* clang-format off */
static const struct word_number actions[] = {
    {"SCMP_ACT_KILL",         SECCOMP_RET_KILL_THREAD},
    {"SCMP_ACT_KILL_THREAD",  SECCOMP_RET_KILL_THREAD},
    {"SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS},
    {"SCMP_ACT_TRAP",         SECCOMP_RET_TRAP},
    {"SCMP_ACT_ERRNO",        SECCOMP_RET_ERRNO},
    {"SCMP_ACT_TRACE",        SECCOMP_RET_TRACE},
    {"SCMP_ACT_ALLOW",        SECCOMP_RET_ALLOW},
    {"SCMP_ACT_LOG",          SECCOMP_RET_LOG},
    {"SCMP_ACT_NOTIFY",       SECCOMP_RET_USER_NOTIF},
};

static const struct word_number operators[] = {
    {"SCMP_CMP_NE", SECCOMP_NE}, {"SCMP_CMP_LT", SECCOMP_LT}, {"SCMP_CMP_LE", SECCOMP_LE},
    {"SCMP_CMP_EQ", SECCOMP_EQ}, {"SCMP_CMP_GE", SECCOMP_GE}, {"SCMP_CMP_GT", SECCOMP_GT},
    {"SCMP_CMP_MASKED_EQ", SECCOMP_MASKED_EQ},
};

static const struct word_number filter_flags[] = {
    {"SECCOMP_FILTER_FLAG_TSYNC",              SECCOMP_FILTER_FLAG_TSYNC},
    {"SECCOMP_FILTER_FLAG_LOG",                SECCOMP_FILTER_FLAG_LOG},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW",         SECCOMP_FILTER_FLAG_SPEC_ALLOW},
    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
};

/* Those that a profile may name; which of them this machine executes is in
 * `seccomp_arches`. */
static const char *const arch_names[] = {
    "SCMP_ARCH_X86",      "SCMP_ARCH_X86_64",   "SCMP_ARCH_X32",         "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",  "SCMP_ARCH_MIPS",     "SCMP_ARCH_MIPS64",      "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",   "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",    "SCMP_ARCH_PPC64LE",  "SCMP_ARCH_S390",        "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",   "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64",     "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",     "SCMP_ARCH_SH",       "SCMP_ARCH_SHEB",
};

/* Where a call of i386 is found in the two that stand for many: <linux/net.h>,
 * <linux/ipc.h>. */
static const struct word_number socket_calls[] = {
    {"socket", 1},   {"bind", 2},        {"connect", 3},     {"listen", 4},      {"accept", 5},
    {"getsockname", 6}, {"getpeername", 7}, {"socketpair", 8}, {"send", 9},      {"recv", 10},
    {"sendto", 11},  {"recvfrom", 12},   {"shutdown", 13},   {"setsockopt", 14}, {"getsockopt", 15},
    {"sendmsg", 16}, {"recvmsg", 17},    {"accept4", 18},    {"recvmmsg", 19},   {"sendmmsg", 20},
};

static const struct word_number ipc_calls[] = {
    {"semop", 1},   {"semget", 2},  {"semctl", 3},  {"semtimedop", 4}, {"msgsnd", 11},
    {"msgrcv", 12}, {"msgget", 13}, {"msgctl", 14}, {"shmat", 21},     {"shmdt", 22},
    {"shmget", 23}, {"shmctl", 24},
};
/* clang-format on */

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct word_number *find(const struct word_number *table, size_t n,
                                      const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

const char *seccomp_word(enum seccomp_words kind, size_t i)
{
    switch (kind) {
    case SECCOMP_WORDS_ACTIONS:
        return i < COUNT(actions) ? actions[i].name : NULL;
    case SECCOMP_WORDS_OPERATORS:
        return i < COUNT(operators) ? operators[i].name : NULL;
    case SECCOMP_WORDS_FLAGS:
        return i < COUNT(filter_flags) ? filter_flags[i].name : NULL;
    case SECCOMP_WORDS_ARCHES:
        break;
    }
    return i < SECCOMP_ARCHES ? seccomp_arches[i].name : NULL;
}

/* An action word with its number (errno, or the tracer's message). */
static int read_action(const json_t *obj, const char *where, const char *key,
                       const char *errno_key, uint32_t *ret, struct err *e)
{
    const struct word_number *row;
    const char *name = NULL;
    uint64_t number = EPERM;
    int r = json_want_str(obj, where, key, &name, e);

    r = r == 0 ? json_opt_u64(obj, where, errno_key, &number, e) : r;
    if (r < 0) {
        return r;
    }
    row = find(actions, COUNT(actions), name);
    if (row == NULL) {
        return err_set(e, -EINVAL, "'%s.%s' is '%s', which is no seccomp action", where,
                       key, name);
    }
    if (number > UINT16_MAX) {
        return err_set(e, -EINVAL, "'%s.%s' is out of range", where, errno_key);
    }
    *ret = row->value;
    if (row->value == SECCOMP_RET_ERRNO || row->value == SECCOMP_RET_TRACE) {
        *ret |= (uint32_t)number;
    }
    return 0;
}

static int read_flags(struct build *b, const json_t *profile)
{
    json_t *list = NULL;
    json_t *item;
    size_t i;
    int r = json_opt_array(profile, "linux.seccomp", "flags", &list, b->e);

    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);
        const struct word_number *row =
            name != NULL ? find(filter_flags, COUNT(filter_flags), name) : NULL;

        if (row == NULL) {
            return err_set(b->e, -EINVAL,
                           "'linux.seccomp.flags[%zu]' is not a flag of "
                           "seccomp",
                           i);
        }
        b->flags |= row->value;
    }
    return r;
}

static bool is_arch(const char *name)
{
    for (size_t i = 0; i < COUNT(arch_names); i++) {
        if (strcmp(arch_names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static int read_arches(struct build *b, const json_t *profile)
{
    json_t *list = NULL;
    json_t *item;
    size_t i;
    int r = json_opt_array(profile, "linux.seccomp", "architectures", &list, b->e);

    b->plan.arches = 1; /* the native one is the first, and always in */
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);

        if (name == NULL) {
            return err_set(b->e, -EINVAL,
                           "'linux.seccomp.architectures[%zu]' is not a string", i);
        }
        if (!is_arch(name) && b->warnings != NULL) {
            strv_addf(b->warnings, "seccomp architecture '%s' is unknown and left out",
                      name);
        }
        for (size_t k = 0; k < SECCOMP_ARCHES; k++) {
            if (strcmp(seccomp_arches[k].name, name) == 0) {
                b->plan.arches |= 1U << k;
            }
        }
    }
    return r;
}

static int read_condition(const json_t *item, const char *where, struct seccomp_cond *ret,
                          struct err *e)
{
    const struct word_number *row;
    const char *op = NULL;
    uint64_t index = UINT64_MAX;
    int64_t value = 0;
    int64_t second = 0;
    int r = json_want_str(item, where, "op", &op, e);

    r = r == 0 ? json_opt_u64(item, where, "index", &index, e) : r;
    r = r == 0 ? json_opt_i64(item, where, "value", &value, e) : r;
    r = r == 0 ? json_opt_i64(item, where, "valueTwo", &second, e) : r;
    if (r < 0) {
        return r;
    }
    row = find(operators, COUNT(operators), op);
    if (row == NULL || index >= SECCOMP_ARGS) {
        return err_set(e, -EINVAL, "'%s' has an unknown operator or argument", where);
    }
    *ret = (struct seccomp_cond){.arg = (uint8_t)index, .op = (uint8_t)row->value};
    ret->value = (uint64_t)(row->value == SECCOMP_MASKED_EQ ? second : value);
    ret->mask = row->value == SECCOMP_MASKED_EQ ? (uint64_t)value : UINT64_MAX;
    return 0;
}

struct rule {
    uint32_t action;
    struct seccomp_cond conds[RULE_ARGS_MOST];
    unsigned n;
    bool split; /* an argument is tested twice: any condition suffices */
};

static int read_rule(struct build *b, const json_t *item, const char *where,
                     struct rule *rule)
{
    bool tested[SECCOMP_ARGS] = {false};
    json_t *list = NULL;
    json_t *arg;
    size_t i;
    int r = read_action(item, where, "action", "errnoRet", &rule->action, b->e);

    r = r == 0 ? json_opt_array(item, where, "args", &list, b->e) : r;
    if (r == 0 && json_array_size(list) > RULE_ARGS_MOST) {
        r = err_set(b->e, -EINVAL, "'%s.args' has more than %d conditions", where,
                    RULE_ARGS_MOST);
    }
    json_array_foreach(list, i, arg)
    {
        char here[WHERE_BYTES * 2];

        if (r < 0) {
            break;
        }
        (void)str_print(here, sizeof here, "%s.args[%zu]", where, i);
        r = read_condition(arg, here, &rule->conds[i], b->e);
        if (r == 0) {
            rule->split = rule->split || tested[rule->conds[i].arg];
            tested[rule->conds[i].arg] = true;
            rule->n++;
        }
    }
    return r;
}

/* Room for one more of `size` bytes in the array at *list, which has `n`. */
static int make_room(void **list, size_t n, size_t size)
{
    void *more;

    if (n % GROW_BY != 0) {
        return 0;
    }
    more = fault_realloc(*list, (n + GROW_BY) * size);
    if (more == NULL) {
        return -ENOMEM;
    }
    *list = more;
    return 0;
}

/* `n` conditions from `conds`, put together with the rule's action. */
static int add_call(struct seccomp_plan *p, uint32_t arch, uint32_t nr, uint32_t action,
                    const struct seccomp_cond *conds, unsigned n)
{
    struct seccomp_call call = {.arch = arch,
                                .nr = nr,
                                .action = action,
                                .first = (uint32_t)p->n_conds,
                                .n_conds = n,
                                .order = (uint32_t)p->n_calls};
    int r = make_room((void **)&p->calls, p->n_calls, sizeof call);

    for (unsigned i = 0; r == 0 && i < n; i++) {
        r = make_room((void **)&p->conds, p->n_conds, sizeof *conds);
        if (r == 0) {
            p->conds[p->n_conds++] = conds[i];
        }
    }
    if (r == 0) {
        p->calls[p->n_calls++] = call;
    }
    return r;
}

static int add_rule_for(struct seccomp_plan *p, uint32_t arch, uint32_t nr,
                        const struct rule *rule)
{
    int r = 0;

    if (!rule->split) {
        return add_call(p, arch, nr, rule->action, rule->conds, rule->n);
    }
    for (unsigned i = 0; r == 0 && i < rule->n; i++) {
        r = add_call(p, arch, nr, rule->action, &rule->conds[i], 1);
    }
    return r;
}

/* The call `number` of the one that stands for many. */
static int add_part(struct seccomp_plan *p, uint32_t arch, const char *whole,
                    uint32_t number, const struct rule *rule)
{
    struct rule inner = {.action = rule->action, .split = false, .n = 1};

    inner.conds[0] = (struct seccomp_cond){
        .arg = 0, .op = SECCOMP_EQ, .value = number, .mask = UINT64_MAX};
    for (unsigned i = 0; !rule->split && i < rule->n; i++) {
        if (rule->conds[i].arg != 0) {
            inner.conds[inner.n++] = rule->conds[i];
        }
    }
    return add_rule_for(p, arch, (uint32_t)seccomp_number(whole, arch), &inner);
}

static int add_name(struct build *b, const struct rule *rule, const char *name)
{
    int r = 0;

    for (uint32_t arch = 0; r == 0 && arch < SECCOMP_ARCHES; arch++) {
        long nr = (b->plan.arches & 1U << arch) != 0 ? seccomp_number(name, arch) : -1;
        const struct word_number *part;

        if (nr >= 0) {
            r = add_rule_for(&b->plan, arch, (uint32_t)nr, rule);
        }
        if (r < 0 || !seccomp_arches[arch].has_socketcall ||
            (b->plan.arches & 1U << arch) == 0) {
            continue;
        }
        part = find(socket_calls, COUNT(socket_calls), name);
        if (part != NULL) {
            r = add_part(&b->plan, arch, "socketcall", part->value, rule);
        }
        part = find(ipc_calls, COUNT(ipc_calls), name);
        if (r == 0 && part != NULL) {
            r = add_part(&b->plan, arch, "ipc", part->value, rule);
        }
    }
    return r;
}

static int add_rule(struct build *b, const json_t *item, const char *where)
{
    struct rule rule = {0};
    json_t *names = NULL;
    json_t *name;
    size_t i;
    int r = read_rule(b, item, where, &rule);

    r = r == 0 ? json_opt_array(item, where, "names", &names, b->e) : r;
    if (r < 0 || rule.action == b->plan.fallback) {
        return r;
    }
    json_array_foreach(names, i, name)
    {
        if (!json_is_string(name)) {
            return err_set(b->e, -EINVAL, "'%s.names[%zu]' is not a string", where, i);
        }
        r = add_name(b, &rule, json_string_value(name));
        if (r < 0) {
            return r;
        }
    }
    b->notifies = b->notifies || (rule.action == SECCOMP_RET_USER_NOTIF && i > 0);
    return 0;
}

static int add_rules(struct build *b, const json_t *profile)
{
    json_t *list = NULL;
    json_t *item;
    size_t i;
    int r = json_opt_array(profile, "linux.seccomp", "syscalls", &list, b->e);

    json_array_foreach(list, i, item)
    {
        char where[WHERE_BYTES];

        (void)str_print(where, sizeof where, "linux.seccomp.syscalls[%zu]", i);
        r = add_rule(b, item, where);
        if (r < 0) {
            return r;
        }
    }
    return r;
}

static void release(struct build *b)
{
    free(b->plan.calls);
    free(b->plan.conds);
}

int seccomp_compile_profile(const json_t *profile, struct strv *warnings,
                            struct seccomp_filter *f, struct err *e)
{
    SCOPED(release) struct build b = {.warnings = warnings, .e = e};
    int r = read_action(profile, "linux.seccomp", "defaultAction", "defaultErrnoRet",
                        &b.plan.fallback, e);

    if (r < 0) {
        return r;
    }
    if (b.plan.fallback == SECCOMP_RET_USER_NOTIF) {
        return err_set(e, -EINVAL,
                       "'linux.seccomp.defaultAction' cannot be SCMP_ACT_NOTIFY");
    }
    r = read_flags(&b, profile);
    r = r == 0 ? read_arches(&b, profile) : r;
    r = r == 0 ? add_rules(&b, profile) : r;
    r = r == 0 ? seccomp_emit(&b.plan, f) : r;
    if (r < 0) {
        return err_sys(e, r, "cannot compile the seccomp profile");
    }
    f->flags = b.flags;
    f->notifies = b.notifies;
    return 0;
}
