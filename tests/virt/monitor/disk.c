/* disk.c - the first process of a test's Linux: loads the modules of virtio, says what disks
 * there are, writes patterns to those that may be written, and reads them back.
 *
 * A block of the pattern holds its own number, 512 times 8 bytes of it, scrambled: a host
 * that knows the rule finds each block that is not where it belongs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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
#include <sys/wait.h>
#include <unistd.h>

#include <linux/fs.h>

#define BLOCK  4096u
#define CHUNK  (256u * 1024) /* one write */
#define SPARSE 37u           /* of the single blocks that are written again, one by one */

static const char *const modules[] = {
    "virtio_ring",           "virtio",     "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"};

static void load_modules(void)
{
    char path[64];

    for (unsigned i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        int fd;

        (void)snprintf(path, sizeof path, "/%s.ko", modules[i]);
        fd = open(path, O_RDONLY);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0) {
            printf("module %s: %s\n", modules[i], strerror(errno));
        }
    }
}

static void show_file(const char *what, const char *path)
{
    char text[256] = "";
    int fd = open(path, O_RDONLY);

    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) {
        text[strcspn(text, "\n")] = '\0';
    }
    printf(" %s=%s", what, text);
    (void)close(fd);
}

/* ---- functions of the bus ---- */

static void show_function(const char *name)
{
    char path[320];
    unsigned char config[256] = {0};
    int fd;

    (void)snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/config", name);
    fd = open(path, O_RDONLY);
    if (fd < 0 || read(fd, config, sizeof config) < 64) {
        return;
    }
    (void)close(fd);
    printf("pci %s ", name);
    for (unsigned i = 0; i < sizeof config; i++) {
        printf("%02x", config[i]);
    }
    printf("\n");
}

static void show_functions(void)
{
    DIR *d = opendir("/sys/bus/pci/devices");

    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] != '.') {
            show_function(e->d_name);
        }
    }
}

/* ---- disks ---- */

static void fill(uint64_t *to, uint64_t first, uint64_t blocks, uint64_t salt)
{
    for (uint64_t i = 0; i < blocks * (BLOCK / 8); i++) {
        to[i] = (first + i / (BLOCK / 8) + salt) * UINT64_C(0x9e3779b97f4a7c15) + i % 512;
    }
}

static int move(int fd, bool write, uint64_t first, uint64_t blocks, void *room)
{
    ssize_t n = write ? pwrite(fd, room, blocks * BLOCK, (off_t)(first * BLOCK))
                      : pread(fd, room, blocks * BLOCK, (off_t)(first * BLOCK));

    return n == (ssize_t)(blocks * BLOCK) ? 0 : -1;
}

/* One share of the disk: all of it in chunks, then single blocks again, then all is read. */
static int work(const char *path, uint64_t first, uint64_t end)
{
    int fd = open(path, O_RDWR | O_DIRECT);
    uint64_t per = CHUNK / BLOCK;
    uint64_t *room = aligned_alloc(BLOCK, CHUNK);
    uint64_t *want = aligned_alloc(BLOCK, CHUNK);
    int r = fd < 0 ? -1 : 0;

    for (uint64_t b = first; r == 0 && b < end; b += per) {
        uint64_t n = end - b < per ? end - b : per;

        fill(room, b, n, 0);
        r = move(fd, true, b, n, room);
    }
    for (uint64_t b = first; r == 0 && b < end; b += SPARSE) {
        fill(room, b, 1, 1);
        r = move(fd, true, b, 1, room);
    }
    for (uint64_t b = first; r == 0 && b < end; b += per) {
        uint64_t n = end - b < per ? end - b : per;

        r = move(fd, false, b, n, room);
        fill(want, b, n, 0);
        for (uint64_t i = 0; i < n; i++) {
            if ((b + i - first) % SPARSE == 0) {
                fill(want + i * (BLOCK / 8), b + i, 1, 1);
            }
        }
        if (r == 0 && memcmp(room, want, n * BLOCK) != 0) {
            r = -2;
        }
    }
    if (r == 0 && fsync(fd) != 0) {
        r = -3;
    }
    return r;
}

