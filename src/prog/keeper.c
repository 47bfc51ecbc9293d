/* keeper.c - the program that holds one running guest. */
#include <stdio.h>

#include "base/err.h"
#include "node/keeper/keeper.h"

int main(int argc, char **argv)
{
    struct keeper_config config;
    struct err e = {0};

    if (argc < 2 || keeper_config_parse(&config, argv + 1, &e) < 0) {
        (void)fprintf(stderr, "strata: %s\n",
                      argc < 2 ? "the keeper is started by strata, not by hand" : e.text);
        return 2;
    }
    return keeper_run(&config);
}
