/* hostile_test.c - layers that mean harm: unpacked inside their folder or refused.
 * rows: OSL-04 OSL-19 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/pack/extract.h"
#include "resource/image/pack/tar_read.h"
#include "tests/base/check.h"
#include "tests/resource/image/craft.h"

struct bytes {
    const uint8_t *at;
    size_t left, step; /* how much one call gives */
};

static int next_bytes(void *arg, const uint8_t **ret, size_t *ret_len, struct err *e)
{
    struct bytes *b = arg;

    (void)e;
    *ret = b->at;
    *ret_len = b->left < b->step ? b->left : b->step;
    b->at += *ret_len;
    b->left -= *ret_len;
    return 0;
}

/* Unpack below DIR/NAME; `below` are the roots of lower layers, the nearest first. */
static int unpack_on(const struct str *tar, const char *dir, const char *name,
                     const int *below, size_t n, struct err *e)
{
    SCOPED(scope_free) char *root = NULL;
    SCOPED(scope_close) int fd = -1;
    struct bytes b = {(const uint8_t *)tar->data, tar->len, 512};
    struct extract_opts o = {
        .below = below, .n_below = n, .max_entries = 1000, .max_bytes = 1u << 20};
    struct tar_read *t = NULL;
    struct extract *x = NULL;
    mode_t mask = umask(0);
    int r;

    assert_true(asprintf(&root, "%s/%s", dir, name) > 0);
    (void)mkdir(root, 0755);
    fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    o.root = fd;
    r = tar_read_create(next_bytes, &b, &t, e);
    r = r < 0 ? r : extract_create(&o, &x, e);
    r = r < 0 ? r : extract_run(x, t, e);
    extract_destroy(x);
    tar_read_destroy(t);
    (void)umask(mask);
    return r;
}

/* Unpack below DIR/fs; `below` (may be -1) is the root of a lower layer. */
static int unpack(const struct str *tar, const char *dir, int below, size_t step,
                  struct err *e)
{
    SCOPED(scope_free) char *root = NULL;
    SCOPED(scope_close) int fd = -1;
    struct bytes b = {(const uint8_t *)tar->data, tar->len, step};
    struct extract_opts o = {.below = &below,
                             .n_below = below >= 0,
                             .max_entries = 1000,
                             .max_bytes = 1u << 20};
    struct tar_read *t = NULL;
    struct extract *x = NULL;
    mode_t mask = umask(0);
    int r;

    assert_true(asprintf(&root, "%s/fs", dir) > 0);
    (void)mkdir(root, 0755);
    fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    o.root = fd;
    r = tar_read_create(next_bytes, &b, &t, e);
    r = r < 0 ? r : extract_create(&o, &x, e);
    r = r < 0 ? r : extract_run(x, t, e);
    extract_destroy(x);
    tar_read_destroy(t);
    (void)umask(mask);
    return r;
}

static struct stat look(const char *dir, const char *path)
{
    SCOPED(scope_free) char *full = NULL;
    struct stat st = {0};

    assert_true(asprintf(&full, "%s/%s", dir, path) > 0);
    if (lstat(full, &st) < 0) {
        st.st_mode = 0;
    }
    return st;
}

static void refuse(struct str *tar, int code, const char *word)
{
    char *dir = craft_dir();
    struct err e = {0};

    craft_end(tar);
    assert_int_equal(unpack(tar, dir, -1, 1u << 20, &e), code);
    assert_non_null(strstr(e.text, word));
    craft_remove(dir);
    str_fini(tar);
}

static void dot_dot_is_refused(void **state)
{
    static const char *const names[] = {"../x", "a/../../x", "a/..", "..", "/../x"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct str tar = {0};

        craft_entry(&tar, names[i], '0', "", "bad");
        refuse(&tar, -EINVAL, "leads out of the layer");
    }
}

static void an_absolute_path_stays_inside(void **state)
{
    SCOPED(str_fini) struct str tar = {0};
    char *dir = craft_dir();

    (void)state;
    craft_entry(&tar, "/strata-escape-test", '0', "", "x");
    craft_end(&tar);
    assert_int_equal(unpack(&tar, dir, -1, 512, NULL), 0);
    assert_true(S_ISREG(look(dir, "fs/strata-escape-test").st_mode));
    assert_int_equal(access("/strata-escape-test", F_OK), -1);
    craft_remove(dir);
}

