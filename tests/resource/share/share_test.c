/* share_test.c - what a guest does in a shared directory, seen from the host; and what it may not do.
 *
 * Requests are made here as linux/fuse.h describes them; the host's own calls tell the truth. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "resource/share/share.h"
#include "tests/base/check.h"

struct world {
    char top[64], dir[80]; /* around it there is more */
    int proc;
    struct share *s;
    struct share_options o;
    _Alignas(8) uint8_t in[65536];
    _Alignas(8) uint8_t out[65536];
    size_t answer; /* bytes behind its head */
    const char *more;
    size_t more_bytes;
};

/* The request to come has these bytes behind its arguments. */
static struct world *with(struct world *w, const char *more, size_t n)
{
    w->more = more;
    w->more_bytes = n;
    return w;
}

/* Make a request; its error. */
static int ask(struct world *w, uint32_t opcode, uint64_t node, const void *arg, size_t n)
{
    struct fuse_in_header h = {.len = (uint32_t)(sizeof h + n + w->more_bytes),
                               .opcode = opcode,
                               .unique = 77,
                               .nodeid = node,
                               .uid = getuid(),
                               .gid = getgid()};
    struct fuse_out_header o;
    size_t got;

    memcpy(w->in, &h, sizeof h);
    if (n > 0) {
        memcpy(w->in + sizeof h, arg, n);
    }
    if (w->more_bytes > 0) {
        memcpy(w->in + sizeof h + n, w->more, w->more_bytes);
        w->more_bytes = 0;
    }
    got = share_serve(w->s, w->in, h.len, w->out, sizeof w->out);
    assert_true(got >= sizeof o);
    memcpy(&o, w->out, sizeof o);
    assert_int_equal(o.len, got);
    assert_int_equal(o.unique, 77);
    w->answer = got - sizeof o;
    return o.error;
}

static const void *behind(const struct world *w)
{
    return w->out + sizeof(struct fuse_out_header);
}

static int name(struct world *w, uint32_t opcode, uint64_t node, const char *text)
{
    return ask(w, opcode, node, text, strlen(text) + 1);
}

/* The number of a name; 0: an error, in *ret. */
static uint64_t lookup(struct world *w, uint64_t node, const char *text, int *ret)
{
    *ret = name(w, FUSE_LOOKUP, node, text);
    return *ret == 0 ? ((const struct fuse_entry_out *)behind(w))->nodeid : 0;
}

static int open_file(struct world *w, uint64_t node, uint32_t flags, uint64_t *ret)
{
    const struct fuse_open_in in = {.flags = flags};
    int r = ask(w, FUSE_OPEN, node, &in, sizeof in);

    *ret = r == 0 ? ((const struct fuse_open_out *)behind(w))->fh : 0;
    return r;
}

static int begin(struct world *w, bool read_only)
{
    const struct fuse_init_in in = {.major = 7, .minor = 36, .flags = FUSE_MAX_PAGES};

    memset(w, 0, sizeof *w);
    (void)strcpy(w->top, "/tmp/share-test-XXXXXX");
    assert_non_null(mkdtemp(w->top));
    (void)snprintf(w->dir, sizeof w->dir, "%s/in", w->top);
    assert_int_equal(mkdir(w->dir, 0755), 0);
    w->proc = open("/proc/self/fd", O_PATH | O_DIRECTORY);
    w->o = (struct share_options){.root = open(w->dir, O_PATH),
                                  .proc_fds = w->proc,
                                  .read_only = read_only,
                                  .files_most = 8};
    assert_int_equal(share_create(&w->o, &w->s, NULL), 0);
    assert_int_equal(ask(w, FUSE_GETATTR, 1, "0123456789abcdef", 16), -EINVAL);
    assert_int_equal(ask(w, FUSE_INIT, 0, &in, sizeof in), 0);
    return chdir(w->dir);
}

