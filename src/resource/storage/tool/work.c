/* work.c - the verbs that take long: jobs on the disk that is being served.
 *
 * With `hold`, a job that is ready says so and waits for the message `go`: whoever keeps
 * the record of what the volume stands on changes it in between, when both states are
 * right.  With `turned=@N` a job writes the digit 1 to that file, durably, at the moment from
 * which on only the new state is right: who finds both after a crash reads it there.  What
 * nobody uses afterwards is left, and named in the answer. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_ops.h"
#include "host/loop/file_io.h"
#include "resource/storage/bitmap/bitmap.h"
#include "resource/storage/cache/cache.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/job/job.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/pool/carve.h"
#include "resource/storage/qcow2/qcow2.h"
#include "resource/storage/tool/worker.h"

#define LOOK_NS 5000000 /* while it waits for leave to go on */

/* ---- what all jobs have in common ---- */

static int progress(void *arg, uint64_t done, uint64_t total)
{
    struct call *c = arg;

    call_progress(c, done, total);
    return call_check(c);
}

int call_ready(void *arg, const int *failed)
{
    struct call *c = arg;
    int r = call_check(c);

    if (r != 0 || c->from->told || !request_has(&c->words, "hold")) {
        return r;
    }
    call_answer(c, "ready", "yes");
    call_send(c);
    while (r == 0 && *failed == 0 && !c->from->told) {
        loop_sleep(c->worker->loop, LOOK_NS);
        r = call_check(c);
    }
    return r != 0 ? r : *failed;
}

/* `turned=` of the request: which of two layers is right is read there after a crash. */
static int turned(void *arg, bool gone)
{
    struct call *c = arg;
    const char *fd = request_get(&c->words, "turned");
    struct file_io file = {.loop = c->worker->loop, .fd = fd != NULL ? atoi(fd) : -1};
    char digit = gone ? '1' : '0';
    const struct iovec piece = {&digit, 1};
    ssize_t n = 0;

    (void)fault_step("turn.alike");
    if (fd != NULL) {
        n = file_io_writev(&file, &piece, 1, 0, true);
    }
    (void)fault_step("turn.noted");
    return n < 0 ? (int)n : 0;
}

static struct job_control control_of(struct call *c)
{
    return (struct job_control){
        .progress = progress, .ready = call_ready, .turned = turned, .arg = c};
}

void call_left(void *arg, const char *name)
{
    call_answer(arg, "left", "%s", name);
}

/* Files and connections come as descriptors: a word from outside opens nothing. */
static int check_node(struct call *c, const char *word)
{
    static const char *const refused[] = {"path=", "uri="};

    for (const char *at = strchr(word, ','); at != NULL; at = strchr(at, ',')) {
        at++;
        for (unsigned i = 0; i < sizeof refused / sizeof refused[0]; i++) {
            if (strncmp(at, refused[i], strlen(refused[i])) == 0) {
                return err_set(c->words.e, -EACCES,
                               "%.4s= is not for a worker: pass a "
                               "descriptor (fd=@0)",
                               at);
            }
        }
    }
    return 0;
}

int call_nodes(struct call *c, unsigned *ret_count)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < c->words.count; i++) {
        if (strncmp(c->words.words[i], "node=", 5) == 0) {
            r = check_node(c, c->words.words[i] + 5);
            r = r == 0 ? graph_add(c->worker->graph, c->words.words[i] + 5, c->words.e)
                       : r;
            *ret_count += r == 0 ? 1 : 0;
        }
    }
    return r == 0 && *ret_count == 0
               ? err_set(c->words.e, -EINVAL, "no disk is named (node=NAME,TYPE...)")
               : r;
}

/* What passes requests on, and has no contents of its own that a snapshot would keep. */
static bool passes_on(const struct blk *disk)
{
    static const char *const kinds[] = {"throttle", "log", "cache"};

    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(disk->ops->name, kinds[i]) == 0) {
            return true;
        }
    }
    return false;
}

struct blk_edge *serve_image_edge(struct worker *w)
{
    struct blk_edge *edge = job_root_edge(w->root.disk);

    while (passes_on(edge->disk)) {
        edge = &edge->disk->edge[0];
    }
    return edge;
}