static void a_symlink_as_parent_leads_nowhere_outside(void **state)
{
    static const char *const targets[] = {"/", "../../../../../../..", "/tmp", "..",
                                          "/proc/self/root/tmp"};

    (void)state;
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        SCOPED(str_fini) struct str tar = {0};
        char *dir = craft_dir();
        SCOPED(scope_free) char *out = NULL;

        craft_entry(&tar, "l", '2', targets[i], "");
        craft_entry(&tar, "l/strata-escape-test", '0', "", "x");
        craft_end(&tar);
        (void)unpack(&tar, dir, -1, 700, NULL);
        assert_int_equal(access("/strata-escape-test", F_OK), -1);
        assert_int_equal(access("/tmp/strata-escape-test", F_OK), -1);
        assert_true(asprintf(&out, "%s/strata-escape-test", dir) > 0);
        assert_int_equal(access(out, F_OK), -1);
        craft_remove(dir);
    }
}

static void a_file_is_not_written_through_a_symlink(void **state)
{
    SCOPED(str_fini) struct str tar = {0};
    SCOPED(scope_free) char *victim = NULL;
    char *dir = craft_dir();
    SCOPED(scope_free) char *text = NULL;
    size_t len;

    (void)state;
    assert_true(asprintf(&victim, "%s/victim", dir) > 0);
    assert_int_equal(file_replace(AT_FDCWD, victim, "kept", 4, 0644, false), 0);
    craft_entry(&tar, "l", '2', "../victim", "");
    craft_entry(&tar, "l", '0', "", "overwritten");
    craft_end(&tar);
    assert_int_equal(unpack(&tar, dir, -1, 512, NULL), 0);
    assert_int_equal(file_read(AT_FDCWD, victim, 100, &text, &len), 0);
    assert_string_equal(text, "kept");
    assert_true(S_ISREG(look(dir, "fs/l").st_mode));
    craft_remove(dir);
}

static void a_hard_link_reaches_only_files_of_the_layer(void **state)
{
    static const char *const targets[] = {"/etc/passwd", "../victim", "l/victim", "none"};

    (void)state;
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        SCOPED(str_fini) struct str tar = {0};
        SCOPED(scope_free) char *victim = NULL;
        char *dir = craft_dir();
        struct err e = {0};

        assert_true(asprintf(&victim, "%s/victim", dir) > 0);
        assert_int_equal(file_replace(AT_FDCWD, victim, "kept", 4, 0644, false), 0);
        craft_entry(&tar, "l", '2', "..", "");
        craft_entry(&tar, "h", '1', targets[i], "");
        craft_end(&tar);
        assert_true(unpack(&tar, dir, -1, 512, &e) < 0);
        assert_non_null(strstr(e.text, "hard link"));
        assert_int_equal(look(dir, "victim").st_nlink, 1);
        craft_remove(dir);
    }
}

/* Three layers: `fs` above `mid` above `low`. */
struct pile {
    char *dir;
    int below[2]; /* mid, low */
};

static void make_layer(struct pile *p, const char *name, int n_below, struct str *tar)
{
    SCOPED(scope_free) char *path = NULL;

    craft_end(tar);
    assert_int_equal(
        unpack_on(tar, p->dir, name, p->below + 2 - n_below, (size_t)n_below, NULL), 0);
    assert_true(asprintf(&path, "%s/%s", p->dir, name) > 0);
    p->below[1 - n_below] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    str_fini(tar);
}

