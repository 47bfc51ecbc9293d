/* tree_test.c - the promises of contract/tree.h, for each implementer. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "contract/tree.h"
#include "resource/image/image.h"
#include "tests/base/check.h"
#include "tests/resource/image/craft.h"

static void make(const char *dir, const char *path, const char *text)
{
    SCOPED(scope_free) char *full = NULL;

    assert_true(asprintf(&full, "%s/%s", dir, path) > 0);
    if (text == NULL) {
        assert_int_equal(file_make_dirs(full, 0755), 0);
    } else {
        assert_int_equal(file_replace(AT_FDCWD, full, text, strlen(text), 0644, false),
                         0);
    }
}

static int add(void *arg, const char *name)
{
    strv_add(arg, name);
    return 0;
}

/* Holds: a/f = "text", a/l -> f. */
static void keeps_its_promises(struct tree *t)
{
    SCOPED(strv_fini) struct strv names = {0};
    SCOPED(scope_close) int fd = -1;
    struct tree_stat st;
    char buf[10] = "";

    assert_int_equal(tree_stat(t, "a/f", &st), 0);
    assert_true(S_ISREG(st.mode) && st.size == 4);
    fd = tree_open(t, "a/f");
    assert_true(fd >= 0);
    assert_int_equal(read(fd, buf, 10), 4);
    assert_memory_equal(buf, "text", 4);
    assert_int_equal(tree_read_link(t, "a/l", buf, sizeof buf), 1);
    assert_string_equal(buf, "f");
    assert_int_equal(tree_read_link(t, "a/l", buf, 1), -ENAMETOOLONG);
    assert_int_equal(tree_read_link(t, "a/f", buf, sizeof buf), -EINVAL);
    assert_int_equal(tree_list(t, "a", add, &names), 0);
    assert_int_equal(names.n, 2);
    assert_true(strv_has(&names, "f") && strv_has(&names, "l"));
    assert_int_equal(tree_open(t, "a"), -EISDIR);
    assert_int_equal(tree_stat(t, "none", &st), -ENOENT);
    assert_true(tree_stat(t, "a/l/x", &st) < 0);
    assert_int_equal(tree_stat(t, "", &st), 0);
    assert_true(S_ISDIR(st.mode));
    assert_int_equal(tree_stat(t, "../x", &st), -EINVAL);
    assert_int_equal(tree_stat(t, "/a", &st), -EINVAL);
    assert_int_equal(tree_stat(t, "a//f", &st), -EINVAL);
    assert_int_equal(tree_stat(t, "a/", &st), -EINVAL);
    assert_int_equal(tree_stat(t, "a/./f", &st), -EINVAL);
}

static void a_directory_keeps_the_promises_of_a_tree(void **state)
{
    char *dir = craft_dir();
    SCOPED(scope_free) char *link = NULL;
    struct tree *t = NULL;

    (void)state;
    make(dir, "a", NULL);
    make(dir, "a/f", "text");
    assert_true(asprintf(&link, "%s/a/l", dir) > 0);
    assert_int_equal(symlink("f", link), 0);
    assert_int_equal(image_tree_dir(dir, &t, NULL), 0);
    keeps_its_promises(t);
    tree_close(t);
    craft_remove(dir);
}

/* Two layers whose union is the same tree: the upper one hides and replaces. */
static void layers_keep_the_promises_of_a_tree(void **state)
{
    char *dir = craft_dir();
    SCOPED(strv_fini) struct strv dirs = {0};
    SCOPED(scope_free) char *path = NULL, *opaque = NULL;
    struct tree_stat st;
    struct tree *t = NULL;
    SCOPED(strv_fini) struct strv names = {0};

    (void)state;
    make(dir, "low/a/gone", NULL);
    make(dir, "low/a/f", "old text");
    make(dir, "low/o", NULL);
    make(dir, "low/o/hidden", "x");
    make(dir, "up/a", NULL);
    make(dir, "up/a/f", "text");
    make(dir, "up/o", NULL);
    make(dir, "up/o/own", "x");
    assert_true(asprintf(&path, "%s/low/a/l", dir) > 0);
    assert_int_equal(symlink("f", path), 0);
    free(path);
    assert_true(asprintf(&path, "%s/up/a/gone", dir) > 0);
    assert_true(asprintf(&opaque, "%s/up/o", dir) > 0);
    if (mknod(path, S_IFCHR, makedev(0, 0)) < 0 ||
        (setxattr(opaque, "user.overlay.opaque", "y", 1, 0) < 0 &&
         setxattr(opaque, "trusted.overlay.opaque", "y", 1, 0) < 0)) {
        craft_remove(dir);
        print_message("no whiteouts or attributes on this file system\n");
        skip();
    }
    strv_addf(&dirs, "%s/up", dir);
    strv_addf(&dirs, "%s/low", dir);
    assert_int_equal(image_tree_layers(&dirs, &t, NULL), 0);
    keeps_its_promises(t);
    assert_int_equal(tree_stat(t, "a/gone", &st), -ENOENT);
    assert_int_equal(tree_stat(t, "o/hidden", &st), -ENOENT);
    assert_int_equal(tree_list(t, "o", add, &names), 0);
    assert_int_equal(names.n, 1);
    tree_close(t);
    craft_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_keeps_the_promises_of_a_tree),
        cmocka_unit_test(layers_keep_the_promises_of_a_tree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
