/* report.c - reads what `lvs --reportformat json` says.
 *
 * All of its values are texts.  A field that is missing, of another type or out of its
 * range is an error rather than a guess; a percentage that is not known is "". */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "resource/storage/lvm/private.h"

const char lvm_report_fields[] =
    "lv_name,lv_size,origin,pool_lv,data_percent,"
    "metadata_percent,lv_health_status,lv_path,lv_active,segtype";

/* Digits only, up to the end. */
static int read_number(const char *text, uint64_t *ret)
{
    uint64_t n = 0;

    if (*text == '\0') {
        return -EINVAL;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n)) {
            return -EINVAL;
        }
    }
    *ret = n;
    return 0;
}

/* "12.34" is 1234; "" is not known. */
static int read_percent(const char *text, uint32_t *ret)
{
    size_t n = strlen(text);
    char digits[8];
    uint64_t value;

    *ret = LVM_FULL_UNKNOWN;
    if (n == 0) {
        return 0;
    }
    if (n < 4 || n > 6 || text[n - 3] != '.') {
        return -EINVAL;
    }
    memcpy(digits, text, n - 3);
    memcpy(digits + n - 3, text + n - 2, 3);
    if (read_number(digits, &value) != 0 || value > 10000) {
        return -EINVAL;
    }
    *ret = (uint32_t)value;
    return 0;
}

static int copy_field(const json_t *lv, const char *where, const char *key, char *to,
                      size_t room, struct err *e)
{
    const char *text = NULL;
    int r = json_want_str(lv, where, key, &text, e);

    if (r == 0 && strlen(text) >= room) {
        r = err_set(e, -EINVAL, "'%s.%s' is too long", where, key);
    }
    if (r == 0) {
        (void)strcpy(to, text);
    }
    return r;
}

struct row {
    struct lvm_volume volume;
    char pool[LVM_NAME_BYTES];
    char kind[32];
    char health[64];
    uint32_t metadata;
};

static int read_row(const json_t *lv, const char *where, struct row *ret, struct err *e)
{
    char size[32];
    char data[16];
    char metadata[16];
    char active[32];
    struct lvm_volume *v = &ret->volume;
    int r = copy_field(lv, where, "lv_name", v->name, sizeof v->name, e);

    r = r != 0 ? r : copy_field(lv, where, "lv_size", size, sizeof size, e);
    r = r != 0 ? r : copy_field(lv, where, "origin", v->origin, sizeof v->origin, e);
    r = r != 0 ? r : copy_field(lv, where, "pool_lv", ret->pool, sizeof ret->pool, e);
    r = r != 0 ? r : copy_field(lv, where, "data_percent", data, sizeof data, e);
    r = r != 0 ? r
               : copy_field(lv, where, "metadata_percent", metadata, sizeof metadata, e);
    r = r != 0 ? r
               : copy_field(lv, where, "lv_health_status", ret->health,
                            sizeof ret->health, e);
    r = r != 0 ? r : copy_field(lv, where, "lv_path", v->path, sizeof v->path, e);
    r = r != 0 ? r : copy_field(lv, where, "lv_active", active, sizeof active, e);
    r = r != 0 ? r : copy_field(lv, where, "segtype", ret->kind, sizeof ret->kind, e);
    if (r == 0 &&
        (read_number(size, &v->size_bytes) != 0 || read_percent(data, &v->full) != 0 ||
         read_percent(metadata, &ret->metadata) != 0)) {
        r = err_set(e, -EINVAL, "a number of '%s' is none", where);
    }
    v->active = strcmp(active, "active") == 0;
    return r;
}

static int take_row(const json_t *lv, size_t i, struct lvm_reader *r, struct err *e)
{
    struct row row = {0};
    char where[48];
    int code;

    (void)snprintf(where, sizeof where, "report[0].lv[%zu]", i);
    code = read_row(lv, where, &row, e);
    if (code != 0) {
        return code;
    }
    if (strcmp(row.kind, "thin-pool") == 0 &&
        strcmp(row.volume.name, r->pool->name) == 0) {
        r->found = true;
        if (r->usage != NULL) {
            *r->usage = (struct lvm_usage){.size_bytes = row.volume.size_bytes,
                                           .data = row.volume.full,
                                           .metadata = row.metadata,
                                           .healthy = row.health[0] == '\0',
                                           .active = row.volume.active};
        }
    }
    if (r->each != NULL && strcmp(row.kind, "thin") == 0 &&
        strcmp(row.pool, r->pool->name) == 0) {
        r->each(r->arg, &row.volume);
    }
    return 0;
}

int lvm_report_read(const char *text, size_t bytes, struct lvm_reader *r, struct err *e)
{
    SCOPED(scope_json) json_t *root = NULL;
    json_t *lvs;
    size_t i;
    json_t *lv;
    int code = json_parse(text, bytes, "the report of lvs", &root, e);

    if (code != 0) {
        return code;
    }
    lvs = json_object_get(json_array_get(json_object_get(root, "report"), 0), "lv");
    if (!json_is_array(lvs)) {
        return err_set(e, -EINVAL, "the report of lvs has no 'report[0].lv'");
    }
    json_array_foreach(lvs, i, lv)
    {
        code = take_row(lv, i, r, e);
        if (code != 0) {
            (void)err_wrap(e, "the report of lvs");
            return code;
        }
    }
    return 0;
}