static void make_pile(struct pile *p)
{
    SCOPED(scope_free) char *victim = NULL;
    struct str tar = {0};

    *p = (struct pile){.dir = craft_dir(), .below = {-1, -1}};
    assert_true(asprintf(&victim, "%s/victim", p->dir) > 0);
    assert_int_equal(file_replace(AT_FDCWD, victim, "kept", 4, 0644, false), 0);
    craft_entry(&tar, "d/low", '0', "", "deep");
    craft_entry(&tar, "d/link", '2', "/etc/passwd", "");
    craft_entry(&tar, "d/gone", '0', "", "x");
    craft_entry(&tar, "d/sub/x", '0', "", "x");
    craft_entry(&tar, "d/pipe", '6', "", "");
    craft_entry(&tar, "o/x", '0', "", "x");
    craft_entry(&tar, "out", '2', "..", "");
    craft_entry(&tar, "in", '2', "d", "");
    craft_entry(&tar, "was/x", '0', "", "x");
    make_layer(p, "low", 0, &tar);
    craft_entry(&tar, "d/mid", '0', "", "middle");
    craft_entry(&tar, "d/.wh.gone", '0', "", "");
    craft_entry(&tar, "o/.wh..wh..opq", '0', "", "");
    craft_entry(&tar, "was", '0', "", "a file now");
    make_layer(p, "mid", 1, &tar);
}

static void end_pile(struct pile *p)
{
    (void)close(p->below[0]);
    (void)close(p->below[1]);
    craft_remove(p->dir);
}

static void a_hard_link_may_reach_a_file_of_a_lower_layer(void **state)
{
    static const char *const targets[] = {"d/low", "/d/mid", "./d//link", "d/sub/x"};
    static const char *const real[] = {"low/d/low", "mid/d/mid", "low/d/link",
                                       "low/d/sub/x"};
    SCOPED(str_fini) struct str tar = {0};
    struct pile p;
    char path[40];

    (void)state;
    make_pile(&p);
    for (size_t i = 0; i < 4; i++) {
        (void)str_print(path, sizeof path, "new/%zu", i);
        craft_entry(&tar, path, '1', targets[i], "");
    }
    craft_entry(&tar, "again", '1', "new/0", ""); /* a link to the link */
    craft_end(&tar);
    assert_int_equal(unpack_on(&tar, p.dir, "fs", p.below, 2, NULL), 0);
    for (size_t i = 0; i < 4; i++) {
        (void)str_print(path, sizeof path, "fs/new/%zu", i);
        assert_int_equal(look(p.dir, path).st_ino, look(p.dir, real[i]).st_ino);
    }
    assert_int_equal(look(p.dir, "low/d/low").st_nlink, 3);
    assert_true(S_ISLNK(look(p.dir, "fs/new/2").st_mode));
    assert_int_equal(look(p.dir, "fs/d").st_mode, 0); /* nothing was made on the way */
    end_pile(&p);
}

/* What this layer puts in place of a lower file is the layer's own: the lower stays. */
static void a_lower_file_is_never_written_through_its_link(void **state)
{
    SCOPED(str_fini) struct str tar = {0};
    SCOPED(scope_free) char *low = NULL;
    SCOPED(scope_free) char *text = NULL;
    struct pile p;
    size_t len;

    (void)state;
    make_pile(&p);
    craft_entry(&tar, "h", '1', "d/low", "");
    craft_entry(&tar, "h", '0', "", "overwritten");
    craft_entry(&tar, "g", '1', "d/low", "");
    craft_entry(&tar, "g", '5', "", "");
    craft_end(&tar);
    assert_int_equal(unpack_on(&tar, p.dir, "fs", p.below, 2, NULL), 0);
    assert_true(asprintf(&low, "%s/low/d/low", p.dir) > 0);
    assert_int_equal(file_read(AT_FDCWD, low, 100, &text, &len), 0);
    assert_string_equal(text, "deep");
    assert_int_equal(look(p.dir, "low/d/low").st_mode & 0777, 0644);
    end_pile(&p);
}

