/* served.c - a disk of more than a raw file becomes a file of the host.
 *
 * The program `volume` serves it on a FUSE file system that is mounted nowhere; it has only
 * descriptors, confines itself before it reads a foreign byte, and ends when nobody has the
 * file open any more.  It is in a mount namespace of its own, so that it does not keep the
 * mount that keeps it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/attach/attach.h"
#include "node/disks/private.h"

#define ANSWER_FD   3
#define FUSE_FD     4
#define LAYER_FD    5
#define LAYERS_MOST 256
#define FREE_FD     512 /* above all of them */

struct serving {
    char program[PATH_MAX];
    struct strv words;
    int fds[LAYERS_MOST];
    unsigned count;
};

static void fini(struct serving *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        (void)close(s->fds[i]);
    }
    strv_fini(&s->words);
}

/* A layer is the words of a file and of a format over it, and stands on the one before. */
static int add_layer(struct serving *s, const json_t *layer, bool writes, struct err *e)
{
    const char *path = disks_text(layer, "path");
    const char *mode = writes ? "" : ",read-only";
    unsigned i = s->count;
    int fd = open(path, (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC);

    if (fd < 0) {
        return err_sys(e, -errno, "cannot open '%s'", path);
    }
    s->fds[s->count++] = fd;
    strv_addf(&s->words, "node=f%u,file,fd=%u%s", i, LAYER_FD + i, mode);
    if (i == 0) {
        strv_addf(&s->words, "node=l%u,%s,file=f%u%s", i, disks_text(layer, "format"), i,
                  mode);
    } else {
        strv_addf(&s->words, "node=l%u,%s,file=f%u,backing=l%u%s", i,
                  disks_text(layer, "format"), i, i - 1, mode);
    }
    return 0;
}

static int describe(struct serving *s, const json_t *spec, const json_t *disk,
                    struct err *e)
{
    const json_t *layers = json_object_get(disk, "layers");
    bool read_only = json_is_true(json_object_get(disk, "read_only"));
    size_t n = json_array_size(layers);

    if (n == 0 || n > LAYERS_MOST) {
        return err_set(e, -EINVAL, "it has %zu layers", n);
    }
    (void)str_print(s->program, sizeof s->program, "%s/volume",
                    disks_text(json_object_get(spec, "place"), "libexec"));
    strv_add(&s->words, "volume");
    strv_add(&s->words, "fuse");
    strv_addf(&s->words, "fuse=%d", FUSE_FD);
    for (size_t i = 0; i < n; i++) {
        int r = add_layer(s, json_array_get(layers, i), i + 1 == n && !read_only, e);

        if (r < 0) {
            return r;
        }
    }
    if (read_only) {
        strv_add(&s->words, "read-only");
    }
    return strv_failed(&s->words) ? err_set(e, -ENOMEM, "no memory") : 0;
}

/* Descriptors get the numbers that the words name. */
static bool place_fds(struct serving *s, int server, int answer)
{
    bool ok;

    for (unsigned i = 0; i < s->count; i++) {
        s->fds[i] = fcntl(s->fds[i], F_DUPFD, FREE_FD);
    }
    server = fcntl(server, F_DUPFD, FREE_FD);
    answer = fcntl(answer, F_DUPFD, FREE_FD);
    ok = dup2(answer, ANSWER_FD) >= 0 && dup2(server, FUSE_FD) >= 0;
    for (unsigned i = 0; i < s->count; i++) {
        ok = ok && dup2(s->fds[i], LAYER_FD + (int)i) >= 0;
    }
    (void)close_range(LAYER_FD + s->count, ~0u, 0);
    return ok;
}

/* The child of a child: whoever waits for children of ours does not see it. */
static _Noreturn void become_server(struct serving *s, int server, int answer)
{
    pid_t pid = fork();

    if (pid != 0) {
        _exit(pid < 0 ? 1 : 0);
    }
    (void)setsid();
    if (unshare(CLONE_NEWNS) == 0 &&
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        place_fds(s, server, answer)) {
        (void)execv(s->program, s->words.items);
    }
    (void)dprintf(ANSWER_FD, "error %d cannot execute '%s'\n", -errno, s->program);
    _exit(127);
}

static int start(struct serving *s, int server, int answer, struct err *e)
{
    pid_t pid = fork();
    int status = 1;

    if (pid == 0) {
        become_server(s, server, answer);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return pid < 0 || status != 0 ? err_set(e, -EAGAIN, "cannot make a process") : 0;
}

/* Its first line: that it serves, or why not. */
static int hear(int from, struct err *e)
{
    SCOPED(scope_file) FILE *f = fdopen(from, "r");
    char line[ERR_TEXT_BYTES + 64] = "";
    char *end = NULL;
    long code;

    if (f == NULL) {
        (void)close(from);
    }
    if (f == NULL || fgets(line, sizeof line, f) == NULL) {
        return err_set(e, -EIO, "the program 'volume' ended without a word");
    }
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "error ", 6) != 0) {
        return 0;
    }
    code = strtol(line + 6, &end, 10);
    return err_set(e, code < 0 && code > -4096 ? (int)code : -EIO, "%s",
                   end + strspn(end, " "));
}

static int serve(struct serving *s, bool read_only, int *ret_file, struct err *e)
{
    SCOPED(scope_close) int server = -1;
    SCOPED(scope_close) int mount = -1;
    int ends[2];
    int r = attach_fuse(read_only, &server, &mount, e);

    if (r < 0) {
        return r;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot make a pipe");
    }
    r = start(s, server, ends[1], e);
    (void)close(ends[1]);
    (void)close(server); /* when the program dies, the file gives errors */
    server = -1;
    if (r < 0) {
        (void)close(ends[0]);
        return r;
    }
    r = hear(ends[0], e);
    return r < 0 ? r : attach_fuse_open(mount, read_only, ret_file, e);
}

int disks_serve(const json_t *spec, const json_t *disk, int *ret_file, struct err *e)
{
    struct serving s = {.count = 0};
    int r = describe(&s, spec, disk, e);

    if (r == 0) {
        r = serve(&s, json_is_true(json_object_get(disk, "read_only")), ret_file, e);
    }
    fini(&s);
    return r;
}
