/* replay.c - the requests of a trace, made again on a disk that nobody uses. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "node/volume/option.h"

static void take_count(void *arg, const char *line)
{
    char key[32];
    long long number;

    if (sscanf(line, "%31[a-z_]=%lld", key, &number) == 2) {
        (void)json_object_set_new(arg, key, json_integer(number));
    }
}

static int replay(struct node *n, const struct volume *v, const json_t *order,
                  json_t *row, struct err *e)
{
    const char *path = volume_text(order, "trace");
    bool writes = json_is_true(json_object_get(order, "writes"));
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct words w = {.n_fds = 0};
    struct chain chain = {0};
    char fd[32];
    int r;

    if (file < 0) {
        return err_sys(e, -errno, "cannot read the trace '%s'", path);
    }
    words_add(&w, "node=trace,file,%s,read-only", words_fd(&w, "fd", file, fd));
    r = chain_load(n, volume_text(v->record, "top"), &chain, e);
    r = r == 0 ? chain_unlock(n, &chain, order, e) : r;
    r = r == 0 ? words_chain(n, &chain, "disk", writes, &w, e) : r;
    words_add(&w, "trace=trace");
    if (!writes) {
        words_add(&w, "reads-only");
    }
    if (json_is_true(json_object_get(order, "at_once"))) {
        words_add(&w, "at-once");
    }
    if (volume_number(order, "depth") > 0) {
        words_add(&w, "depth=%llu", (unsigned long long)volume_number(order, "depth"));
    }
    r = r == 0 ? words_run(n, "replay", &w, take_count, row, e) : r;
    words_fini(&w);
    chain_fini(&chain);
    return r;
}

int option_replay(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    SCOPED(scope_close) int lock = -1;
    SCOPED(scope_json) json_t *row = NULL;
    struct volume v = {0};
    int r = volume_load_disk(n, name, &v, &lock, e);

    if (r == 0 && json_is_true(json_object_get(order, "writes"))) {
        r = option_cache_leave(n, &v, false, e); /* it knows another disk */
    }
    row = json_pack("{s:s}", "name", name);
    r = r == 0 ? replay(n, &v, order, row, e) : r;
    if (r == 0) {
        *ret = json_incref(row);
    }
    volume_fini(&v);
    return r < 0 && r != -ENOENT ? err_wrap(e, "cannot replay on volume '%s'", name) : r;
}
