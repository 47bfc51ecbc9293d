/* tests/node/fixture.h - a node below a fresh directory, for tests of its parts. */
#ifndef TESTS_NODE_FIXTURE_H
#define TESTS_NODE_FIXTURE_H

#include "node/private.h"
#include "tests/base/check.h"

struct fixture {
    char dir[64];
    struct node *n;
};

/* cmocka's set-up and tear-down: *state is a `struct fixture`. */
int fixture_begin(void **state);
int fixture_end(void **state);

/* Write a file below the directory; intermediate directories are made. */
void fixture_write(const struct fixture *f, const char *path, const char *text);

/* A guest with this record in the store. */
void fixture_put_guest(const struct fixture *f, const char *id, const char *record);

#endif
