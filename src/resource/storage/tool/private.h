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
    struct err *e;
};

/* The value of a key; NULL: it is not among the words.  "" for a KEY alone. */
const char *request_get(const struct request *r, const char *key);
bool request_has(const struct request *r, const char *key);

/* A size or a count; `without`: the key is not there.  -EINVAL. */
int request_number(const struct request *r, const char *key, uint64_t without,
                   uint64_t *ret);

/* -EINVAL, with the word in the text, when there is one that is neither `node`, `top`,
 * `driver` nor in `keys` (which ends with NULL). */
int request_check(const struct request *r, const char *const *keys);

/* Add a line to the answer. */
int request_answer(const struct request *r, const char *key, const char *value);
int request_answer_number(const struct request *r, const char *key, uint64_t value);

/* SIGTERM and SIGINT as a descriptor, to be closed by the caller. */
int request_signals(void);

/* Plan the words `node=` and make those that a confined process could not open.  In a
 * strand, like all below. */
int request_plan(const struct request *r);

/* The same, where instead of nodes there may be file=PATH or fd=N, format=, read-only and
 * direct. */
int request_plan_file(const struct request *r);

/* Make all nodes; the disk that `top=` names or that of the last one, borrowed. */
int request_make(const struct request *r, struct blk **ret_disk);

/* Give up all that a server does not need; the socket at this path (NULL: there is
 * none) may still be taken away.  Before the first foreign byte; not undone. */
int tool_confine(const char *socket, struct err *e);

/* The operations, in strands; each checks its own words. */
int tool_nbd(struct request *r);
int tool_iscsi(struct request *r);

#endif
