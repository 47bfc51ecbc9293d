/* care.c - what the host asks for besides commands: still file systems, the clock, facts. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "virt/agent/private.h"

#define LINE_BYTES  4096
#define BILLION     1000000000LL
#define MOUNTS_MOST 64

#define CLOCK_BEHIND_NS 50000000LL
#define CLOCK_AHEAD_NS  BILLION

#define POWEROFF_OF_SYSTEMD 4 /* systemd(1), "SIGNALS": SIGRTMIN+4 */

/* Only whom a machine's first process made may speak to it; tests run on a host. */
static bool is_in_machine(void)
{
    char own[17] = "";

    return prctl(PR_GET_NAME, own) == 0 && strcmp(own, AGENT_SERVES) == 0;
}

/* File systems that lie on a disk: their source is a device. */
static bool on_disk(const char *line, char *place, size_t room)
{
    size_t source = strcspn(line, " ");
    size_t n = strcspn(line + source + (line[source] != '\0'), " ");

    if (line[0] != '/' || line[source] != ' ' || n == 0 || n >= room) {
        return false;
    }
    memcpy(place, line + source + 1, n);
    place[n] = '\0';
    return true;
}

/* The last mounted first: what lies in a file of another is frozen before that.  Thawed the
 * other way round. */
static int freeze_all(unsigned long request)
{
    static const char where[] = "/proc/1/mounts";
    char place[MOUNTS_MOST][256];
    char line[LINE_BYTES];
    FILE *f = fopen(where, "re");
    unsigned n = 0;
    int first = 0;

    while (f != NULL && n < MOUNTS_MOST && fgets(line, sizeof line, f) != NULL) {
        n += on_disk(line, place[n], sizeof place[n]) ? 1 : 0;
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    for (unsigned i = 0; i < n; i++) {
        int fd = open(place[request == FIFREEZE ? n - 1 - i : i],
                      O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd >= 0 && ioctl(fd, request, 0) < 0 && errno != EOPNOTSUPP &&
            errno != EBUSY && errno != EINVAL && first == 0) {
            first = -errno;
        }
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    if (first < 0 && request == FIFREEZE) {
        (void)freeze_all(FITHAW);
    }
    return first;
}

/* The words took their time to come here: a clock that seems to be a little ahead is right, and
 * steps back for nobody. */
static bool is_right(int64_t ns)
{
    struct timespec t;
    int64_t ahead;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    ahead = t.tv_sec * BILLION + t.tv_nsec - ns;
    return ahead > -CLOCK_BEHIND_NS && ahead < CLOCK_AHEAD_NS;
}

static int set_clock(const struct frame *f)
{
    int64_t ns = 0;
    struct timespec t;

    if (frame_get_i64(f, &ns) < 0 || ns < 0) {
        return -EPROTO;
    }
    if (is_right(ns) || !is_in_machine()) {
        return is_right(ns) ? 0 : -EOPNOTSUPP;
    }
    t = (struct timespec){.tv_sec = ns / BILLION, .tv_nsec = ns % BILLION};
    return clock_settime(CLOCK_REALTIME, &t) < 0 ? -errno : 0;
}

static int tell(char *out, size_t room)
{
    char name[65] = "", uptime[64] = "";
    struct utsname u;

    if (uname(&u) < 0) {
        return -errno;
    }
    (void)gethostname(name, sizeof name - 1);
    (void)agent_read_small("/proc/uptime", uptime, sizeof uptime);
    uptime[strcspn(uptime, " \n")] = '\0';
    (void)snprintf(out, room, "agent=1\nhost=%s\nkernel=%s\nuptime=%s\n", name, u.release,
                   uptime);
    return 0;
}

static void read_first(char out[32])
{
    (void)agent_read_small("/proc/1/comm", out, 32);
    out[strcspn(out, "\n")] = '\0';
}

bool agent_runs_command(void)
{
    char name[32] = "";

    read_first(name);
    return strcmp(name, AGENT_RUNS) == 0;
}

/* Of the two kinds of first process whose way of ending is known, ask it; others have the power
 * button, which the host presses besides. */
static int end_system(const struct frame *f)
{
    char name[32] = "";
    int32_t number = 0;

    if (frame_get_i32(f, &number) < 0 || number <= 0 || number >= NSIG) {
        return -EPROTO;
    }
    read_first(name);
    if (!is_in_machine()) {
        return -EOPNOTSUPP;
    }
    if (strcmp(name, "systemd") == 0) {
        number = SIGRTMIN + POWEROFF_OF_SYSTEMD;
    } else if (strcmp(name, AGENT_RUNS) != 0) {
        return -EOPNOTSUPP;
    }
    return kill(1, number) < 0 ? -errno : 0;
}

int agent_care(const struct frame *f, char text[SCRATCH_BYTES])
{
    switch (f->type) {
    case FRAME_FREEZE:
    case FRAME_THAW:
        return !is_in_machine() ? -EOPNOTSUPP
                                : freeze_all(f->type == FRAME_FREEZE ? FIFREEZE : FITHAW);
    case FRAME_SET_CLOCK:
        return set_clock(f);
    case FRAME_SYNC:
        sync();
        return 0;
    case FRAME_RENEW:
        return is_in_machine() ? agent_renew(f) : -EOPNOTSUPP;
    case FRAME_POWER:
        return end_system(f);
    case FRAME_INFO:
        return tell(text, SCRATCH_BYTES);
    default:
        return -EPROTO;
    }
}
