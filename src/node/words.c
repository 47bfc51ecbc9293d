/* words.c - words for the program `volume`, and the program at work. */
#include "node/words.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "node/private.h"

#define ANSWER_FD 3
#define FIRST_FD  10  /* of those that are handed over */
#define ASIDE_FD  300 /* above all of them */
#define LOG_BYTES 1048576

void words_fini(struct words *w)
{
    for (unsigned i = 0; i < w->n_fds; i++) {
        scope_close(&w->fds[i]);
    }
    strv_fini(&w->words);
    memset(w, 0, sizeof *w);
}

void words_add(struct words *w, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0) {
        text = NULL;
    }
    va_end(ap);
    if (text == NULL) {
        w->words.failed = true;
    } else {
        strv_take(&w->words, text);
    }
}

const char *words_fd(struct words *w, const char *key, int take_fd, char out[32])
{
    if (w->n_fds == WORDS_FDS_MOST || take_fd < 0) {
        scope_close(&take_fd);
        w->words.failed = true;
        out[0] = '\0';
        return out;
    }
    (void)str_print(out, 32, w->message ? "%s=@%u" : "%s=%u", key,
                    w->message ? w->n_fds : FIRST_FD + w->n_fds);
    w->fds[w->n_fds++] = take_fd;
    return out;
}

const char *words_block(const struct words *w)
{
    return w->block == 4096 ? ",block=4096" : "";
}

void words_file(struct words *w, const char *name, int take_fd, const char *format,
                bool writes)
{
    const char *how = writes ? "" : ",read-only";
    char fd[32];

    (void)words_fd(w, "fd", take_fd, fd);
    words_add(w, "node=%s.file,file,%s%s", name, fd, how);
    words_add(w, "node=%s,%s,file=%s.file%s", name, format, name, how);
}

/* ---- the program ---- */

static _Noreturn void become(const char *program, char **argv, const struct words *w,
                             int answer)
{
    int aside[WORDS_FDS_MOST + 1];
    sigset_t none;
    bool fine = true;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    aside[0] = fcntl(answer, F_DUPFD_CLOEXEC, ASIDE_FD);
    fine = aside[0] >= 0;
    for (unsigned i = 0; fine && i < w->n_fds; i++) {
        aside[i + 1] = fcntl(w->fds[i], F_DUPFD_CLOEXEC, ASIDE_FD);
        fine = aside[i + 1] >= 0;
    }
    fine = fine && dup2(aside[0], ANSWER_FD) >= 0;
    for (unsigned i = 0; fine && i < w->n_fds; i++) {
        fine = dup2(aside[i + 1], FIRST_FD + (int)i) >= 0;
    }
    if (fine) {
        (void)close_range(ANSWER_FD + 1, FIRST_FD - 1, 0);
        (void)close_range(FIRST_FD + w->n_fds, ~0u, 0);
        answer = ANSWER_FD;
        (void)execv(program, argv);
    }
    (void)dprintf(answer, "error %d cannot start '%s': %s\n", -errno, program,
                  strerror(errno));
    _exit(127);
}

/* The first line of what it said to people. */
static void first_line(const char *log, char out[ERR_TEXT_BYTES])
{
    SCOPED(scope_free) char *text = NULL;
    const char *at;
    size_t len;

    out[0] = '\0';
    if (log == NULL || file_read(AT_FDCWD, log, LOG_BYTES, &text, &len) < 0) {
        return;
    }
    at = text + strspn(text, "= \n");
    (void)str_print(out, ERR_TEXT_BYTES, "%s%.*s", at[0] != '\0' ? ": " : "",
                    (int)strcspn(at, "\n"), at);
    for (char *c = out; *c != '\0'; c++) {
        *c = *c >= ' ' && *c <= '~' ? *c : '?';
    }
}

/* One that has closed its answer, which was none, says by its end what there is to say. */
static int ended(pid_t pid, const char *log, struct err *e)
{
    char why[ERR_TEXT_BYTES];
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    first_line(log, why);
    return WIFSIGNALED(status)
               ? err_set(e, -EIO, "the program 'volume' was ended by signal %d (%s)%s",
                         WTERMSIG(status), strsignal(WTERMSIG(status)), why)
               : err_set(e, -EIO,
                         "the program 'volume' ended with status %d and said nothing%s",
                         WEXITSTATUS(status), why);
}