static void a_hard_link_to_what_no_mount_would_show_is_refused(void **state)
{
    static const struct {
        const char *target;
        int code;
    } rows[] = {
        {"d/gone", -ENOENT},      /* hidden by the middle layer */
        {"o/x", -ENOENT},         /* below an opaque folder */
        {"was/x", -ENOTDIR},      /* a file took the folder's place */
        {"d", -EISDIR},           /* a folder */
        {"d/pipe", -EINVAL},      /* neither file nor link */
        {"out/victim", -ENOTDIR}, /* out of the layer, through a link */
        {"in/low", -ENOTDIR},     /* through a link that stays inside */
        {"../victim", -EINVAL},   {"/etc/passwd", -ENOENT}, {"d/none", -ENOENT},
        {"d/low/x", -ENOTDIR},    {"mine/low", -ENOENT}, /* hidden by this layer */
        {"cut/low", -ENOENT},     {"away", -ENOENT},
    };
    struct pile p;

    (void)state;
    make_pile(&p);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        SCOPED(str_fini) struct str tar = {0};
        struct err e = {0};
        int r;

        craft_entry(&tar, ".wh.away", '0', "", "");
        craft_entry(&tar, "mine", '5', "", "");
        craft_entry(&tar, "cut/.wh..wh..opq", '0', "", "");
        craft_entry(&tar, "h", '1', rows[i].target, "");
        craft_end(&tar);
        r = unpack_on(&tar, p.dir, "fs", p.below, 2, &e);
        if (r != rows[i].code || strstr(e.text, "a hard link to") == NULL) {
            fail_msg("%s: %d %s", rows[i].target, r, e.text);
        }
        assert_int_equal(look(p.dir, "victim").st_nlink, 1);
        {
            SCOPED(scope_free) char *fs = NULL;

            assert_true(asprintf(&fs, "%s/fs", p.dir) > 0);
            assert_int_equal(file_remove_tree(AT_FDCWD, fs), 0);
        }
    }
    end_pile(&p);
}

static void a_hard_link_to_a_symlink_is_the_symlink(void **state)
{
    SCOPED(str_fini) struct str tar = {0};
    char *dir = craft_dir();

    (void)state;
    craft_entry(&tar, "l", '2', "/etc/passwd", "");
    craft_entry(&tar, "h", '1', "l", "");
    craft_end(&tar);
    assert_int_equal(unpack(&tar, dir, -1, 512, NULL), 0);
    assert_true(S_ISLNK(look(dir, "fs/h").st_mode));
    craft_remove(dir);
}

static void device_nodes_become_empty_files(void **state)
{
    SCOPED(str_fini) struct str tar = {0};
    char *dir = craft_dir();

    (void)state;
    craft_entry(&tar, "dev/sda", '4', "", "");
    craft_entry(&tar, "dev/hole", '3', "", ""); /* 0:0 would be a whiteout */
    craft_end(&tar);
    assert_int_equal(unpack(&tar, dir, -1, 512, NULL), 0);
    assert_int_equal(look(dir, "fs/dev/sda").st_mode, S_IFREG);
    assert_int_equal(look(dir, "fs/dev/hole").st_mode, S_IFREG);
    craft_remove(dir);
}

static void whiteouts_of_nothing_and_of_parents_are_refused(void **state)
{
    static const char *const names[] = {".wh.", ".wh..", ".wh...", "a/.wh..."};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct str tar = {0};

        craft_entry(&tar, names[i], '0', "", "");
        refuse(&tar, -EINVAL, names[i]);
    }
    {
        struct str tar = {0};

        craft_entry(&tar, "a/.wh.b/c", '0', "", "");
        refuse(&tar, -EINVAL, "lies in a whiteout");
    }
}

static void whiteouts_hide_what_is_below(void **state)
{
    SCOPED(str_fini) struct str tar = {0};
    char *dir = craft_dir();
    SCOPED(scope_close) int below = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SCOPED(scope_free) char *opaque = NULL;
    struct stat st;
    char value[2];

    (void)state;
    craft_entry(&tar, "d/.wh.gone", '0', "", "");
    craft_entry(&tar, "o/.wh..wh..opq", '0', "", "");
    craft_entry(&tar, ".wh.r", '0', "", "");
    craft_entry(&tar, "r", '5', "", ""); /* again a folder: without what was below */
    craft_entry(&tar, "f", '0', "", "new");
    craft_entry(&tar, ".wh.f", '0', "", ""); /* hides only what is below */
    craft_end(&tar);
    assert_int_equal(unpack(&tar, dir, below, 512, NULL), 0);
    st = look(dir, "fs/d/gone");
    assert_true(S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0));
    assert_int_equal(look(dir, "fs/o/.wh..wh..opq").st_mode, 0);
    assert_true(S_ISREG(look(dir, "fs/f").st_mode));
    for (int i = 0; i < 2; i++) {
        free(opaque);
        assert_true(asprintf(&opaque, "%s/fs/%s", dir, i == 0 ? "o" : "r") > 0);
        assert_true(getxattr(opaque, "trusted.overlay.opaque", value, 2) == 1 ||
                    getxattr(opaque, "user.overlay.opaque", value, 2) == 1);
    }
    craft_remove(dir);
}

