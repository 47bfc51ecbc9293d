/* machine_disk_guest.c - the first process of a machine under measurement: reads and writes /dev/vda,
 * or /dev/nvme0n1, past the page cache, and prints for each cell how many operations a second there were.
 *
 * machine_disk_guest MILLISECONDS [CELL]: a line "cell NAME OPERATIONS_PER_SECOND" each. */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
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

#include <linux/fs.h>

#define DEPTH_MOST 32
#define BYTES_MOST (1u << 20)

static const char *const modules[] = {
    "virtio_ring",           "virtio",     "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"};

struct cell {
    const char *name;
    unsigned bytes, depth;
    int write, random;
};

static const struct cell cells[] = {{"warm", BYTES_MOST, 4, 0, 0},
                                    {"read-4k-1", 4096, 1, 0, 1},
                                    {"write-4k-1", 4096, 1, 1, 1},
                                    {"read-4k-32", 4096, 32, 0, 1},
                                    {"write-4k-32", 4096, 32, 1, 1},
                                    {"read-sequential", BYTES_MOST, 4, 0, 0},
                                    {"write-sequential", BYTES_MOST, 4, 1, 0}};

struct load {
    int fd;
    uint64_t bytes, at, seed;
    aio_context_t aio;
    struct iocb request[DEPTH_MOST];
};

static void load_modules(void)
{
    char path[64];

    for (unsigned i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        (void)snprintf(path, sizeof path, "/%s.ko", modules[i]);
        if (syscall(SYS_finit_module, open(path, O_RDONLY), "", 0) != 0) {
            printf("module %s: %s\n", modules[i], strerror(errno));
        }
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t next_place(struct load *l, const struct cell *c)
{
    uint64_t blocks = l->bytes / c->bytes;

    l->seed = l->seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    l->at++;
    return (c->random ? (l->seed >> 33) % blocks : l->at % blocks) * c->bytes;
}

static int submit(struct load *l, const struct cell *c, struct iocb **which, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        which[i]->aio_offset = (int64_t)next_place(l, c);
    }
    return syscall(SYS_io_submit, l->aio, (long)n, which) == (long)n ? 0 : -1;
}

/* As many at once as the cell says, each followed by another one. */
static uint64_t run_deep(struct load *l, const struct cell *c, uint64_t end)
{
    struct iocb *which[DEPTH_MOST];
    struct io_event events[DEPTH_MOST];
    uint64_t count = 0;

    for (unsigned i = 0; i < c->depth; i++) {
        which[i] = &l->request[i];
    }
    if (submit(l, c, which, c->depth) != 0) {
        return 0;
    }
    while (now_ns() < end) {
        long n = syscall(SYS_io_getevents, l->aio, 1L, (long)c->depth, events, NULL);

        for (long i = 0; i < n; i++) {
            which[i] = (struct iocb *)(uintptr_t)events[i].obj;
            if (events[i].res != (int64_t)c->bytes) {
                return 0;
            }
        }
        count += n > 0 ? (uint64_t)n : 0;
        if (n <= 0 || submit(l, c, which, (unsigned)n) != 0) {
            return 0;
        }
    }
    (void)syscall(SYS_io_getevents, l->aio, (long)c->depth, (long)c->depth, events, NULL);
    return count;
}

static uint64_t run_one(struct load *l, const struct cell *c, uint64_t end)
{
    void *room = (void *)(uintptr_t)l->request[0].aio_buf;
    uint64_t count = 0;

    while (now_ns() < end) {
        off_t at = (off_t)next_place(l, c);
        ssize_t n = c->write ? pwrite(l->fd, room, c->bytes, at)
                             : pread(l->fd, room, c->bytes, at);

        if (n != (ssize_t)c->bytes) {
            return 0;
        }
        count++;
    }
    return count;
}

static void measure(struct load *l, const struct cell *c, uint64_t ns)
{
    uint64_t begin;
    uint64_t count;

    for (unsigned i = 0; i < DEPTH_MOST; i++) {
        l->request[i].aio_lio_opcode = c->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
        l->request[i].aio_fildes = (uint32_t)l->fd;
        l->request[i].aio_nbytes = c->bytes;
    }
    begin = now_ns();
    count = c->depth > 1 ? run_deep(l, c, begin + ns) : run_one(l, c, begin + ns);
    printf("cell %s %.1f\n", c->name, (double)count * 1e9 / (double)(now_ns() - begin));
    (void)fflush(stdout);
}

/* The kernel looks for NVMe while the first process is under way already. */
static int open_disk(void)
{
    int fd = open("/dev/vda", O_RDWR | O_DIRECT);

    for (unsigned i = 0; fd < 0 && i < 100; i++) {
        (void)usleep(100000);
        fd = open("/dev/nvme0n1", O_RDWR | O_DIRECT);
    }
    return fd;
}

int main(int argc, char **argv)
{
    uint64_t ns = (argc > 1 ? strtoull(argv[1], NULL, 10) : 500) * 1000000u;
    struct load l = {0};

    (void)mkdir("/proc", 0755);
    (void)mkdir("/sys", 0755);
    (void)mount("proc", "/proc", "proc", 0, NULL);
    (void)mount("sysfs", "/sys", "sysfs", 0, NULL);
    (void)mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    load_modules();
    l.fd = open_disk();
    if (l.fd < 0 || ioctl(l.fd, BLKGETSIZE64, &l.bytes) != 0 ||
        syscall(SYS_io_setup, DEPTH_MOST, &l.aio) != 0) {
        printf("no disk: %s\n", strerror(errno));
    }
    for (unsigned i = 0; i < DEPTH_MOST; i++) {
        void *room = aligned_alloc(4096, BYTES_MOST);

        memset(room, (int)i, BYTES_MOST);
        l.request[i].aio_buf = (uint64_t)(uintptr_t)room;
    }
    for (unsigned i = 0; l.fd >= 0 && i < sizeof cells / sizeof cells[0]; i++) {
        if (argc < 3 || strcmp(argv[2], cells[i].name) == 0) {
            measure(&l, &cells[i], ns);
        }
    }
    printf("done\n");
    (void)fflush(stdout);
    (void)reboot(RB_POWER_OFF);
    return 1;
}
