/* format.c - a file system on a disk that is new, by the program that makes such file systems.
 *
 * It is told that all is zeros, so that a thin disk stays thin and a large one takes no longer. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/attach/attach.h"
#include "host/file.h"
#include "node/mount/mount.h"

#define WORDS_MOST  10
#define SAID_MOST   400
#define USUAL_BYTES 512

/* clang-format off */
static const struct maker {
    const char *type;
    const char *package;              /* that has the program */
    const char *words[WORDS_MOST];    /* the path goes behind them */
    const char *tidy[WORDS_MOST];     /* the same; what the first one left that nobody wants */
} makers[] = {
    {"ext4", "e2fsprogs",
     {"mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard,assume_storage_prezeroed=1", NULL},
     {"debugfs", "-w", "-R", "rmdir lost+found", NULL}},
    {"xfs", "xfsprogs", {"mkfs.xfs", "-q", "-K", NULL}, {NULL}},
    {"btrfs", "btrfs-progs", {"mkfs.btrfs", "-q", "-K", NULL}, {NULL}},
};

/* clang-format on */

static const char *const places[] = {"/usr/sbin", "/sbin", "/usr/bin", "/bin",
                                     "/usr/local/sbin"};

static bool find_program(const char *name, char path[128])
{
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        (void)snprintf(path, 128, "%s/%s", places[i], name);
        if (access(path, X_OK) == 0) {
            return true;
        }
    }
    return false;
}

static _Noreturn void become(const char *path, char *const *words, int said)
{
    int null = open("/dev/null", O_RDWR);
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (null >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1 && dup2(said, 2) == 2) {
        (void)close_range(3, ~0u, 0);
        (void)execv(path, words);
    }
    _exit(127);
}

/* Run a program on the file; what it says when it fails is the reason. */
static int run(const struct maker *m, const char *const *list, int file, struct err *e)
{
    char path[128];
    char target[64];
    char said[SAID_MOST];
    char *words[WORDS_MOST + 2];
    SCOPED(scope_close) int from = -1;
    int ends[2];
    int status = 0;
    ssize_t got;
    pid_t pid;
    size_t i;

    if (!find_program(list[0], path)) {
        return err_set(e, -ENOENT, "there is no program '%s' (package '%s')", list[0],
                       m->package);
    }
    for (i = 0; list[i] != NULL; i++) {
        words[i] = (char *)(uintptr_t)list[i]; /* exec does not change it */
    }
    (void)snprintf(target, sizeof target, "/proc/%d/fd/%d", (int)getpid(), file);
    words[i] = target;
    words[i + 1] = NULL;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot make a pipe");
    }
    from = ends[0];
    pid = fork();
    if (pid == 0) {
        become(path, words, ends[1]);
    }
    (void)close(ends[1]);
    got = pid < 0 ? -1 : file_read_all(from, said, sizeof said - 1);
    scope_close(&from); /* one that says more is ended */
    from = -1;
    said[got > 0 ? got : 0] = '\0';
    said[strcspn(said, "\n")] = '\0';
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (pid < 0 || status != 0) {
        return err_set(e, -EIO, "'%s' failed: %s", list[0],
                       said[0] != '\0' ? said : "it says nothing");
    }
    return 0;
}

static const struct maker *find(const char *type)
{
    for (size_t i = 0; i < sizeof makers / sizeof makers[0]; i++) {
        if (strcmp(makers[i].type, type) == 0) {
            return &makers[i];
        }
    }
    return NULL;
}

static int make(const struct maker *m, int file, struct err *e)
{
    int r = run(m, m->words, file, e);

    if (r == 0 && m->tidy[0] != NULL) {
        r = run(m, m->tidy, file, e);
    }
    return r == 0 && fsync(file) < 0
               ? err_sys(e, -errno, "cannot write the file system down")
               : r;
}

int disks_format(int file, uint32_t block_bytes, const char *type, struct err *e)
{
    const struct attach_loop o = {.file = file, .block_bytes = block_bytes};
    const struct maker *m = find(type);
    char path[ATTACH_PATH_BYTES];
    SCOPED(scope_close) int device = -1;
    int r = m == NULL ? err_set(e, -EINVAL, "no program makes '%s'", type) : 0;

    if (r == 0 &&
        block_bytes > USUAL_BYTES) { /* a device tells the program of its blocks */
        r = attach_loop(&o, path, &device, e);
    }
    r = r == 0 ? make(m, device >= 0 ? device : file, e) : r;
    return r < 0 ? err_wrap(e, "cannot make the %s file system", type) : 0;
}