/* Lines of the program until its end: 0 after "ok"; 1: it said neither that nor an error. */
static int follow(struct node *n, const char *op, int from, words_line_fn *line,
                  void *arg, struct err *e)
{
    SCOPED(scope_file) FILE *f = fdopen(from, "r");
    char text[ERR_TEXT_BYTES + 64];

    while (f != NULL && fgets(text, sizeof text, f) != NULL) {
        unsigned long long done;
        unsigned long long total;
        char *end = NULL;

        text[strcspn(text, "\n")] = '\0';
        if (strcmp(text, "ok") == 0) {
            return 0;
        }
        if (sscanf(text, "progress=%llu %llu", &done, &total) == 2) {
            node_report(n, op, done, total);
        } else if (strncmp(text, "error ", 6) == 0) {
            long code = strtol(text + 6, &end, 10);

            return err_set(e, code < 0 && code > -4096 ? (int)code : -EIO, "%s",
                           end + strspn(end, " "));
        } else if (line != NULL) {
            line(arg, text);
        }
    }
    if (f == NULL) {
        (void)close(from);
    }
    return 1;
}

struct program {
    char path[PATH_MAX];
    char **argv;     /* owned; its texts are not */
    const char *log; /* it goes on by itself, and says things there; NULL: it does not */
    int from;        /* owned: its answer */
    pid_t pid;
};

static int prepare(struct node *n, const char *op, const struct words *w,
                   struct program *p, struct err *e)
{
    p->argv = calloc(w->words.n + 3, sizeof *p->argv);
    if (p->argv == NULL || strv_failed(&w->words)) {
        free(p->argv);
        p->argv = NULL;
        return e != NULL && e->code != 0 ? e->code : err_set(e, -ENOMEM, "no memory");
    }
    (void)str_print(p->path, sizeof p->path, "%s/volume", n->libexec);
    p->argv[0] = (char *)(uintptr_t) "volume"; /* exec changes none of them */
    p->argv[1] = (char *)(uintptr_t)op;
    for (size_t i = 0; i < w->words.n; i++) {
        p->argv[i + 2] = w->words.items[i];
    }
    return 0;
}

/* Away from the terminal and from the command that started it. */
static void go_away(const char *log)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    int out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    (void)setsid();
    (void)dup2(nothing, STDIN_FILENO);
    (void)dup2(out >= 0 ? out : nothing, STDOUT_FILENO);
    (void)dup2(out >= 0 ? out : nothing, STDERR_FILENO);
}

static int start(struct program *p, const struct words *w, struct err *e)
{
    int ends[2];

    if (access(p->path, X_OK) < 0 || pipe2(ends, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot use '%s'", p->path);
    }
    p->pid = fork();
    if (p->pid == 0) {
        if (p->log != NULL) {
            go_away(p->log);
        } else {
            (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* it works for us alone */
        }
        become(p->path, p->argv, w, ends[1]);
    }
    (void)close(ends[1]);
    if (p->pid < 0) {
        (void)close(ends[0]);
        return err_sys(e, -errno, "cannot make a process");
    }
    p->from = ends[0];
    return 0;
}

int words_run(struct node *n, const char *op, struct words *w, words_line_fn *line,
              void *arg, struct err *e)
{
    struct program p = {.from = -1};
    void (*was)(int);
    int status;
    int r = prepare(n, op, w, &p, e);

    if (r < 0) {
        return r;
    }
    was = signal(SIGINT, SIG_IGN); /* the program gets it, too, and ends in order */
    r = start(&p, w, e);
    if (r == 0) {
        r = follow(n, op, p.from, line, arg, e);
        if (r > 0) {
            r = ended(p.pid, NULL, e);
        }
        while (waitpid(p.pid, &status, 0) < 0 && errno == EINTR) {
        }
    }
    (void)signal(SIGINT, was);
    free(p.argv);
    return r;
}

int words_leave(struct node *n, const char *op, struct words *w, const char *log,
                const char *first, struct err *e)
{
    struct program p = {.from = -1, .log = log};
    char text[ERR_TEXT_BYTES + 64] = "";
    FILE *f = NULL;
    char *end;
    int r = prepare(n, op, w, &p, e);

    r = r == 0 ? start(&p, w, e) : r;
    free(p.argv);
    if (r < 0) {
        return r;
    }
    f = fdopen(p.from, "r");
    if (f == NULL || fgets(text, sizeof text, f) == NULL) {
        r = ended(p.pid, log, e);
    }
    text[strcspn(text, "\n")] = '\0';
    if (r == 0 && strcmp(text, first) != 0) {
        long code = strncmp(text, "error ", 6) == 0 ? strtol(text + 6, &end, 10) : 0;

        r = err_set(e, code < 0 && code > -4096 ? (int)code : -EIO, "%s",
                    code < 0 ? end + strspn(end, " ") : text);
    }
    if (f != NULL) {
        (void)fclose(f); /* its other words are for nobody */
    }
    return r;
}
