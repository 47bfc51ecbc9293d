/* files.c - the files that a guest knows, by their numbers.
 *
 * The kernel of the guest counts how often it was told of a file, and says when it
 * forgets it; as long as it knows it, the file is held by a descriptor that gives no right but
 * to name it (O_PATH).  A file of several names has one place: by device and inode number,
 * which stay its own while it is held.  So whatever happens to names, a number means the
 * same file. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "resource/share/private.h"

#define ROOM_FIRST 64

static uint32_t *bucket_of(struct share_files *f, dev_t device, ino_t inode)
{
    uint64_t h = ((uint64_t)inode ^ (uint64_t)device << 32) *
                 UINT64_C(0x9e3779b97f4a7c15); /* Knuth, 6.4: multiplicative */

    return &f->bucket[h >> 54 & (SHARE_BUCKETS - 1)];
}

struct share_file *share_files_get(const struct share_files *f, uint64_t number)
{
    return number >= 1 && number <= f->count && f->at[number - 1].fd >= 0
               ? &f->at[number - 1]
               : NULL;
}

uint64_t share_files_number(const struct share_files *f, const struct share_file *file)
{
    return (uint64_t)(file - f->at) + 1;
}

static bool grow(struct share_files *f)
{
    uint32_t room = f->room == 0 ? ROOM_FIRST : f->room * 2;
    struct share_file *more = fault_realloc(f->at, room * sizeof *more);

    if (more != NULL) {
        memset(more + f->room, 0, (room - f->room) * sizeof *more);
        f->at = more;
        f->room = room;
    }
    return more != NULL;
}

/* A free place, in no bucket; 0: there is none. */
static uint32_t take_place(struct share_files *f)
{
    uint32_t number = f->free;

    if (number != 0) {
        f->free = f->at[number - 1].next;
        return number;
    }
    if (f->count >= f->most || (f->count == f->room && !grow(f))) {
        return 0;
    }
    return ++f->count;
}

static struct share_file *find(struct share_files *f, const struct stat *st)
{
    for (uint32_t n = *bucket_of(f, st->st_dev, st->st_ino); n != 0;
         n = f->at[n - 1].next) {
        struct share_file *file = &f->at[n - 1];

        if (file->device == st->st_dev && file->inode == st->st_ino) {
            return file;
        }
    }
    return NULL;
}

int share_files_know(struct share_files *f, int take_fd, const struct stat *st,
                     struct share_file **ret)
{
    struct share_file *file = find(f, st);
    uint32_t number;
    uint32_t *bucket;

    if (file != NULL) {
        (void)close(take_fd);
        file->known += 1;
        *ret = file;
        return 0;
    }
    number = take_place(f);
    if (number == 0) {
        (void)close(take_fd);
        return -ENFILE;
    }
    bucket = bucket_of(f, st->st_dev, st->st_ino);
    file = &f->at[number - 1];
    *file = (struct share_file){.fd = take_fd,
                                .device = st->st_dev,
                                .inode = st->st_ino,
                                .mode = st->st_mode & S_IFMT,
                                .known = 1,
                                .next = *bucket,
                                .number = file->number + 1};
    *bucket = number;
    *ret = file;
    return 0;
}

void share_files_forget(struct share_files *f, uint64_t number, uint64_t times)
{
    struct share_file *file = share_files_get(f, number);
    uint32_t *link;

    if (file == NULL || number == FUSE_ROOT_ID) {
        return;
    }
    file->known -= times < file->known ? times : file->known;
    if (file->known > 0) {
        return;
    }
    link = bucket_of(f, file->device, file->inode);
    while (*link != (uint32_t)number) {
        link = &f->at[*link - 1].next;
    }
    *link = file->next;
    (void)close(file->fd);
    file->fd = -1;
    file->next = f->free;
    f->free = (uint32_t)number;
}

int share_files_init(struct share_files *f, int root, uint32_t most)
{
    struct share_file *first;
    struct stat st;
    int fd = fcntl(root, F_DUPFD_CLOEXEC, 3);

    *f = (struct share_files){.most = most};
    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode)) {
        (void)close(fd);
        return -ENOTDIR;
    }
    return share_files_know(f, fd, &st, &first);
}

void share_files_fini(struct share_files *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].fd >= 0) {
            (void)close(f->at[i].fd);
        }
    }
    free(f->at);
    *f = (struct share_files){.count = 0};
}
