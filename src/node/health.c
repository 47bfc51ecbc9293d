/* health.c - one health check of a guest, and what the last ones said.
 *
 * The keeper executes `strata --worker health RUN-DIR`; the exit code is its answer.  What
 * the check printed and how it ended is kept for `inspect` in RUN-DIR/health, a JSON array
 * of the last HEALTH_KEPT.  A check that takes longer than its time is killed here, since
 * the keeper cannot reach into the guest. */
#include "node/health.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "contract/task.h"
#include "host/file.h"

#define HEALTH_KEPT  5
#define HEALTH_MOST  65536 /* bytes of the file */
#define OUTPUT_MOST  4096  /* bytes of one check's output that are kept */
#define TIMEOUT_CODE 124   /* as timeout(1) has it */
#define DRAIN_MS     10    /* for what the ended check had printed */
#define NOT_EXECUTED 126

struct check {
    int output; /* read end */
    int pidfd;
    size_t len;
    char text[OUTPUT_MOST];
    int64_t until_ms;
    bool timed_out;
};

static int64_t clock_ms(clockid_t id)
{
    struct timespec ts;

    (void)clock_gettime(id, &ts);
    return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* What is there now; false at the end.  What does not fit is thrown away. */
static bool take_output(struct check *c)
{
    char rest[1024];
    bool full = c->len == sizeof c->text;
    ssize_t n = full ? read(c->output, rest, sizeof rest)
                     : read(c->output, c->text + c->len, sizeof c->text - c->len);

    c->len += n > 0 && !full ? (size_t)n : 0;
    return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

/* Until the program ended, whoever else has its output open. */
static void await(struct check *c)
{
    struct pollfd p[2] = {{.fd = c->pidfd, .events = POLLIN},
                          {.fd = c->output, .events = POLLIN}};

    while (p[0].revents == 0) {
        int64_t left = c->until_ms - clock_ms(CLOCK_BOOTTIME);

        if (left <= 0 && !c->timed_out) {
            c->timed_out = true;
            (void)syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
        }
        (void)poll(p, 2, c->timed_out ? -1 : (int)left);
        if (p[1].revents != 0 && !take_output(c)) {
            p[1].fd = -1;
        }
    }
    while (p[1].fd >= 0 && poll(&p[1], 1, DRAIN_MS) == 1 && take_output(c)) {
    }
}

static int run_check(const json_t *spec, struct task *t, struct check *c, struct err *e)
{
    const char *command =
        json_string_value(json_object_get(json_object_get(spec, "keeper"), "health_cmd"));
    const char *argv[] = {"/bin/sh", "-c", command, NULL};
    SCOPED(scope_close) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct task_exec x = {.argv = argv};
    int ends[2];
    int master = -1;
    int r;

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot make a pipe");
    }
    c->output = ends[0];
    x.stdio[0] = null;
    x.stdio[1] = x.stdio[2] = ends[1];
    r = task_exec(t, &x, &c->pidfd, &master, e);
    (void)close(ends[1]);
    if (r < 0) {
        return r;
    }
    await(c);
    r = node_exec_code(c->pidfd);
    return c->timed_out ? TIMEOUT_CODE : r;
}

/* Bytes that are no UTF-8 become question marks. */
static json_t *text_of(char *text, size_t len)
{
    json_t *j = json_stringn(text, len);

    for (size_t i = 0; j == NULL && i < len; i++) {
        text[i] = (char)((unsigned char)text[i] < 128 ? text[i] : '?');
    }
    return j != NULL ? j : json_stringn(text, len);
}

json_t *health_read(const char *run_dir)
{
    SCOPED(scope_free) char *text = NULL;
    char path[PATH_MAX];
    json_t *list = NULL;
    size_t len = 0;

    if (str_print(path, sizeof path, "%s/health", run_dir) == 0 &&
        file_read(AT_FDCWD, path, HEALTH_MOST, &text, &len) == 0 &&
        json_parse(text, len, "health", &list, NULL) == 0 && !json_is_array(list)) {
        json_decref(list);
        list = NULL;
    }
    return list != NULL ? list : json_array();
}

static void keep(const char *run_dir, json_t *result)
{
    SCOPED(scope_json) json_t *list = health_read(run_dir);
    SCOPED(scope_free) char *text = NULL;
    char path[PATH_MAX];

    (void)json_array_append_new(list, result);
    while (json_array_size(list) > HEALTH_KEPT) {
        (void)json_array_remove(list, 0);
    }
    text = json_dumps(list, JSON_COMPACT);
    if (text != NULL && str_print(path, sizeof path, "%s/health", run_dir) == 0) {
        (void)file_replace(AT_FDCWD, path, text, strlen(text), 0600, false);
    }
}

int health_check(const json_t *spec, const char *run_dir, struct task *t)
{
    struct check c = {.output = -1, .pidfd = -1};
    char time[UNITS_TEXT_BYTES];
    struct err e = {0};
    int64_t began = clock_ms(CLOCK_BOOTTIME);
    int code;

    units_print_time(clock_ms(CLOCK_REALTIME) * 1000000, time);
    c.until_ms = began + json_integer_value(json_object_get(
                             json_object_get(spec, "keeper"), "health_timeout"));
    code = run_check(spec, t, &c, &e);
    if (code < 0) {
        (void)str_print(c.text, sizeof c.text, "%s", e.text);
        c.len = strlen(c.text);
        code = NOT_EXECUTED;
    }
    keep(run_dir,
         json_pack("{s:s, s:I, s:i, s:o, s:b}", "time", time, "duration_ms",
                   (json_int_t)(clock_ms(CLOCK_BOOTTIME) - began), "exit_code", code,
                   "output", text_of(c.text, c.len), "timed_out", c.timed_out));
    scope_close(&c.output);
    scope_close(&c.pidfd);
    return code;
}
