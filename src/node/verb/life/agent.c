/* agent.c - what a machine's agent does when time stood for the guest. */
#include <errno.h>

#include "node/verb/life/private.h"

void life_set_clock(struct node *n, const struct guest *g)
{
    char where[PATH_MAX];
    struct err e = {0};

    if (!guest_is_machine(g)) {
        return;
    }
    (void)guest_run_path(n, g->id, "", where);
    if (far_agent_set_clock(where, &e) < 0 && e.code != -EOPNOTSUPP) {
        log_warn(n->log, "the clock of guest '%s' may be behind: %s",
                 guest_text(g, "name"), e.text);
    }
}
