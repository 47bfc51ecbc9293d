/* judge.c - QEMU's tools as the other reader and writer of images. */
#include "tests/resource/storage/qcow2/judge.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contract/blk.h"
#include "tests/contract/blk_suite.h"

#define LINE_BYTES 4096
#define STEP_BYTES (1u << 20)

static char the_dir[64];

static void remove_dir(void)
{
    char line[96];

    (void)snprintf(line, sizeof line, "rm -rf '%s'", the_dir);
    (void)system(line);
}

/* A failed assertion leaves nothing behind, either. */
static void remove_and_die(int number)
{
    (void)signal(number, SIG_DFL);
    if (getenv("JUDGE_KEEP") == NULL) {
        remove_dir();
    }
    (void)raise(number);
}

const char *judge_dir(void)
{
    if (the_dir[0] == '\0') {
        (void)strcpy(the_dir, "/dev/shm/qcow2-XXXXXX");
        if (mkdtemp(the_dir) == NULL) {
            (void)strcpy(the_dir, "/var/tmp/qcow2-XXXXXX");
            must(mkdtemp(the_dir) != NULL);
        }
        (void)atexit(remove_dir);
        (void)signal(SIGABRT, remove_and_die);
    }
    return the_dir;
}

int judge_run(const char *format, ...)
{
    char command[LINE_BYTES];
    char line[LINE_BYTES + 128];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(command, sizeof command, format, args);
    va_end(args);
    (void)snprintf(line, sizeof line, "dir='%s'; cd \"$dir\" && { %s; }", judge_dir(),
                   command);
    return WEXITSTATUS(system(line));
}

bool judge_is_there(void)
{
    static int known; /* 0: not asked yet */

    if (known == 0) {
        known = judge_run("command -v qemu-img qemu-io >/dev/null") == 0 ? 1 : 2;
    }
    return known == 1;
}

void judge_save(struct blk *disk, const char *name)
{
    char path[128];
    char *room = malloc(STEP_BYTES);
    uint64_t size = blk_size(disk);
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", judge_dir(), name);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && room != NULL);
    must(ftruncate(fd, (off_t)size) == 0);
    for (uint64_t off = 0; off < size;) {
        struct blk_extent x;
        uint64_t n;

        must_be_0(blk_status(disk, off, size - off, &x));
        n = x.bytes < STEP_BYTES ? x.bytes : STEP_BYTES;
        if ((x.state & BLK_DATA) != 0) {
            must_be_0(blk_read(disk, room, (size_t)n, off));
            must(pwrite(fd, room, (size_t)n, (off_t)off) == (ssize_t)n);
        }
        off += n;
    }
    (void)close(fd);
    free(room);
}

int judge_check(const char *name)
{
    return judge_run("qemu-img check -f qcow2 '%s' >check.log 2>&1", name);
}
