/* helper.c - the programs that carry a guest's packets: `usernet`, `forward`.
 *
 * Each ends by itself when the guest's first program does (it polls its pidfd).  Who
 * cleans up after the guest does not rely on that, and waits: ports must be free when
 * the guest starts again.  Therefore RUN/guests/ID/PROGRAM.pid names the process, with
 * the time it was started, so that no other process is ever taken for it. */
#include "node/net/private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"

#define STAT_MOST   4096
#define START_FIELD 22 /* proc(5), /proc/PID/stat: starttime */
#define END_WAIT_MS 2000

static const char *place(const json_t *spec, const char *key)
{
    return json_string_value(json_object_get(json_object_get(spec, "place"), key));
}

static int pid_path(const json_t *spec, const char *program, char out[PATH_MAX])
{
    return str_print(out, PATH_MAX, "%s/guests/%s/%s.pid", place(spec, "run"),
                     json_string_value(json_object_get(spec, "id")), program);
}

/* When the process was started, in ticks; 0: there is none. */
static unsigned long long start_of(pid_t pid)
{
    SCOPED(scope_free) char *text = NULL;
    char path[64];
    size_t len;

    (void)str_print(path, sizeof path, "/proc/%d/stat", pid);
    if (file_read(AT_FDCWD, path, STAT_MOST, &text, &len) < 0) {
        return 0;
    }
    const char *at = strrchr(text, ')'); /* the name may hold anything */
    for (int field = 2; at != NULL && field < START_FIELD; field++) {
        at = strchr(at + 1, ' ');
    }
    return at != NULL ? strtoull(at, NULL, 10) : 0;
}

static void note_pid(const json_t *spec, const char *program, pid_t pid)
{
    char path[PATH_MAX];
    char text[64];

    (void)str_print(text, sizeof text, "%d %llu\n", pid, start_of(pid));
    if (pid_path(spec, program, path) == 0) {
        (void)file_replace(AT_FDCWD, path, text, strlen(text), 0600, false);
    }
}

static void be_helper(const json_t *spec, struct net_helper *h, pid_t guest, int ready)
    __attribute__((noreturn));

static void be_helper(const json_t *spec, struct net_helper *h, pid_t guest, int ready)
{
    int holder = (int)syscall(SYS_pidfd_open, guest, 0);
    char path[PATH_MAX];

    (void)setsid();
    (void)str_print(path, sizeof path, "%s/%s", place(spec, "libexec"), h->program);
    strv_addf(&h->argv, "--for=guest '%s' of the state directory '%s'",
              json_string_value(json_object_get(spec, "name")), place(spec, "state"));
    strv_addf(&h->argv, "--holder-fd=%d", holder);
    strv_addf(&h->argv, "--ready-fd=%d", ready);
    (void)fcntl(ready, F_SETFD, 0);
    (void)fcntl(holder, F_SETFD, 0);
    for (size_t i = 0; i < h->n_keep; i++) {
        (void)fcntl(h->keep[i], F_SETFD, 0);
    }
    if (!strv_failed(&h->argv)) {
        (void)execv(path, h->argv.items);
    }
    (void)dprintf(ready, "cannot execute '%s': %s", path, strerror(errno));
    _exit(127);
}

int net_helper_start(const json_t *spec, struct net_helper *h, pid_t guest, struct err *e)
{
    SCOPED(scope_close) int from = -1;
    char said[ERR_TEXT_BYTES];
    int ends[2];
    pid_t child;
    ssize_t n;

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot start '%s'", h->program);
    }
    from = ends[0];
    child = fork();
    if (child == 0) {
        be_helper(spec, h, guest, ends[1]);
    }
    (void)close(ends[1]);
    if (child < 0) {
        return err_sys(e, -errno, "cannot start '%s'", h->program);
    }
    note_pid(spec, h->program, child);
    n = file_read_all(from, said, sizeof said - 1); /* one byte '1', or why not */
    if (n == 1 && said[0] == '1') {
        return 0;
    }
    said[n > 0 ? n : 0] = '\0';
    net_helper_end(spec, h->program);
    return n > 0 ? err_set(e, -EIO, "%s", said)
                 : err_set(e, -EIO, "'%s' ended while it was started", h->program);
}

void net_helper_end(const json_t *spec, const char *program)
{
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_close) int process = -1;
    unsigned long long start = 0;
    char path[PATH_MAX];
    size_t len;
    int pid = 0;

    if (pid_path(spec, program, path) < 0 ||
        file_read(AT_FDCWD, path, STAT_MOST, &text, &len) < 0) {
        return;
    }
    if (sscanf(text, "%d %llu", &pid, &start) == 2 && pid > 1) {
        process = (int)syscall(SYS_pidfd_open, pid, 0);
    }
    if (process >= 0 && start != 0 && start_of(pid) == start) {
        struct pollfd ended = {.fd = process, .events = POLLIN};

        (void)syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0);
        (void)poll(&ended, 1, END_WAIT_MS);
        (void)waitpid(pid, NULL, WNOHANG); /* ours, when its guest is started again */
    }
    (void)unlink(path);
}
