/* overhead_guest.c - one job in five parts, natively and as the first process of a machine, to see what
 * takes the machine's time: compute, calls, paging, disk, console.
 *
 * overhead_guest native DISK SCALE; as the first process the word `scale=` says how much of each
 * there is, 100 or less.  Lines "begin PART" and "end PART SECONDS": the processor time by the clock
 * of whoever runs it, which counts natively. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE       4096
#define BYTES      (1 << 20)
#define DISK_BYTES (64ull << 20)
#define FAULTS     256

static const char *const modules[] = {
    "virtio_ring",           "virtio",     "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"};
static const char *self = "/init", *disk = "/dev/vda";

static void die(const char *what)
{
    perror(what);
    if (getpid() == 1) {
        (void)reboot(RB_POWER_OFF);
    }
    _exit(1);
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double used(void)
{
    struct rusage me, children;

    (void)getrusage(RUSAGE_SELF, &me);
    (void)getrusage(RUSAGE_CHILDREN, &children);
    return seconds(me.ru_utime) + seconds(me.ru_stime) + seconds(children.ru_utime) +
           seconds(children.ru_stime);
}

/* ---- the parts: each does `n` times a hundredth of what is there ---- */

static void compute(int n)
{
    static uint32_t table[1 << 14];
    uint64_t x = 88172645463325252u;
    volatile double out;
    double sum = 0;

    for (long i = 0; i < n * 400000l; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        table[x & 0x3fff] += (uint32_t)(x >> 32);
        if (table[(x >> 20) & 0x3fff] & 1) {
            sum += (double)i * 0.5;
        }
    }
    out = sum;
    (void)out;
}

static void calls(int n)
{
    struct stat st;

    for (int i = 0; i < n * 10000; i++) {
        (void)syscall(SYS_getppid);
        (void)__builtin_ia32_rdtsc();
        if (i % 50 == 0 && stat(self, &st) != 0) {
            die("stat");
        }
        if (i % 50 == 0) {
            (void)sched_yield();
        }
    }
}

static void fault(void)
{
    char *at = mmap(NULL, FAULTS * PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED) {
        die("mmap");
    }
    (void)madvise(at, FAULTS * PAGE, MADV_NOHUGEPAGE);
    for (int i = 0; i < FAULTS; i++) {
        ((volatile char *)at)[i * PAGE] = 1;
    }
    (void)munmap(at, FAULTS * PAGE);
}

static void run_program(void)
{
    int status = 0;
    pid_t p = fork();

    if (p == 0) {
        (void)execl(self, self, "exit", NULL);
        _exit(1);
    }
    if (p < 0 || waitpid(p, &status, 0) != p || WEXITSTATUS(status) != 7) {
        die("fork");
    }
}

static void paging(int n)
{
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < 3; k++) {
            fault();
        }
        run_program();
    }
}

static void read_disk(int n)
{
    int fd = open(disk, O_RDONLY | O_DIRECT);
    uint64_t x = 12345;
    char *to = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (fd < 0 || to == MAP_FAILED) {
        die(disk);
    }
    for (int i = 0; i < n * 60; i++) {
        size_t bytes = i % 60 == 0 ? BYTES : PAGE;
        off_t at;

        x = x * 6364136223846793005u + 1442695040888963407u;
        at = (off_t)((x >> 33) % (DISK_BYTES / BYTES) * BYTES);
        if (pread(fd, to, bytes, at) != (ssize_t)bytes) {
            die("read");
        }
    }
    (void)munmap(to, BYTES);
    (void)close(fd);
}

static void console(int n)
{
    static const char line[] =
        "....................................................................\n";

    for (int i = 0; i < n * 60; i++) {
        if (write(1, line, sizeof line - 1) < 0) {
            die("write");
        }
    }
}

static const struct {
    const char *name;
    void (*run)(int n);
} parts[] = {{"compute", compute},
             {"calls", calls},
             {"paging", paging},
             {"disk", read_disk},
             {"console", console}};

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

static void wait_for_disk(void)
{
    (void)mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    for (int i = 0; i < 100 && access(disk, F_OK) != 0; i++) {
        (void)usleep(20000);
    }
}

int main(int argc, char **argv)
{
    int native = argc > 3 && strcmp(argv[1], "native") == 0;
    const char *scale = native ? argv[3] : getenv("scale");

    if (argc > 1 && strcmp(argv[1], "exit") == 0) {
        _exit(7);
    }
    if (native) {
        self = "/proc/self/exe";
        disk = argv[2];
    } else if (getpid() != 1) {
        return 2;
    } else {
        load_modules();
        wait_for_disk();
    }
    for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        double before = used();

        printf("begin %s\n", parts[i].name);
        (void)fflush(stdout);
        parts[i].run(scale != NULL ? atoi(scale) : 100);
        printf("end %s %.6f\n", parts[i].name, used() - before);
        (void)fflush(stdout);
    }
    printf("last line\n");
    (void)fflush(stdout);
    if (!native) {
        (void)reboot(RB_POWER_OFF);
    }
    return 0;
}
