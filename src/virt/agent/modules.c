/* modules.c - modules in the order in which /strata/modules lists them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "virt/agent/private.h"

#define LIST_BYTES 16384

static int load(const char *name)
{
    char path[256];
    int fd;
    long r;

    (void)snprintf(path, sizeof path, "/strata/%s.ko", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    r = syscall(SYS_finit_module, fd, "", 0);
    r = r < 0 && errno != EEXIST ? -errno : 0;
    (void)close(fd);
    (void)unlink(path); /* its memory is the guest's again */
    return (int)r;
}

int agent_load_modules(const char *stage)
{
    char list[LIST_BYTES];
    char *rest = list, *line;
    size_t n = strlen(stage);
    int failed = 0;

    if (agent_read_small("/strata/modules", list, sizeof list) <= 0) {
        return 0;
    }
    while ((line = strsep(&rest, "\n")) != NULL) {
        int r = strncmp(line, stage, n) == 0 && line[n] == ' ' ? load(line + n + 1) : 0;

        if (r < 0 && r != -ENOENT) {
            (void)fprintf(stderr, "strata: module %s: %s\n", line + n + 1, strerror(-r));
            failed++;
        }
    }
    return failed;
}