static void end(struct world *w)
{
    char line[128];

    share_destroy(w->s);
    (void)close(w->o.root);
    (void)close(w->proc);
    assert_int_equal(chdir("/"), 0);
    (void)snprintf(line, sizeof line, "rm -rf '%s'", w->top);
    assert_int_equal(system(line), 0);
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
}

static void what_the_host_has_the_guest_sees(void **state)
{
    const struct fuse_getattr_in get = {0};
    const struct fuse_attr *a;
    struct fuse_read_in read = {.size = 100, .offset = 2};
    struct world w;
    struct stat st;
    uint64_t file, dir;
    int r;

    (void)state;
    assert_int_equal(begin(&w, false), 0);
    put("file", "some text");
    assert_int_equal(chmod("file", 0640), 0);
    assert_int_equal(mkdir("dir", 0700), 0);
    assert_int_equal(symlink("../../etc", "link"), 0);
    file = lookup(&w, 1, "file", &r);
    assert_int_equal(ask(&w, FUSE_GETATTR, file, &get, sizeof get), 0);
    a = &((const struct fuse_attr_out *)behind(&w))->attr;
    assert_int_equal(stat("file", &st), 0);
    assert_int_equal(a->size, 9);
    assert_int_equal(a->mode, S_IFREG | 0640);
    assert_int_equal(a->ino, st.st_ino);
    assert_int_equal(a->mtimensec, st.st_mtim.tv_nsec);
    assert_int_equal(open_file(&w, file, O_RDONLY, &read.fh), 0);
    assert_int_equal(ask(&w, FUSE_READ, file, &read, sizeof read), 0);
    assert_int_equal(w.answer, 7);
    assert_memory_equal(behind(&w), "me text", 7);
    assert_int_equal(ask(&w, FUSE_READLINK, lookup(&w, 1, "link", &r), NULL, 0), 0);
    assert_memory_equal(behind(&w), "../../etc", 9);
    dir = lookup(&w, 1, "dir", &r);
    assert_int_not_equal(dir, file);
    assert_int_equal(lookup(&w, 1, "file", &r), file); /* the same as before */
    (void)lookup(&w, 1, "none", &r);
    assert_int_equal(r, -ENOENT);
    (void)lookup(&w, file, "x", &r);
    assert_int_equal(r, -ENOTDIR);
    end(&w);
}

static void what_the_guest_makes_the_host_has(void **state)
{
    const struct fuse_mkdir_in md = {.mode = 0751};
    const struct fuse_create_in cr = {.flags = O_RDWR, .mode = S_IFREG | 0604};
    struct fuse_write_in wr = {.size = 5, .offset = 3};
    struct fuse_setattr_in sa = {
        .valid = FATTR_MODE | FATTR_SIZE, .mode = 0600, .size = 6};
    struct fuse_rename_in rn = {.newdir = 1};
    const struct fuse_link_in li = {.oldnodeid = 0};
    struct fuse_link_in link = li;
    const struct fuse_mknod_in device = {.mode = S_IFBLK | 0666, .rdev = 0x800};
    struct world w;
    struct stat st;
    char text[16] = "";
    uint64_t dir, file;

    (void)state;
    (void)umask(0);
    assert_int_equal(begin(&w, false), 0);
    assert_int_equal(ask(with(&w, "sub", 4), FUSE_MKDIR, 1, &md, sizeof md), 0);
    dir = ((const struct fuse_entry_out *)behind(&w))->nodeid;
    assert_true(stat("sub", &st) == 0 && st.st_mode == (S_IFDIR | 0751));
    assert_int_equal(ask(with(&w, "f", 2), FUSE_CREATE, dir, &cr, sizeof cr), 0);
    file = ((const struct fuse_entry_out *)behind(&w))->nodeid;
    wr.fh =
        ((const struct fuse_open_out *)((const struct fuse_entry_out *)behind(&w) + 1))
            ->fh;
    assert_true(stat("sub/f", &st) == 0 && st.st_mode == (S_IFREG | 0604));
    assert_int_equal(ask(with(&w, "hello", 5), FUSE_WRITE, file, &wr, sizeof wr), 0);
    assert_int_equal(((const struct fuse_write_out *)behind(&w))->size, 5);
    assert_int_equal(ask(&w, FUSE_SETATTR, file, &sa, sizeof sa), 0);
    assert_true(stat("sub/f", &st) == 0 && st.st_mode == (S_IFREG | 0600) &&
                st.st_size == 6);
    assert_int_equal(ask(with(&w, "f\0g", 4), FUSE_RENAME, dir, &rn, sizeof rn), 0);
    assert_true(access("sub/f", F_OK) < 0 && access("g", F_OK) == 0);
    link.oldnodeid = file;
    assert_int_equal(ask(with(&w, "h", 2), FUSE_LINK, dir, &link, sizeof link), 0);
    assert_true(stat("sub/h", &st) == 0 && st.st_nlink == 2);
    assert_int_equal(ask(&w, FUSE_SYMLINK, 1, "s\0/etc/passwd", 14), 0);
    assert_int_equal(readlink("s", text, sizeof text), 11);
    assert_int_equal(ask(with(&w, "dev", 4), FUSE_MKNOD, 1, &device, sizeof device),
                     -EPERM);
    assert_int_equal(name(&w, FUSE_RMDIR, 1, "sub"), -ENOTEMPTY);
    assert_int_equal(name(&w, FUSE_UNLINK, dir, "h"), 0);
    assert_int_equal(name(&w, FUSE_RMDIR, 1, "sub"), 0);
    assert_true(access("sub", F_OK) < 0);
    end(&w);
}

