/* machine.c - the program `machine`: the worker of a virtual machine. */
#include "node/machine/machine.h"

#if defined(__SANITIZE_ADDRESS__)
/* The leak checker traces its own process at the end, which a confined one may not be. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

int main(int argc, char **argv)
{
    return node_machine(argc, argv);
}
