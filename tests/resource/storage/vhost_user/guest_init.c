/* guest_init.c - the first process of a Linux guest whose disk is served over vhost-user.
 *
 * It loads the drivers that lie in /m, in the order of their names, does what `task=` on the
 * kernel's command line says to /dev/vda, writes one line to the serial port, and
 * powers off.  Linked statically; no other file is needed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BLOCK      4096u
#define WRITERS    8u
#define OWN_BLOCKS 64u /* of each writer */
#define ROUNDS     40u
#define BENCH_S    4
#define MODULES    16
#define MIB        (1u << 20)

static int disk;

static void say(const char *text)
{
    (void)printf("GUEST %s\n", text);
    (void)fflush(stdout);
}

static void fail(const char *what)
{
    (void)printf("GUEST failed: %s: %s\n", what, strerror(errno));
    (void)fflush(stdout);
    sync();
    (void)reboot(RB_POWER_OFF);
    for (;;) {
        (void)pause();
    }
}

static void check(bool so, const char *what)
{
    if (!so) {
        fail(what);
    }
}

/* Named 0.ko, 1.ko, ... */
static void load_drivers(void)
{
    for (unsigned i = 0; i < MODULES; i++) {
        char path[32];
        int fd;

        (void)snprintf(path, sizeof path, "/m/%x.ko", i);
        fd = open(path, O_RDONLY);
        if (fd >= 0) {
            check(syscall(SYS_finit_module, fd, "", 0) == 0, path);
            (void)close(fd);
        }
    }
}

static uint64_t disk_bytes(void)
{
    uint64_t bytes;

    check(ioctl(disk, BLKGETSIZE64, &bytes) == 0, "size");
    return bytes;
}

static void fill(uint8_t *block, uint64_t at, uint64_t round)
{
    uint64_t *words = (uint64_t *)(void *)block;

    for (unsigned i = 0; i < BLOCK / 8; i++) {
        words[i] = at * 1000003 + round * 7919 + i;
    }
}

static uint8_t *room(size_t bytes)
{
    void *p = NULL;

    check(posix_memalign(&p, BLOCK, bytes) == 0, "memory");
    return p;
}

/* Write its own blocks over and over, and read back each round. */
static void *write_own(void *arg)
{
    uint64_t first = (uint64_t)(uintptr_t)arg * OWN_BLOCKS;
    uint8_t *out = room(BLOCK);
    uint8_t *in = room(BLOCK);

    for (uint64_t round = 0; round < ROUNDS; round++) {
        for (uint64_t i = first; i < first + OWN_BLOCKS; i++) {
            fill(out, i, round);
            check(pwrite(disk, out, BLOCK, (off_t)(i * BLOCK)) == BLOCK, "write");
        }
        for (uint64_t i = first; i < first + OWN_BLOCKS; i++) {
            fill(out, i, round);
            check(pread(disk, in, BLOCK, (off_t)(i * BLOCK)) == BLOCK, "read");
            check(memcmp(in, out, BLOCK) == 0, "what was written is not there");
        }
        if (round % 8 == 0) {
            check(fsync(disk) == 0, "flush");
        }
    }
    return NULL;
}

static void in_threads(void *(*fn)(void *arg))
{
    pthread_t thread[WRITERS];

    for (uintptr_t i = 0; i < WRITERS; i++) {
        check(pthread_create(&thread[i], NULL, fn, (void *)i) == 0, "thread");
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        (void)pthread_join(thread[i], NULL);
    }
}

static void check_bytes(uint64_t at, uint8_t value)
{
    uint8_t *in = room(BLOCK);

    check(pread(disk, in, BLOCK, (off_t)at) == BLOCK, "read");
    for (unsigned i = 0; i < BLOCK; i++) {
        check(in[i] == value, "bytes");
    }
    free(in);
}

/* Large requests, zeros, discards. */
static void other_requests(void)
{
    uint8_t *big = room(4 * MIB);
    uint64_t range[2] = {8 * MIB, 4 * MIB};

    memset(big, 0x5a, 4 * MIB);
    check(pwrite(disk, big, 4 * MIB, 8 * MIB) == 4 * MIB, "large write");
    memset(big, 0, 4 * MIB);
    check(pread(disk, big, 4 * MIB, 8 * MIB) == 4 * MIB, "large read");
    for (unsigned i = 0; i < 4 * MIB; i++) {
        check(big[i] == 0x5a, "large contents");
    }
    range[1] = MIB;
    check(ioctl(disk, BLKZEROOUT, range) == 0, "zeros");
    check_bytes(8 * MIB, 0);
    check_bytes(9 * MIB - BLOCK, 0);
    check_bytes(9 * MIB, 0x5a);
    range[0] = 10 * MIB;
    check(ioctl(disk, BLKDISCARD, range) == 0, "discard");
    check_bytes(9 * MIB + BLOCK, 0x5a);
    check(fsync(disk) == 0, "flush");
}

static void wait_for_size(void)
{
    uint64_t before = disk_bytes();

    say("ready");
    for (unsigned i = 0; i < 300 && disk_bytes() == before; i++) {
        (void)usleep(100000);
    }
    check(disk_bytes() == before + MIB, "the size stays the same");
    check_bytes(before, 0);
}

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t done[WRITERS];
static bool bench_writes;

static void *load(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    unsigned seed = me;
    uint8_t *block = room(BLOCK);
    uint64_t blocks = disk_bytes() / BLOCK;
    double end = now() + BENCH_S;

    while (now() < end) {
        off_t at = (off_t)((uint64_t)rand_r(&seed) % blocks * BLOCK);

        check((bench_writes ? pwrite(disk, block, BLOCK, at)
                            : pread(disk, block, BLOCK, at)) == BLOCK,
              "load");
        done[me]++;
    }
    return NULL;
}

static void measure(const char *what)
{
    uint64_t sum = 0;

    memset(done, 0, sizeof done);
    in_threads(load);
    for (unsigned i = 0; i < WRITERS; i++) {
        sum += done[i];
    }
    (void)printf("GUEST %s %llu per second\n", what, (unsigned long long)(sum / BENCH_S));
}

int main(void)
{
    char line[1024] = "";
    int fd;

    (void)mkdir("/dev", 0755);
    (void)mkdir("/proc", 0755);
    (void)mount("dev", "/dev", "devtmpfs", 0, "");
    (void)mount("proc", "/proc", "proc", 0, "");
    load_drivers();
    for (unsigned i = 0; i < 100 && (disk = open("/dev/vda", O_RDWR | O_DIRECT)) < 0;
         i++) {
        (void)usleep(100000);
    }
    check(disk >= 0, "/dev/vda");
    fd = open("/proc/cmdline", O_RDONLY);
    check(read(fd, line, sizeof line - 1) > 0, "command line");
    if (strstr(line, "task=size") != NULL) {
        wait_for_size();
    } else if (strstr(line, "task=bench") != NULL) {
        measure("reads");
        bench_writes = true;
        measure("writes");
    } else {
        say("ready");
        in_threads(write_own);
        other_requests();
    }
    say("all is well");
    sync();
    (void)reboot(RB_POWER_OFF);
    return 0;
}
