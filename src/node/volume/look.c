/* look.c - whether a disk's images are right, what is put right before they are read, and where its
 * bytes lie. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/fiemap.h>
#include <linux/fs.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/volume/option.h"
#include "node/volume/option_layer.h"

/* ---- check ---- */

static void take_count(void *arg, const char *line)
{
    json_t *row = arg;
    char key[64];
    long long number;

    if (sscanf(line, "%63[a-z_]=%lld", key, &number) == 2) {
        (void)json_object_set_new(row, key, json_integer(number));
    }
}

/* One layer without those below: what they hold is theirs to check. */
static int check_layer(struct node *n, const struct layer *l, bool repair, json_t *row,
                       struct err *e)
{
    struct words w = {.n_fds = 0};
    const struct arrange_name as = {.name = "f", .writes = repair};
    int r = arrange_words(n, l, &as, &w, e);

    if (r == 0) {
        const char *how = repair ? "" : ",read-only";

        words_add(&w, "node=disk,qcow2,file=f,alone,for-repair%s%s", how,
                  words_key(&w, l, CHAIN_LOCKED));
        if (repair) {
            words_add(&w, "repair=all");
        }
        r = words_run(n, "check", &w, take_count, row, e);
    }
    words_fini(&w);
    return r;
}

int disk_volume_check(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    bool repair = json_is_true(json_object_get(order, "repair"));
    SCOPED(scope_close) int lock = -1;
    struct volume v = {0};
    struct chain chain = {0};
    json_t *rows = json_array();
    int r = volume_load_disk(n, name, &v, &lock, e);

    r = r == 0 ? chain_load(n, volume_text(v.record, "top"), &chain, e) : r;
    if (r == 0 && json_object_get(order, "key_file") != NULL) {
        r = repair
                ? chain_unlock(n, &chain, order, e)
                : err_set(e, -EINVAL, "--key-file is for --repair, which merges layers");
    }
    for (size_t i = 0; r == 0 && i < chain.count; i++) {
        const struct layer *l = &chain.layers[i];
        const char *format = volume_text(l->record, "format");
        json_t *row =
            json_pack("{s:s, s:s, s:s}", "layer", l->id, "format", format, "state", "ok");

        (void)json_array_append_new(rows, row);
        r = option_layer_check(n, l, repair, row, e);
        r = r == 0 && repair ? arrange_mend(n, l, e) : r;
        if (volume_number(row, "wrong_blocks") > volume_number(row, "mended_blocks")) {
            (void)json_object_set_new(row, "state", json_string("damaged"));
        }
        if (r == 0 && strcmp(format, "qcow2") == 0) {
            r = check_layer(n, l, repair, row, e);
            if (volume_number(row, "corruptions") > 0) {
                (void)json_object_set_new(row, "state", json_string("damaged"));
            } else if (volume_number(row, "leaks") > 0) {
                (void)json_object_set_new(row, "state", json_string("leaks"));
            }
        }
    }
    if (r == 0 && repair) {
        volume_tidy(n, name, order);
    }
    chain_fini(&chain);
    volume_fini(&v);
    if (r < 0) {
        json_decref(rows);
        return err_wrap(e, "cannot check volume '%s'", name);
    }
    *ret = rows;
    return 0;
}

/* ---- journals of layers that are only read ---- */

/* Nobody who keeps the locks of files has it open meanwhile, and those who go past them hold all
 * volumes that have the layer: also this one, whose lock is held. */
static int settle_journal(struct node *n, const struct layer *l, struct err *e)
{
    struct err why = {0};
    int r = arrange_settle(n, l, &why);

    return r == -EBUSY
               ? err_set(
                     e, r,
                     "writes to layer '%s' were cut off, and others have it open: end "
                     "them, or 'strata pool scrub --repair %s'",
                     l->id, volume_text(l->record, "pool"))
           : r < 0 ? err_set(e, r, "%s", why.text)
                   : 0;
}

