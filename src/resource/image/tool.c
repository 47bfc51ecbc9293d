/* tool.c - run the program `image`: one request in, lines of JSON out.
 *
 * The request goes through a socket pair, so that a program that ends early
 * costs an error and no SIGPIPE.  The program's descriptor 3 is this process's
 * standard output and 4 its standard input: what "-" means in a request. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/image.h"

#define LINE_BYTES_MAX (8u << 20)
#define LOST_CODE      (-EPROTO)

extern char **environ;

struct tool {
    const char *program; /* borrowed, for error texts */
    int in, out;         /* our ends of its standard input and output */
    pid_t pid;
    json_t *result; /* owned */
};

static int add_actions(posix_spawn_file_actions_t *fa, int in, int out)
{
    int r = posix_spawn_file_actions_adddup2(fa, 1, 3);

    r = r != 0 ? r : posix_spawn_file_actions_adddup2(fa, 0, 4);
    r = r != 0 ? r : posix_spawn_file_actions_adddup2(fa, in, 0);
    r = r != 0 ? r : posix_spawn_file_actions_adddup2(fa, out, 1);
    return -r;
}

/* Descriptors above 9, where the child's renumbering cannot hit them. */
static int move_up(int *fd)
{
    int up = fcntl(*fd, F_DUPFD_CLOEXEC, 10);

    if (up < 0) {
        return -errno;
    }
    (void)close(*fd);
    *fd = up;
    return 0;
}

static int spawn(struct tool *t, const char *op)
{
    char *argv[] = {strdup(t->program), strdup(op), NULL};
    posix_spawn_file_actions_t fa;
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    int r = argv[0] == NULL || argv[1] == NULL ? -ENOMEM : 0;

    if (r == 0 && (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) < 0 ||
                   pipe2(out, O_CLOEXEC) < 0)) {
        r = -errno;
    }
    r = r < 0 ? r : move_up(&in[1]);
    r = r < 0 ? r : move_up(&out[1]);
    if (r == 0) {
        r = -posix_spawn_file_actions_init(&fa);
    }
    if (r == 0) {
        r = add_actions(&fa, in[1], out[1]);
        r = r < 0 ? r : -posix_spawn(&t->pid, t->program, &fa, NULL, argv, environ);
        (void)posix_spawn_file_actions_destroy(&fa);
    }
    free(argv[0]);
    free(argv[1]);
    scope_close(&in[1]);
    scope_close(&out[1]);
    if (r < 0) {
        scope_close(&in[0]);
        scope_close(&out[0]);
        return r;
    }
    t->in = in[0];
    t->out = out[0];
    return 0;
}

static int send_request(struct tool *t, const json_t *request)
{
    SCOPED(scope_free) char *text = json_dumps(request, JSON_COMPACT);
    size_t len = text == NULL ? 0 : strlen(text), done = 0;

    if (text == NULL) {
        return -ENOMEM;
    }
    while (done < len) {
        ssize_t n = send(t->in, text + done, len - done, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return shutdown(t->in, SHUT_WR) < 0 ? -errno : 0;
}

/* Its "error" becomes ours, with the program's own code. */
static int take_error(const json_t *j, struct err *e)
{
    json_int_t code = json_integer_value(json_object_get(j, "code"));
    const char *text = json_string_value(json_object_get(j, "text"));

    if (code >= 0 || code < -4095) {
        code = -EIO;
    }
    return err_set(e, (int)code, "%s",
                   text != NULL ? text : "it failed without a reason");
}

static int take_line(struct tool *t, const char *line, size_t len, image_progress_fn *fn,
                     void *arg, struct err *e)
{
    SCOPED(scope_json) json_t *j = NULL;
    json_t *x;
    int r = json_parse(line, len, t->program, &j, e);

    if (r < 0) {
        return r;
    }
    if ((x = json_object_get(j, "error")) != NULL) {
        return take_error(x, e);
    }
    if ((x = json_object_get(j, "result")) != NULL) {
        json_decref(t->result);
        t->result = json_incref(x);
    } else if ((x = json_object_get(j, "progress")) != NULL && fn != NULL) {
        fn(arg, x);
    }
    return 0;
}

static int read_lines(struct tool *t, image_progress_fn *fn, void *arg, struct err *e)
{
    SCOPED(scope_file) FILE *f = fdopen(t->out, "r");
    SCOPED(scope_free) char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int r = 0;

    if (f == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    t->out = -1;
    while (r == 0 && (n = getline(&line, &cap, f)) > 0) {
        r = n > LINE_BYTES_MAX ? err_set(e, LOST_CODE, "'%s' said too much", t->program)
                               : take_line(t, line, (size_t)n, fn, arg, e);
    }
    return r;
}

static int await(struct tool *t, struct err *e)
{
    int status = 0;

    while (waitpid(t->pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return err_sys(e, -errno, "cannot wait for '%s'", t->program);
        }
    }
    if (WIFSIGNALED(status)) {
        return err_set(e, LOST_CODE, "'%s' was ended by signal %d", t->program,
                       WTERMSIG(status));
    }
    if (WEXITSTATUS(status) != 0) {
        return err_set(e, LOST_CODE, "'%s' ended with code %d", t->program,
                       WEXITSTATUS(status));
    }
    return 0;
}

int image_tool_run(const struct image_tool *tool, const char *op, const json_t *request,
                   json_t **ret_result, struct err *e)
{
    const char *program = tool->program;
    struct tool t = {.program = program, .in = -1, .out = -1};
    int r = spawn(&t, op);
    int ended;

    if (r < 0) {
        return err_sys(e, r, "cannot run '%s'", program);
    }
    (void)send_request(&t, request); /* its answer, or its end, tells more */
    r = read_lines(&t, tool->progress, tool->arg, e);
    scope_close(&t.in);
    scope_close(&t.out);
    ended = await(&t, e);
    if (r == 0 && ended == 0 && t.result == NULL) {
        r = err_set(e, LOST_CODE, "'%s' gave no result", program);
    }
    if (r < 0 || ended < 0) {
        json_decref(t.result);
        return r < 0 ? r : ended;
    }
    *ret_result = t.result;
    return 0;
}
