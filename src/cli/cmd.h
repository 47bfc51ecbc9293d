/* cmd.h - what the handlers share; one handler per operation, `cmd_NAME`. */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include <jansson.h>

#include "base/err.h"
#include "base/log.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "node/node.h"
#include "wire/wire.h"

/* One command under way. */
struct cli {
    enum wire_op_id op;
    struct part_global global;
    struct output output;
    struct node_options options;
    struct log log;
    struct node *node;  /* opened by the first `cli_node` */
    const void *args;   /* of the operation, as its record has them */
    const char *object; /* of several, the one that is done now */
    bool progress;      /* a line of progress stands on the terminal */
};

/* Handlers return the exit code. */
#define CMD_DECLARE(NAME, name) int cmd_##name(struct cli *c, const struct op_##name *a);
WIRE_OP_LIST(CMD_DECLARE)
#undef CMD_DECLARE

/* Call the handler of `c->op`; `args` is its struct. */
int table_call(struct cli *c, const void *args);

/* The host, opened when first asked for; NULL: `e` says why. */
struct node *cli_node(struct cli *c, struct err *e);

/* Print "strata: TEXT" on standard error, once, and record the refusal; returns the
 * exit code for it. */
int cli_fail(struct cli *c, const struct err *e);

/* Print a result (taken) unless `r` is a failure; returns the exit code. */
int cli_finish(struct cli *c, int r, json_t *result, const struct err *e);

/* Do one thing for each of several guests; what failed is said and the rest goes
 * on.  Prints the list of names that it was done for. */
typedef int cli_each_fn(struct node *n, const char *name, const void *args,
                        struct err *e);
int cli_each(struct cli *c, const char *const *names, size_t n, cli_each_fn *fn,
             const void *args);

/* The arguments as an order; limits that are "none" are left out when `fresh`. */
int cli_order(struct cli *c, const void *args, bool fresh, json_t **ret, struct err *e);

/* Progress of long work as one line of a terminal; also ends it. */
void cli_show_progress(void *arg, const char *what, uint64_t done, uint64_t total);
void cli_end_progress(struct cli *c);

#endif
