/* The program that has a port of this host, for an error that names it.
 *
 * The kernel lists sockets with their inodes, and each process its descriptors.  What
 * another user's process has open only root can see. */
#include "resource/network/network.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"

#define LISTS_MOST    (64 << 20)
#define CMDLINE_MOST  (1 << 20)
#define STATE_LISTEN  0x0A /* TCP_LISTEN of the kernel */
#define FOR_WORD      "--for="
#define FOR_BYTES     (sizeof FOR_WORD - 1)
#define INODE_UNKNOWN 0

static unsigned long find_in(const char *path, bool udp, unsigned port)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len;
    if (file_read(AT_FDCWD, path, LISTS_MOST, &text, &len) < 0) {
        return INODE_UNKNOWN;
    }
    for (const char *at = text; at != NULL && *at != '\0';) {
        unsigned have;
        unsigned state;
        unsigned long inode;
        if (sscanf(at, " %*u: %*[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*u %*u %lu", &have,
                   &state, &inode) == 3 &&
            have == port && (udp || state == STATE_LISTEN) && inode != 0) {
            return inode;
        }
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    return INODE_UNKNOWN;
}

static bool has_socket(const char *pid, const char *wanted)
{
    char path[64];
    char link[64];
    SCOPED(scope_dir) DIR *dir = NULL;
    const struct dirent *d;
    if (str_print(path, sizeof path, "/proc/%s/fd", pid) < 0 ||
        (dir = opendir(path)) == NULL) {
        return false;
    }
    while ((d = readdir(dir)) != NULL) {
        ssize_t n = readlinkat(dirfd(dir), d->d_name, link, sizeof link - 1);
        if (n > 0) {
            link[n] = '\0';
            if (strcmp(link, wanted) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool find_process(unsigned long inode, char out[32])
{
    char wanted[64];
    SCOPED(scope_dir) DIR *dir = opendir("/proc");
    const struct dirent *d;
    (void)str_print(wanted, sizeof wanted, "socket:[%lu]", inode);
    while (dir != NULL && (d = readdir(dir)) != NULL) {
        if (isdigit((unsigned char)d->d_name[0]) && has_socket(d->d_name, wanted)) {
            return str_print(out, 32, "%s", d->d_name) == 0;
        }
    }
    return false;
}

/* Our own programs say for whom they listen. */
static bool copy_for(const char *pid, char *out, size_t size)
{
    SCOPED(scope_free) char *text = NULL;
    char path[64];
    size_t len = 0;
    (void)str_print(path, sizeof path, "/proc/%s/cmdline", pid);
    if (file_read(AT_FDCWD, path, CMDLINE_MOST, &text, &len) < 0) {
        return false;
    }
    if (strcmp(text, "forward") != 0 && strcmp(text, "usernet") != 0) {
        return false;
    }
    for (const char *at = text; at < text + len; at += strlen(at) + 1) {
        if (strncmp(at, FOR_WORD, FOR_BYTES) == 0) {
            (void)snprintf(out, size, "%s", at + FOR_BYTES);
            return true;
        }
    }
    return false;
}

static void describe(const char *pid, char *out, size_t size)
{
    SCOPED(scope_free) char *name = NULL;
    char path[64];
    size_t len;
    if (copy_for(pid, out, size)) {
        return;
    }
    (void)str_print(path, sizeof path, "/proc/%s/comm", pid);
    if (file_read(AT_FDCWD, path, sizeof path, &name, &len) == 0) {
        name[strcspn(name, "\n")] = '\0';
        (void)snprintf(out, size, "program '%s' (process %s) of this host", name, pid);
    }
}

void network_port_holder(bool udp, unsigned port, char *out, size_t size)
{
    static const char *const paths[2][2] = {
        {"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"},
        {"/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"}};
    unsigned long inode = INODE_UNKNOWN;
    char pid[32];
    (void)snprintf(out, size, "a program of this host");
    for (unsigned i = 0; i < 2 && inode == INODE_UNKNOWN; i++) {
        inode = find_in(paths[udp][i], udp, port);
    }
    if (inode != INODE_UNKNOWN && find_process(inode, pid)) {
        describe(pid, out, size);
    }
    for (char *c = out; *c != '\0'; c++) { /* a process may call itself anything */
        *c = isprint((unsigned char)*c) ? *c : '?';
    }
}
