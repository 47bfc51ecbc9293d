/* sqlite_wait.c - sleep until another process may have written.
 *
 * Every commit writes to the write-ahead log, and inotify tells of that; the
 * index that makes the commit visible is changed a moment later, in shared
 * memory, which nothing tells of.  So a wake-up is followed by a few quick looks
 * before the next long sleep; and no sleep is longer than LONGEST_MS, in case
 * the writer was held up between the two.  Without inotify: looks at intervals. */
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/str.h"
#include "store/sqlite.h"

#define LONGEST_MS  250
#define INTERVAL_MS 20 /* without inotify */
#define QUICK_LOOKS 6  /* after 1, 2, 4, 8, 16, 32 ms */

static void start_notify(struct sqlite *q)
{
    char log[4096];

    if (q->notify != -1 || str_print(log, sizeof log, "%s-wal", q->path) < 0) {
        return;
    }
    q->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (q->notify >= 0 && inotify_add_watch(q->notify, log, IN_MODIFY) < 0) {
        (void)close(q->notify);
        q->notify = -1;
    }
    q->quick = QUICK_LOOKS; /* somebody may have written before we listened */
}

static void drain(int fd)
{
    char buf[1024];

    while (read(fd, buf, sizeof buf) > 0) {
    }
}

void sqlite_wait(struct store *s, int ms)
{
    struct sqlite *q = sqlite_of(s);
    struct pollfd p = {.events = POLLIN};
    int most = ms;

    start_notify(q);
    if (q->notify < 0) {
        most = INTERVAL_MS;
    } else if (q->quick > 0) {
        most = 1 << (QUICK_LOOKS - q->quick);
        q->quick -= 1;
    } else {
        most = LONGEST_MS;
    }
    p.fd = q->notify; /* a negative one is passed over */
    if (poll(&p, 1, most < ms ? most : ms) > 0) {
        drain(q->notify);
        q->quick = QUICK_LOOKS;
    }
}