static void no_name_leads_out(void **state)
{
    static const char *const bad[] = {
        "", ".", "..", "/", "../secret", "dir/../../secret", "/etc/passwd", "dir/x"};
    const struct fuse_open_in op = {.flags = O_RDONLY};
    const struct fuse_mkdir_in md = {.mode = 0755};
    const struct fuse_setattr_in sa = {.valid = FATTR_SIZE, .size = 0};
    struct fuse_rename_in rn = {.newdir = 1};
    struct world w;
    struct stat st;
    uint64_t out, fifo;
    int r;

    (void)state;
    assert_int_equal(begin(&w, false), 0);
    put("../secret", "not for guests");
    assert_int_equal(mkdir("dir", 0755), 0);
    assert_int_equal(symlink("../secret", "out"), 0);
    assert_int_equal(symlink("..", "up"), 0);
    assert_int_equal(mkfifo("fifo", 0666), 0);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)lookup(&w, 1, bad[i], &r);
        assert_int_equal(r, -EINVAL);
        assert_int_equal(
            ask(with(&w, bad[i], strlen(bad[i]) + 1), FUSE_MKDIR, 1, &md, sizeof md),
            -EINVAL);
        assert_int_equal(name(&w, FUSE_UNLINK, 1, bad[i]), -EINVAL);
    }
    assert_int_equal(ask(&w, FUSE_LOOKUP, 1, "dirdir", 6), -EINVAL); /* no end */
    assert_int_equal(ask(with(&w, "dir\0../x", 9), FUSE_RENAME, 1, &rn, sizeof rn),
                     -EINVAL);
    out = lookup(&w, 1, "out", &r); /* the link itself, whatever it says */
    assert_int_equal(ask(&w, FUSE_OPEN, out, &op, sizeof op), -ELOOP);
    assert_int_equal(ask(&w, FUSE_SETATTR, out, &sa, sizeof sa), -ELOOP);
    (void)lookup(&w, lookup(&w, 1, "up", &r), "secret", &r);
    assert_int_equal(r, -ENOTDIR);
    fifo = lookup(&w, 1, "fifo", &r);
    assert_int_equal(ask(&w, FUSE_OPEN, fifo, &op, sizeof op), -ENXIO);
    (void)lookup(&w, 1, "dir", &r);
    assert_int_equal(rename("dir", "gone") < 0 || symlink("..", "dir") < 0, 0);
    (void)lookup(&w, 1, "dir", &r); /* what was a directory has become a way out */
    assert_int_equal(ask(&w, FUSE_OPENDIR,
                         ((const struct fuse_entry_out *)behind(&w))->nodeid, &op,
                         sizeof op),
                     -ENOTDIR);
    assert_true(stat("../secret", &st) == 0 && st.st_size == 14);
    end(&w);
}

