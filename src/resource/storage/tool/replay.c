/* replay.c - the requests of a trace, made again on a disk. */
#include <errno.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "resource/storage/filter/log.h"
#include "resource/storage/tool/private.h"

static const char *const keys[] = {"trace", "at-once", "reads-only", "depth", NULL};

static void tell(const struct request *r, const struct filter_log_replay *io)
{
    (void)request_answer_number(r, "requests", io->count);
    (void)request_answer_number(r, "failed", io->failed);
    (void)request_answer_number(r, "skipped", io->skipped);
    (void)request_answer_number(r, "took_ns", io->took_ns);
}

int tool_replay(struct request *r)
{
    struct filter_log_replay io = {.at_once = request_has(r, "at-once"),
                                   .reads_only = request_has(r, "reads-only")};
    struct blk_edge edge = {.user = "replay", .lets = BLK_USE_READ};
    struct blk *disk = NULL;
    struct blk *trace = NULL;
    uint64_t depth = 0;
    int e = request_open(r, keys, &disk);

    e = e != 0 ? e : request_disk(r, "trace", &trace);
    e = e != 0 ? e : request_number(r, "depth", 0, &depth);
    if (e == 0 && depth > 256) {
        e = err_set(r->e, -EINVAL, "depth= is 1 to 256");
    }
    io.depth = (unsigned)depth;
    edge.uses = io.reads_only ? BLK_USE_READ : BLK_USE_READ | BLK_USE_WRITE;
    e = e != 0 ? e : blk_attach(&edge, disk, r->e);
    if (e == 0) {
        e = filter_log_replay(r->loop, trace, disk, &io, r->e);
        blk_detach(&edge);
    }
    if (e == 0) {
        tell(r, &io);
    }
    return e;
}
