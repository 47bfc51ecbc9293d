/* guest.c - the smallest guest: ends with code 7, which tells that it ran.
 * With the argument "sleep" it waits for ever instead. */
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "sleep") == 0) {
        (void)pause();
    }
    return 7;
}
