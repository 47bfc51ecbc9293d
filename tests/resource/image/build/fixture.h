/* fixture.h - a store with busybox in it, a context, and a simple runner of commands. */
#ifndef TESTS_RESOURCE_IMAGE_BUILD_FIXTURE_H
#define TESTS_RESOURCE_IMAGE_BUILD_FIXTURE_H

#include "base/err.h"
#include "resource/image/build/build.h"
#include "resource/image/build/view.h"

struct fixture {
    char dir[64], state[80], context[80];
    struct image_store *store;
    struct pack pack;
    struct build b;
    struct build_runner runner;
    struct build_step last; /* numbers of it only */
    struct err e;
    int runs, cached;
    bool can_run;
};

int set_up(void **state);
int tear_down(void **state);

/* Skips when there is no busybox, or (`runs`) when no command can be run. */
struct fixture *get(void **state, bool runs);

/* A file of the context; `text` NULL: a directory. */
void put(struct fixture *f, const char *path, const char *text);

/* Build "made:1" of the text of a Containerfile. */
int build(struct fixture *f, const char *text);
void assert_built(struct fixture *f, const char *text);

/* What is below layers/ and was not there after a clean end. */
void assert_no_debris(struct fixture *f);

/* The file system of the image made:1. */
void open_made(struct fixture *f, struct view *v);

/* `want` NULL: it is not there. */
void assert_file(struct fixture *f, const char *path, const char *want);
void assert_mode(struct fixture *f, const char *path, mode_t mode, uid_t uid, gid_t gid);

#endif
