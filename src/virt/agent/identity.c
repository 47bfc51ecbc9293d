/* identity.c - a guest that goes on, or begins, as a copy of another one becomes another one.
 *
 * What its system keeps to tell machines apart is made anew: machine-id(5), the keys by which
 * ssh knows a host, the host's name, the card's address.  And whatever it was that the kernel
 * drew random bytes from, there is more in it now: two machines with one memory would draw the same.
 * Programs that keep such things in their own memory are not reached.
 * Sources: machine-id(5), ssh-keygen(1), sshd(8) (SIGHUP), random(4). */
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virt/agent/private.h"

#define PATH_BYTES 256
#define ID_BYTES   16
#define FILE_BYTES (64 << 10)
#define SEED_MOST  256 /* bytes */
#define BITS       8

/* ---- files of a root ---- */

/* Of a system that has none yet nothing is made: it does that itself. */
static void renew_machine_id(const char *root, const char *name)
{
    char path[PATH_BYTES], text[2 * ID_BYTES + 2];
    unsigned char id[ID_BYTES];
    struct stat st;

    (void)snprintf(path, sizeof path, "%s%s", root, name);
    if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 2 * ID_BYTES ||
        getrandom(id, sizeof id, 0) != (ssize_t)sizeof id) {
        return;
    }
    for (unsigned i = 0; i < ID_BYTES; i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", id[i]);
    }
    text[2 * ID_BYTES] = '\n';
    text[2 * ID_BYTES + 1] = '\0';
    agent_write_new(path, text);
}

/* One that runs reads them now. */
static void tell_sshd(void)
{
    char text[16];
    int pid = agent_read_small("/run/sshd.pid", text, sizeof text) > 0 ? atoi(text) : 0;

    if (pid > 1) {
        (void)kill(pid, SIGHUP);
    }
}

static void make_keys(const char *root)
{
    char name[] = "ssh-keygen", all[] = "-A";
    char *const argv[] = {name, all, NULL};
    pid_t pid = fork();

    if (pid == 0) {
        if (root[0] != '\0' && (chroot(root) < 0 || chdir("/") < 0)) {
            _exit(126);
        }
        (void)execv("/usr/bin/ssh-keygen", argv);
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

/* Making them takes its time: of a system that runs (no root) in the background. */
static void renew_keys(const char *root)
{
    static const char *const kinds[] = {"rsa", "dsa", "ecdsa", "ed25519"};
    char path[PATH_BYTES];
    unsigned gone = 0;

    (void)snprintf(path, sizeof path, "%s/usr/bin/ssh-keygen", root);
    if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        return;
    }
    for (unsigned i = 0; i < 2 * sizeof kinds / sizeof kinds[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/etc/ssh/ssh_host_%s_key%s", root,
                       kinds[i / 2], i % 2 != 0 ? ".pub" : "");
        gone += unlink(path) == 0;
    }
    if (gone > 0 && root[0] != '\0') {
        make_keys(root);
    } else if (gone > 0 && fork() == 0) {
        make_keys(root);
        tell_sshd();
        _exit(0);
    }
}

/* Of a line of /etc/hosts: the old name on the way to itself is the new one. */
static void put_line(FILE *to, char *line, const char *was, const char *name)
{
    bool is_own = strncmp(line, "127.", 4) == 0;

    while (line[0] != '\0') {
        size_t blank = strspn(line, " \t");
        size_t word = strcspn(line + blank, " \t");

        (void)fprintf(to, "%.*s", (int)blank, line);
        line += blank;
        if (is_own && word > 0 && strlen(was) == word && strncmp(line, was, word) == 0) {
            (void)fputs(name, to);
        } else {
            (void)fprintf(to, "%.*s", (int)word, line);
        }
        line += word;
    }
    (void)fputc('\n', to);
}

static void renew_hosts(const char *was, const char *name, const char *address)
{
    char *text = calloc(1, FILE_BYTES);
    char *out = NULL, *rest, *line;
    size_t n = 0;
    FILE *to = text == NULL || agent_read_small("/etc/hosts", text, FILE_BYTES) < 0
                   ? NULL
                   : open_memstream(&out, &n);

    for (rest = text; to != NULL && (line = strsep(&rest, "\n")) != NULL;) {
        if (line[0] != '\0') {
            put_line(to, line, was, name);
        }
    }
    if (to != NULL && address[0] != '\0') {
        (void)fprintf(to, "%s %s\n", address, name);
    }
    if (to != NULL && fclose(to) == 0) {
        agent_write_new("/etc/hosts", out);
    }
    free(out);
    free(text);
}

void agent_become_another(const char *root, const char *host)
{
    char path[PATH_BYTES], line[80];

    renew_machine_id(root, "/etc/machine-id");
    renew_machine_id(root, "/var/lib/dbus/machine-id");
    renew_keys(root);
    if (host[0] != '\0') {
        (void)snprintf(path, sizeof path, "%s/etc/hostname", root);
        (void)snprintf(line, sizeof line, "%s\n", host);
        agent_write_new(path, line);
    }
}

/* ---- of a system that runs ---- */

static int stir(const char *hex)
{
    struct {
        struct rand_pool_info info;
        unsigned char bytes[SEED_MOST];
    } pool = {.info = {.entropy_count = 0}};

    size_t n = strlen(hex) / 2;
    int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    int r = fd < 0 ? -errno : 0;

    n = n < SEED_MOST ? n : SEED_MOST;
    for (size_t i = 0; i < n; i++) {
        unsigned v = 0;

        (void)sscanf(hex + 2 * i, "%2x", &v);
        pool.bytes[i] = (unsigned char)v;
    }
    pool.info.entropy_count = (int)(n * BITS);
    pool.info.buf_size = (int)n;
    if (r == 0 && n > 0 &&
        (ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)) {
        r = -errno;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return r;
}

static int become_host(const char *name, const char *network)
{
    char was[65] = "", address[64] = "";
    const char *at = strstr(network, "address=");

    (void)gethostname(was, sizeof was - 1);
    if (at != NULL) {
        (void)snprintf(address, sizeof address, "%.*s", (int)strcspn(at + 8, "/,"),
                       at + 8);
    }
    if (name[0] != '\0' && sethostname(name, strlen(name)) < 0) {
        return -errno;
    }
    agent_become_another("", name);
    if (name[0] != '\0') {
        renew_hosts(was, name, address);
    }
    return network[0] != '\0' ? agent_change_network(network) : 0;
}

int agent_renew(const struct frame *f)
{
    char text[FRAME_RENEW_BYTES + 1];
    char *rest = text, *line;
    const char *seed = "", *host = NULL, *network = "";
    int r;

    if (f->len > FRAME_RENEW_BYTES) {
        return -EPROTO;
    }
    memcpy(text, f->bytes, f->len);
    text[f->len] = '\0';
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (strncmp(line, "seed=", 5) == 0) {
            seed = line + 5;
        } else if (strncmp(line, "host=", 5) == 0) {
            host = line + 5;
        } else if (strncmp(line, "network=", 8) == 0) {
            network = line + 8;
        }
    }
    r = stir(seed);
    if (r == 0 && host == NULL && network[0] != '\0') {
        return agent_runs_command() || !agent_knows_networks("")
                   ? agent_take_card(network)
                   : 0;
    }
    return r == 0 && host != NULL ? become_host(host, network) : r;
}
