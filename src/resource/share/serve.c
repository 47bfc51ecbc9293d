/* serve.c - a request comes in, is checked, and goes to the one who knows it.
 *
 * Sources: Linux, include/uapi/linux/fuse.h, protocol 7.31 and later. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/share/private.h"

#define MINOR_LEAST 31
#define OPEN_MOST   1024
#define FILES_MOST  (1u << 20) /* as far as descriptors reach */
#define PAGE        4096

/* ---- what handlers need ---- */

int share_name(const struct share_call *c, size_t off, const char **ret, size_t *ret_next)
{
    const char *name = (const char *)c->arg + off;
    const char *end = off < c->bytes ? memchr(name, '\0', c->bytes - off) : NULL;

    if (end == NULL || end == name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strchr(name, '/') != NULL) {
        return -EINVAL;
    }
    *ret = name;
    *ret_next = off + (size_t)(end - name) + 1;
    return end - name > NAME_MAX ? -ENAMETOOLONG : 0;
}

void *share_answer(struct share_call *c, size_t n)
{
    if (c->room < n) {
        return NULL;
    }
    memset(c->out, 0, n);
    c->used = n;
    return c->out;
}

int share_handle(const struct share_call *c, uint64_t number, bool is_directory)
{
    const struct share_open *o = &c->s->open[number < c->s->o.files_most ? number : 0];

    return number < c->s->o.files_most && o->fd >= 0 && o->is_directory == is_directory
               ? o->fd
               : -EBADF;
}

int share_open_handle(struct share_call *c, int take_fd, bool is_directory, uint64_t *ret)
{
    for (unsigned i = 0; i < c->s->o.files_most; i++) {
        if (c->s->open[i].fd < 0) {
            c->s->open[i] = (struct share_open){take_fd, is_directory};
            *ret = i;
            return 0;
        }
    }
    (void)close(take_fd);
    return -ENFILE;
}

/* ---- beginning and end ---- */

static int do_init(struct share_call *c)
{
    const struct fuse_init_in *in = (const struct fuse_init_in *)c->arg;
    const uint32_t wants = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS |
                           FUSE_MAX_PAGES | FUSE_AUTO_INVAL_DATA;
    struct fuse_init_out *out;
    uint32_t major, flags;

    memcpy(&major, &in->major, sizeof major);
    memcpy(&flags, &in->flags, sizeof flags);
    if (major != FUSE_KERNEL_VERSION || in->minor < MINOR_LEAST) {
        return -EPROTO;
    }
    out = share_answer(c, sizeof *out);
    if (out == NULL) {
        return -EIO;
    }
    out->major = FUSE_KERNEL_VERSION;
    out->minor =
        in->minor < FUSE_KERNEL_MINOR_VERSION ? in->minor : FUSE_KERNEL_MINOR_VERSION;
    out->max_readahead = in->max_readahead;
    out->flags = flags & wants;
    out->max_write = SHARE_DATA_MOST;
    out->max_pages = SHARE_DATA_MOST / PAGE;
    out->time_gran = 1;
    c->s->has_begun = true;
    return 0;
}

/* The guest has unmounted it, or started anew: it knows nothing and has nothing open. */
static void forget_all(struct share *s)
{
    for (unsigned i = 0; i < s->o.files_most; i++) {
        if (s->open[i].fd >= 0) {
            (void)close(s->open[i].fd);
            s->open[i].fd = -1;
        }
    }
    for (uint32_t n = FUSE_ROOT_ID + 1; n <= s->files.count; n++) {
        share_files_forget(&s->files, n, UINT64_MAX);
    }
    s->has_begun = false;
}

static int do_destroy(struct share_call *c)
{
    forget_all(c->s);
    return 0;
}

/* ---- forgetting: nobody is answered ---- */

static void forget(struct share *s, const struct fuse_in_header *in, const uint8_t *arg,
                   size_t bytes)
{
    struct fuse_forget_in one;
    struct fuse_batch_forget_in batch;
    struct fuse_forget_one each;

    if (in->opcode == FUSE_FORGET && bytes >= sizeof one) {
        memcpy(&one, arg, sizeof one);
        share_files_forget(&s->files, in->nodeid, one.nlookup);
    }
    if (in->opcode != FUSE_BATCH_FORGET || bytes < sizeof batch) {
        return;
    }
    memcpy(&batch, arg, sizeof batch);
    for (size_t at = sizeof batch; batch.count > 0 && bytes - at >= sizeof each;
         at += sizeof each, batch.count--) {
        memcpy(&each, arg + at, sizeof each);
        share_files_forget(&s->files, each.nodeid, each.nlookup);
    }
}

/* ---- the operations ---- */

struct row {
    uint32_t opcode;
    int (*serve)(struct share_call *c);
    size_t least;   /* bytes of its arguments */
    bool changes;   /* refused where the guest may only read */
    bool wants_dir; /* the file that it is about */
};

