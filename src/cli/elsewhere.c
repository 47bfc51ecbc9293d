/* elsewhere.c - options of podman and docker that are called differently here, or that
 * are not needed. */
#include "cli/elsewhere.h"

#include <string.h>

struct foreign {
    enum wire_op_id op;
    const char *words[2]; /* NULL: none */
    const char *hint;
};

static const struct foreign table[] = {
    {WIRE_OP_LIST, {"--all", "-a"}, "stopped guests are shown, too; see '--running'"},
    {WIRE_OP_LIST, {"--filter", "-f"}, "see '--running' and '--label'"},
    {WIRE_OP_LIST, {"--format", NULL}, "see '--json' and '--quiet'"},
    {WIRE_OP_IMAGE_LIST, {"--all", "-a"}, "all images are shown"},
    {WIRE_OP_IMAGE_LIST, {"--filter", "-f"}, "see '--untagged'"},
    {WIRE_OP_IMAGE_LIST, {"--format", NULL}, "see '--json' and '--quiet'"},
    {WIRE_OP_STATS, {"--no-stream", NULL}, "figures are shown once unless '--follow'"},
    {WIRE_OP_INSPECT, {"--format", "-f"}, "see '--json'"},
    {WIRE_OP_IMAGE_INSPECT, {"--format", "-f"}, "see '--json'"},
    {WIRE_OP_RUN, {"--replace", NULL}, "first 'strata delete --force GUEST'"},
    {WIRE_OP_CREATE, {"--replace", NULL}, "first 'strata delete --force GUEST'"},
    {WIRE_OP_STOP, {"--time", NULL}, "did you mean '--timeout'?"},
    {WIRE_OP_RESTART, {"--time", NULL}, "did you mean '--timeout'?"},
    {WIRE_OP_DELETE, {"--all", "-a"}, "see 'strata delete $(strata list --quiet)'"},
    {WIRE_OP_STOP, {"--all", "-a"}, "see 'strata stop $(strata list --running --quiet)'"},
    {WIRE_OP_DELETE, {"--volumes", "-v"}, "see 'strata volume delete'"},
};

const char *elsewhere_option(enum wire_op_id op, const char *word, size_t len)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (size_t k = 0; k < 2 && table[i].op == op; k++) {
            const char *known = table[i].words[k];

            if (known != NULL && strlen(known) == len && strncmp(known, word, len) == 0) {
                return table[i].hint;
            }
        }
    }
    return NULL;
}