static void attributes_that_steer_an_overlay_are_dropped(void **state)
{
    SCOPED(str_fini) struct str tar = {0};
    char *dir = craft_dir();
    SCOPED(scope_free) char *file = NULL;
    char value[8];

    (void)state;
    craft_pax(&tar, "41 SCHILY.xattr.user.overlay.redirect=/x\n"
                    "44 SCHILY.xattr.trusted.overlay.opaque=yyyy\n"
                    "30 SCHILY.xattr.user.mine=abc\n");
    craft_entry(&tar, "f", '0', "", "");
    craft_end(&tar);
    assert_int_equal(unpack(&tar, dir, -1, 512, NULL), 0);
    assert_true(asprintf(&file, "%s/fs/f", dir) > 0);
    assert_true(getxattr(file, "user.overlay.redirect", value, 8) < 0);
    assert_true(getxattr(file, "trusted.overlay.opaque", value, 8) < 0);
    assert_int_equal(getxattr(file, "user.mine", value, 8), 3);
    craft_remove(dir);
}

static void damaged_headers_are_refused(void **state)
{
    static const char *const pax[] = {
        "0 a=b\n",           "99 path=x\n",
        "12 path=x\n\n\n\n", "x path=y\n",
        "11 pathxxx\n",      "10 path=x",
        "6 =x\n\n",          "18446744073709551616 a=b\n",
        "16 uid=-1234567\n", "24 GNU.sparse.map=1,2,3\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof pax / sizeof pax[0]; i++) {
        struct str tar = {0};

        craft_pax(&tar, pax[i]);
        craft_entry(&tar, "f", '0', "", "x");
        refuse(&tar, -EBADMSG, "extended header");
    }
    for (int i = 0; i < 512; i += 37) {
        SCOPED(str_fini) struct str tar = {0};
        char *dir = craft_dir();

        craft_entry(&tar, "f", '0', "", "x");
        tar.data[i] ^= 0x40;
        craft_end(&tar);
        assert_int_equal(unpack(&tar, dir, -1, 512, NULL), -EBADMSG);
        craft_remove(dir);
    }
}

static void oversized_headers_and_entries_are_refused(void **state)
{
    struct str tar = {0};
    SCOPED(scope_free) char *big = calloc(1, 3u << 20);

    (void)state;
    memset(big, 'a', (2u << 20));
    craft_entry(&tar, "pax", 'x', "", big);
    refuse(&tar, -EFBIG, "extended header");
    big[5000] = '\0';
    craft_entry(&tar, "long", 'L', "", big);
    craft_entry(&tar, "f", '0', "", "");
    refuse(&tar, -ENAMETOOLONG, "too long");
    big[300] = '\0';
    craft_entry(&tar, "long", 'L', "", big);
    craft_entry(&tar, "f", '0', "", "");
    refuse(&tar, -ENAMETOOLONG, "aaa");
    craft_header(&tar, "f", '0', "", 07777777777);
    refuse(&tar, -EFBIG, "more than");
}

static void too_many_entries_are_refused(void **state)
{
    struct str tar = {0};

    (void)state;
    for (int i = 0; i < 1001; i++) {
        craft_entry(&tar, "d", '5', "", "");
    }
    refuse(&tar, -EFBIG, "entries");
}

static void sparse_tricks_are_refused(void **state)
{
    static const char *const maps[] = {
        "26 GNU.sparse.map=0,1,0,1\n24 GNU.sparse.size=1000\n", /* overlap */
        "24 GNU.sparse.map=90,10\n22 GNU.sparse.size=50\n",     /* behind the end */
        "24 GNU.sparse.map=0,100\n23 GNU.sparse.size=200\n",    /* more than is there */
    };

    (void)state;
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
        struct str tar = {0};

        craft_pax(&tar, maps[i]);
        craft_entry(&tar, "s", '0', "", "ab");
        refuse(&tar, -EBADMSG, "sparse");
    }
    {
        struct str tar = {0};

        /* Two bytes that claim to be eight exbibytes. */
        craft_pax(&tar,
                  "22 GNU.sparse.map=0,2\n39 GNU.sparse.size=9000000000000000000\n");
        craft_entry(&tar, "s", '0', "", "ab");
        refuse(&tar, -EFBIG, "more than");
    }
}

