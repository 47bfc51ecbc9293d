/* serve.c - connections, each in a process of its own, at most so many at once. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virt/agent/private.h"

#define SESSIONS_MOST 64

/* Those that have ended; waits for one while there are too many. */
static void reap(unsigned *sessions)
{
    while (*sessions > 0 &&
           waitpid(-1, NULL, *sessions >= SESSIONS_MOST ? 0 : WNOHANG) > 0) {
        *sessions -= 1;
    }
}

static int begin(int fd, int listener, int root)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)close(listener);
        agent_session(fd, root);
        _exit(0);
    }
    return pid < 0 ? -errno : 0;
}

int agent_serve(int listener, int root)
{
    unsigned sessions = 0;

    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0 && errno != EINTR && errno != ECONNABORTED && errno != EMFILE) {
            return -errno;
        }
        if (fd >= 0) {
            sessions += begin(fd, listener, root) == 0 ? 1 : 0;
            (void)close(fd);
        }
        reap(&sessions);
    }
}

int agent_serve_path(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof at.sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(at.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 16) < 0) {
        return -errno;
    }
    return agent_serve(fd, -1);
}
