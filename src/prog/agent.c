/* agent.c - the program `agent`: the first process of a guest's initramfs, or, with
 * --serve PATH, the same service at a unix socket. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "virt/agent/agent.h"

int main(int argc, char **argv)
{
    int r = -1;

    if (getpid() == 1) {
        (void)agent_boot();
        for (;;) {
            (void)pause(); /* process 1 must not end: the kernel would panic */
        }
    }
    if (argc == 3 && strcmp(argv[1], "--serve") == 0) {
        r = agent_serve_path(argv[2]);
        (void)fprintf(stderr, "agent: cannot serve at '%s': %s\n", argv[2], strerror(-r));
        return 1;
    }
    (void)fputs("usage: agent --serve PATH\n", stderr);
    return 2;
}