/* clang-format off */
static const struct row rows[] = {
    {FUSE_INIT,        do_init,              16, false, false},
    {FUSE_DESTROY,     do_destroy,           0,  false, false},
    {FUSE_LOOKUP,      share_do_lookup,      2,  false, true},
    {FUSE_GETATTR,     share_do_getattr,     sizeof(struct fuse_getattr_in),  false, false},
    {FUSE_READLINK,    share_do_readlink,    0,  false, false},
    {FUSE_STATFS,      share_do_statfs,      0,  false, false},
    {FUSE_OPENDIR,     share_do_opendir,     sizeof(struct fuse_open_in),     false, true},
    {FUSE_READDIR,     share_do_readdir,     sizeof(struct fuse_read_in),     false, true},
    {FUSE_RELEASEDIR,  share_do_release,     sizeof(struct fuse_release_in),  false, true},
    {FUSE_FSYNCDIR,    share_do_fsync,       sizeof(struct fuse_fsync_in),    false, true},
    {FUSE_GETXATTR,    share_do_getxattr,    sizeof(struct fuse_getxattr_in), false, false},
    {FUSE_LISTXATTR,   share_do_listxattr,   sizeof(struct fuse_getxattr_in), false, false},
    {FUSE_OPEN,        share_do_open,        sizeof(struct fuse_open_in),     false, false},
    {FUSE_READ,        share_do_read,        sizeof(struct fuse_read_in),     false, false},
    {FUSE_FLUSH,       share_do_flush,       sizeof(struct fuse_flush_in),    false, false},
    {FUSE_RELEASE,     share_do_release,     sizeof(struct fuse_release_in),  false, false},
    {FUSE_FSYNC,       share_do_fsync,       sizeof(struct fuse_fsync_in),    false, false},
    {FUSE_LSEEK,       share_do_lseek,       sizeof(struct fuse_lseek_in),    false, false},
    {FUSE_SETATTR,     share_do_setattr,     sizeof(struct fuse_setattr_in),  true,  false},
    {FUSE_SYMLINK,     share_do_symlink,     4,  true,  true},
    {FUSE_MKNOD,       share_do_mknod,       sizeof(struct fuse_mknod_in),    true,  true},
    {FUSE_MKDIR,       share_do_mkdir,       sizeof(struct fuse_mkdir_in),    true,  true},
    {FUSE_CREATE,      share_do_create,      sizeof(struct fuse_create_in),   true,  true},
    {FUSE_UNLINK,      share_do_unlink,      2,  true,  true},
    {FUSE_RMDIR,       share_do_rmdir,       2,  true,  true},
    {FUSE_RENAME,      share_do_rename,      sizeof(struct fuse_rename_in),   true,  true},
    {FUSE_RENAME2,     share_do_rename2,     sizeof(struct fuse_rename2_in),  true,  true},
    {FUSE_LINK,        share_do_link,        sizeof(struct fuse_link_in),     true,  true},
    {FUSE_SETXATTR,    share_do_setxattr,    FUSE_COMPAT_SETXATTR_IN_SIZE,    true,  false},
    {FUSE_REMOVEXATTR, share_do_removexattr, 2,  true,  false},
    {FUSE_WRITE,       share_do_write,       sizeof(struct fuse_write_in),    true,  false},
    {FUSE_FALLOCATE,   share_do_fallocate,   sizeof(struct fuse_fallocate_in), true, false},
    {FUSE_COPY_FILE_RANGE, share_do_copy,    sizeof(struct fuse_copy_file_range_in), true, false},
};

/* clang-format on */

static const struct row *find_row(uint32_t opcode)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].opcode == opcode) {
            return &rows[i];
        }
    }
    return NULL;
}

static int dispatch(struct share_call *c)
{
    const struct row *row = find_row(c->in->opcode);

    if (row == NULL) {
        return -ENOSYS;
    }
    if (c->bytes < row->least || (!c->s->has_begun && c->in->opcode != FUSE_INIT)) {
        return -EINVAL;
    }
    if (row->changes && c->s->o.read_only) {
        return -EROFS;
    }
    c->file = share_files_get(&c->s->files, c->in->nodeid);
    if (c->file == NULL && c->in->opcode != FUSE_INIT && c->in->opcode != FUSE_DESTROY) {
        return -ESTALE;
    }
    return row->wants_dir && !S_ISDIR(c->file->mode) ? -ENOTDIR : row->serve(c);
}

size_t share_serve(struct share *s, const void *request, size_t n, void *answer,
                   size_t room)
{
    const struct fuse_in_header *in = request;
    struct fuse_out_header *out = answer;
    struct share_call c = {.s = s, .in = in};
    int r;

    if (n < sizeof *in || in->len != n) {
        return 0;
    }
    c.arg = (const uint8_t *)request + sizeof *in;
    c.bytes = n - sizeof *in;
    if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET) {
        forget(s, in, c.arg, c.bytes);
        return 0;
    }
    if (room < sizeof *out || in->opcode == FUSE_INTERRUPT) {
        return 0;
    }
    c.out = (uint8_t *)answer + sizeof *out;
    c.room = room - sizeof *out;
    r = dispatch(&c);
    if (r < 0) {
        c.used = 0;
    }
    *out = (struct fuse_out_header){
        .len = (uint32_t)(sizeof *out + c.used), .error = r, .unique = in->unique};
    return out->len;
}

/* ---- */

int share_create(const struct share_options *o, struct share **ret, struct err *e)
{
    struct share *s = fault_calloc(1, sizeof *s);
    int r = s == NULL ? -ENOMEM : 0;

    if (r == 0) {
        s->o = *o;
        s->o.files_most = o->files_most != 0 ? o->files_most : OPEN_MOST;
        s->open = fault_calloc(s->o.files_most, sizeof *s->open);
        r = s->open == NULL ? -ENOMEM : 0;
    }
    for (unsigned i = 0; r == 0 && i < s->o.files_most; i++) {
        s->open[i].fd = -1;
    }
    r = r == 0 ? share_files_init(&s->files, o->root, FILES_MOST) : r;
    if (r < 0) {
        share_destroy(s);
        return err_sys(e, r, "cannot share a directory");
    }
    *ret = s;
    return 0;
}

void share_destroy(struct share *s)
{
    if (s == NULL) {
        return;
    }
    if (s->open != NULL) {
        forget_all(s);
    }
    share_files_fini(&s->files);
    free(s->open);
    free(s);
}