/* All of them are tried, also after one that cannot be had. */
static int settle_layers(struct node *n, const char *top, struct strv *seen,
                         struct err *e)
{
    struct chain chain = {0};
    int r = chain_load(n, top, &chain, e);

    for (size_t i = 0; i < chain.count && !strv_has(seen, chain.layers[i].id); i++) {
        int one = settle_journal(n, &chain.layers[i], e);

        r = r == 0 ? one : r;
        strv_add(seen, chain.layers[i].id);
    }
    chain_fini(&chain);
    return r;
}

int disk_settle_journals(struct node *n, const struct volume *v, struct err *e)
{
    struct strv seen = {0};
    size_t i;
    json_t *one;
    int r = settle_layers(n, volume_text(v->record, "top"), &seen, e);

    json_array_foreach(json_object_get(v->record, "snapshots"), i, one)
    {
        int more = settle_layers(n, volume_text(one, "layer"), &seen, e);

        r = r == 0 ? more : r;
    }
    strv_fini(&seen);
    return r;
}

int volume_settle_journals(struct node *n, const char *name, struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    struct volume v = {0};
    int r = volume_load_disk(n, name, &v, &lock, e);

    r = r == 0 ? disk_settle_journals(n, &v, e) : r;
    volume_fini(&v);
    return r;
}

/* ---- locate ---- */

struct place {
    bool found;
    unsigned long long off; /* of the extent on the disk */
    unsigned long long bytes;
    char state[16];
    char node[128];
    unsigned long long at; /* in the file */
};

static void take_place(void *arg, const char *line)
{
    struct place *p = arg;

    if (!p->found && sscanf(line, "extent=%llu %llu %15s %127s %llu", &p->off, &p->bytes,
                            p->state, p->node, &p->at) == 5) {
        p->found = true;
    }
}

/* Where on the device the file has it; false: the file system does not say. */
static bool find_on_device(int fd, uint64_t at, uint64_t *ret)
{
    union {
        struct fiemap map;
        char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
    } ask = {.map = {.fm_start = at,
                     .fm_length = 1,
                     .fm_flags = FIEMAP_FLAG_SYNC,
                     .fm_extent_count = 1}};
    const struct fiemap_extent *x =
        (const struct fiemap_extent *)(const void *)(ask.room +
                                                     offsetof(struct fiemap, fm_extents));

    if (ioctl(fd, FS_IOC_FIEMAP, &ask) < 0 || ask.map.fm_mapped_extents != 1 ||
        (x->fe_flags & (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC |
                        FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_DATA_INLINE)) != 0) {
        return false;
    }
    *ret = x->fe_physical + (at - x->fe_logical);
    return true;
}

/* /dev/NAME of the file system's device, as the kernel calls it. */
static void name_device(const struct stat *s, char out[PATH_MAX])
{
    char link[64];
    char target[PATH_MAX];
    ssize_t len;

    (void)str_print(link, sizeof link, "/sys/dev/block/%u:%u", major(s->st_dev),
                    minor(s->st_dev));
    len = readlink(link, target, sizeof target - 1);
    out[0] = '\0';
    if (len > 0) {
        target[len] = '\0';
        (void)str_print(out, PATH_MAX, "/dev/%s", strrchr(target, '/') + 1);
    }
}

/* Which layer of the chain the program's name for its bytes means, and which of its pieces:
 * "disk.file", "disk.2.file", "disk.2.file.p1", and ".store" behind that on a device. */
static const struct layer *layer_named(const struct chain *chain, const char *node,
                                       unsigned *ret_piece)
{
    const char *rest = node + strlen("disk");
    unsigned at = 0;
    int n = 0;

    *ret_piece = 0;
    if (!str_starts(node, "disk")) {
        return NULL;
    }
    if (sscanf(rest, ".%u%n", &at, &n) == 1) {
        rest += n;
    }
    if (!str_starts(rest, ".file") || at >= chain->count) {
        return NULL;
    }
    (void)sscanf(rest + strlen(".file"), ".p%u", ret_piece);
    return &chain->layers[at];
}

