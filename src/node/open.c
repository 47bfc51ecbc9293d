/* open.c - where a node keeps things, and what it opens when first needed.
 *
 * Root: /var/lib/strata and /run/strata.  A user: strata below XDG_DATA_HOME
 * and XDG_RUNTIME_DIR, else below HOME, else /tmp/strata-UID.  --state DIR: DIR and DIR/run.  Directories are made when
 * the store or the images are first asked for, so that what is refused before makes none; for
 * the owner only: below them lie the guests' files. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "contract/kv.h"
#include "host/file.h"
#include "node/private.h"
#include "resource/image/image.h"
#include "store/store.h"

#define LAST_PLACE "/tmp/strata-" /* and the user's number: who has no home */

static char *usual_place(const char *root_path, const char *xdg, const char *home_path,
                         const char *last_tail)
{
    struct str s = {0};
    const char *base = getenv(xdg);
    const char *home = getenv("HOME");

    if (geteuid() == 0) {
        str_add(&s, root_path);
    } else if (base != NULL && base[0] == '/') {
        str_addf(&s, "%s/strata", base);
    } else if (home != NULL && home[0] == '/') {
        str_addf(&s, "%s/%s", home, home_path);
    } else {
        str_addf(&s, LAST_PLACE "%u%s", (unsigned)geteuid(), last_tail);
    }
    return str_take(&s);
}

static char *absolute(const char *path, const char *tail)
{
    struct str s = {0};
    SCOPED(scope_free) char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);

    if (path[0] != '/' && cwd == NULL) {
        return NULL;
    }
    str_addf(&s, "%s%s%s%s", cwd != NULL ? cwd : "", cwd != NULL ? "/" : "", path, tail);
    return str_take(&s);
}

static bool is_last_place(const char *path)
{
    char last[64];

    (void)str_print(last, sizeof last, LAST_PLACE "%u", (unsigned)geteuid());
    return geteuid() != 0 && str_starts(path, last) &&
           (path[strlen(last)] == '\0' || path[strlen(last)] == '/');
}

/* Everybody can write to /tmp: what lies there under our name must be a directory of
 * ours, and no link to one. */
static int make_last_place(struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    char path[64];
    struct stat st;

    (void)str_print(path, sizeof path, LAST_PLACE "%u", (unsigned)geteuid());
    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        return err_sys(e, -errno, "cannot make the state directory '%s'", path);
    }
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid()) {
        return err_set(e, -EPERM,
                       "cannot use the state directory '%s': somebody else made it "
                       "(set HOME, or use --state)",
                       path);
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() || fchmod(fd, 0700) < 0) {
        return err_sys(e, -errno, "cannot use the state directory '%s'", path);
    }
    return 0;
}

static int make_place(const char *path, struct err *e)
{
    struct stat st;
    int r = is_last_place(path) ? make_last_place(e) : 0;

    if (r < 0) {
        return r;
    }
    r = file_make_dirs(path, 0755);
    if (r < 0) {
        return err_sys(e, r, "cannot make the state directory '%s'", path);
    }
    if (stat(path, &st) < 0) {
        return err_sys(e, -errno, "cannot look at the state directory '%s'", path);
    }
    if (st.st_uid != geteuid()) {
        return err_set(e, -EPERM,
                       "cannot use the state directory '%s': it belongs to user %u", path,
                       (unsigned)st.st_uid);
    }
    if (access(path, W_OK) < 0) {
        return err_sys(e, -errno, "cannot write to the state directory '%s'", path);
    }
    return 0;
}