static void who_may_only_read_changes_nothing(void **state)
{
    static const uint32_t changes[] = {
        FUSE_SETATTR, FUSE_SYMLINK,  FUSE_MKNOD,       FUSE_MKDIR,    FUSE_CREATE,
        FUSE_UNLINK,  FUSE_RMDIR,    FUSE_RENAME,      FUSE_RENAME2,  FUSE_LINK,
        FUSE_WRITE,   FUSE_SETXATTR, FUSE_REMOVEXATTR, FUSE_FALLOCATE};
    uint8_t zeros[256] = {0};
    struct world w;
    uint64_t file, handle;
    int r;

    (void)state;
    assert_int_equal(begin(&w, true), 0);
    put("file", "kept");
    file = lookup(&w, 1, "file", &r);
    for (unsigned i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        assert_int_equal(ask(&w, changes[i], file, zeros, sizeof zeros), -EROFS);
    }
    assert_int_equal(open_file(&w, file, O_RDWR, &handle), -EROFS);
    assert_int_equal(open_file(&w, file, O_RDONLY | O_TRUNC, &handle), -EROFS);
    assert_int_equal(open_file(&w, file, O_RDONLY, &handle), 0);
    end(&w);
}

static void numbers_that_nobody_was_told_are_refused(void **state)
{
    const struct fuse_getattr_in get = {0};
    const struct fuse_forget_in one = {.nlookup = 1};
    struct fuse_read_in read = {.size = 10, .fh = 3};
    struct fuse_release_in rel = {0};
    struct fuse_in_header h = {.opcode = FUSE_FORGET};
    struct world w;
    uint64_t file, handle;
    int r;

    (void)state;
    assert_int_equal(begin(&w, false), 0);
    put("file", "text");
    assert_int_equal(ask(&w, FUSE_GETATTR, 99, &get, sizeof get), -ESTALE);
    assert_int_equal(ask(&w, FUSE_GETATTR, UINT64_MAX, &get, sizeof get), -ESTALE);
    assert_int_equal(ask(&w, 4711, 1, &get, sizeof get), -ENOSYS);
    file = lookup(&w, 1, "file", &r);
    assert_int_equal(ask(&w, FUSE_READ, file, &read, sizeof read), -EBADF);
    read.fh = UINT64_MAX;
    assert_int_equal(ask(&w, FUSE_READ, file, &read, sizeof read), -EBADF);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(open_file(&w, file, O_RDONLY, &handle), 0);
    }
    assert_int_equal(open_file(&w, file, O_RDONLY, &handle), -ENFILE);
    read.fh = 0; /* open, and no directory */
    assert_int_equal(ask(&w, FUSE_READDIR, 1, &read, sizeof read), -EBADF);
    rel.fh = 7;
    assert_int_equal(ask(&w, FUSE_RELEASE, file, &rel, sizeof rel), 0);
    assert_int_equal(ask(&w, FUSE_RELEASE, file, &rel, sizeof rel), -EBADF);
    h.nodeid = file;
    h.len = sizeof h + sizeof one;
    memcpy(w.in, &h, sizeof h);
    memcpy(w.in + sizeof h, &one, sizeof one);
    assert_int_equal(share_serve(w.s, w.in, h.len, w.out, sizeof w.out), 0);
    assert_int_equal(ask(&w, FUSE_GETATTR, file, &get, sizeof get), -ESTALE);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_host_has_the_guest_sees),
        cmocka_unit_test(what_the_guest_makes_the_host_has),
        cmocka_unit_test(no_name_leads_out),
        cmocka_unit_test(who_may_only_read_changes_nothing),
        cmocka_unit_test(numbers_that_nobody_was_told_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
