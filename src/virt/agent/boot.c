/* boot.c - the first process: from the kernel's hand to a system or a command.
 *
 * The agent that serves the host beside a distribution's own init is forked before the
 * root is switched: it keeps the initramfs as its file system, with the modules that it
 * still loads, and enters the guest's root for each connection only. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "virt/agent/private.h"

#define PORT_EXIT 0xf4 /* the machine's debug-exit port: a byte ends it with that code */
#define QUIET     8    /* syslog(2), SYSLOG_ACTION_CONSOLE_LEVEL */

static void mount_usual(void)
{
    static const struct {
        const char *type, *place;
        unsigned long flags;
        const char *data;
    } all[] = {
        {"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""},
        {"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""},
        {"devtmpfs", "/dev", MS_NOSUID, "mode=0755"},
        {"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755"},
    };

    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
        (void)mkdir(all[i].place, 0755);
        (void)mount(all[i].type, all[i].place, all[i].type, all[i].flags, all[i].data);
    }
    (void)mkdir("/dev/pts", 0755);
    (void)mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                "mode=0620,ptmxmode=0666");
}

/* What a container's init would find, too. */
static void make_links(void)
{
    (void)!symlink("/proc/self/fd", "/dev/fd");
    (void)!symlink("/proc/self/fd/0", "/dev/stdin");
    (void)!symlink("/proc/self/fd/1", "/dev/stdout");
    (void)!symlink("/proc/self/fd/2", "/dev/stderr");
}

/* What a system's own init would do, and does again: its name, and the way to itself. */
static void name_host(const struct wish *w)
{
    if (w->host[0] != '\0') {
        (void)!sethostname(w->host, strlen(w->host));
    }
    (void)agent_raise_loopback();
}

/* The machine ends with this code; one without the port is switched off. */
static int end(int code, const char *mounts)
{
    sync();
    agent_unmount_volumes(mounts);
    (void)mount("", "/", NULL, MS_REMOUNT | MS_RDONLY,
                NULL); /* clean, where it is a disk */
    (void)tcdrain(1);
    if (ioperm(PORT_EXIT, 1, 1) == 0) {
        outb((unsigned char)code, PORT_EXIT);
    }
    (void)reboot(RB_POWER_OFF);
    return -EIO;
}

static int listen_vsock(void)
{
    const struct sockaddr_vm at = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = FRAME_PORT};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 &&
        (bind(fd, (const struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 16) < 0)) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

/* In a child: serves the host as long as the guest runs.  `root`: where commands run. */
static void serve_beside(int root)
{
    int fd;

    agent_switch_on_cpus(root);
    if (fork() != 0) {
        return;
    }
    (void)prctl(PR_SET_NAME, AGENT_SERVES);
    (void)agent_load_modules("network");
    (void)agent_load_modules("files");
    (void)agent_load_modules("later");
    agent_run_seed(root);
    fd = listen_vsock();
    if (fd < 0) {
        (void)fprintf(stderr, "strata: there is no vsock to serve the host on\n");
    }
    _exit(fd < 0 || agent_serve(fd, root) < 0 ? 1 : 0);
}

/* Does not come back where one of them can be executed. */
static void exec_init(const struct wish *w)
{
    const char *const places[] = {w->init,     "/sbin/init", "/usr/lib/systemd/systemd",
                                  "/etc/init", "/bin/init",  "/bin/sh"};

    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (places[i][0] != '\0') {
            char *const argv[] = {(char *)(uintptr_t)places[i], NULL};

            (void)execv(places[i], argv);
        }
    }
    (void)fprintf(stderr, "strata: the root has no init that can be run\n");
}

/* Into the root, if there is one, with the volumes; 0 or -errno, said on the console. */
static int enter(const struct wish *w, const char *mounts)
{
    if (w->root[0] != '\0' && agent_switch_root() < 0) {
        (void)fprintf(stderr, "strata: cannot enter the root: %s\n", strerror(errno));
        return -EIO;
    }
    return agent_mount_volumes(mounts);
}

int agent_boot(void)
{
    char line[SCRATCH_BYTES];
    const struct boot_command *command;
    const char *mounts;
    struct wish w;
    int root = -1;

    mount_usual();
    make_links();
    (void)klogctl(QUIET, NULL, 1);
    (void)agent_read_small("/proc/cmdline", line, sizeof line);
    wish_read(line, &w);
    command = agent_read_command(&w);
    name_host(&w);
    (void)agent_load_modules("root");
    mounts = agent_read_mounts();
    if (w.root[0] != '\0') {
        if (agent_mount_root(&w) < 0) {
            return end(125, NULL);
        }
        if (access("/" FRAME_BOOT_COPY, F_OK) == 0) {
            agent_become_another("/newroot", w.host);
        }
        agent_plant_seed();
        if (command != NULL || !agent_knows_networks("/newroot")) {
            agent_join_network();
            agent_plant_names(w.host, command == NULL);
        }
        root = open("/newroot", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (w.serves) {
        serve_beside(root);
    }
    if (enter(&w, mounts) < 0) {
        return end(125, mounts);
    }
    if (command != NULL) {
        return end(agent_run_command(command), mounts);
    }
    if (w.root[0] != '\0' || w.init[0] != '\0') {
        exec_init(&w);
    } else {
        (void)fprintf(stderr, "strata: neither a root (strata.root=) nor a command\n");
    }
    return end(125, mounts);
}