/* The edge to the disk that `layer=` names, or that is on top. */
static int find_layer(struct call *c, struct blk_edge **ret_edge)
{
    struct worker *w = c->worker;
    const char *name = request_get(&c->words, "layer");
    const struct blk *disk = name != NULL ? graph_disk(w->graph, name, c->words.e) : NULL;

    *ret_edge = name == NULL   ? serve_image_edge(w)
                : disk != NULL ? job_edge_to(w->root.disk, disk)
                               : NULL;
    return *ret_edge != NULL ? 0
                             : err_set(c->words.e, -ENOENT,
                                       "the volume does not stand on '%.64s'", name);
}

/* A cache above the image has what the snapshot is to keep. */
static struct blk *cache_above(struct worker *w)
{
    struct blk *disk = job_root_edge(w->root.disk)->disk;

    while (passes_on(disk) && strcmp(disk->ops->name, "cache") != 0) {
        disk = disk->edge[0].disk;
    }
    return passes_on(disk) ? disk : NULL;
}

/* All of it goes down, most before guests are held up: so a fork stalls them as long as what
 * they write meanwhile takes to go down. */
static int fork_disk(struct call *c, struct blk_edge *edge, uint64_t *ret_stall,
                     bool *ret_done)
{
    struct worker *w = c->worker;
    struct blk *cache = cache_above(w);
    uint64_t begun;
    int r = cache != NULL ? cache_write_back(cache) : 0;

    begun = loop_now_ns(w->loop);
    if (cache != NULL) {
        blk_drain_begin(w->root.disk);
        r = r == 0 ? cache_write_back(cache) : r;
        r = r == 0 ? 0 : err_sys(c->words.e, r, "the cache cannot be written back");
    }
    if (r == 0) {
        r = job_fork(w->root.disk, edge, graph_top(w->graph, NULL), ret_stall, ret_done,
                     c->words.e);
    }
    if (cache != NULL) {
        blk_drain_end(w->root.disk);
        *ret_stall = loop_now_ns(w->loop) - begun;
    }
    return r;
}

int serve_fork(struct call *c)
{
    struct worker *w = c->worker;
    struct blk_edge *edge;
    uint64_t stall = 0;
    unsigned added = 0;
    bool done = false;
    const int fine = 0;
    int r = find_layer(c, &edge);

    r = r == 0 ? call_nodes(c, &added) : r;
    r = r == 0 ? call_ready(c, &fine)
               : r; /* all is open: what is left takes little time */
    r = r == 0 ? fork_disk(c, edge, &stall, &done) : r;
    if (done) {
        call_answer(c, "forked", "yes");
        call_answer(c, "stall-us", "%llu", (unsigned long long)(stall / 1000));
    } else {
        graph_drop_last(w->graph, added);
    }
    return r;
}

/* ---- move, merge, stream ---- */

int serve_move(struct call *c)
{
    struct worker *w = c->worker;
    struct job_control j = control_of(c);
    struct blk_edge *edge;
    unsigned added = 0;
    int r = find_layer(c, &edge);

    r = r == 0 ? call_nodes(c, &added) : r;
    r = r == 0 ? job_move(w->root.disk, edge, graph_top(w->graph, NULL), &j, c->words.e)
               : r;
    (void)fault_step("turn.done");
    if (r != 0) {
        graph_drop_last(w->graph, added);
    } else {
        graph_prune(w->graph, call_left, c);
    }
    return r;
}

/* A file that was opened for reading only never had to; one of an image does now. */
static void let_image_grow(struct call *c, struct blk *file)
{
    struct blk *root = c->worker->root.disk;
    const struct blk_edge *edge = job_edge_to(root, file);
    const struct blk *user = edge != NULL ? job_user_of(root, edge) : NULL;

    if (user != NULL &&
        (strcmp(user->ops->name, "qcow2") == 0 || strcmp(user->ops->name, "span") == 0)) {
        leaf_file_let_grow(file);
    }
}

/* The device of a store, and what it has its locks on. */
static int reopen_store(struct call *c, struct place_store *store, int take_fd)
{
    int lock = fcntl(take_fd, F_DUPFD_CLOEXEC, 3);
    int r = lock < 0 ? err_sys(c->words.e, -errno, "cannot open a store anew") : 0;

    if (r != 0) {
        (void)close(take_fd);
        return r;
    }
    r = leaf_file_reopen(place_store_disk(store), take_fd, c->words.e);
    if (r != 0) {
        (void)close(lock);
        return r;
    }
    return place_store_let_write(store, lock, c->words.e);
}