/* On the file system's device, where it says so. */
static void tell_device(int fd, uint64_t at, json_t *row)
{
    char path[PATH_MAX] = "";
    uint64_t physical = 0;
    struct stat s;

    if (fstat(fd, &s) == 0 && find_on_device(fd, at, &physical)) {
        name_device(&s, path);
    }
    if (path[0] != '\0') {
        (void)json_object_set_new(row, "device", json_string(path));
        (void)json_object_set_new(row, "device_offset",
                                  json_integer((json_int_t)physical));
    }
}

static void tell_place(struct node *n, const struct chain *chain, const struct place *p,
                       uint64_t off, json_t *row)
{
    unsigned piece;
    const struct layer *l = layer_named(chain, p->node, &piece);
    uint64_t at = p->at + (off - p->off);
    SCOPED(scope_close) int fd = -1;
    char path[PATH_MAX] = "";

    if (l == NULL) {
        return;
    }
    (void)json_object_set_new(row, "layer", json_string(l->id));
    (void)json_object_set_new(row, "pool", json_string(volume_text(l->record, "pool")));
    if (!layer_is_one_file(l)) { /* each of its members has a part or all of it */
        (void)json_object_set(row, "arrangement",
                              json_object_get(l->record, "arrangement"));
    }
    if (!layer_is_one_file(l) && strstr(p->node, ".file.p") == NULL) {
        return;
    }
    (void)json_object_set(row, "member",
                          json_array_get(json_object_get(l->record, "pieces"), piece));
    if (str_ends(p->node, ".store")) {
        (void)json_object_set_new(row, "device", json_string(piece_place(l, piece)));
        (void)json_object_set_new(row, "device_offset", json_integer((json_int_t)at));
        return;
    }
    if (piece_path_at(l, piece, path) == 0) {
        (void)json_object_set_new(row, "path", json_string(path));
        (void)json_object_set_new(row, "path_offset", json_integer((json_int_t)at));
    }
    fd = piece_open_at(n, l, piece, O_RDONLY, NULL);
    if (fd >= 0) {
        tell_device(fd, at, row);
    }
}

int disk_volume_locate(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    uint64_t off = volume_number(order, "offset");
    struct words w = {.n_fds = 0};
    struct volume v = {0};
    struct chain chain = {0};
    struct place place = {.found = false};
    int r = volume_load(n, name, &v, e);

    if (r == 0 && !volume_is_disk(v.record)) {
        r = err_set(e, -EINVAL, "volume '%s' is a directory, and this is for disks",
                    name);
    }
    off -= off % VOLUME_SECTOR_BYTES;
    if (r == 0 && off >= volume_number(v.record, "size_bytes")) {
        r = err_set(e, -ERANGE, "volume '%s' ends before that", name);
    }
    r = r == 0 ? option_cache_settle(n, &v, e) : r;
    r = r == 0 ? chain_load(n, volume_text(v.record, "top"), &chain, e) : r;
    r = r == 0 ? words_chain(n, &chain, "disk", false, &w, e) : r;
    words_add(&w, "off=%llu", (unsigned long long)off);
    words_add(&w, "bytes=%d", VOLUME_SECTOR_BYTES);
    r = r == 0 ? words_run(n, "map", &w, take_place, &place, e) : r;
    if (r == 0) {
        *ret = json_pack("{s:s, s:I, s:s}", "name", name, "offset", (json_int_t)off,
                         "state", place.found ? place.state : "hole");
        if (place.found) {
            tell_place(n, &chain, &place, off, *ret);
        }
    }
    words_fini(&w);
    chain_fini(&chain);
    volume_fini(&v);
    return r;
}
