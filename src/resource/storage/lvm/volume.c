/* volume.c - what is done to thin volumes, as words for lvm(8). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "resource/storage/lvm/private.h"

#define FULL_NAME_BYTES (2 * LVM_NAME_BYTES)
#define SIZE_BYTES      24

/* lvm(8), "VALID NAMES": letters, digits and + _ . -, no hyphen first; words that LVM
 * keeps for itself, whole or anywhere. */
bool lvm_name_is_good(const char *name)
{
    static const char *const wholes[] = {".", "..", "pvmove", "snapshot"};
    static const char *const insides[] = {
        "_cdata",  "_cmeta", "_corig", "_iorig", "_mimage", "_mlog",    "_pmspare",
        "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata",  "_vorigin", "_wcorig"};
    size_t n = strlen(name);

    if (n == 0 || n >= LVM_NAME_BYTES || name[0] == '-' ||
        strspn(name,
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+_.-") !=
            n) {
        return false;
    }
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
        if (strcmp(name, wholes[i]) == 0) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof insides / sizeof insides[0]; i++) {
        if (strstr(name, insides[i]) != NULL) {
            return false;
        }
    }
    return true;
}

static int check_names(const struct lvm_pool *p, const char *const *names, struct err *e)
{
    const char *const of_pool[] = {p->group, p->name, NULL};

    for (unsigned k = 0; k < 2; k++) {
        for (const char *const *n = k == 0 ? of_pool : names; *n != NULL; n++) {
            if (!lvm_name_is_good(*n)) {
                return err_set(e, -EINVAL, "'%s' is no name for LVM", *n);
            }
            if (strlen(*n) + strlen(p->group) >= LVM_NAME_BYTES) {
                return err_set(e, -ENAMETOOLONG, "'%s' is too long for LVM", *n);
            }
        }
    }
    return 0;
}

/* Run words whose output nobody wants. */
static int order(const struct lvm_pool *p, const char *const *words, struct err *e)
{
    struct lvm_output o;
    int r = lvm_run(p, words, &o, e);

    free(o.text);
    return r;
}

/* Put what was wanted in front of why it could not be; also where nobody wants the text. */
static int named(struct err *e, int r, const char *what, const char *group,
                 const char *name)
{
    if (r != 0) {
        (void)err_wrap(e, "cannot %s '%s/%s'", what, group, name);
    }
    return r;
}

static void full_name(char ret[FULL_NAME_BYTES], const struct lvm_pool *p,
                      const char *name)
{
    (void)snprintf(ret, FULL_NAME_BYTES, "%s/%s", p->group, name);
}

static int check_size(uint64_t size_bytes, char ret[SIZE_BYTES], struct err *e)
{
    if (size_bytes == 0 || size_bytes % 512 != 0) {
        return err_set(e, -EINVAL, "%" PRIu64 " bytes are not whole sectors", size_bytes);
    }
    (void)snprintf(ret, SIZE_BYTES, "%" PRIu64 "b", size_bytes);
    return 0;
}

static int report(struct lvm_reader *r, struct err *e)
{
    const char *const none[] = {NULL};
    const char *const words[] = {
        "lvs", "--reportformat",  "json",         "--units", "b", "--nosuffix",
        "-o",  lvm_report_fields, r->pool->group, NULL};
    struct lvm_output o;
    int code = check_names(r->pool, none, e);

    code = code != 0 ? code : lvm_run(r->pool, words, &o, e);
    if (code != 0) {
        return code;
    }
    code = lvm_report_read(o.text != NULL ? o.text : "", o.bytes, r, e);
    free(o.text);
    if (code == 0 && !r->found) {
        code = err_set(e, -ENOENT, "there is no thin pool '%s/%s'", r->pool->group,
                       r->pool->name);
    }
    return code;
}

int lvm_pool_usage(const struct lvm_pool *p, struct lvm_usage *ret, struct err *e)
{
    struct lvm_usage usage = {0};
    struct lvm_reader r = {.pool = p, .usage = &usage};
    int code = report(&r, e);

    if (code == 0) {
        *ret = usage;
    }
    return code;
}

int lvm_volume_list(const struct lvm_pool *p,
                    void (*each)(void *arg, const struct lvm_volume *v), void *arg,
                    struct err *e)
{
    struct lvm_reader r = {.pool = p, .each = each, .arg = arg};

    return report(&r, e);
}

struct look {
    const char *name;
    struct lvm_volume *ret;
    bool found;
};

static void take(void *arg, const struct lvm_volume *v)
{
    struct look *x = arg;

    if (strcmp(v->name, x->name) == 0) {
        *x->ret = *v;
        x->found = true;
    }
}

int lvm_volume_look(const struct lvm_pool *p, const char *name, struct lvm_volume *ret,
                    struct err *e)
{
    struct look x = {.name = name, .ret = ret};
    int r = lvm_volume_list(p, take, &x, e);

    if (r == 0 && !x.found) {
        r = err_set(e, -ENOENT, "the pool '%s/%s' has no volume '%s'", p->group, p->name,
                    name);
    }
    return r;
}

int lvm_volume_create(const struct lvm_pool *p, const char *name, uint64_t size_bytes,
                      struct err *e)
{
    char size[SIZE_BYTES];
    const char *const names[] = {name, NULL};
    const char *const words[] = {"lvcreate",   "--yes", "--type", "thin", "-V",     size,
                                 "--thinpool", p->name, "-n",     name,   p->group, NULL};
    int r = check_names(p, names, e);

    r = r != 0 ? r : check_size(size_bytes, size, e);
    r = r != 0 ? r : order(p, words, e);
    return named(e, r, "create", p->group, name);
}

int lvm_volume_snapshot(const struct lvm_pool *p, const char *origin, const char *name,
                        struct err *e)
{
    char from[FULL_NAME_BYTES];
    const char *const names[] = {origin, name, NULL};
    /* Without -kn a snapshot of a thin volume is not activated at the next boot. */
    const char *const words[] = {"lvcreate", "--yes", "-s", "-kn", "-ay",
                                 "-n",       name,    from, NULL};
    int r = check_names(p, names, e);

    full_name(from, p, origin);
    r = r != 0 ? r : order(p, words, e);
    return named(e, r, "snapshot", p->group, origin);
}

int lvm_volume_remove(const struct lvm_pool *p, const char *name, struct err *e)
{
    char full[FULL_NAME_BYTES];
    const char *const names[] = {name, NULL};
    const char *const words[] = {"lvremove", "--yes", full, NULL};
    int r = check_names(p, names, e);

    full_name(full, p, name);
    if (r == 0 && strcmp(name, p->name) == 0) {
        r = err_set(e, -EINVAL, "it is the pool itself");
    }
    r = r != 0 ? r : order(p, words, e);
    return named(e, r, "remove", p->group, name);
}

int lvm_volume_resize(const struct lvm_pool *p, const char *name, uint64_t size_bytes,
                      struct err *e)
{
    char full[FULL_NAME_BYTES];
    char size[SIZE_BYTES];
    const char *const names[] = {name, NULL};
    const char *const words[] = {"lvresize", "--yes", "--force", "-L", size, full, NULL};
    int r = check_names(p, names, e);

    full_name(full, p, name);
    r = r != 0 ? r : check_size(size_bytes, size, e);
    r = r != 0 ? r : order(p, words, e);
    return named(e, r, "resize", p->group, name);
}
