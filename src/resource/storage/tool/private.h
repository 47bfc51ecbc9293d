/* private.h - what the operations of the program share. */
#ifndef RESOURCE_STORAGE_TOOL_PRIVATE_H
#define RESOURCE_STORAGE_TOOL_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;
struct loop;

/* A request: its words behind the operation, each KEY or KEY=VALUE. */
struct request {
    char **words;
    unsigned count;
    int answer_fd;
    struct loop *loop;
    struct err *e;
};

/* The value of a key; NULL: it is not among the words.  "" for a KEY alone. */
const char *request_get(const struct request *r, const char *key);
bool request_has(const struct request *r, const char *key);

/* -EINVAL, with the word in the text, when there is one that is not in `keys`
 * (which ends with NULL). */
int request_check(const struct request *r, const char *const *keys);

/* Add a line to the answer. */
int request_answer(const struct request *r, const char *key, const char *value);

/* The disk that the words describe: file=PATH or fd=N, format=, read-only, direct.
 * In a strand. */
int request_open_disk(const struct request *r, struct blk **ret_disk);

/* Give up all that a server does not need; the socket at this path (NULL: there is
 * none) may still be taken away.  Before the first client; not undone. */
int tool_confine(const char *socket, struct err *e);

/* The operations, in strands; each checks its own words. */
int tool_nbd(struct request *r);
int tool_iscsi(struct request *r);

#endif
