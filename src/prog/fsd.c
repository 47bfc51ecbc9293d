/* fsd - a directory of the host, served to a machine.
 *
 *     fsd --directory=DIR --socket=FD [--read-only] [--ready-fd=FD] [--for=WHOM]
 *
 * Answers the requests that a file-system device writes to the socket (virtio/fs/fs.h).  Says
 * '1' on the descriptor when it is about to, or why it cannot; ends when the device is gone. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "host/file.h"
#include "resource/share/share.h"

struct words {
    const char *directory;
    int socket, ready;
    bool read_only;
};

static const char *value_of(const char *arg, const char *name)
{
    size_t n = strlen(name);

    return strncmp(arg, name, n) == 0 && arg[n] == '=' ? arg + n + 1 : NULL;
}

static int parse(struct words *w, const char *arg, struct err *e)
{
    const char *v;

    if ((v = value_of(arg, "--directory")) != NULL) {
        w->directory = v;
    } else if ((v = value_of(arg, "--socket")) != NULL) {
        w->socket = atoi(v);
    } else if ((v = value_of(arg, "--ready-fd")) != NULL) {
        w->ready = atoi(v);
    } else if (strcmp(arg, "--read-only") == 0) {
        w->read_only = true;
    } else if (value_of(arg, "--for") == NULL) { /* for whoever lists processes */
        return err_set(e, -EINVAL, "unknown option '%s'", arg);
    }
    return 0;
}

/* As many files as the host lets us: each that the guest knows is open. */
static unsigned raise_files(void)
{
    struct rlimit most;

    if (getrlimit(RLIMIT_NOFILE, &most) == 0) {
        most.rlim_cur = most.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &most);
    }
    return 4096;
}

static int begin(const struct words *w, struct share **ret, struct err *e)
{
    struct share_options o = {.read_only = w->read_only, .files_most = raise_files()};
    int r = w->directory == NULL || w->socket < 0
                ? err_set(e, -EINVAL, "--directory or --socket is missing")
                : 0;

    r = r == 0 ? share_confine_place(w->directory, w->read_only, &o.root, &o.proc_fds, e)
               : r;
    r = r == 0 ? share_create(&o, ret, e) : r;
    return r == 0 ? share_confine_calls(e) : r;
}

static void say(int to, const char *text)
{
    if (to >= 0) {
        (void)file_write_all(to, text, strlen(text));
        (void)close(to);
    }
}

int main(int argc, char **argv)
{
    struct words w = {.socket = -1, .ready = -1};
    struct share *share = NULL;
    struct err e = {0};
    int r = 0;

    (void)signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc && r == 0; i++) {
        r = parse(&w, argv[i], &e);
    }
    r = r == 0 ? begin(&w, &share, &e) : r;
    say(w.ready, r == 0 ? "1" : e.text);
    if (r < 0 && w.ready < 0) {
        (void)fprintf(stderr, "fsd: %s\n", e.text);
    }
    r = r == 0 ? share_run(share, w.socket) : r;
    share_destroy(share);
    return r < 0;
}
