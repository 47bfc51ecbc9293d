/* machine_words.c - the first process of a test's Linux: obeys one word of its console after the
 * other.
 *
 *     w TEXT   write TEXT to the first block of the disk, past its own cache, and flush it
 *     r        read it back the same way
 *     t        the seconds of its clock that never leaps, and of its calendar
 *     c        the processors that are there; those that came are switched on
 *     m N      compute on processor N
 *     g        its memory in MiB; what came is switched on
 *     u N      fill N MiB of memory, and read them
 *     d N      set its watchdog to N seconds, and tell what that says of the start
 *     k        serve it                          v   let go of it
 *     o        switch off                        p   panic
 */
#include <fcntl.h>
#include <linux/watchdog.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u

static void load(const char *name)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof path, "/%s.ko", name);
    fd = open(path, O_RDONLY);
    if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0) {
        printf("FAILED: module %s\n", name);
    }
}

static void disk(const char *text)
{
    char *block = aligned_alloc(BLOCK, BLOCK);
    int fd = open("/dev/vda", O_RDWR | O_DIRECT | O_SYNC);
    ssize_t n;

    memset(block, 0, BLOCK);
    if (text != NULL) {
        (void)snprintf(block, BLOCK, "%s", text);
        n = pwrite(fd, block, BLOCK, 0);
        printf("wrote %zd\n", n);
    } else {
        n = pread(fd, block, BLOCK, 0);
        printf("read %zd: %.64s\n", n, block);
    }
    (void)close(fd);
    free(block);
}

static int is_on(unsigned cpu, int changes)
{
    char path[64];
    char text[2] = "1"; /* the first one has no such file */
    int fd;

    (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/online", cpu);
    fd = open(path, O_RDWR);
    if (fd >= 0) {
        (void)!read(fd, text, 1);
    }
    if (text[0] == '0' && changes) {
        (void)!pwrite(fd, "1", 1, 0);
    }
    (void)close(fd);
    return text[0] == '1';
}

static void tell_processors(void)
{
    char path[64];
    unsigned came = 0;

    printf("processors:");
    for (unsigned i = 0; i < 64; i++) {
        (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u", i);
        if (access(path, F_OK) == 0) {
            came += !is_on(i, 1);
            printf(" %u%s", i, is_on(i, 0) ? "" : " (off)");
        }
    }
    printf(", new: %u, on: %ld\n", came, sysconf(_SC_NPROCESSORS_ONLN));
}

static void compute_on(unsigned cpu)
{
    cpu_set_t set;
    unsigned v = 1;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        printf("cannot run on %u\n", cpu);
        return;
    }
    for (unsigned n = 0; n < 3000000; n++) {
        v = v * 1664525u + 1013904223u;
    }
    printf("on %d: %u\n", sched_getcpu(), v);
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

static void tell_memory(void)
{
    char path[80];
    struct sysinfo info;

    for (unsigned i = 0; i < 512; i++) { /* of 128 MiB each */
        int fd;

        (void)snprintf(path, sizeof path, "/sys/devices/system/memory/memory%u/state", i);
        fd = open(path, O_RDWR);
        if (fd >= 0) {
            (void)!write(fd, "online", 6); /* refused where it is on */
            (void)close(fd);
        }
    }
    (void)sysinfo(&info);
    printf("memory %llu\n", (unsigned long long)info.totalram * info.mem_unit >> 20);
}

static void use_memory(size_t mib)
{
    size_t words = (mib << 20) / sizeof(uint64_t);
    uint64_t *at =
        mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t wrong = 0;

    if (at == MAP_FAILED) {
        printf("used 0\n");
        return;
    }
    for (size_t i = 0; i < words; i += 512) {
        at[i] = i * 0x9e3779b97f4a7c15u;
    }
    for (size_t i = 0; i < words; i += 512) {
        wrong += at[i] != i * 0x9e3779b97f4a7c15u;
    }
    (void)munmap(at, mib << 20);
    printf("used %zu, wrong %zu\n", mib, wrong);
}

static int watchdog = -1;

static void watch(int seconds)
{
    int status = -1;

    watchdog = open("/dev/watchdog0", O_WRONLY);
    if (watchdog < 0 || ioctl(watchdog, WDIOC_SETTIMEOUT, &seconds) != 0 ||
        ioctl(watchdog, WDIOC_GETBOOTSTATUS, &status) != 0) {
        printf("no watchdog\n");
        return;
    }
    printf("watched for %d, %s\n", seconds,
           (status & WDIOF_CARDRESET) != 0 ? "was hung" : "was well");
}

static void serve(void)
{
    int left = -1;

    (void)ioctl(watchdog, WDIOC_KEEPALIVE, 0);
    (void)ioctl(watchdog, WDIOC_GETTIMELEFT, &left);
    printf("left %d\n", left);
}

static void let_go(void)
{
    (void)!write(watchdog, "V", 1); /* what says that it is meant so */
    (void)close(watchdog);
    printf("not watched\n");
}

static void tell_time(void)
{
    struct timespec mono;
    struct timespec real;

    (void)clock_gettime(CLOCK_MONOTONIC, &mono);
    (void)clock_gettime(CLOCK_REALTIME, &real);
    printf("time %lld.%03ld %lld\n", (long long)mono.tv_sec, mono.tv_nsec / 1000000,
           (long long)real.tv_sec);
}

int main(void)
{
    static const char *const modules[] = {
        "virtio_ring", "virtio",     "virtio_pci_legacy_dev", "virtio_pci_modern_dev",
        "virtio_pci",  "virtio_blk", "virtio_balloon"};
    char line[128];
    struct termios t;

    setvbuf(stdout, NULL, _IONBF, 0);
    (void)mount("dev", "/dev", "devtmpfs", 0, NULL);
    (void)mkdir("/sys", 0755);
    (void)mount("sysfs", "/sys", "sysfs", 0, NULL);
    for (unsigned i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        load(modules[i]);
    }
    if (access("/wdat_wdt.ko", F_OK) == 0) { /* only some bring it */
        load("watchdog");
        load("wdat_wdt");
    }
    if (tcgetattr(0, &t) == 0) { /* its answers only */
        t.c_lflag &= ~(tcflag_t)ECHO;
        (void)tcsetattr(0, TCSANOW, &t);
    }
    printf("ready\n");
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        switch (line[0]) {
        case 'w':
            disk(line + 2);
            break;
        case 'r':
            disk(NULL);
            break;
        case 't':
            tell_time();
            break;
        case 'c':
            tell_processors();
            break;
        case 'g':
            tell_memory();
            break;
        case 'u':
            use_memory((size_t)atoi(line + 1));
            break;
        case 'd':
            watch(atoi(line + 1));
            break;
        case 'k':
            serve();
            break;
        case 'v':
            let_go();
            break;
        case 'm':
            compute_on((unsigned)atoi(line + 1));
            break;
        case 'p':
            (void)syscall(SYS_exit_group, 3); /* no first process: a panic */
            break;
        case 'o':
            (void)reboot(RB_POWER_OFF);
            break;
        default:
            printf("what?\n");
        }
    }
    return 1;
}
