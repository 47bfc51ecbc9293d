/* hosted_work.c - fixed pieces of work, the same natively and as the first process of a machine.
 *
 * hosted_work [FILE]: one order a line on standard input, an answer for each on standard output.
 *   read N    N reads of 4 KiB, one after the other, at places of /dev/vda (or FILE) in turning order
 *   work N    N million steps of arithmetic over 64 KiB
 *   sleep N   N times: sleep a millisecond; answer: median and 99th percentile of how late it woke, us
 *   ping N    N round trips through two pipes to a process that waits; the same of these
 *   spin N    N processes work until the next line
 * Answer: "did ORDER SECONDS [MEDIAN P99]", by the clock of where it runs. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK     4096
#define BLOCKS    4096 /* of the disk: 16 MiB */
#define WORDS     8192
#define TIMES     20000
#define NAP_NS    1000000
#define MILLION   1000000
#define LINE_MOST 64
#define SPIN_MOST 16

static const char *const modules[] = {
    "virtio_ring",           "virtio",     "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"};

static uint64_t words[WORDS];
static double late_us[TIMES];
static uint64_t place;

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void need(int holds, const char *what)
{
    if (!holds) {
        printf("cannot %s: %s\n", what, strerror(errno));
        (void)fflush(stdout);
        _exit(1);
    }
}

/* What is in each block was put there by whoever made the disk: its own number. */
static void read_blocks(int fd, long n)
{
    static _Alignas(BLOCK) uint64_t room[BLOCK / sizeof(uint64_t)];

    for (long i = 0; i < n; i++) {
        uint64_t block = (place++ * 1021) % BLOCKS;

        need(pread(fd, room, BLOCK, (off_t)(block * BLOCK)) == BLOCK, "read");
        need(room[0] == block, "read what was written");
    }
}

static void work(void)
{
    uint64_t x = words[0] | 1;

    for (unsigned i = 0; i < MILLION; i++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        words[(x >> 33) % WORDS] += x;
    }
    words[0] = x;
}

static void spin(long n)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    pid_t other[SPIN_MOST];

    need(n > 0 && n <= SPIN_MOST, "take that many processes");
    for (long i = 1; i < n; i++) {
        other[i] = fork();
        need(other[i] >= 0, "fork");
        while (other[i] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            work();
        }
    }
    do {
        work();
    } while (poll(&in, 1, 0) == 0);
    for (long i = 1; i < n; i++) {
        (void)kill(other[i], SIGKILL);
        (void)waitpid(other[i], NULL, 0);
    }
}

static void nap(long n)
{
    for (long i = 0; i < n; i++) {
        struct timespec t = {.tv_nsec = NAP_NS};
        double begin = now();

        (void)nanosleep(&t, NULL);
        late_us[i] = (now() - begin) * 1e6 - NAP_NS / 1e3;
    }
}

static void answer(int from, int to)
{
    char c;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(from, &c, 1) == 1 && write(to, &c, 1) == 1) {
    }
    _exit(0);
}

static void ping(long n)
{
    int there[2], back[2];
    char c = 'x';
    pid_t peer;

    need(pipe(there) == 0 && pipe(back) == 0, "make pipes");
    peer = fork();
    need(peer >= 0, "fork");
    if (peer == 0) {
        (void)close(there[1]);
        answer(there[0], back[1]);
    }
    for (long i = 0; i < n; i++) {
        struct timespec t = {.tv_nsec = NAP_NS / 4};
        double begin;

        (void)nanosleep(&t, NULL); /* as who types does: the peer sleeps, too */
        begin = now();
        need(write(there[1], &c, 1) == 1 && read(back[0], &c, 1) == 1, "ping");
        late_us[i] = (now() - begin) * 1e6;
    }
    (void)close(there[1]);
    (void)close(there[0]);
    (void)close(back[0]);
    (void)close(back[1]);
    (void)waitpid(peer, NULL, 0);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void obey(const char *order, long n, int fd)
{
    double begin = now();
    int has_times = strcmp(order, "sleep") == 0 || strcmp(order, "ping") == 0;

    if (strcmp(order, "read") == 0) {
        read_blocks(fd, n);
    } else if (strcmp(order, "work") == 0) {
        for (long i = 0; i < n; i++) {
            work();
        }
    } else if (strcmp(order, "spin") == 0) {
        spin(n);
    } else if (has_times) {
        need(n > 0 && n <= TIMES, "take that many times");
        order[0] == 's' ? nap(n) : ping(n);
    } else {
        printf("no order '%s'\n", order);
        return;
    }
    printf("did %s %.6f", order, now() - begin);
    if (has_times) {
        qsort(late_us, (size_t)n, sizeof late_us[0], by_size);
        printf(" %.1f %.1f", late_us[n / 2], late_us[n * 99 / 100]);
    }
    printf("\n");
    (void)fflush(stdout);
}

static void set_up_system(void)
{
    char path[64];

    (void)mkdir("/dev", 0755);
    (void)mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    for (unsigned i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        (void)snprintf(path, sizeof path, "/%s.ko", modules[i]);
        need(syscall(SYS_finit_module, open(path, O_RDONLY), "", 0) == 0, modules[i]);
    }
}

int main(int argc, char **argv)
{
    char line[LINE_MOST], order[LINE_MOST];
    int fd;

    if (getpid() == 1) {
        set_up_system();
        fd = open("/dev/vda", O_RDONLY | O_DIRECT);
    } else {
        fd = argc > 1 ? open(argv[1], O_RDONLY) : STDIN_FILENO;
    }
    need(fd >= 0, "open the disk");
    printf("ready\n");
    (void)fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        long n = 0;

        if (sscanf(line, "%63s %ld", order, &n) >= 1) {
            obey(order, n, fd);
        }
    }
    return 0;
}
