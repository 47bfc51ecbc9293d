/* containerfile.h - a Containerfile, taken apart but not interpreted.
 *
 * Grammar: lines, joined where a line ends with the escape character; comment
 * lines are dropped, also between joined ones; here-documents belong to RUN, COPY and
 * ADD.  Variables stay as they are: their values depend on what ran before. */
#ifndef RESOURCE_IMAGE_BUILD_CONTAINERFILE_H
#define RESOURCE_IMAGE_BUILD_CONTAINERFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct err;

enum containerfile_verb {
    CONTAINERFILE_ADD,
    CONTAINERFILE_ARG,
    CONTAINERFILE_CMD,
    CONTAINERFILE_COPY,
    CONTAINERFILE_ENTRYPOINT,
    CONTAINERFILE_ENV,
    CONTAINERFILE_EXPOSE,
    CONTAINERFILE_FROM,
    CONTAINERFILE_HEALTHCHECK,
    CONTAINERFILE_LABEL,
    CONTAINERFILE_MAINTAINER,
    CONTAINERFILE_ONBUILD,
    CONTAINERFILE_RUN,
    CONTAINERFILE_SHELL,
    CONTAINERFILE_STOPSIGNAL,
    CONTAINERFILE_USER,
    CONTAINERFILE_VOLUME,
    CONTAINERFILE_WORKDIR,
    CONTAINERFILE_VERB_COUNT
};

struct containerfile_heredoc {
    char *name; /* owned */
    char *text; /* owned; with its last newline */
    bool plain; /* the name was quoted: nothing is substituted */
};

struct containerfile_item {
    enum containerfile_verb verb;
    unsigned line;     /* where it begins, from 1 */
    char *text;        /* owned; the instruction in one line, for people */
    struct strv flags; /* "from=x" for --from=x */
    char *rest;        /* owned; what follows verb and flags */
    bool json;         /* `rest` is a JSON array, now in `list` */
    struct strv list;
    struct containerfile_heredoc *docs; /* owned */
    size_t n_docs;
};

struct containerfile {
    char *name;  /* owned; of the file, for errors */
    char escape; /* '\\' or '`' */
    struct containerfile_item *items;
    size_t n, cap;
};

/* "RUN" and so on. */
const char *containerfile_verb_name(enum containerfile_verb verb);

/* Parse `text`.  An error begins with "NAME:LINE: ". */
int containerfile_parse(const char *name, const char *text, size_t len,
                        struct containerfile *ret, struct err *e);
void containerfile_fini(struct containerfile *f);

/* ---- words (words.c) ---- */

/* The value of a variable, or NULL.  Borrowed until the next change. */
typedef const char *words_lookup_fn(void *arg, const char *name);

/* Cut `text` at blanks outside of quotes; quotes and escapes stay. */
int words_split(const char *text, char escape, struct strv *ret, struct err *e);

/* One word with $NAME, ${NAME}, ${NAME:-word}, ${NAME:+word}, ${NAME:?word} (an error
 * when it is unset or empty), and these without the colon, substituted (not within single quotes), quotes and escapes removed. */
int words_expand(const char *word, char escape, words_lookup_fn *fn, void *arg,
                 struct str *ret, struct err *e);

/* As above for text that is no word: quotes stay (here-documents). */
int words_substitute(const char *text, char escape, words_lookup_fn *fn, void *arg,
                     struct str *ret, struct err *e);

/* "A=b C='d e'" or, with one name only, "A rest of the line": pairs of expanded
 * name and value, one after another. */
int words_pairs(const char *text, char escape, words_lookup_fn *fn, void *arg,
                struct strv *ret, struct err *e);

#endif
