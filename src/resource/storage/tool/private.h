/* private.h - what the operations of the program share. */
#ifndef RESOURCE_STORAGE_TOOL_PRIVATE_H
#define RESOURCE_STORAGE_TOOL_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;
struct graph;
struct loop;

/* A request: its words behind the operation, each KEY or KEY=VALUE. */
struct request {
    char **words;
    unsigned count;
    int answer_fd;
    struct loop *loop;
    struct graph *graph; /* owned by who runs the operation; of the words `node=` */
    int signals; /* owned by who runs the operation; -1: `request_catch_signals` did not run */
    struct err *e;
};

/* The value of a key; NULL: it is not among the words.  "" for a KEY alone. */
const char *request_get(const struct request *r, const char *key);
bool request_has(const struct request *r, const char *key);

/* A size or a count; `without`: the key is not there.  -EINVAL. */
int request_number(const struct request *r, const char *key, uint64_t without,
                   uint64_t *ret);

/* The value of the n-th word (0: the first) of that key; NULL: there are fewer. */
const char *request_nth(const struct request *r, const char *key, unsigned n);

/* -EINVAL, with the word in the text, when there is one that is neither `node`, `top`,
 * `driver` nor in `keys` (which ends with NULL). */
int request_check(const struct request *r, const char *const *keys);

/* Add a line to the answer; bytes that are no text of one line become \xNN. */
int request_answer(const struct request *r, const char *key, const char *value);
int request_answer_number(const struct request *r, const char *key, uint64_t value);
int request_answer_flag(const struct request *r, const char *key, bool value);

/* From now on SIGTERM and SIGINT are to be read from `signals`.  Before the process is
 * confined. */
void request_catch_signals(struct request *r);

/* Plan the words `node=` and make those that a confined process could not open.  In a
 * strand, like all below. */
int request_plan(const struct request *r);

/* The same, where instead of nodes there may be file=PATH or fd=N, format=, read-only and
 * direct. */
int request_plan_file(const struct request *r);

/* The node that `top=` names, or the last one; NULL: there is none. */
const char *request_top(const struct request *r);

/* Make all nodes; the disk of the top, borrowed.  NULL: who asks does not want it. */
int request_make(const struct request *r, struct blk **ret_disk);

/* An operation that opens disks, does something and ends: check its words, plan, confine,
 * make. */
int request_open(const struct request *r, const char *const *keys, struct blk **ret_disk);

/* The disk of the node that a key names.  -EINVAL: it names none. */
int request_disk(const struct request *r, const char *key, struct blk **ret_disk);

/* How far a long operation is: a line at times; -ECANCELED once a signal that
 * is caught asks for the end.  For `progress` of `struct transcode_job`. */
struct request_progress {
    const struct request *r;
    uint64_t told_ns;
};

int request_progress(void *arg, uint64_t done, uint64_t total);

/* Give up all that a server does not need; the socket at this path (NULL: there is
 * none) may still be taken away.  Before the first foreign byte; not undone. */
int tool_confine(const struct request *r, const char *socket);

/* room=BYTES of a request to resize: what is below an image, of a fixed size, has as much. */
int tool_make_room(const struct request *r, struct blk *image);

/* The operations, in strands; each checks its own words. */
int tool_fuse(struct request *r);
int tool_create(struct request *r);
int tool_arrange(struct request *r);
int tool_info(struct request *r);
int tool_check(struct request *r);
int tool_resize(struct request *r);
int tool_map(struct request *r);
int tool_convert(struct request *r);
int tool_marks(struct request *r);
int tool_merge(struct request *r);
int tool_rebase(struct request *r);
int tool_key(struct request *r);
int tool_scrub(struct request *r);
int tool_reclaim(struct request *r);
int tool_replay(struct request *r);
int tool_settle(struct request *r);
int tool_replace(struct request *r);
int tool_evacuate(struct request *r);
int tool_store(struct request *r);
int tool_rbd(struct request *r);
int tool_serve(struct request *r);
int tool_types(struct request *r);

/* ---- disks that lie on several members: how those are, and whether all is right (care.c) ---- */

struct tool_care_member {
    unsigned role;     /* in the order of the pieces */
    const char *state; /* "in sync", "rebuilding", "follows", "out" */
    uint64_t behind;   /* bytes that are to be copied to it */
    uint64_t lag;      /* of one that follows: bytes that it has not got yet */
    uint64_t errors;
};

/* Tell each member of a mirror or an array, of level 10 those of its mirrors; of other disks
 * nothing. */
void tool_care_members(const struct blk *disk,
                       void (*tell)(void *arg, const struct tool_care_member *m),
                       void *arg);
const char *tool_care_state(const struct blk *disk); /* "ok", "rebuilding", "degraded" */

/* Long work asks whether to go on, and goes no faster than it may. */
struct tool_care_pace {
    struct loop *loop;
    uint64_t rate; /* bytes in a second; 0: as fast as it goes */
    int (*progress)(void *arg, uint64_t done, uint64_t total); /* not 0: end with that */
    void *arg;
    uint64_t began_ns; /* filled in here */
};

int tool_care_pace(struct tool_care_pace *p, uint64_t done, uint64_t total);

/* Put another disk, which is taken, in for the member of that role, whether it is out or not; it
 * is made equal from then on. */
int tool_care_replace(struct blk *disk, unsigned role, struct blk *take_new,
                      struct err *e);

/* Wait until all members that are there are equal; one that fails is left out, which ends it. */
int tool_care_wait_equal(const struct blk *disk, struct tool_care_pace *p, struct err *e);

struct tool_care_scrub {
    bool mend;
    bool renew;     /* checksums: what differs is right */
    bool read;      /* what has nothing to compare is read */
    uint64_t units; /* blocks, regions, stripes that were looked at */
    uint64_t wrong;
    uint64_t mended;
    uint64_t renewed;
};

/* -EOPNOTSUPP: it has nothing to compare. */
int tool_care_scrub(struct blk *disk, struct tool_care_scrub *s, struct tool_care_pace *p,
                    struct err *e);

/* Make an image of that format in a file, which may grow and whose contents are lost; other
 * words of the request (`CREATE_KEYS`) say how. */
int tool_create_image(const struct request *r, const char *format, struct blk *file,
                      uint64_t size_bytes);

#define CREATE_KEYS                                                                      \
    "format", "size", "cluster", "backing-name", "backing-format", "version",            \
        "extended-l2", "lazy-refcounts", "refcount-bits", "compression", "data-name",    \
        "data-is-raw", "preallocate", "key", "key-of", "rounds", "memory", "threads",    \
        "sector"

#endif
