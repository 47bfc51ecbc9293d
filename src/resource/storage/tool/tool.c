/* tool.c - the operations of the program `volume`, by name. */
#include "resource/storage/tool/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/tool/private.h"

static const struct operation {
    const char *name;
    int (*run)(struct request *r);
} operations[] = {
    {"nbd", tool_nbd},
    {"iscsi", tool_iscsi},
};

const char *request_get(const struct request *r, const char *key)
{
    size_t n = strlen(key);

    for (unsigned i = 0; i < r->count; i++) {
        if (strncmp(r->words[i], key, n) == 0 && r->words[i][n] == '=') {
            return r->words[i] + n + 1;
        }
        if (strcmp(r->words[i], key) == 0) {
            return "";
        }
    }
    return NULL;
}

bool request_has(const struct request *r, const char *key)
{
    return request_get(r, key) != NULL;
}

int request_check(const struct request *r, const char *const *keys)
{
    for (unsigned i = 0; i < r->count; i++) {
        size_t n = strcspn(r->words[i], "=");
        const char *const *k = keys;

        while (*k != NULL && (strlen(*k) != n || strncmp(*k, r->words[i], n) != 0)) {
            k++;
        }
        if (*k == NULL) {
            return err_set(r->e, -EINVAL, "'%.*s' is no word of this operation", (int)n,
                           r->words[i]);
        }
    }
    return 0;
}

int request_answer(const struct request *r, const char *key, const char *value)
{
    return dprintf(r->answer_fd, "%s=%s\n", key, value) < 0 ? -errno : 0;
}

/* A descriptor that the caller passed on, or a file by its name. */
static int open_file(const struct request *r, bool read_only, const char **ret_label)
{
    const char *fd = request_get(r, "fd");
    const char *file = request_get(r, "file");
    int got;

    *ret_label = file != NULL ? file : "disk";
    if (fd != NULL) {
        got = fcntl(atoi(fd), F_DUPFD_CLOEXEC, 3);
    } else if (file != NULL) {
        got = open(file, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    } else {
        return err_set(r->e, -EINVAL, "no disk is named (file=PATH)");
    }
    return got >= 0 ? got : err_sys(r->e, -errno, "cannot open '%s'", *ret_label);
}

int request_open_disk(const struct request *r, struct blk **ret_disk)
{
    struct leaf_file_options o = {
        .read_only = request_has(r, "read-only"),
        .direct = request_has(r, "direct"),
    };
    const char *format = request_get(r, "format");
    int fd;

    if (format != NULL && strcmp(format, "raw") != 0) {
        return err_set(r->e, -EINVAL, "the format '%s' is not known", format);
    }
    fd = open_file(r, o.read_only, &o.label);
    return fd < 0 ? fd : leaf_file_create(r->loop, fd, &o, ret_disk, r->e);
}

struct running {
    const struct operation *operation;
    struct request request;
};

static int run(void *arg)
{
    struct running *x = arg;

    return x->operation->run(&x->request);
}

static int start_loop(const struct request *r, struct loop **ret)
{
    const char *driver = request_get(r, "driver");

    return loop_create(driver != NULL && strcmp(driver, "crew") == 0 ? LOOP_DRIVER_CREW
                                                                     : LOOP_DRIVER_AUTO,
                       ret, r->e);
}

int tool_run(char **words, unsigned count, int answer_fd, struct err *e)
{
    struct running x = {
        .request = {
            .words = words + 1, .count = count - 1, .answer_fd = answer_fd, .e = e}};
    int r;

    for (unsigned i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        if (strcmp(operations[i].name, words[0]) == 0) {
            x.operation = &operations[i];
        }
    }
    if (x.operation == NULL) {
        return err_set(e, -EINVAL, "'%s' is no operation", words[0]);
    }
    r = start_loop(&x.request, &x.request.loop);
    if (r == 0) {
        r = loop_do(x.request.loop, run, &x);
        loop_destroy(x.request.loop);
    }
    return r;
}
