/* seccomp_compile.c - an OCI profile through libseccomp to a filter program.
 *
 * Conditions on one rule must all hold, but OCI lets a rule test one argument
 * more than once, which libseccomp cannot express: as in other runtimes each
 * condition then becomes a rule of its own, and any of them suffices.
 *
 * Names that neither the library nor `newer_calls` knows are skipped: the kernel
 * then sees the default action.  Rules whose action is the default are skipped,
 * too, as they change nothing. */
#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "virt/container/confine/seccomp_private.h"

#define ARGS_MOST      6  /* of a system call */
#define RULE_ARGS_MOST 64 /* conditions in one rule of a profile */
#define WHERE_BYTES    64

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#    define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

struct build {
    scmp_filter_ctx ctx;
    uint32_t fallback; /* the default action */
    uint32_t flags;
    bool notifies;
    bool foreign; /* another architecture than the native one is in */
    struct strv *warnings;
    struct err *e;
};

struct word_number {
    const char *name;
    uint32_t value;
};

/* clang-format off */
static const struct word_number actions[] = {
    {"SCMP_ACT_KILL",         SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_THREAD",  SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
    {"SCMP_ACT_TRAP",         SCMP_ACT_TRAP},
    {"SCMP_ACT_ERRNO",        SCMP_ACT_ERRNO(0)},
    {"SCMP_ACT_TRACE",        SCMP_ACT_TRACE(0)},
    {"SCMP_ACT_ALLOW",        SCMP_ACT_ALLOW},
    {"SCMP_ACT_LOG",          SCMP_ACT_LOG},
    {"SCMP_ACT_NOTIFY",       SCMP_ACT_NOTIFY},
};

static const struct word_number operators[] = {
    {"SCMP_CMP_NE", SCMP_CMP_NE}, {"SCMP_CMP_LT", SCMP_CMP_LT}, {"SCMP_CMP_LE", SCMP_CMP_LE},
    {"SCMP_CMP_EQ", SCMP_CMP_EQ}, {"SCMP_CMP_GE", SCMP_CMP_GE}, {"SCMP_CMP_GT", SCMP_CMP_GT},
    {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};

static const struct word_number filter_flags[] = {
    {"SECCOMP_FILTER_FLAG_TSYNC",              SECCOMP_FILTER_FLAG_TSYNC},
    {"SECCOMP_FILTER_FLAG_LOG",                SECCOMP_FILTER_FLAG_LOG},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW",         SECCOMP_FILTER_FLAG_SPEC_ALLOW},
    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
};

static const struct word_number arches[] = {
    {"SCMP_ARCH_X86", SCMP_ARCH_X86},             {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},
    {"SCMP_ARCH_X32", SCMP_ARCH_X32},             {"SCMP_ARCH_ARM", SCMP_ARCH_ARM},
    {"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64},     {"SCMP_ARCH_MIPS", SCMP_ARCH_MIPS},
    {"SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64},       {"SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32},
    {"SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL},       {"SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64},
    {"SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32}, {"SCMP_ARCH_PPC", SCMP_ARCH_PPC},
    {"SCMP_ARCH_PPC64", SCMP_ARCH_PPC64},         {"SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE},
    {"SCMP_ARCH_S390", SCMP_ARCH_S390},           {"SCMP_ARCH_S390X", SCMP_ARCH_S390X},
    {"SCMP_ARCH_PARISC", SCMP_ARCH_PARISC},       {"SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64},
    {"SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64},
};

/* Calls that are younger than libseccomp 2.5.4.  From 424 on a call has one
 * number on all architectures: arch/x86/entry/syscalls/syscall_64.tbl, 6.18. */
static const struct word_number newer_calls[] = {
    {"cachestat", 451},      {"fchmodat2", 452},         {"map_shadow_stack", 453},
    {"futex_wake", 454},     {"futex_wait", 455},        {"futex_requeue", 456},
    {"statmount", 457},      {"listmount", 458},         {"lsm_get_self_attr", 459},
    {"lsm_set_self_attr", 460}, {"lsm_list_modules", 461}, {"mseal", 462},
    {"setxattrat", 463},     {"getxattrat", 464},        {"listxattrat", 465},
    {"removexattrat", 466},  {"open_tree_attr", 467},    {"file_getattr", 468},
    {"file_setattr", 469},
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
    if (row->value == SCMP_ACT_ERRNO(0) || row->value == SCMP_ACT_TRACE(0)) {
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

static int read_arches(struct build *b, const json_t *profile)
{
    json_t *list = NULL;
    json_t *item;
    size_t i;
    int r = json_opt_array(profile, "linux.seccomp", "architectures", &list, b->e);

    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);
        const struct word_number *row =
            name != NULL ? find(arches, COUNT(arches), name) : NULL;

        if (name == NULL) {
            return err_set(b->e, -EINVAL,
                           "'linux.seccomp.architectures[%zu]' is not a "
                           "string",
                           i);
        }
        if (row == NULL) {
            if (b->warnings != NULL) {
                strv_addf(b->warnings,
                          "seccomp architecture '%s' is unknown and left out", name);
            }
            continue;
        }
        r = seccomp_arch_add(b->ctx, row->value);
        b->foreign = b->foreign || r == 0;
        if (r < 0 && r != -EEXIST && r != -EDOM && r != -EINVAL) {
            return err_sys(b->e, r, "cannot add architecture '%s'", name);
        }
        r = 0;
    }
    return r;
}

static int read_condition(const json_t *item, const char *where, struct scmp_arg_cmp *ret,
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
    if (row == NULL || index >= ARGS_MOST) {
        return err_set(e, -EINVAL, "'%s' has an unknown operator or argument", where);
    }
    *ret = (struct scmp_arg_cmp){.arg = (unsigned)index,
                                 .op = (enum scmp_compare)row->value,
                                 .datum_a = (uint64_t)value,
                                 .datum_b = (uint64_t)second};
    return 0;
}

struct rule {
    uint32_t action;
    struct scmp_arg_cmp args[RULE_ARGS_MOST];
    unsigned n;
    bool split; /* an argument is tested twice: any condition suffices */
};

static int read_rule(struct build *b, const json_t *item, const char *where,
                     struct rule *rule)
{
    bool tested[ARGS_MOST] = {false};
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
        r = read_condition(arg, here, &rule->args[i], b->e);
        if (r == 0) {
            rule->split = rule->split || tested[rule->args[i].arg];
            tested[rule->args[i].arg] = true;
            rule->n++;
        }
    }
    return r;
}

/* -EEXIST: an equal rule is there; -EDOM, -EFAULT and -EINVAL: not on one of the
 * architectures; -EACCES: it says what the default says. */
static bool is_harmless(int r)
{
    return r == -EEXIST || r == -EDOM || r == -EFAULT || r == -EACCES;
}

static int add_call(struct build *b, const struct rule *rule, const char *name)
{
    const struct word_number *newer = NULL;
    int call = seccomp_syscall_resolve_name(name);
    int r = 0;

    if (call == __NR_SCMP_ERROR) {
        newer = find(newer_calls, COUNT(newer_calls), name);
        if (newer == NULL) {
            return 0;
        }
        call = (int)newer->value;
    }
    if (rule->split) {
        for (unsigned i = 0; (r == 0 || is_harmless(r)) && i < rule->n; i++) {
            r = seccomp_rule_add_array(b->ctx, rule->action, call, 1, &rule->args[i]);
        }
    } else {
        r = seccomp_rule_add_array(b->ctx, rule->action, call, rule->n, rule->args);
    }
    if (r < 0 && !is_harmless(r) && newer == NULL) {
        return err_sys(b->e, r, "cannot add a seccomp rule for '%s'", name);
    }
    return 0;
}

static int add_rule(struct build *b, const json_t *item, const char *where)
{
    struct rule rule = {0};
    json_t *names = NULL;
    json_t *name;
    size_t i;
    int r = read_rule(b, item, where, &rule);

    r = r == 0 ? json_opt_array(item, where, "names", &names, b->e) : r;
    if (r < 0 || rule.action == b->fallback) {
        return r;
    }
    json_array_foreach(names, i, name)
    {
        if (!json_is_string(name)) {
            return err_set(b->e, -EINVAL, "'%s.names[%zu]' is not a string", where, i);
        }
        r = add_call(b, &rule, json_string_value(name));
        if (r < 0) {
            return r;
        }
    }
    b->notifies = b->notifies || (rule.action == SCMP_ACT_NOTIFY && i > 0);
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

/* The library writes to a descriptor: let it be memory. */
static int export(struct build *b, struct seccomp_filter *f)
{
    SCOPED(scope_close) int fd = memfd_create("seccomp", MFD_CLOEXEC);
    SCOPED(scope_free) struct sock_filter *insns = NULL;
    off_t len;
    int r;

    if (fd < 0) {
        return -errno;
    }
    r = seccomp_export_bpf(b->ctx, fd);
    if (r < 0) {
        return r;
    }
    len = lseek(fd, 0, SEEK_END);
    if (len <= 0 || len % (off_t)sizeof *insns != 0 ||
        len > (off_t)(BPF_MAXINSNS * sizeof *insns)) {
        return -E2BIG;
    }
    insns = fault_malloc((size_t)len);
    if (insns == NULL) {
        return -ENOMEM;
    }
    if (lseek(fd, 0, SEEK_SET) < 0 || file_read_all(fd, insns, (size_t)len) != len) {
        return -EIO;
    }
    *f = (struct seccomp_filter){.insns = insns,
                                 .n = (uint32_t)((size_t)len / sizeof *insns),
                                 .flags = b->flags,
                                 .notifies = b->notifies};
    insns = NULL;
    return 0;
}

static void release(scmp_filter_ctx *ctx)
{
    if (*ctx != NULL) {
        seccomp_release(*ctx);
    }
}

int seccomp_compile_profile(const json_t *profile, struct strv *warnings,
                            struct seccomp_filter *f, struct err *e)
{
    SCOPED(release) scmp_filter_ctx ctx = NULL;
    struct build b = {.warnings = warnings, .e = e};
    int r = read_action(profile, "linux.seccomp", "defaultAction", "defaultErrnoRet",
                        &b.fallback, e);

    if (r < 0) {
        return r;
    }
    if (b.fallback == SCMP_ACT_NOTIFY) {
        return err_set(e, -EINVAL,
                       "'linux.seccomp.defaultAction' cannot be "
                       "SCMP_ACT_NOTIFY");
    }
    ctx = b.ctx = seccomp_init(b.fallback);
    if (ctx == NULL) {
        return err_sys(e, -ENOMEM, "cannot compile the seccomp profile");
    }
    r = read_flags(&b, profile);
    r = r == 0 ? read_arches(&b, profile) : r;
    r = r == 0 ? add_rules(&b, profile) : r;
    if (r == 0) {
        /* A balanced tree instead of a list: fewer steps per call of the guest. */
        (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        r = export(&b, f);
    }
    return r < 0 ? err_sys(e, r, "cannot compile the seccomp profile") : 0;
}
