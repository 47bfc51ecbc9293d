/* output.h - results: a table for people, JSON for programs, from one schema. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/str.h"
#include "wire/wire.h"

struct output {
    FILE *out;
    bool json;
    bool quiet;     /* the first field only, whatever the operation's shape */
    int64_t now_ns; /* ages are told from here; nanoseconds since 1970 */
};

/* Print the whole result of an operation: an object or an array of objects.
 * 0, or -EIO when `out` does not take it. */
int output_result(const struct output *o, enum wire_op_id op, const json_t *result);

/* Print one object of a stream, as it comes. */
int output_event(const struct output *o, enum wire_op_id op, const json_t *event);

/* The text of one field for a person; control characters become '?', so that a
 * guest cannot speak to the terminal. */
void output_cell(const struct wire_field *f, const json_t *object, int64_t now_ns,
                 struct str *cell);

#endif
