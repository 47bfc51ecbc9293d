/* drives.c - files of the host as disks of a machine. */
#include "node/machine/drives.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "contract/blk.h"
#include "contract/blk_source.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/qcow2/qcow2.h"
#include "virt/monitor/nvme/nvme.h"
#include "virt/monitor/vpci/vpci.h"
#include "virtio/blk_device.h"
#include "virtio/device.h"
#include "virtio/scsi/cd.h"

static int plan_key(struct drive *d, const char *key, struct err *e)
{
    if (strncmp(key, "serial=", 7) == 0 && strlen(key + 7) < sizeof d->serial) {
        (void)strcpy(d->serial, key + 7);
    } else if (strncmp(key, "slot=", 5) == 0) {
        d->slot = (unsigned)strtoul(key + 5, NULL, 10);
    } else if (strcmp(key, "format=qcow2") == 0) {
        d->is_qcow2 = true;
    } else if (strcmp(key, "read-only") == 0) {
        d->is_read_only = true;
    } else if (strcmp(key, "cdrom") == 0) {
        d->is_disc = true;
    } else if (strcmp(key, "bus=nvme") == 0 || strcmp(key, "bus=virtio") == 0) {
        d->is_nvme = key[4] == 'n';
    } else if (strcmp(key, "direct") == 0) {
        d->is_direct = true;
    } else if (strcmp(key, "format=raw") != 0) {
        return err_set(
            e, -EINVAL,
            "'%s' of a disk is not known (bus=virtio, bus=nvme, format=raw, format=qcow2, "
            "serial=WORD, read-only, direct, cdrom)",
            key);
    }
    return 0;
}

static int plan_one(struct drive *one, const char *word, int take_fd, int take_base,
                    struct err *e)
{
    size_t n = strcspn(word, ",");
    char keys[128];
    char *rest = keys;
    int r = 0;

    *one = (struct drive){.fd = -1};
    if (n == 0 || n >= sizeof one->path || strlen(word + n) >= sizeof keys) {
        return err_set(e, -EINVAL, "cannot plan disk '%s': too long", word);
    }
    memcpy(one->path, word, n);
    (void)strcpy(keys, word[n] == ',' ? word + n + 1 : "");
    while (r == 0 && rest != NULL && *rest != '\0') {
        r = plan_key(one, strsep(&rest, ","), e);
    }
    one->fd = take_fd;
    one->base_fd = take_base;
    one->has_base = take_base >= 0;
    if (r == 0 && one->is_disc && (!one->is_read_only || one->is_qcow2 || one->is_nvme)) {
        r = err_set(e, -EINVAL, "disc '%s' is a raw file that is read only, on virtio",
                    one->path);
    }
    if (r == 0 && one->has_base && !one->is_qcow2) {
        r = err_set(e, -EINVAL, "disk '%s' is no image that stands on another",
                    one->path);
    }
    if (r == 0 && take_fd < 0) {
        one->fd = open(one->path, (one->is_read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        r = one->fd < 0 ? err_sys(e, -errno, "cannot open disk '%s'", one->path) : 0;
    }
    return r;
}

int drives_plan(struct drives *d, const char *word, int take_fd, int take_base,
                struct err *e)
{
    int r = d->count == DRIVES_MOST
                ? err_set(e, -E2BIG, "cannot plan disk '%s': there are too many", word)
                : plan_one(&d->one[d->count], word, take_fd, take_base, e);

    d->count += r == 0;
    return r;
}

/* ---- in a strand ---- */

/* Gives the one file that was handed over, whatever the image calls it. */
struct base_source {
    struct blk_source source;
    struct loop *loop;
    struct drive *drive;
};

static int open_base(struct blk_source *s, const char *name, const char *format,
                     bool read_only, struct blk **ret_disk, struct err *e)
{
    const struct base_source *b = (const struct base_source *)s;
    const struct leaf_file_options file = {.label = "the image's disk",
                                           .read_only = true};
    int fd = b->drive->base_fd;

    (void)name;
    b->drive->base_fd = -1;
    if (fd < 0 || !read_only || strcmp(format, "raw") != 0) {
        return err_set(e, -EACCES, "it may read one raw file only");
    }
    return leaf_file_create(b->loop, fd, &file, ret_disk, e);
}

struct opening {
    struct drives *drives;
    struct err *e;
};

static int open_layers(struct loop *l, struct drive *d, struct blk **ret, struct err *e)
{
    const struct leaf_file_options file = {.label = d->path,
                                           .read_only = d->is_read_only,
                                           .direct = d->is_direct,
                                           .grows = d->is_qcow2};
    struct base_source base = {.source = {.open = open_base}, .loop = l, .drive = d};
    const struct qcow2_open_options image = {.label = d->path,
                                             .read_only = d->is_read_only,
                                             .source = d->has_base ? &base.source : NULL,
                                             .loop = l};
    int r = leaf_file_create(l, d->fd, &file, ret, e);

    return r == 0 && d->is_qcow2 ? qcow2_open(*ret, &image, ret, e) : r;
}

static int open_one(struct loop *l, struct drive *d, struct err *e)
{
    struct blk *disk = NULL;
    int r = open_layers(l, d, &disk, e);

    d->edge =
        (struct blk_edge){.user = "machine",
                          .uses = BLK_USE_READ | (d->is_read_only ? 0u : BLK_USE_WRITE),
                          .lets = BLK_USE_READ | BLK_USE_RESIZE};
    if (r == 0) {
        r = blk_attach(&d->edge, disk, e);
        if (r != 0) {
            blk_drop(disk);
        }
    }
    return r;
}

static int open_all(void *arg)
{
    const struct opening *o = arg;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < o->drives->count; i++) {
        r = open_one(o->drives->loop, &o->drives->one[i], o->e);
    }
    return r;
}

static int flush_all(void *arg)
{
    const struct opening *o = arg;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < o->drives->count; i++) {
        const struct drive *d = &o->drives->one[i];

        r = d->is_read_only || d->edge.disk == NULL ? 0 : blk_flush(d->edge.disk);
        if (r < 0) {
            err_sys(o->e, r, "cannot write disk '%s'", d->path);
        }
    }
    return r;
}

