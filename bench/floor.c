/* floor.c - the least that the kernel charges for one OCI container.
 *
 *   floor create ROOTFS DIR ID PROGRAM     floor start DIR ID     floor delete DIR ID
 *
 * Three processes, as the OCI interface asks for, that make the kernel calls a
 * runtime cannot avoid for the usual configuration as root, and nothing else: no
 * JSON, no state but a fifo and a pid, no checks of foreign input.
 *
 *   create  cgroup leaf; clone3 into it with new pid, mount, network, ipc, uts and
 *           cgroup namespaces; 7 mounts; devices; pivot_root; masked and read-only
 *           paths; capabilities; no-new-privileges; the child then waits
 *   start   lets the child go on to exec
 *   delete  waits for the end and removes the leaf
 *
 * Not in it: seccomp (a filter of one page costs some 20 us), user namespace,
 * device rules, limits.  The leaf is on the version 2 hierarchy; where there is
 * none (FLOOR_CGROUP unset) it is left out. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PATH_BYTES 512
#define KEPT_CAPS  0x20000420ULL /* audit write, kill, bind service: as `crun spec` */
#define CAPS_MOST  41

static _Noreturn void die(const char *what)
{
    perror(what);
    _exit(1);
}

static void need(int r, const char *what)
{
    if (r < 0) {
        die(what);
    }
}

struct mount_row {
    const char *type;
    const char *to;
    unsigned long flags;
    const char *data;
};

static const struct mount_row mounts[] = {
    {"proc", "proc", 0, NULL},
    {"tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"},
    {"devpts", "dev/pts", MS_NOSUID | MS_NOEXEC,
     "newinstance,ptmxmode=0666,mode=0620,gid=5"},
    {"tmpfs", "dev/shm", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k"},
    {"mqueue", "dev/mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL},
    {"sysfs", "sys", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL},
    {"cgroup2", "sys/fs/cgroup", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL},
};

static const struct {
    const char *name;
    unsigned minor;
    unsigned major;
} devices[] = {
    {"null", 3, 1},   {"zero", 5, 1},    {"full", 7, 1},
    {"random", 8, 1}, {"urandom", 9, 1}, {"tty", 0, 5},
};

static const char *const masked[] = {
    "/proc/acpi",          "/proc/asound",     "/proc/kcore",       "/proc/keys",
    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/sys/firmware",       "/proc/scsi",
};

static const char *const read_only[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

static void mount_all(void)
{
    for (size_t i = 0; i < sizeof mounts / sizeof mounts[0]; i++) {
        const struct mount_row *m = &mounts[i];

        if (strncmp(m->to, "dev/", 4) == 0) {
            (void)mkdir(m->to, 0755);
        }
        need(mount(m->type, m->to, m->type, m->flags, m->data), m->to);
    }
}

static void make_devices(void)
{
    char path[PATH_BYTES];

    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        (void)snprintf(path, sizeof path, "dev/%s", devices[i].name);
        need(mknod(path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)),
             path);
    }
    need(symlink("/proc/self/fd", "dev/fd"), "dev/fd");
    need(symlink("/proc/self/fd/0", "dev/stdin"), "dev/stdin");
    need(symlink("/proc/self/fd/1", "dev/stdout"), "dev/stdout");
    need(symlink("/proc/self/fd/2", "dev/stderr"), "dev/stderr");
    need(symlink("pts/ptmx", "dev/ptmx"), "dev/ptmx");
}

static void hide_paths(void)
{
    for (size_t i = 0; i < sizeof masked / sizeof masked[0]; i++) {
        if (mount("/dev/null", masked[i], NULL, MS_BIND, NULL) < 0 && errno == ENOTDIR) {
            need(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, "size=0k"), masked[i]);
        }
    }
    for (size_t i = 0; i < sizeof read_only / sizeof read_only[0]; i++) {
        if (mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL) == 0) {
            need(
                mount(NULL, read_only[i], NULL,
                      MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                      NULL),
                read_only[i]);
        }
    }
}

