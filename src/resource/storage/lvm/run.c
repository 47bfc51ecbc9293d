/* run.c - starts the program lvm(8) and listens to it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/lvm/private.h"

#define OUTPUT_MOST    (4u << 20)
#define COMPLAINT_MOST 4096
#define PATIENCE_S     60
#define GOODWILL_S     5 /* after it was asked to end; then it is left alone */

/* What it says, in the language C, and what that means.  lvm2 2.03. */
static const struct {
    const char *says;
    int code;
} complaints[] = {
    {"already exists in", -EEXIST},
    {"Failed to find logical volume", -ENOENT},
    {"not found", -ENOENT},
    {"reached threshold", -ENOSPC},
    {"nsufficient free space", -ENOSPC},
    {"out of data space", -ENOSPC},
    {"in use", -EBUSY},
    {"is used by another", -EBUSY},
};

struct running {
    pid_t pid;
    int out; /* our ends of its pipes */
    int complaints;
    struct lvm_output *output;
    size_t room;
    char complaint[COMPLAINT_MOST];
    size_t complaint_bytes;
    bool too_much;
    uint64_t patience_ms;
};

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- starting ---- */

static int set_attributes(posix_spawnattr_t *a)
{
    sigset_t set;
    int r;

    (void)sigemptyset(&set);
    r = posix_spawnattr_setsigmask(a, &set);
    (void)sigaddset(&set, SIGPIPE);
    (void)sigaddset(&set, SIGTERM);
    r = r != 0 ? r : posix_spawnattr_setsigdefault(a, &set);
    return r != 0 ? r
                  : posix_spawnattr_setflags(a, POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF);
}

static int spawn(struct running *x, const char *program, char *const *words, int out,
                 int complaints_fd)
{
    static const char *const environment[] = {"LC_ALL=C",
                                              "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                              "LVM_SUPPRESS_FD_WARNINGS=1", NULL};
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t a;
    int r = posix_spawn_file_actions_init(&fa);

    if (r != 0) {
        return -r;
    }
    r = posix_spawnattr_init(&a);
    if (r == 0) {
        r = set_attributes(&a);
        r = r != 0 ? r
                   : posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
        r = r != 0 ? r : posix_spawn_file_actions_adddup2(&fa, out, 1);
        r = r != 0 ? r : posix_spawn_file_actions_adddup2(&fa, complaints_fd, 2);
        r = r != 0 ? r
                   : posix_spawnp(&x->pid, program, &fa, &a, words,
                                  (char *const *)(uintptr_t)environment);
        (void)posix_spawnattr_destroy(&a);
    }
    (void)posix_spawn_file_actions_destroy(&fa);
    return -r;
}

/* Descriptors that the child's renumbering cannot hit. */
static int open_pipe(int ret[2])
{
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0) {
        return -errno;
    }
    for (unsigned i = 0; i < 2; i++) {
        ret[i] = fcntl(p[i], F_DUPFD_CLOEXEC, 10);
        (void)close(p[i]);
    }
    if (ret[0] < 0 || ret[1] < 0) {
        return -EMFILE;
    }
    return 0;
}

/* ---- listening ---- */

static int take_output(struct running *x)
{
    struct lvm_output *o = x->output;
    ssize_t n;

    if (o->bytes + 4096 > x->room) {
        size_t room = x->room != 0 ? 2 * x->room : 16384;
        char *more = fault_realloc(o->text, room);

        if (more == NULL) {
            return -ENOMEM;
        }
        o->text = more;
        x->room = room;
    }
    n = read(x->out, o->text + o->bytes, x->room - o->bytes);
    if (n > 0) {
        o->bytes += (size_t)n;
        x->too_much |= o->bytes > OUTPUT_MOST;
        o->bytes = x->too_much ? 0 : o->bytes; /* read on, so that it can end */
    }
    return n < 0 && errno != EINTR ? -errno : n == 0 ? 1 : 0;
}

/* The end of what it complains: earlier lines make room. */
static int take_complaint(struct running *x)
{
    ssize_t n;

    if (x->complaint_bytes > sizeof x->complaint / 2) {
        size_t half = sizeof x->complaint / 2;

        memmove(x->complaint, x->complaint + (x->complaint_bytes - half), half);
        x->complaint_bytes = half;
    }
    n = read(x->complaints, x->complaint + x->complaint_bytes,
             sizeof x->complaint - 1 - x->complaint_bytes);
    x->complaint_bytes += n > 0 ? (size_t)n : 0;
    x->complaint[x->complaint_bytes] = '\0';
    return n < 0 && errno != EINTR ? -errno : n == 0 ? 1 : 0;
}

