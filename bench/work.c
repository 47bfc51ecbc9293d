/* work.c - the same work natively and in a guest: `work cpu|memory|file DIR`.
 *
 * Prints the processor's milliseconds, user and kernel, that the work took - start and
 * end of the process left out - and on the same line a sum that shows that it was done.
 * Not wall time: a busy host gives two control groups unlike shares of it.  None of the
 * work waits for a device. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CPU_ROUNDS   60000000u
#define MEMORY_BYTES (48u << 20)
#define PAGE_BYTES   4096u
#define CHASE_STEPS  1000000u
#define FILES        400
#define FILE_BYTES   (16u << 10)
#define FILE_ROUNDS  4

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static uint64_t next(uint64_t x)
{
    x ^= x << 13;
    x ^= x >> 7;
    return x ^ x << 17;
}

static uint64_t work_cpu(void)
{
    uint64_t x = 88172645463325252ull, sum = 0;

    for (uint32_t i = 0; i < CPU_ROUNDS; i++) {
        x = next(x);
        sum += x % 1000003 == 0 ? x : x >> 40;
    }
    return sum;
}

/* Fresh pages from the kernel, then accesses that no cache foresees. */
static uint64_t work_memory(void)
{
    size_t n = MEMORY_BYTES / sizeof(uint64_t);
    uint64_t x = 88172645463325252ull, sum = 0;
    uint64_t *p = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        p[i] = i * 7919;
    }
    for (uint32_t i = 0; i < CHASE_STEPS; i++) {
        x = next(x + p[(x + sum) % n]);
        sum += x & 0xff;
    }
    (void)munmap(p, MEMORY_BYTES);
    return sum;
}

static void must(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        exit(1);
    }
}

static uint64_t one_file(const char *name, char *bytes)
{
    struct stat st;
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);

    must(fd >= 0, name);
    must(write(fd, bytes, FILE_BYTES) == FILE_BYTES, name);
    for (unsigned at = 0; at < FILE_BYTES; at += PAGE_BYTES) {
        must(pread(fd, bytes, PAGE_BYTES, at) == PAGE_BYTES, name);
    }
    (void)close(fd);
    must(stat(name, &st) == 0, name);
    return (uint64_t)st.st_size;
}

static uint64_t work_file(const char *dir)
{
    static char bytes[FILE_BYTES];
    uint64_t sum = 0;

    must(chdir(dir) == 0, dir);
    memset(bytes, 'x', sizeof bytes);
    for (int round = 0; round < FILE_ROUNDS; round++) {
        char name[32];

        for (int i = 0; i < FILES; i++) {
            (void)snprintf(name, sizeof name, "work-%d", i);
            sum += one_file(name, bytes);
        }
        for (int i = 0; i < FILES; i++) {
            (void)snprintf(name, sizeof name, "work-%d", i);
            must(unlink(name) == 0, name);
        }
    }
    return sum;
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "";
    double began = now_ms();
    uint64_t sum;

    if (strcmp(kind, "cpu") == 0) {
        sum = work_cpu();
    } else if (strcmp(kind, "memory") == 0) {
        sum = work_memory();
    } else if (strcmp(kind, "file") == 0 && argc > 2) {
        sum = work_file(argv[2]);
    } else {
        return 2;
    }
    (void)printf("%.3f %llu\n", now_ms() - began, (unsigned long long)sum);
    return 0;
}