/* NODE,fd=N: the file of a layer that was opened for reading only, or the store that it lies in.
 * One that is not there was not there when its layer was opened. */
static int reopen(struct call *c, const char *word)
{
    struct graph *g = c->worker->graph;
    char name[64];
    size_t n = strcspn(word, ",");
    struct place_store *store;
    struct blk *disk;
    int fd;

    if (n >= sizeof name || strncmp(word + n, ",fd=", 4) != 0) {
        return err_set(c->words.e, -EINVAL, "reopen= takes NODE,fd=@N");
    }
    memcpy(name, word, n);
    name[n] = '\0';
    if (graph_type_of(g, name) == NULL) {
        return 0;
    }
    store = graph_store(g, name);
    disk = store == NULL ? graph_disk(g, name, NULL) : NULL;
    if (store == NULL && (disk == NULL || strcmp(disk->ops->name, "file") != 0)) {
        return err_set(c->words.e, -EINVAL, "'%s' is no file", name);
    }
    fd = fcntl(atoi(word + n + 4), F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        return err_sys(c->words.e, -errno, "cannot open '%s' anew", name);
    }
    if (store != NULL) {
        return reopen_store(c, store, fd);
    }
    let_image_grow(c, disk);
    return leaf_file_reopen(disk, fd, c->words.e);
}

int call_reopen(struct call *c)
{
    const char *word;
    int r = 0;

    for (unsigned i = 0; r == 0 && (word = request_nth(&c->words, "reopen", i)) != NULL;
         i++) {
        r = reopen(c, word);
    }
    return r;
}

/* onto=NODE: the layer stands on that one, as whoever asks believes. */
static int check_onto(struct call *c, const struct blk_edge *edge)
{
    const char *name = request_get(&c->words, "onto");
    const struct blk_edge *backing = qcow2_backing_edge(edge->disk);

    if (name == NULL || (backing != NULL && backing->disk != NULL &&
                         graph_disk(c->worker->graph, name, NULL) == backing->disk)) {
        return 0;
    }
    return err_set(c->words.e, -ENOENT, "the layer does not stand on '%.64s'", name);
}

/* What an image says that it stands on, for whoever opens it by hand. */
static int rename_backing(struct call *c, struct blk *image, const char *name)
{
    const char *format = request_get(&c->words, "rename-format");
    struct blk_edge *edge = job_edge_to(c->worker->root.disk, image);
    bool frozen = image->read_only;
    struct qcow2_info info;
    int r = 0;

    if (frozen && edge != NULL) {
        edge->lets = BLK_USE_ALL;
        r = blk_set_access(image, true, c->words.e);
    }
    qcow2_info(image, &info);
    r = r == 0 ? qcow2_rebase(image, name, format != NULL ? format : info.backing_format,
                              c->words.e)
               : r;
    if (frozen && edge != NULL) {
        int back = blk_set_access(image, false, NULL);

        r = r == 0 ? back : r;
        edge->lets = BLK_USE_READ;
    }
    return r;
}

int serve_merge(struct call *c)
{
    struct worker *w = c->worker;
    struct job_control j = control_of(c);
    const char *name = request_get(&c->words, "rename");
    struct blk_edge *edge;
    struct blk *above;
    int r = find_layer(c, &edge);

    r = r == 0 ? check_onto(c, edge) : r;
    r = r == 0 ? call_reopen(c) : r;
    if (r != 0) {
        return r;
    }
    above = job_user_of(w->root.disk, edge);
    r = job_merge(w->root.disk, edge, &j, c->words.e);
    (void)fault_step("turn.done");
    if (r == 0 && name != NULL && qcow2_backing_edge(above) == edge) {
        r = rename_backing(c, above, name);
    }
    if (r == 0) {
        graph_prune(w->graph, call_left, c);
    }
    return r;
}

int serve_stream(struct call *c)
{
    struct job_control j = control_of(c);
    struct blk_edge *edge;
    int r = find_layer(c, &edge);

    r = r == 0 ? job_stream(edge->disk, &j, c->words.e) : r;
    if (r == 0) {
        graph_prune(c->worker->graph, call_left, c);
    }
    return r;
}