/* Until both pipes are at their end.  One that takes too long is asked to end, at a place
 * that it finds safe: killed in the middle it would leave devices that stand still.
 * -ETIMEDOUT: not even then. */
static int listen_to(struct running *x)
{
    struct pollfd p[2] = {{.fd = x->out, .events = POLLIN},
                          {.fd = x->complaints, .events = POLLIN}};
    uint64_t until = now_ms() + x->patience_ms;
    bool asked = false;

    while (p[0].fd >= 0 || p[1].fd >= 0) {
        uint64_t now = now_ms();
        int r = 0;

        if (now >= until && asked) {
            return -ETIMEDOUT;
        }
        if (now >= until) {
            (void)kill(x->pid, SIGTERM);
            asked = true;
            until = now + GOODWILL_S * 1000;
        }
        if (poll(p, 2, (int)(until - now)) < 0 && errno != EINTR) {
            return -errno;
        }
        r = p[0].fd >= 0 && p[0].revents != 0 ? take_output(x) : 0;
        p[0].fd = r == 1 ? -1 : p[0].fd;
        if (r < 0) {
            return r;
        }
        r = p[1].fd >= 0 && p[1].revents != 0 ? take_complaint(x) : 0;
        p[1].fd = r == 1 ? -1 : p[1].fd;
        if (r < 0) {
            return r;
        }
        p[0].revents = 0;
        p[1].revents = 0;
    }
    return 0;
}

/* ---- what it came to ---- */

/* The last line that is no warning, without its indentation. */
static const char *last_complaint(char *text)
{
    const char *last = "";
    char *rest = text;
    char *line;

    while ((line = strsep(&rest, "\n")) != NULL) {
        line += strspn(line, " ");
        if (*line != '\0' && strncmp(line, "WARNING:", 8) != 0 &&
            strncmp(line, "Run `", 5) != 0) {
            last = line;
        }
    }
    return last;
}

static int judge(struct running *x, int status, const char *word, struct err *e)
{
    int code = -EIO;
    const char *why;

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return x->too_much ? err_set(e, -EFBIG, "lvm %s says too much", word) : 0;
    }
    for (size_t i = 0; i < sizeof complaints / sizeof complaints[0]; i++) {
        if (code == -EIO && strstr(x->complaint, complaints[i].says) != NULL) {
            code = complaints[i].code;
        }
    }
    why = last_complaint(x->complaint);
    if (WIFEXITED(status)) {
        return err_set(e, code, "lvm %s: %s (exit %d)", word,
                       *why != '\0' ? why : "no word why", WEXITSTATUS(status));
    }
    return err_set(e, -EIO, "lvm %s was ended by signal %d", word, WTERMSIG(status));
}

static int start(struct running *x, const struct lvm_pool *p, char *const *words)
{
    int out[2] = {-1, -1};
    int bad[2] = {-1, -1};
    int r = open_pipe(out);

    r = r != 0 ? r : open_pipe(bad);
    r = r != 0 ? r
               : spawn(x, p->program != NULL ? p->program : "lvm", words, out[1], bad[1]);
    scope_close(&out[1]);
    scope_close(&bad[1]);
    x->out = out[0];
    x->complaints = bad[0];
    return r;
}

int lvm_run(const struct lvm_pool *p, const char *const *words, struct lvm_output *ret,
            struct err *e)
{
    struct running *x = fault_calloc(1, sizeof *x);
    char *argv[LVM_WORDS_MOST + 2] = {(char *)(uintptr_t) "lvm"};
    int status = 0;
    int r;

    *ret = (struct lvm_output){0};
    if (x == NULL) {
        return err_sys(e, -ENOMEM, "cannot run lvm %s", words[0]);
    }
    for (unsigned i = 0; words[i] != NULL && i < LVM_WORDS_MOST; i++) {
        argv[i + 1] = (char *)(uintptr_t)words[i];
    }
    x->output = ret;
    x->patience_ms =
        (p->patience_seconds != 0 ? p->patience_seconds : PATIENCE_S) * 1000u;
    r = start(x, p, argv);
    if (r == 0) {
        r = listen_to(x);
        scope_close(&x->out); /* it need not wait for us to read on */
        scope_close(&x->complaints);
        if (r == -ETIMEDOUT) {
            r = err_set(e, r, "lvm %s does not end", words[0]);
        } else {
            while (waitpid(x->pid, &status, 0) < 0 && errno == EINTR) {
            }
            r = r != 0 ? r : judge(x, status, words[0], e);
        }
    } else {
        scope_close(&x->out);
        scope_close(&x->complaints);
    }
    free(x);
    if (r != 0) {
        free(ret->text);
        *ret = (struct lvm_output){0};
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot run lvm %s", words[0]);
}
