/* cp_machine.c - copy between a machine and the host, by a tar that runs in the guest.
 *
 * What comes out is foreign bytes: it is put into a directory of its own first, which nothing
 * leads out of (disk/untar.c), and of that only what was asked for goes on. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "contract/task.h"
#include "host/file.h"
#include "node/verb/private.h"

#define SAID_BYTES 256

/* Put below $1, if it is a directory, or else as $1; $2 is the name in the stream. */
static const char take_in[] =
    "if [ -d \"$1\" ] || [ \"$2\" = . ]; then mkdir -p \"$1\" && exec tar -xf - -C \"$1\"; fi\n"
    "set -e; d=$(mktemp -d \"$(dirname \"$1\")/.cp-XXXXXX\"); trap 'rm -rf \"$d\"' EXIT\n"
    "tar -xf - -C \"$d\"; mv \"$d/$2\" \"$1\"";
static const char give_out[] =
    "case $2 in -*) set -- \"$1\" \"./$2\" ;; esac; cd \"$1\" && exec tar -cf - \"$2\"";

/* The tar inside: its other end, its process, what it complains of. */
struct inside {
    bool is_output; /* what it writes is wanted */
    bool is_ours;   /* the stream is this command's own */
    int stream;     /* -1: none is left to us */
    int pidfd;
    int said; /* a memfd */
};