int node_need_places(struct node *n, struct err *e)
{
    static const char *const in_state[] = {"guests", "images", "layers", "volumes"};
    char path[PATH_MAX];
    int r;

    if (n->placed) {
        return 0;
    }
    r = make_place(n->state, e);
    if (r == 0) {
        r = make_place(n->run, e);
    }
    for (size_t i = 0; r == 0 && i < sizeof in_state / sizeof in_state[0]; i++) {
        (void)str_print(path, sizeof path, "%s/%s", n->state, in_state[i]);
        if (mkdir(path, i == 0 ? 0711 : 0755) < 0 && errno != EEXIST) {
            r = err_sys(e, -errno, "cannot make '%s'", path);
        }
    }
    (void)str_print(path, sizeof path, "%s/guests", n->run);
    if (r == 0 && mkdir(path, 0711) < 0 && errno != EEXIST) {
        r = err_sys(e, -errno, "cannot make '%s'", path);
    }
    n->placed = r == 0;
    return r;
}

static int open_places(const struct node_options *o, const char *state, const char *run,
                       struct node **ret, struct err *e);

int node_open(const struct node_options *o, struct node **ret, struct err *e)
{
    SCOPED(scope_free) char *state = NULL;
    SCOPED(scope_free) char *run = NULL;

    if (o->state != NULL) {
        state = absolute(o->state, "");
        run = absolute(o->state, "/run");
    } else {
        state =
            usual_place("/var/lib/strata", "XDG_DATA_HOME", ".local/share/strata", "");
        run = usual_place("/run/strata", "XDG_RUNTIME_DIR", ".local/share/strata/run",
                          "/run");
    }
    return open_places(o, state, run, ret, e);
}

int node_open_at(const struct node_options *o, const char *state, const char *run,
                 struct node **ret, struct err *e)
{
    return open_places(o, state, run, ret, e);
}

static int open_places(const struct node_options *o, const char *state, const char *run,
                       struct node **ret, struct err *e)
{
    struct node *n = calloc(1, sizeof *n);
    int r = 0;

    if (n == NULL) {
        return err_set(e, -ENOMEM, "cannot start: no memory");
    }
    n->rootless = geteuid() != 0;
    n->log = o->log;
    n->program = strdup(o->program);
    n->libexec = strdup(o->libexec);
    n->state = state != NULL ? strdup(state) : NULL;
    n->run = run != NULL ? strdup(run) : NULL;
    if (n->state == NULL || n->run == NULL || n->program == NULL || n->libexec == NULL) {
        r = err_set(e, -ENOMEM, "cannot start: no memory");
    }
    if (r < 0) {
        node_close(n);
        return r;
    }
    *ret = n;
    return 0;
}

void node_close(struct node *n)
{
    if (n == NULL) {
        return;
    }
    kv_close(n->kv);
    image_store_close(n->images);
    free(n->state);
    free(n->run);
    free(n->program);
    free(n->libexec);
    free(n);
}

int node_kv(struct node *n, struct kv **ret, struct err *e)
{
    char path[PATH_MAX];
    int r = node_need_places(n, e);

    if (r == 0 && n->kv == NULL) {
        (void)str_print(path, sizeof path, "%s/store.db", n->state);
        r = store_open_sqlite(path, &n->kv, e);
    }
    *ret = n->kv;
    return r;
}

int node_images(struct node *n, struct image_store **ret, struct err *e)
{
    int r = node_need_places(n, e);

    if (r == 0 && n->images == NULL) {
        r = image_store_open(n->state, &n->images, e);
    }
    *ret = n->images;
    return r;
}

void node_set_progress(struct node *n, node_progress_fn *fn, void *arg)
{
    n->progress = fn;
    n->progress_arg = arg;
}

void node_report(struct node *n, const char *what, uint64_t done, uint64_t total)
{
    if (n->progress != NULL) {
        n->progress(n->progress_arg, what, done, total);
    }
}

int guest_state_path(const struct node *n, const char *id, const char *file,
                     char out[PATH_MAX])
{
    return str_print(out, PATH_MAX, "%s/guests/%s%s%s", n->state, id,
                     file[0] != '\0' ? "/" : "", file);
}

int guest_run_path(const struct node *n, const char *id, const char *file,
                   char out[PATH_MAX])
{
    return str_print(out, PATH_MAX, "%s/guests/%s%s%s", n->run, id,
                     file[0] != '\0' ? "/" : "", file);
}