static int close_one(void *arg)
{
    struct drive *d = arg;

    if (d->edge.disk != NULL) {
        (void)blk_flush(d->edge.disk);
    }
    blk_detach(&d->edge);
    return 0;
}

static int close_all(void *arg)
{
    struct drives *d = arg;

    for (unsigned i = 0; i < d->count; i++) {
        (void)close_one(&d->one[i]);
    }
    return 0;
}

/* ---- */

static int make_device(const struct drives *d, struct drive *one, unsigned cpus,
                       struct err *e)
{
    const struct virtio_blk_device_options options = {
        .edge = &one->edge,
        .id = one->serial,
        .read_only = one->is_read_only,
        .queues =
            cpus < VIRTIO_BLK_DEVICE_QUEUES_MOST ? cpus : VIRTIO_BLK_DEVICE_QUEUES_MOST,
        .in_turn = d->in_turn,
    };
    const struct nvme_options nvme = {
        .edge = &one->edge,
        .serial = one->serial,
        .read_only = one->is_read_only,
        .queues = cpus < NVME_QUEUES_MOST ? cpus : NVME_QUEUES_MOST,
    };

    if (one->is_nvme) {
        return nvme_create(d->loop, &nvme, &one->nvme, e);
    }
    return one->is_disc ? virtio_cd_create(d->loop, &one->edge, &one->virtio, e)
                        : virtio_blk_device_create(d->loop, &options, &one->virtio, e);
}

/* It is not plugged in. */
static void unmake_device(struct drive *one)
{
    nvme_destroy(one->nvme);
    if (one->virtio != NULL) {
        one->virtio->ops->destroy(one->virtio);
    }
    one->nvme = NULL;
    one->virtio = NULL;
}

struct pci_card drives_card(const struct drives *d, unsigned i)
{
    const struct drive *one = &d->one[i];
    struct pci_card c = one->nvme != NULL ? nvme_card(one->nvme) : vpci_card(one->virtio);

    c.slot = one->slot;
    return c;
}

int drives_open(struct drives *d, struct loop *l, unsigned cpus, struct err *e)
{
    struct opening o = {d, e};
    int r;

    d->loop = l;
    r = d->count > 0 ? loop_do(l, open_all, &o) : 0;
    for (unsigned i = 0; r == 0 && i < d->count; i++) {
        r = make_device(d, &d->one[i], cpus, e);
    }
    return r;
}

