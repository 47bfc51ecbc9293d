/* words.c - the kernel's command line (Linux, Documentation/admin-guide/kernel-parameters). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "virt/agent/private.h"

static void take(const char *value, size_t n, char *out, size_t room)
{
    if (n < room) {
        memcpy(out, value, n);
        out[n] = '\0';
    }
}

static bool is(const char *word, size_t n, const char *name)
{
    return n == strlen(name) && memcmp(word, name, n) == 0;
}

static void read_word(const char *word, size_t n, struct wish *w)
{
    const struct {
        const char *name;
        char *to;
        size_t room;
    } all[] = {
        {"strata.root=", w->root, sizeof w->root},
        {"strata.rootfs=", w->type, sizeof w->type},
        {"strata.init=", w->init, sizeof w->init},
        {"systemd.hostname=", w->host, sizeof w->host},
        {"strata.command=", w->command, sizeof w->command},
    };

    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
        size_t name = strlen(all[i].name);

        if (n > name && memcmp(word, all[i].name, name) == 0) {
            take(word + name, n - name, all[i].to, all[i].room);
        }
    }
    w->read_only = w->read_only || is(word, n, "strata.ro");
    w->serves = w->serves || is(word, n, "strata.agent");
}

void wish_read(const char *line, struct wish *ret)
{
    static const char blank[] = " \t\n";

    *ret = (struct wish){.type = "ext4"};
    for (;;) {
        size_t n;

        line += strspn(line, blank);
        n = strcspn(line, blank);
        if (n == 0 || is(line, n, "--")) {
            return;
        }
        read_word(line, n, ret);
        line += n;
    }
}

ssize_t agent_read_small(const char *path, char *out, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -errno : read(fd, out, room - 1);

    if (fd >= 0) {
        (void)close(fd);
    }
    out[n > 0 ? n : 0] = '\0';
    return n;
}
