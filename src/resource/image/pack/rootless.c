/* rootless.c - an ordinary user unpacks inside a user namespace.
 *
 * With subordinate ids (/etc/subuid, /etc/subgid and the set-uid programs
 * newuidmap and newgidmap) the namespace maps 0 to the user and 1.. to the range,
 * and layers keep their owners.  Without, it maps 0 only: `extract` then gives
 * every file to the user and counts how many that were.  Either way the process
 * may write into directories of mode 0555 and set security.capability. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "resource/image/pack/pack.h"

#define SUBID_BYTES_MAX (1u << 20)

extern char **environ;

/* The first range of "NAME:START:COUNT" or "UID:START:COUNT". */
static int read_range(const char *path, uid_t uid, unsigned long *start,
                      unsigned long *count)
{
    SCOPED(scope_free) char *text = NULL;
    const char *user = getenv("USER");
    char *line, *rest;
    size_t len;
    int r = file_read(AT_FDCWD, path, SUBID_BYTES_MAX, &text, &len);

    if (r < 0) {
        return r;
    }
    rest = text;
    while ((line = strsep(&rest, "\n")) != NULL) {
        const char *name = strsep(&line, ":");
        char number[16];

        (void)str_print(number, sizeof number, "%u", uid);
        if (line == NULL ||
            (strcmp(name, number) != 0 && (user == NULL || strcmp(name, user) != 0))) {
            continue;
        }
        if (sscanf(line, "%lu:%lu", start, count) == 2 && *count > 0) {
            return 0;
        }
    }
    return -ENOENT;
}

static int run_map(const char *program, pid_t pid, unsigned long id, unsigned long start,
                   unsigned long count)
{
    char text[5][24];
    char *argv[9] = {(char *)(uintptr_t)program,
                     text[0],
                     (char *)(uintptr_t) "0",
                     text[1],
                     (char *)(uintptr_t) "1",
                     (char *)(uintptr_t) "1",
                     text[2],
                     text[3],
                     NULL};
    pid_t child;
    int status = 0;

    (void)str_print(text[0], sizeof text[0], "%d", (int)pid);
    (void)str_print(text[1], sizeof text[1], "%lu", id);
    (void)str_print(text[2], sizeof text[2], "%lu", start);
    (void)str_print(text[3], sizeof text[3], "%lu", count);
    if (posix_spawnp(&child, program, NULL, NULL, argv, environ) != 0) {
        return -ENOENT;
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* In a child that stays outside the new namespace: map the parent's ids. */
static int map_ranges(pid_t pid, uid_t uid, gid_t gid)
{
    unsigned long ustart, ucount, gstart, gcount;
    int r = read_range("/etc/subuid", uid, &ustart, &ucount);

    r = r < 0 ? r : read_range("/etc/subgid", uid, &gstart, &gcount);
    r = r < 0 ? r : run_map("newuidmap", pid, uid, ustart, ucount);
    return r < 0 ? r : run_map("newgidmap", pid, gid, gstart, gcount);
}

static int map_self(uid_t uid, gid_t gid)
{
    char text[40];
    int r = file_write_existing(AT_FDCWD, "/proc/self/setgroups", "deny");

    (void)str_print(text, sizeof text, "0 %u 1", uid);
    r = r < 0 ? r : file_write_existing(AT_FDCWD, "/proc/self/uid_map", text);
    (void)str_print(text, sizeof text, "0 %u 1", gid);
    return r < 0 ? r : file_write_existing(AT_FDCWD, "/proc/self/gid_map", text);
}

/* The helper waits for the word that the namespace is there. */
static pid_t start_helper(int sock[2], uid_t uid, gid_t gid)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    char c;

    if (pid == 0) {
        (void)close(sock[0]);
        if (read(sock[1], &c, 1) != 1) {
            _exit(1);
        }
        _exit(map_ranges(parent, uid, gid) < 0 ? 1 : 0);
    }
    return pid;
}

int pack_enter_namespace(struct err *e)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int sock[2], status = 0;
    pid_t helper;
    int r;

    if (uid == 0) {
        return 0;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0) {
        return err_sys(e, -errno, "cannot enter a user namespace");
    }
    helper = start_helper(sock, uid, gid);
    (void)close(sock[1]);
    r = helper < 0 || unshare(CLONE_NEWUSER) < 0 ? -errno : 0;
    if (r == 0 && send(sock[0], "x", 1, MSG_NOSIGNAL) != 1) {
        r = -EIO;
    }
    (void)close(sock[0]);
    while (helper > 0 && waitpid(helper, &status, 0) < 0 && errno == EINTR) {
    }
    if (r == 0 && status != 0) {
        r = map_self(uid, gid);
    }
    return r < 0 ? err_sys(e, r, "cannot enter a user namespace (see 'strata doctor')")
                 : 0;
}