/* ---- while others are open ---- */

struct adding {
    struct drives *drives;
    struct drive *drive;
    struct err *e;
};

static int open_another(void *arg)
{
    const struct adding *a = arg;

    return open_one(a->drives->loop, a->drive, a->e);
}

bool drives_moved(const struct drives *d, unsigned i, uint64_t ret[2])
{
    bool counts = d->one[i].virtio != NULL && !d->one[i].is_disc;

    if (counts) {
        virtio_blk_device_moved(d->one[i].virtio, &ret[0], &ret[1]);
    }
    return counts;
}

int drives_find(const struct drives *d, const char *path, unsigned slot)
{
    for (unsigned i = 0; i < d->count; i++) {
        if (path != NULL ? strcmp(d->one[i].path, path) == 0
                         : slot != 0 && d->one[i].slot == slot) {
            return (int)i;
        }
    }
    return -ENOENT;
}

void drives_detach(struct drives *d, unsigned i)
{
    unmake_device(&d->one[i]);
    (void)loop_do(d->loop, close_one, &d->one[i]);
    d->one[i] = (struct drive){.fd = -1, .is_read_only = true};
}

int drives_attach(struct drives *d, const char *word, int take_fd, unsigned cpus,
                  struct err *e)
{
    struct drive planned;
    int i = drives_find(d, "", 0);
    int r = plan_one(&planned, word, take_fd, -1, e);

    if (r == 0 && i < 0 && d->count == DRIVES_MOST) {
        r = err_set(e, -E2BIG, "cannot have disk '%s': there are too many", word);
    }
    if (r == 0 && drives_find(d, planned.path, 0) >= 0) {
        r = err_set(e, -EEXIST, "the machine has disk '%s'", planned.path);
    }
    if (r < 0) {
        (void)close(take_fd);
        return r;
    }
    i = i >= 0 ? i : (int)d->count++;
    d->one[i] = planned;
    r = loop_do(d->loop, open_another, &(struct adding){d, &d->one[i], e});
    r = r == 0 ? make_device(d, &d->one[i], cpus, e) : r;
    if (r < 0) {
        drives_detach(d, (unsigned)i);
    }
    return r < 0 ? r : i;
}

int drives_flush(struct drives *d, struct err *e)
{
    struct opening o = {d, e};

    return d->count > 0 ? loop_do(d->loop, flush_all, &o) : 0;
}

struct sizing {
    struct drive *drive;
    uint64_t bytes;
    struct err *e;
};

static int grow_one(void *arg)
{
    const struct sizing *s = arg;
    struct blk *disk = s->drive->edge.disk;
    int r;

    if (s->bytes < blk_size(disk)) {
        return err_set(s->e, -EINVAL,
                       "it has %" PRIu64 " bytes, and what is behind the new end would "
                       "be lost",
                       blk_size(disk));
    }
    r = blk_resize(disk, s->bytes, s->e);
    r = r == 0 ? blk_flush(disk) : r;
    return r < 0 ? err_sys(s->e, r, "its file does not take it") : 0;
}

int drives_resize(struct drives *d, const char *path, uint64_t bytes, struct err *e)
{
    int r = -ENOENT;

    if (d->marks > 0) {
        return err_set(e, -EBUSY,
                       "since it was marked what is written to it is not in its file");
    }
    for (unsigned i = 0; i < d->count && r == -ENOENT; i++) {
        struct drive *one = &d->one[i];
        struct sizing s = {one, bytes, e};

        if (strcmp(one->path, path) == 0 && !one->is_disc &&
            (one->virtio != NULL || one->nvme != NULL)) {
            r = loop_do(d->loop, grow_one, &s);
            if (r == 0 && one->nvme != NULL) {
                nvme_resized(one->nvme);
            } else if (r == 0 && one->virtio != NULL) {
                virtio_blk_device_resized(one->virtio);
            }
        }
    }
    return r == -ENOENT ? err_set(e, r, "the machine has no such disk") : r;
}

void drives_close(struct drives *d)
{
    for (unsigned i = 0; i < d->count; i++) {
        unmake_device(&d->one[i]);
    }
    if (d->loop != NULL && d->count > 0) {
        (void)loop_do(d->loop, close_all, d);
    }
    d->count = 0;
}
