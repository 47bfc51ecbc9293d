/* machine_repeat.c - the first process of a Linux whose runs are compared: it asks for all that may
 * differ - random numbers, clocks, who of several processes comes first, a disk - and prints what
 * it got.  The kernel's own lines have their times. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 4
#define BLOCKS  64
#define BLOCK   16384

static void load_modules(void)
{
    static const char *const names[] = {"virtio_ring",
                                        "virtio",
                                        "virtio_pci_legacy_dev",
                                        "virtio_pci_modern_dev",
                                        "virtio_pci",
                                        "virtio_rng",
                                        "virtio_blk"};
    char path[64];

    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        int fd;

        (void)snprintf(path, sizeof path, "/%s.ko", names[i]);
        fd = open(path, O_RDONLY);
        if (fd >= 0) {
            (void)syscall(SYS_finit_module, fd, "", 0);
            (void)close(fd);
        }
    }
}

static void tell_time(const char *what, clockid_t which)
{
    struct timespec t;

    (void)clock_gettime(which, &t);
    printf("%s %ld.%09ld\n", what, (long)t.tv_sec, t.tv_nsec);
}

static void tell_random(void)
{
    uint64_t numbers[2];

    (void)getrandom(numbers, sizeof numbers, 0);
    printf("random %016llx%016llx %p\n", (unsigned long long)numbers[0],
           (unsigned long long)numbers[1], (void *)numbers);
}

/* Writes its blocks, reads another's, and says when it was done. */
static void work(int who)
{
    static uint8_t block[BLOCK] __attribute__((aligned(4096)));
    uint64_t sum = 0;
    int fd = open("/dev/vda", O_RDWR | O_DIRECT);

    for (int i = 0; i < BLOCKS; i++) {
        (void)memset(block, who * BLOCKS + i, sizeof block);
        (void)!pwrite(fd, block, sizeof block, (off_t)(i * WORKERS + who) * BLOCK);
    }
    for (int i = 0; i < BLOCKS; i++) {
        (void)!pread(fd, block, sizeof block,
                     (off_t)(i * WORKERS + (who + 1) % WORKERS) * BLOCK);
        sum = sum * 31 + block[i];
    }
    printf("worker %d of disk %d: %llx\n", who, fd >= 0, (unsigned long long)sum);
    tell_time("done", CLOCK_MONOTONIC);
    tell_random();
    (void)fflush(stdout);
}

int main(void)
{
    (void)mkdir("/dev", 0755);
    (void)mount("devtmpfs", "/dev", "devtmpfs", 0, "");
    load_modules();
    tell_time("day", CLOCK_REALTIME);
    tell_random();
    (void)fflush(stdout);
    for (int i = 0; i < WORKERS; i++) {
        if (fork() == 0) {
            work(i);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
    (void)usleep(300000);
    tell_time("end", CLOCK_MONOTONIC);
    (void)fflush(stdout);
    (void)reboot(RB_POWER_OFF);
    return 0;
}