/* A process for each processor, so that each queue has something to do. */
static void write_all(const char *name, uint64_t bytes)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t blocks = bytes / BLOCK;
    char path[64];
    int bad = 0;

    (void)snprintf(path, sizeof path, "/dev/%s", name);
    for (long i = 0; i < cpus; i++) {
        if (fork() == 0) {
            _exit(-work(path, blocks * (uint64_t)i / (uint64_t)cpus,
                        blocks * (uint64_t)(i + 1) / (uint64_t)cpus));
        }
    }
    for (int status; wait(&status) > 0;) {
        bad |= status;
    }
    printf("%s: %s\n", name, bad == 0 ? "written and read" : "FAILED");
}

static unsigned queues_of(const char *name)
{
    char path[64];
    DIR *d;
    unsigned n = 0;

    (void)snprintf(path, sizeof path, "/sys/block/%s/mq", name);
    d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        n += e->d_name[0] != '.';
    }
    return n;
}

static void show_disk(const char *name)
{
    char path[64];
    uint64_t bytes = 0;
    int ro = 0;
    int fd;

    (void)snprintf(path, sizeof path, "/dev/%s", name);
    fd = open(path, O_RDONLY);
    if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes) != 0 || ioctl(fd, BLKROGET, &ro) != 0) {
        return;
    }
    printf("disk %s bytes=%llu ro=%d queues=%u", name, (unsigned long long)bytes, ro,
           queues_of(name));
    (void)snprintf(path, sizeof path, "/sys/block/%s/queue/write_cache", name);
    show_file("cache", path);
    (void)snprintf(path, sizeof path, "/sys/block/%s/serial", name);
    show_file("serial", path);
    printf("\n");
    (void)close(fd);
    if (ro == 0) {
        write_all(name, bytes);
    } else {
        fd = open(path, O_RDWR);
        printf("%s: %s\n", name, fd < 0 ? "not written" : "FAILED");
    }
}

/* A file system that the host has made: directories and files, one of them known to it. */
static void write_files(void)
{
    char path[64];
    unsigned made = 0;

    (void)mkdir("/m", 0755);
    if (mount("/dev/vda", "/m", "ext4", 0, NULL) != 0) {
        printf("vda: not mounted: %s\n", strerror(errno));
        return;
    }
    for (unsigned i = 0; i < 64; i++) {
        FILE *f;

        (void)snprintf(path, sizeof path, "/m/d%u", i);
        (void)mkdir(path, 0755);
        (void)snprintf(path, sizeof path, "/m/d%u/f", i);
        f = fopen(path, "w");
        for (unsigned n = 0; f != NULL && n < 2000; n++) {
            (void)fprintf(f, "line %u of %u\n", n, i);
        }
        made += f != NULL && fclose(f) == 0;
    }
    printf("vda: %u files\n", made);
    if (umount("/m") != 0) {
        printf("vda: not unmounted\n");
    }
}

/* One block behind the other, each said to be kept once a flush has ended: whoever listens
 * switches the machine off in the middle of it. */
static void write_until_the_end(void)
{
    int fd = open("/dev/vda", O_RDWR | O_DIRECT);
    uint64_t *room = aligned_alloc(BLOCK, BLOCK);
    uint64_t bytes = 0;

    (void)ioctl(fd, BLKGETSIZE64, &bytes);
    for (uint64_t n = 0; n < 1000000; n++) {
        uint64_t b = n * 7919 % (bytes / BLOCK); /* here and there */

        fill(room, b, 1, 0);
        if (move(fd, true, b, 1, room) != 0 || fsync(fd) != 0) {
            printf("vda: FAILED\n");
            return;
        }
        printf("kept %llu\n", (unsigned long long)b);
        (void)fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    bool files = argc > 1 && strcmp(argv[1], "files") == 0;
    bool endless = argc > 1 && strcmp(argv[1], "endless") == 0;
    char name[8] = "vda";

    (void)mkdir("/proc", 0755);
    (void)mkdir("/sys", 0755);
    (void)mount("proc", "/proc", "proc", 0, NULL);
    (void)mount("sysfs", "/sys", "sysfs", 0, NULL);
    (void)mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    printf("first process\ncpus: %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
    load_modules();
    show_functions();
    if (files) {
        write_files();
    }
    if (endless) {
        write_until_the_end();
    }
    for (; !files && !endless && name[2] <= 'f'; name[2]++) {
        show_disk(name);
    }
    printf("done\n");
    (void)fflush(stdout);
    (void)reboot(RB_POWER_OFF);
    return 1;
}
