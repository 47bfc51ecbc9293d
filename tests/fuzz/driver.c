/* driver.c - run a fuzz target over the files named on the command line.
 *
 * Stands in for libFuzzer in the usual build, so that every seed and every
 * case once found is a test of `make check`. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/target.h"

#define INPUT_MOST_BYTES (1 << 20)

static int run_file(const char *path, uint8_t *buf)
{
    FILE *f = fopen(path, "rb");
    size_t n;

    if (f == NULL) {
        perror(path);
        return 1;
    }
    n = fread(buf, 1, INPUT_MOST_BYTES, f);
    (void)fclose(f);
    (void)LLVMFuzzerTestOneInput(buf, n);
    return 0;
}

int main(int argc, char **argv)
{
    uint8_t *buf = malloc(INPUT_MOST_BYTES);
    int failed = buf == NULL;

    for (int i = 1; i < argc && buf != NULL; i++) {
        failed += run_file(argv[i], buf);
    }
    free(buf);
    (void)printf("%d inputs\n", argc - 1);
    return failed == 0 ? 0 : 1;
}
