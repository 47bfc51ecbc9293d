/* strata.c - the program: find its own place, then hand over. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/cli.h"
#include "node/node.h"

/* Where the other programs lie: beside this one in a build tree, else in
 * ../libexec/strata. */
static int find_places(char program[PATH_MAX], char libexec[PATH_MAX])
{
    char keeper[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, PATH_MAX - 1);
    char *slash;
    int r;

    if (n < 0) {
        return -errno;
    }
    program[n] = '\0';
    slash = strrchr(program, '/');
    r = str_print(keeper, sizeof keeper, "%.*s/keeper", (int)(slash - program), program);
    if (r == 0 && access(keeper, X_OK) == 0) {
        return str_print(libexec, PATH_MAX, "%.*s", (int)(slash - program), program);
    }
    return str_print(libexec, PATH_MAX, "%.*s/../libexec/strata", (int)(slash - program),
                     program);
}

int main(int argc, char **argv)
{
    char program[PATH_MAX];
    char libexec[PATH_MAX];

    if (argc > 2 && strcmp(argv[1], "--worker") == 0) {
        return node_worker(argc - 2, argv + 2);
    }
    if (argc > 1 && strcmp(argv[1], "oci") == 0) {
        return node_oci(argc - 1, argv + 1);
    }
    if (argc > 0 &&
        str_ends(argv[0], "strata-oci")) { /* for engines, which want one name */
        return node_oci(argc, argv);
    }
    if (find_places(program, libexec) < 0) {
        (void)fprintf(stderr, "strata: cannot find its own place: is /proc mounted?\n");
        return 1;
    }
    return cli_main(argc, argv, program, libexec);
}
