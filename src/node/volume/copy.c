/* copy.c - disks in and out of files, whole copies, and from pool to pool. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/private.h"
#include "node/volume/words.h"

static const char *const formats[] = {"raw", "qcow2", "vmdk", "vhdx", "vhd", "vdi", NULL};

/* `--format`, or what the name ends in: never what the file says, because whoever wrote a
 * raw disk may have written a header there. */
static int choose_format(const json_t *order, const char *file, const char **ret,
                         struct err *e)
{
    const char *word = json_string_value(json_object_get(order, "format"));
    const char *dot = strrchr(file, '.');

    *ret = "raw";
    for (size_t i = 0; formats[i] != NULL; i++) {
        if (word != NULL ? strcmp(word, formats[i]) == 0
                         : dot != NULL && strcmp(dot + 1, formats[i]) == 0) {
            *ret = formats[i];
            return 0;
        }
    }
    return word == NULL ? 0
                        : err_set(e, -EINVAL,
                                  "there is no format '%s': raw, qcow2, vmdk, vhdx, vhd, "
                                  "vdi",
                                  word);
}

/* ---- out ---- */

static int write_file(struct node *n, const struct chain *chain, int take_fd,
                      const char *format, bool compress, struct err *e)
{
    struct words w = {.n_fds = 0};
    char fd[32];
    int r = words_chain(n, chain, "disk", false, &w, e);

    (void)words_fd(&w, "fd", take_fd, fd);
    words_add(&w, "node=out,file,%s", fd);
    words_add(&w, "from=disk");
    words_add(&w, "to=out");
    words_add(&w, "format=%s", format);
    if (compress) {
        words_add(&w, "compress");
    }
    r = r == 0 ? words_run(n, "convert", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r;
}

int disk_volume_write_file(struct node *n, const struct volume *v, const json_t *order,
                           struct err *e)
{
    const char *file = volume_text(order, "file");
    SCOPED(scope_close) int alone = -1;
    struct chain chain = {0};
    const char *format;
    int fd;
    int r = choose_format(order, file, &format, e);

    r = r == 0 ? chain_load(n, volume_text(v->record, "top"), &chain, e) : r;
    r = r == 0 ? chain_unlock(n, &chain, order, e) : r;
    if (r < 0) {
        chain_fini(&chain);
        return r;
    }
    fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        r = err_sys(e, -errno, "cannot write '%s'", file);
    } else {
        r = write_file(n, &chain, fd, format,
                       json_is_true(json_object_get(order, "compress")), e);
        if (r < 0) {
            (void)unlink(file); /* half a disk is none */
        }
    }
    chain_fini(&chain);
    return r;
}

/* ---- in ---- */

/* Copy to an empty layer. */
static int fill(struct node *n, struct layer *to, const struct disk_source *source,
                struct err *e)
{
    struct words *w = source->words;
    struct chain one = {.layers = to, .count = 1, .key = source->key};
    int r = words_chain(n, &one, "to", true, w, e);

    words_add(w, "from=from");
    words_add(w, "to=to");
    (void)fault_step("copy.begun");
    r = r == 0 ? words_run(n, "convert", w, NULL, NULL, e) : r;
    (void)fault_step("copy.done");
    return r;
}

static int check_absent(struct node *n, const char *name, struct err *e)
{
    struct volume other = {0};
    struct err none = {0};
    int r = volume_load(n, name, &other, &none) == 0
                ? err_set(e, -EEXIST, "volume '%s' exists already", name)
                : 0;

    volume_fini(&other);
    return r;
}