static int begin(struct node *n, const struct guest *g, const char *path,
                 const char *name, struct inside *ret, struct err *e)
{
    bool out = ret->is_output;
    const char *argv[] = {"sh", "-c", out ? give_out : take_in, "cp", path, name, NULL};
    SCOPED(scope_close) int said = memfd_create("said", MFD_CLOEXEC);
    SCOPED(scope_close) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    SCOPED(scope_close) int other = -1;
    struct task_exec x = {.argv = argv, .user = "0", .cwd = "/"};
    struct task *t = NULL;
    int ends[2], master = -1;
    int r;

    if (said < 0 || null < 0 || pipe2(ends, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot copy");
    }
    other = ends[out ? 1 : 0];
    ret->stream = ends[out ? 0 : 1];
    x.stdio[0] = out ? null : ret->is_ours ? STDIN_FILENO : other;
    x.stdio[1] = !out ? null : ret->is_ours ? STDOUT_FILENO : other;
    x.stdio[2] = said;
    r = guest_task(n, g, &t, e);
    r = r == 0 ? task_exec(t, &x, &ret->pidfd, &master, e) : r;
    task_close(t);
    ret->said = r == 0 ? scope_take_fd(&said) : -1;
    return r;
}

/* Wait for it; what it complained of first is the error. */
static int end(struct inside *in, int r, const char *word, struct err *e)
{
    char text[SAID_BYTES] = "";
    int code;

    scope_close(&in->stream);
    in->stream = -1;
    if (in->pidfd < 0) {
        return r;
    }
    code = node_exec_code(in->pidfd);
    scope_close(&in->pidfd);
    if (pread(in->said, text, sizeof text - 1, 0) > 0) {
        text[strcspn(text, "\n")] = '\0';
    }
    scope_close(&in->said);
    if (code == 0) {
        return r;
    }
    if (e != NULL) {
        err_clear(e); /* a stream that broke off is no more than the consequence */
    }
    return err_set(e, -EIO, "cannot copy '%s': in the guest: %s", word,
                   text[0] != '\0' ? text : "its tar failed");
}

/* "/a/b/" is "/a" and "b". */
static int split(const char *path, char dir[PATH_MAX], char name[NAME_MAX + 1],
                 struct err *e)
{
    size_t n = strlen(path);
    size_t from;

    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    for (from = n; from > 0 && path[from - 1] != '/'; from--) {
    }
    if (str_print(name, NAME_MAX + 1, "%.*s", (int)(n - from), path + from) < 0 ||
        str_print(dir, PATH_MAX, "%s%.*s", path[0] == '/' ? "" : "/", (int)from, path) <
            0) {
        return err_set(e, -ENAMETOOLONG, "cannot copy '%s': the name is too long", path);
    }
    if (strcmp(name, "..") == 0) {
        return err_set(e, -EINVAL, "cannot copy '%s': the path ends in '..'", path);
    }
    if (name[0] == '\0') {
        (void)str_print(name, NAME_MAX + 1, ".");
    }
    return 0;
}

/* Of a path here; `dir` is what `split` made of it. */
static int open_parent(const char *path, const char *dir)
{
    const char *here = dir[1] == '\0' ? "." : dir + 1;

    return open(path[0] == '/' ? dir : here, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* From the directory in between to where it was wanted. */
static int deliver(int from, const char *name, const char *to, struct err *e)
{
    static const struct copy_how how = {.keep_owner = false};
    SCOPED(scope_close) int into = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char dir[PATH_MAX], last[NAME_MAX + 1];
    int r;

    if (into >= 0) {
        return copy_tree(from, name, into, name, &how, e);
    }
    r = split(to, dir, last, e);
    if (r < 0) {
        return r;
    }
    into = open_parent(to, dir);
    return into < 0 ? err_sys(e, -errno, "cannot open '%s'", to)
                    : copy_tree(from, name, into, last, &how, e);
}

static int copy_out(struct node *n, const struct guest *g, const char *path,
                    const char *to, struct err *e)
{
    static const struct copy_how how = {.keep_owner = false};
    struct inside in = {true, strcmp(to, "-") == 0, -1, -1, -1};
    SCOPED(scope_close) int top = -1;
    char dir[PATH_MAX], name[NAME_MAX + 1], between[PATH_MAX];
    int r = split(path, dir, name, e);

    if (r == 0 && in.is_ours) {
        r = begin(n, g, dir, name, &in, e);
        return end(&in, r, path, e);
    }
    (void)guest_state_path(n, g->id, "cp-XXXXXX", between);
    if (r == 0 && mkdtemp(between) != NULL) {
        top = open(between, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (r < 0 || top < 0) {
        return r < 0 ? r : err_sys(e, -errno, "cannot make '%s'", between);
    }
    (void)fault_step("cp.machine.between");
    r = begin(n, g, dir, name, &in, e);
    r = r == 0 ? untar(in.stream, top, &how, e) : r;
    r = end(&in, r, path, e);
    r = r == 0 ? deliver(top, name, to, e) : r;
    (void)file_remove_tree(AT_FDCWD, between);
    return r;
}

static int send_tree(const char *from, int stream, struct err *e)
{
    static const struct copy_how how = {.keep_owner = false};
    char dir[PATH_MAX], name[NAME_MAX + 1];
    SCOPED(scope_close) int top = -1;
    int r = split(from, dir, name, e);

    if (r < 0) {
        return r;
    }
    top = open_parent(from, dir);
    return top < 0 ? err_sys(e, -errno, "cannot open '%s'", from)
                   : totar(top, name, stream, &how, e);
}

static int copy_in(struct node *n, const struct guest *g, const char *from,
                   const char *path, struct err *e)
{
    struct inside in = {false, strcmp(from, "-") == 0, -1, -1, -1};
    char dir[PATH_MAX], name[NAME_MAX + 1] = ".";
    int r = in.is_ours ? 0 : split(from, dir, name, e);

    if (r == 0 && !in.is_ours &&
        faccessat(AT_FDCWD, from, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        r = err_sys(e, -errno, "cannot copy '%s'", from);
    }
    r = r == 0 ? begin(n, g, path, name, &in, e) : r;
    if (r == 0 && !in.is_ours) {
        r = send_tree(from, in.stream, e);
    }
    return end(&in, r, path, e);
}

int verb_cp_machine(struct node *n, struct guest *g, const struct verb_copy *c,
                    struct err *e)
{
    struct guest_status st;
    int r = guest_refresh(n, g, &st, e);

    if (r < 0) {
        return r;
    }
    if (st.state != GUEST_RUNNING) {
        return err_set(
            e, -ESRCH,
            "cannot copy files of guest '%s': it is a machine, and only while it "
            "runs its agent copies",
            guest_text(g, "name"));
    }
    if (c->follows) {
        return err_set(e, -EOPNOTSUPP,
                       "cannot use --follow-links with guest '%s': it is a machine",
                       guest_text(g, "name"));
    }
    if (isatty(c->is_output ? STDOUT_FILENO : STDIN_FILENO) &&
        strcmp(c->there, "-") == 0) {
        return err_set(e, -EINVAL,
                       "cannot copy '-': that is a terminal here, not a tar stream");
    }
    return c->is_output ? copy_out(n, g, c->path, c->there, e)
                        : copy_in(n, g, c->there, c->path, e);
}
