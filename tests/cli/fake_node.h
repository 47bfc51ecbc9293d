/* fake_node.h - a `node` that does nothing but remember what it was asked. */
#ifndef TESTS_CLI_FAKE_NODE_H
#define TESTS_CLI_FAKE_NODE_H

#include <jansson.h>

#include "base/str.h"

struct fake_node {
    struct str calls;   /* one line per call: function, names, order */
    struct str refused; /* one line per refusal that was recorded */
    const char *result; /* JSON handed back where a result is wanted */
    const char *fail;   /* the guest or name for which calls fail with -ENOENT */
    int code;           /* exit code of guests and programs */
    const char *out;    /* what a guest that runs in the foreground writes */
};

extern struct fake_node fake;

#endif
