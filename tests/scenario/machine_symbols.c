/* machine_symbols.c - the first process of a test's Linux: prints where the kernel says that some
 * of its own symbols are, and counts in user mode for ever. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static const char *const wanted[] = {"start_kernel", "kernel_init", "system_state",
                                     "linux_banner"};

volatile unsigned long turns; /* gdb looks at it */

__attribute__((noinline)) void turn(unsigned long n)
{
    turns = n;
    __asm__ volatile("pause");
}

int main(void)
{
    char line[256], name[128], type;
    unsigned long at;
    FILE *f;

    (void)mkdir("/proc", 0755);
    (void)mount("proc", "/proc", "proc", 0, NULL);
    f = fopen("/proc/kallsyms", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
            if (sscanf(line, "%lx %c %127s", &at, &type, name) == 3 &&
                strcmp(name, wanted[i]) == 0) {
                printf("symbol %s 0x%lx\n", name, at);
            }
        }
    }
    printf("ready\n");
    fflush(stdout);
    for (unsigned long n = 1;; n++) {
        turn(n);
    }
}
