/* node/words.h - words for the program `volume`, and the program at work.
 *
 * A disk is a word for each of its parts, those below first; what it is made of comes as
 * open descriptors, so that the program opens nothing itself. */
#ifndef NODE_WORDS_H
#define NODE_WORDS_H

#include <stdbool.h>

#include "base/str.h"

struct err;
struct node;

#define WORDS_FDS_MOST 240

struct words {
    struct strv words;
    int fds[WORDS_FDS_MOST]; /* owned */
    unsigned n_fds;
    bool message;   /* for a worker: descriptors are named by their order, "@0" */
    unsigned block; /* bytes of blocks of its files; 0: not said yet */
    char key[40];   /* ",key=10": the passphrase, once it is among the descriptors */
};

void words_fini(struct words *w);
void words_add(struct words *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A word for the descriptor, which is taken also on failure: "fd=10", "fd=@0"; borrowed
 * until the next one. */
const char *words_fd(struct words *w, const char *key, int take_fd, char out[32]);

/* ",block=4096" for a file; "": the usual. */
const char *words_block(const struct words *w);

/* A file of that format; the descriptor is taken. */
void words_file(struct words *w, const char *name, int take_fd, const char *format,
                bool writes);

/* Run an operation of the program to its end; `line` (may be NULL) gets each line of its answer
 * but progress, which is reported. */
typedef void words_line_fn(void *arg, const char *line);

int words_run(struct node *n, const char *op, struct words *w, words_line_fn *line,
              void *arg, struct err *e);

/* Start an operation that goes on by itself, with a file for what it says; returns once the
 * first line of its answer is that one. */
int words_leave(struct node *n, const char *op, struct words *w, const char *log,
                const char *first, struct err *e);

#endif