/* A new volume with what the words say. */
int disk_volume_make_from(struct node *n, const json_t *order,
                          const struct disk_source *source, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    const char *pool_name = volume_text(order, "pool");
    const char *class = volume_text(order, "class");
    SCOPED(scope_json) json_t *pool = NULL;
    SCOPED(scope_json) json_t *record = NULL;
    struct layer_plan plan = {.class = class[0] != '\0' ? class : POOL_CLASS_USUAL,
                              .format = source->format,
                              .size_bytes = source->size_bytes,
                              .block_bytes = source->block_bytes,
                              .key = source->key};
    struct layer_new top = {.intent = -1};
    struct record_change c = {0};
    int r = check_absent(n, name, e);

    r = r == 0 ? pool_load(n, pool_name[0] != '\0' ? pool_name : POOL_DEFAULT, &pool, e)
               : r;
    r = r == 0 ? pool_check_quota(n, pool, plan.size_bytes, e) : r;
    plan.pool = pool;
    r = r == 0 ? layer_make(n, &plan, &top, e) : r;
    if (r < 0) {
        return r;
    }
    r = fill(n, &top.layer, source, e);
    if (r == 0) {
        record = disk_volume_record(name, order, &top.layer);
        r = disk_volume_add(n, record, &top.layer, &c, e);
    }
    layer_settle(n, &top, r == 0);
    record_change_fini(&c);
    if (r == 0) {
        *ret = json_incref(record);
    }
    return r;
}

static void take_size(void *arg, const char *line)
{
    unsigned long long size;

    if (sscanf(line, "size_bytes=%llu", &size) == 1) {
        *(uint64_t *)arg = size;
    }
}

/* How large the disk in the file is. */
static int ask_size(struct node *n, int fd, const char *format, uint64_t *ret,
                    struct err *e)
{
    struct words w = {.n_fds = 0};
    int r;

    words_file(&w, "from", fcntl(fd, F_DUPFD_CLOEXEC, 3), format, false);
    r = words_run(n, "info", &w, take_size, ret, e);
    words_fini(&w);
    return r == 0 && *ret == 0 ? err_set(e, -EINVAL, "it is empty") : r;
}

int disk_volume_import(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *file = volume_text(order, "file");
    struct words w = {.n_fds = 0};
    struct disk_source source = {.words = &w, .format = "raw"};
    const char *format;
    uint64_t block;
    int fd;
    int r = choose_format(order, file, &format, e);

    piece_mend(n);
    if (r < 0) {
        return r;
    }
    fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, -errno, "cannot import '%s'", file);
    }
    r = ask_size(n, fd, format, &source.size_bytes, e);
    source.block_bytes = words_block_size(order);
    block = source.block_bytes != 0 ? source.block_bytes : VOLUME_SECTOR_BYTES;
    source.size_bytes = (source.size_bytes + block - 1) & ~(block - 1);
    words_file(&w, "from", fd, format, false);
    r = r == 0 ? disk_volume_make_from(n, order, &source, ret, e) : r;
    words_fini(&w);
    return r < 0 ? err_wrap(e, "cannot import '%s'", file) : 0;
}

/* ---- whole copies ---- */

/* The bytes of a raw layer, in common with the file system's help, until one changes. */
static bool share_bytes(struct node *n, const struct layer *from, const struct layer *to)
{
    SCOPED(scope_close) int in = piece_open(n, from, O_RDONLY, NULL);
    SCOPED(scope_close) int out = piece_open(n, to, O_RDWR, NULL);

    return in >= 0 && out >= 0 && ioctl(out, FICLONE, in) == 0 && fsync(out) == 0;
}

int disk_copy_layer(struct node *n, const struct chain *from, struct layer *to,
                    struct err *e)
{
    struct words w = {.n_fds = 0};
    struct disk_source source = {.words = &w, .key = from->key};
    int r;

    if (from->count == 1 &&
        strcmp(volume_text(from->layers[0].record, "format"), "raw") == 0 &&
        strcmp(volume_text(to->record, "format"), "raw") == 0 &&
        share_bytes(n, &from->layers[0], to)) {
        return 0;
    }
    r = words_chain(n, from, "from", false, &w, e);
    r = r == 0 ? fill(n, to, &source, e) : r;
    words_fini(&w);
    return r;
}