static void enter_root(const char *rootfs)
{
    need(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "slave");
    need(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), "bind");
    need(chdir(rootfs), rootfs);
    mount_all();
    make_devices();
    need((int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
    need(umount2(".", MNT_DETACH), "umount");
    need(chdir("/"), "/");
    hide_paths();
}

static void drop_rights(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{KEPT_CAPS, KEPT_CAPS, 0}, {0, 0, 0}};

    for (unsigned long cap = 0; cap < CAPS_MOST; cap++) {
        if (((KEPT_CAPS >> cap) & 1) == 0) {
            (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
        }
    }
    need((int)syscall(SYS_capset, &head, data), "capset");
    need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
}

static _Noreturn void be_child(char **argv, int fifo, int ready)
{
    char *const args[] = {argv[5], NULL};
    char *const env[] = {"PATH=/bin", NULL};
    char byte = 0;

    need(setsid(), "setsid");
    enter_root(argv[2]);
    need(sethostname("floor", 5), "hostname");
    drop_rights();
    need((int)write(ready, "", 1), "ready");
    need((int)read(fifo, &byte, 1), "fifo");
    (void)execve(args[0], args, env);
    die(args[0]);
}

static void leaf_path(char path[PATH_BYTES], const char *id)
{
    const char *root = getenv("FLOOR_CGROUP");

    path[0] = '\0';
    if (root != NULL) {
        (void)snprintf(path, PATH_BYTES, "%s/floor-%s", root, id);
    }
}

static int create(char **argv)
{
    struct clone_args args = {
        .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                 CLONE_NEWCGROUP,
        .exit_signal = SIGCHLD,
    };
    char leaf[PATH_BYTES];
    char path[PATH_BYTES];
    char text[32];
    int ready[2];
    char byte;
    int fifo;
    int fd;
    pid_t pid;

    leaf_path(leaf, argv[4]);
    if (leaf[0] != '\0') {
        need(mkdir(leaf, 0755), leaf);
        args.cgroup = (uint64_t)open(leaf, O_PATH | O_DIRECTORY | O_CLOEXEC);
        args.flags |= CLONE_INTO_CGROUP;
    }
    (void)snprintf(path, sizeof path, "%s/%s.fifo", argv[3], argv[4]);
    need(mkfifo(path, 0600), path);
    fifo = open(path, O_RDWR | O_CLOEXEC);
    need(fifo, path);
    need(pipe2(ready, O_CLOEXEC), "pipe");
    pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    need(pid, "clone3");
    if (pid == 0) {
        be_child(argv, fifo, ready[1]);
    }
    (void)close(ready[1]);
    if (read(ready[0], &byte, 1) != 1) {
        return 1;
    }
    (void)snprintf(path, sizeof path, "%s/%s.pid", argv[3], argv[4]);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    (void)snprintf(text, sizeof text, "%d", pid);
    need((int)write(fd, text, strlen(text)), path);
    return 0;
}

static int start(char **argv)
{
    char path[PATH_BYTES];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s.fifo", argv[2], argv[3]);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    need(fd, path);
    need((int)write(fd, "", 1), path);
    return 0;
}

static int remove_it(char **argv)
{
    char path[PATH_BYTES];
    char text[32] = "";
    struct pollfd end = {.events = POLLIN};
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s.pid", argv[2], argv[3]);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    need((int)read(fd, text, sizeof text - 1), path);
    (void)unlink(path);
    end.fd = (int)syscall(SYS_pidfd_open, atoi(text), 0);
    if (end.fd >= 0) { /* gone already: nothing to wait for */
        (void)syscall(SYS_pidfd_send_signal, end.fd, SIGKILL, NULL, 0);
        (void)poll(&end, 1, -1);
    }
    (void)snprintf(path, sizeof path, "%s/%s.fifo", argv[2], argv[3]);
    need(unlink(path), path);
    leaf_path(path, argv[3]);
    if (path[0] != '\0') {
        need(rmdir(path), path);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "create") == 0) {
        return create(argv);
    }
    if (argc == 4 && strcmp(argv[1], "start") == 0) {
        return start(argv);
    }
    if (argc == 4 && strcmp(argv[1], "delete") == 0) {
        return remove_it(argv);
    }
    return 2;
}