/* ---- backup, marks ---- */

struct bitmap_set *call_marks(struct call *c, const char *name)
{
    const char *type = graph_type_of(c->worker->graph, name);

    if (type == NULL || strcmp(type, "marks") != 0) {
        (void)err_set(c->words.e, -ENOENT, "no disk with bitmaps is called '%.64s'",
                      name);
        return NULL;
    }
    return bitmap_filter_set(graph_disk(c->worker->graph, name, NULL));
}

int serve_backup(struct call *c)
{
    struct worker *w = c->worker;
    struct job_control j = control_of(c);
    const char *marks = request_get(&c->words, "marks");
    struct job_backup what = {.bitmap = request_get(&c->words, "bitmap"),
                              .full = request_has(&c->words, "full")};
    struct blk_edge *edge;
    uint64_t bytes = 0;
    unsigned added = 0;
    int r = find_layer(c, &edge);

    if (r == 0 && (marks == NULL) != (what.bitmap == NULL)) {
        r = err_set(c->words.e, -EINVAL, "marks= and bitmap= go together");
    }
    if (r == 0 && marks != NULL) {
        what.marks = call_marks(c, marks);
        r = what.marks == NULL ? -ENOENT : 0;
    }
    r = r == 0 ? call_nodes(c, &added) : r;
    if (r == 0) {
        what.to = graph_top(w->graph, NULL);
        r = job_backup(edge, &what, &j, &bytes, c->words.e);
    }
    graph_drop_last(w->graph, added);
    if (r == 0) {
        call_answer(c, "bytes", "%llu", (unsigned long long)bytes);
    }
    return r;
}

static void tell_bitmaps(struct call *c, struct bitmap_set *set)
{
    struct bitmap *b;

    for (unsigned i = 0; (b = bitmap_at(set, i)) != NULL; i++) {
        call_answer(c, "mark", "%u %llu %s %s", bitmap_granularity(b),
                    (unsigned long long)bitmap_dirty_bytes(b),
                    bitmap_is_lost(b)      ? "lost"
                    : bitmap_is_enabled(b) ? "enabled"
                                           : "disabled",
                    bitmap_name(b));
    }
}

static int change_bitmap(struct call *c, struct bitmap_set *set, const char *name,
                         const char *change)
{
    struct bitmap *b = bitmap_find(set, name);
    int r;

    if (b == NULL) {
        return err_set(c->words.e, -ENOENT, "no bitmap is called '%.64s'", name);
    }
    if (strcmp(change, "remove") == 0) {
        return bitmap_remove(set, name, c->words.e);
    }
    r = strcmp(change, "clear") == 0 ? bitmap_reset(b)
                                     : bitmap_enable(b, strcmp(change, "enable") == 0);
    return r == 0 ? 0 : err_sys(c->words.e, r, "cannot change the bitmap '%s'", name);
}

int serve_marks(struct call *c)
{
    static const char *const changes[] = {"remove", "clear", "enable", "disable"};
    const char *node = request_get(&c->words, "marks");
    const char *add = request_get(&c->words, "add");
    struct bitmap_set *set = call_marks(c, node != NULL ? node : "");
    struct bitmap *b;
    uint64_t granularity = 65536;
    int r = set == NULL ? -ENOENT : 0;

    if (r == 0 && c->worker->job != NULL && c->words.count > 1) {
        r = err_set(c->words.e, -EBUSY, "'%s' is under way", c->worker->job);
    }
    r = r == 0 ? request_number(&c->words, "granularity", granularity, &granularity) : r;
    if (r == 0 && add != NULL) {
        r = granularity > UINT32_MAX
                ? err_set(c->words.e, -EINVAL, "the granularity is too large")
                : bitmap_add(set, add, (uint32_t)granularity, &b, c->words.e);
    }
    for (unsigned i = 0; r == 0 && i < sizeof changes / sizeof changes[0]; i++) {
        const char *name = request_get(&c->words, changes[i]);

        r = name != NULL ? change_bitmap(c, set, name, changes[i]) : 0;
    }
    if (r == 0) {
        tell_bitmaps(c, set);
    }
    return r;
}
