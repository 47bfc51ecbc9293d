/* types.c - what a word `node=` can say, for people. */
#include "base/err.h"
#include "base/str.h"
#include "resource/storage/graph/node.h"
#include "resource/storage/tool/private.h"

static const char *const kinds[] = {
    [GRAPH_KEY_FLAG] = "",          [GRAPH_KEY_TEXT] = "=TEXT",
    [GRAPH_KEY_NUMBER] = "=NUMBER", [GRAPH_KEY_FD] = "=DESCRIPTOR",
    [GRAPH_KEY_NODE] = "=NODE",     [GRAPH_KEY_PIECES] = "=NODE|-...",
    [GRAPH_KEY_STORE] = "=STORE",
};

static const char *const keys[] = {NULL};

/* One line for each type; what need not be there is in brackets. */
int tool_types(struct request *r)
{
    int e = request_check(r, keys);

    for (const struct graph_type *const *t = graph_types; e == 0 && *t != NULL; t++) {
        struct str line = {0};

        str_add(&line, (*t)->name);
        for (const struct graph_key *k = (*t)->keys; k->name != NULL; k++) {
            str_addf(&line, k->required ? " %s%s" : " [%s%s]", k->name, kinds[k->kind]);
        }
        e = request_answer(r, "type", str_text(&line));
        str_fini(&line);
    }
    return e;
}
