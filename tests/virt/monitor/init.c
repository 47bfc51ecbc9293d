/* init.c - the first process of a test's Linux: says what it sees, and switches off. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void show(const char *what, const char *path)
{
    char text[128] = "";
    int fd = open(path, O_RDONLY);

    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) {
        text[strcspn(text, "\n")] = '\0';
    }
    printf("%s: %s\n", what, text);
}

/* MWAIT would return at once, and an idle processor never rest. */
static void show_rest(void)
{
    char text[4096] = "";
    int fd = open("/proc/cpuinfo", O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;

    text[n > 0 ? n : 0] = '\0';
    printf("rests by: %s\n", strstr(text, " monitor ") != NULL ? "mwait" : "hlt");
}

/* A child of each processor that computes, so that every one of them runs programs. */
static void work(long cpus)
{
    unsigned sum = 0;

    for (long i = 0; i < cpus; i++) {
        if (fork() == 0) {
            unsigned v = 1;

            for (unsigned n = 0; n < 200000; n++) {
                v = v * 1664525u + 1013904223u;
            }
            _exit((int)(v & 127));
        }
    }
    for (int status; wait(&status) > 0;) {
        sum += (unsigned)WEXITSTATUS(status);
    }
    printf("work: %u\n", sum);
}

int main(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    char line[64];

    (void)mkdir("/proc", 0755);
    (void)mkdir("/sys", 0755);
    (void)mount("proc", "/proc", "proc", 0, NULL);
    (void)mount("sysfs", "/sys", "sysfs", 0, NULL);
    printf("first process\ncpus: %ld\n", cpus);
    show("clock", "/sys/devices/system/clocksource/clocksource0/current_clocksource");
    show("cpuinfo", "/proc/cpuinfo");
    show_rest();
    work(cpus);
    printf("say something:\n");
    (void)fflush(stdout);
    if (fgets(line, sizeof line, stdin) != NULL) {
        printf("heard: %s", line);
    }
    (void)fflush(stdout);
    (void)reboot(RB_POWER_OFF);
    return 1;
}
