/* opener.c - one request: a name; one answer: an int, with a descriptor when it is 0. */
#include "resource/storage/graph/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"

#define NAME_BYTES 256 /* NAME_MAX and the NUL */

/* ---- the other process ---- */

static bool is_plain(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

static int open_name(int directory, const char *name)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
                                      RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    struct stat s;
    int fd;

    if (!is_plain(name)) {
        return -EACCES;
    }
    fd = (int)syscall(SYS_openat2, directory, name, &how, sizeof how);
    if (fd < 0) {
        return errno == ELOOP || errno == EXDEV ? -EACCES : -errno;
    }
    if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) {
        (void)close(fd);
        return -EACCES;
    }
    return fd;
}

static ssize_t answer(int socket, int result)
{
    int code = result < 0 ? result : 0;
    struct iovec piece = {&code, sizeof code};
    char room[CMSG_SPACE(sizeof result)] = {0};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1};

    if (result >= 0) {
        struct cmsghdr *c;

        m.msg_control = room;
        m.msg_controllen = sizeof room;
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof result);
        memcpy(CMSG_DATA(c), &result, sizeof result);
    }
    return sendmsg(socket, &m, MSG_NOSIGNAL);
}

/* Nothing is left open but the two; a terminal's signals are the other one's to answer. */
static int serve(int directory, int socket)
{
    char name[NAME_BYTES];
    ssize_t n;
    int low = directory < socket ? directory : socket;
    int high = directory < socket ? socket : directory;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    if (low > 0) {
        (void)syscall(SYS_close_range, 0, (unsigned)low - 1, 0);
    }
    if (high > low + 1) {
        (void)syscall(SYS_close_range, (unsigned)low + 1, (unsigned)high - 1, 0);
    }
    (void)syscall(SYS_close_range, (unsigned)high + 1, ~0u, 0);
    while ((n = recv(socket, name, sizeof name, MSG_TRUNC)) > 0) {
        int fd = -ENAMETOOLONG;

        if (n < (ssize_t)sizeof name) {
            name[n] = '\0';
            fd = strlen(name) == (size_t)n ? open_name(directory, name) : -EACCES;
        }
        n = answer(socket, fd);
        if (fd >= 0) {
            (void)close(fd);
        }
        if (n < 0) {
            break;
        }
    }
    return 0;
}

/* ---- this one ---- */

int opener_start(int directory, struct err *e)
{
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        return err_sys(e, -errno, "cannot open the files of a directory");
    }
    pid = fork();
    if (pid == 0) {
        _exit(serve(directory, pair[1]));
    }
    (void)close(pair[1]);
    if (pid < 0) {
        int r = -errno;

        (void)close(pair[0]);
        return err_sys(e, r, "cannot start a process that opens files");
    }
    return pair[0];
}

int opener_ask(int opener, const char *name)
{
    int code = -EIO;
    int fd = -1;
    struct iovec piece = {&code, sizeof code};
    char room[CMSG_SPACE(sizeof fd)];
    struct msghdr m = {.msg_iov = &piece,
                       .msg_iovlen = 1,
                       .msg_control = room,
                       .msg_controllen = sizeof room};
    struct cmsghdr *c;

    if (strlen(name) >= NAME_BYTES) {
        return -ENAMETOOLONG;
    }
    if (name[0] == '\0' || send(opener, name, strlen(name), MSG_NOSIGNAL) < 0 ||
        recvmsg(opener, &m, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof code) {
        return name[0] == '\0' ? -EACCES : -EIO;
    }
    c = CMSG_FIRSTHDR(&m);
    if (c != NULL && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fd)) {
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    }
    return code == 0 && fd < 0 ? -EIO : code < 0 ? code : fd;
}
