/* table.c - from an operation to its handler; the list is the records' own, so an
 * operation without a handler does not link. */
#include "cli/cmd.h"

#define CALL(NAME, name)                                                                 \
    static int call_##name(struct cli *c, const void *args)                              \
    {                                                                                    \
        return cmd_##name(c, args);                                                      \
    }
WIRE_OP_LIST(CALL)

#define ROW(NAME, name) [WIRE_OP_##NAME] = call_##name,

int table_call(struct cli *c, const void *args)
{
    static int (*const handlers[WIRE_OP_COUNT])(struct cli *,
                                                const void *) = {WIRE_OP_LIST(ROW)};
    return handlers[c->op](c, args);
}