static void each_truncation_is_an_error_or_a_shorter_layer(void **state)
{
    SCOPED(str_fini) struct str tar = {0};

    (void)state;
    craft_pax(&tar, "15 path=d/long\n");
    craft_entry(&tar, "f", '0', "", "some data");
    craft_entry(&tar, "g", '0', "", "more data");
    craft_end(&tar);
    for (size_t n = 0; n < tar.len; n += 100) {
        struct str cut = {.data = tar.data, .len = n};
        char *dir = craft_dir();
        int r = unpack(&cut, dir, -1, 33, NULL);

        assert_true(r == -EBADMSG || (r == 0 && (n % 512 == 0 || n > tar.len - 1024)));
        craft_remove(dir);
    }
}

static void a_folder_replaced_by_a_link_takes_nothing_along(void **state)
{
    SCOPED(str_fini) struct str tar = {0};
    char *dir = craft_dir();

    (void)state;
    craft_entry(&tar, "d", '5', "", "");
    craft_entry(&tar, "d/f", '0', "", "x");
    craft_entry(&tar, "d", '2', "..", "");
    craft_entry(&tar, "d/g", '0', "", "x");
    craft_end(&tar);
    assert_int_equal(unpack(&tar, dir, -1, 512, NULL), 0);
    assert_int_equal(look(dir, "g").st_mode, 0);
    assert_true(S_ISREG(look(dir, "fs/g").st_mode));
    assert_true(S_ISLNK(look(dir, "fs/d").st_mode));
    craft_remove(dir);
}

struct job {
    const struct str *tar;
};

static int unpack_once(void *arg)
{
    struct job *j = arg;
    char *dir = craft_dir();
    int r = unpack(j->tar, dir, -1, 512, NULL);

    craft_remove(dir);
    return r;
}

static void each_failing_allocation_is_reported(void **state)
{
    SCOPED(str_fini) struct str tar = {0};
    struct job j = {&tar};

    (void)state;
    craft_pax(&tar, "15 path=d/long\n");
    craft_entry(&tar, "f", '0', "", "x");
    craft_entry(&tar, "d", '5', "", "");
    craft_end(&tar);
    assert_true(check_each_allocation(unpack_once, &j, -ENOMEM) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dot_dot_is_refused),
        cmocka_unit_test(an_absolute_path_stays_inside),
        cmocka_unit_test(a_symlink_as_parent_leads_nowhere_outside),
        cmocka_unit_test(a_file_is_not_written_through_a_symlink),
        cmocka_unit_test(a_hard_link_reaches_only_files_of_the_layer),
        cmocka_unit_test(a_hard_link_may_reach_a_file_of_a_lower_layer),
        cmocka_unit_test(a_lower_file_is_never_written_through_its_link),
        cmocka_unit_test(a_hard_link_to_what_no_mount_would_show_is_refused),
        cmocka_unit_test(a_hard_link_to_a_symlink_is_the_symlink),
        cmocka_unit_test(device_nodes_become_empty_files),
        cmocka_unit_test(whiteouts_of_nothing_and_of_parents_are_refused),
        cmocka_unit_test(whiteouts_hide_what_is_below),
        cmocka_unit_test(attributes_that_steer_an_overlay_are_dropped),
        cmocka_unit_test(damaged_headers_are_refused),
        cmocka_unit_test(oversized_headers_and_entries_are_refused),
        cmocka_unit_test(too_many_entries_are_refused),
        cmocka_unit_test(sparse_tricks_are_refused),
        cmocka_unit_test(each_truncation_is_an_error_or_a_shorter_layer),
        cmocka_unit_test(a_folder_replaced_by_a_link_takes_nothing_along),
        cmocka_unit_test(each_failing_allocation_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
