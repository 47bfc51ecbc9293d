/* seed.c - what the host tells a new guest, where no cloud-init reads it from its volume: who may
 * come in by ssh as root, and a script to be run once. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virt/agent/private.h"

#define SEED_BYTES (64 << 10)
#define SCRIPT     "/var/lib/strata/user-data"

/* A file as text, which the caller frees; NULL: it is not there, or too large. */
static char *read_file(const char *path)
{
    char *text = calloc(1, SEED_BYTES + 1);
    ssize_t n = text == NULL ? -1 : agent_read_small(path, text, SEED_BYTES + 1);

    if (n <= 0) {
        free(text);
        text = NULL;
    }
    return text;
}

static void write_file(const char *path, int flags, mode_t mode, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, mode);

    if (fd >= 0) {
        (void)!write(fd, text, strlen(text));
        (void)close(fd);
    }
}

void agent_write_new(const char *path, const char *text)
{
    (void)unlink(path); /* a link may lead out of the root */
    write_file(path, O_EXCL, 0644, text);
}

static void add_keys(char *keys)
{
    static const char place[] = "/newroot/root/.ssh/authorized_keys";
    char *have, *line;

    (void)mkdir("/newroot/root", 0700);
    (void)mkdir("/newroot/root/.ssh", 0700);
    have = read_file(place);
    while ((line = strsep(&keys, "\n")) != NULL) {
        char text[SCRATCH_BYTES * 4];

        if (line[0] != '\0' && (have == NULL || strstr(have, line) == NULL)) {
            (void)snprintf(text, sizeof text, "%s\n", line);
            write_file(place, O_APPEND, 0600, text);
        }
    }
    free(have);
}

void agent_plant_seed(void)
{
    char *keys = read_file("/" FRAME_BOOT_KEYS);
    char *script = read_file("/" FRAME_BOOT_SCRIPT);

    if (access("/newroot/usr/bin/cloud-init", F_OK) < 0) {
        if (keys != NULL) {
            add_keys(keys);
        }
        if (script != NULL && strncmp(script, "#!", 2) == 0 &&
            access("/newroot" SCRIPT, F_OK) < 0) {
            (void)mkdir("/newroot/var", 0755);
            (void)mkdir("/newroot/var/lib", 0755);
            (void)mkdir("/newroot/var/lib/strata", 0700);
            write_file("/newroot" SCRIPT, O_EXCL, 0700, script);
        }
    }
    free(keys);
    free(script);
}

/* Its mode says that it is still to be run. */
void agent_run_seed(int root)
{
    const char *const argv[] = {SCRIPT, NULL};
    const struct frame_exec x = {.argv = argv};
    struct stat st;
    pid_t pid;

    if (root < 0 || fstatat(root, SCRIPT + 1, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode) || (st.st_mode & S_IXUSR) == 0 || fork() != 0) {
        return;
    }
    if (fchdir(root) < 0 || chroot(".") < 0) {
        _exit(126);
    }
    pid = fork();
    if (pid == 0) {
        _exit(agent_exec(&x));
    }
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    (void)chmod(SCRIPT, 0600);
    _exit(0);
}
