/* console.c - a terminal from the container's own devpts.
 *
 * The slave end is taken by TIOCGPTPEER, never by its path (a container that
 * shares mounts could have put something else there); /dev/console is a bind
 * mount of it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/scope.h"
#include "virt/container/setup.h"

static int open_master(const struct setup *s)
{
    struct statfs fs;
    int fd = s->devpts >= 0 ? openat(s->devpts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
                            : open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    if (fstatfs(fd, &fs) < 0 || fs.f_type != DEVPTS_SUPER_MAGIC) {
        (void)close(fd);
        return -ENODEV;
    }
    return fd;
}

static void set_size(const struct setup *s, int fd)
{
    struct winsize size = {
        .ws_row = (unsigned short)config_number(s->process, "consoleSize.height", 0),
        .ws_col = (unsigned short)config_number(s->process, "consoleSize.width", 0)};

    if (size.ws_row != 0 && size.ws_col != 0) {
        (void)ioctl(fd, TIOCSWINSZ, &size);
    }
}

static int put_on_console(const struct setup *s, int master, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    char name[16];
    unsigned number;

    if (s->devpts < 0 || ioctl(master, TIOCGPTN, &number) < 0) {
        return 0;
    }
    (void)str_print(name, sizeof name, "%u", number);
    fd = open_tree(s->devpts, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, -errno, "cannot put the terminal on /dev/console");
    }
    return mounts_attach(s, fd, "/dev/console", false, e);
}

int console_make(struct setup *s, struct err *e)
{
    SCOPED(scope_close) int master = open_master(s);
    int unlocked = 0;
    int slave;
    int r;

    if (master < 0) {
        return err_sys(e, master, "cannot make a terminal: /dev/pts/ptmx");
    }
    if (ioctl(master, TIOCSPTLCK, &unlocked) < 0) {
        return err_sys(e, -errno, "cannot make a terminal");
    }
    slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) {
        return err_sys(e, -errno, "cannot make a terminal");
    }
    set_size(s, master);
    (void)!fchown(slave, (uid_t)config_number(s->process, "user.uid", 0), (gid_t)-1);
    r = s->is_exec ? 0 : put_on_console(s, master, e);
    if (r < 0) {
        (void)close(slave);
        return r;
    }
    s->stdio[0] = s->stdio[1] = s->stdio[2] = slave;
    s->master = scope_take_fd(&master);
    return 0;
}

int console_send(const char *socket_path, int master, struct err *e)
{
    SCOPED(scope_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char name[] = "/dev/ptmx";
    struct iovec iov = {.iov_base = name, .iov_len = sizeof name - 1};
    char room[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = room,
                       .msg_controllen = sizeof room};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    if (str_print(to.sun_path, sizeof to.sun_path, "%s", socket_path) < 0) {
        return err_set(e, -ENAMETOOLONG, "the console socket's path '%s' is too long",
                       socket_path);
    }
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &master, sizeof master);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) < 0 ||
        sendmsg(fd, &m, MSG_NOSIGNAL) < 0) {
        return err_sys(e, -errno, "cannot hand the terminal to '%s'", socket_path);
    }
    return 0;
}
