/* fixture.c - builds for tests; see fixture.h. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "tests/base/check.h"

/* ---- the runner: a private mount namespace, overlay, chroot ---- */

/* What is mounted over must be there, of the same kind. */
static void make_target(const char *at, const char *source)
{
    struct stat st;

    if (source != NULL && stat(source, &st) == 0 && S_ISREG(st.st_mode)) {
        (void)close(open(at, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    } else {
        (void)file_make_dirs(at, 0755);
    }
}

static int enter(const struct build_step *s, const char *root)
{
    struct str o = {0};
    int r;

    str_add(&o, "lowerdir=");
    for (size_t i = 0; i < s->lowers.n; i++) {
        str_addf(&o, "%s%s", i > 0 ? ":" : "", s->lowers.items[i]);
    }
    str_addf(&o, ",upperdir=%s,workdir=%s", s->upper, s->work);
    r = unshare(CLONE_NEWNS) < 0 ||
                mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                mount("overlay", root, "overlay", 0, str_text(&o)) < 0
            ? -errno
            : 0;
    str_fini(&o);
    for (size_t i = 0; i < s->n_mounts && r == 0; i++) {
        char at[300];

        (void)str_print(at, sizeof at, "%s%s", root, s->mounts[i].target);
        make_target(at, s->mounts[i].source);
        r = s->mounts[i].source == NULL
                ? mount("tmpfs", at, "tmpfs", 0, NULL)
                : mount(s->mounts[i].source, at, NULL, MS_BIND, NULL);
    }
    return r < 0 || chroot(root) < 0 || chdir(s->workdir) < 0 ? -1 : 0;
}

static int run(void *arg, const struct build_step *s, struct err *e)
{
    struct fixture *f = arg;
    char root[100];
    int status = 0;
    pid_t pid;

    f->runs++;
    f->last.network = s->network;
    (void)str_print(root, sizeof root, "%s/root", f->dir);
    (void)mkdir(root, 0755);
    pid = fork();
    if (pid == 0) {
        if (enter(s, root) < 0) {
            _exit(255);
        }
        if (getenv("TEST_VERBOSE") == NULL) {
            (void)dup2(open("/dev/null", O_WRONLY), 1);
            (void)dup2(1, 2);
        }
        if (s->user[0] >= '0' && s->user[0] <= '9' && setuid((uid_t)atoi(s->user)) < 0) {
            _exit(255);
        }
        (void)execvpe(s->argv.items[0], s->argv.items, s->env.items);
        _exit(127);
    }
    (void)waitpid(pid, &status, 0);
    return WEXITSTATUS(status) == 255 ? err_set(e, -EIO, "the step did not start")
                                      : WEXITSTATUS(status);
}

static void note(void *arg, unsigned at, unsigned of, const char *what, bool cached)
{
    struct fixture *f = arg;

    (void)what;
    assert_true(at >= 1 && at <= of);
    f->cached += cached;
}

/* ---- fixture ---- */

int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    static const struct build_base usual;
    struct image_desc desc;

    *state = f;
    (void)strcpy(f->dir, "/var/tmp/strata-build-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)str_print(f->state, sizeof f->state, "%s/state", f->dir);
    (void)str_print(f->context, sizeof f->context, "%s/context", f->dir);
    assert_int_equal(mkdir(f->state, 0700), 0);
    assert_int_equal(mkdir(f->context, 0755), 0);
    assert_int_equal(image_store_open(f->state, &f->store, &f->e), 0);
    f->pack.store = f->store;
    f->runner = (struct build_runner){run, f};
    f->b = (struct build){.pack = &f->pack,
                          .context = f->context,
                          .name = "made:1",
                          .runner = &f->runner,
                          .step = note,
                          .arg = f};
    f->can_run = geteuid() == 0;
    if (access("/bin/busybox", X_OK) == 0) {
        assert_int_equal(build_busybox(&f->pack, &usual, &desc, &f->e), 0);
    } else {
        image_store_close(f->store);
        f->store = NULL;
    }
    return 0;
}

int tear_down(void **state)
{
    struct fixture *f = *state;

    image_store_close(f->store);
    assert_int_equal(file_remove_tree(AT_FDCWD, f->dir), 0);
    free(f);
    return 0;
}

struct fixture *get(void **state, bool runs)
{
    struct fixture *f = *state;

    if (f->store == NULL || (runs && !f->can_run)) {
        print_message("skipped: %s\n", f->store == NULL
                                           ? "busybox-static is not installed"
                                           : "only root may mount an overlay");
        skip();
    }
    return f;
}

void put(struct fixture *f, const char *path, const char *text)
{
    char full[200];

    (void)str_print(full, sizeof full, "%s/%s", f->context, path);
    if (text == NULL) {
        assert_int_equal(file_make_dirs(full, 0755), 0);
    } else {
        assert_int_equal(file_replace(AT_FDCWD, full, text, strlen(text), 0644, false),
                         0);
    }
}

int build(struct fixture *f, const char *text)
{
    struct image_desc desc;

    put(f, "Containerfile", text);
    err_clear(&f->e);
    f->cached = f->runs = 0;
    return build_containerfile(&f->b, &desc, &f->e);
}

void assert_built(struct fixture *f, const char *text)
{
    if (build(f, text) != 0) {
        fail_msg("%s", f->e.text);
    }
}

/* What is below layers/ and was not there after a clean end. */
void assert_no_debris(struct fixture *f)
{
    char path[100];
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *x;

    (void)str_print(path, sizeof path, "%s/layers", f->state);
    d = opendir(path);
    while ((x = readdir(d)) != NULL) {
        assert_true(x->d_name[0] != '.' || strcmp(x->d_name, ".") == 0 ||
                    strcmp(x->d_name, "..") == 0);
    }
}

/* The file system of the image made:1. */
void open_made(struct fixture *f, struct view *v)
{
    SCOPED(strv_fini) struct strv dirs = {0};
    struct image img;

    assert_int_equal(image_find(f->store, "made:1", &img, &f->e), 0);
    assert_int_equal(pack_unpack(&f->pack, &img, &f->e), 0);
    assert_int_equal(image_layer_dirs(f->store, &img, &dirs, &f->e), 0);
    assert_int_equal(view_open(v, &dirs, true, &f->e), 0);
    image_fini(&img);
}

void assert_file(struct fixture *f, const char *path, const char *want)
{
    SCOPED(view_close) struct view v = {0};
    SCOPED(scope_close) int fd = -1;
    struct view_entry x;
    char text[200] = "";

    open_made(f, &v);
    assert_int_equal(view_find(&v, path, true, &x), 0);
    if (want == NULL) {
        assert_false(x.exists);
        return;
    }
    if (!x.exists) {
        fail_msg("%s is not there", path);
    }
    fd = view_open_file(&v, &x);
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    assert_string_equal(text, want);
}

void assert_mode(struct fixture *f, const char *path, mode_t mode, uid_t uid, gid_t gid)
{
    SCOPED(view_close) struct view v = {0};
    struct view_entry x;

    open_made(f, &v);
    assert_int_equal(view_find(&v, path, true, &x), 0);
    assert_true(x.exists);
    assert_int_equal(x.st.st_mode & 07777, mode);
    assert_int_equal(x.st.st_uid, uid);
    assert_int_equal(x.st.st_gid, gid);
}
