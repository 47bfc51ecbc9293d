/* oci_cli.c - the OCI command line as a program of its own, for tests. */
#include "virt/container/container.h"

int main(int argc, char **argv)
{
    return container_oci_main(argc, argv);
}
