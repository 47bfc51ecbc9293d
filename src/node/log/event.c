/* event.c - the host realm's log: what was done to which guest, by whom, and what was
 * refused.
 *
 * One JSON object per line in STATE/events.log, appended with one write so that
 * many commands and keepers share the file.  Guests cannot reach it; what they
 * print goes to their own log.  Above ROTATE_BYTES the file becomes
 * `events.log.1` once; who has it open then ends the old one. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "host/file.h"
#include "node/keeper/keeper.h"
#include "node/private.h"

#define ROTATE_BYTES (8 << 20)
#define OLD          KEEPER_EVENTS ".1"
#define NO_LOGIN     4294967295U /* loginuid of a process that no login led to */

static int64_t wall_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Whoever has the lock renames, once: the name must still be that of the large file. */
static void rotate(int dir)
{
    SCOPED(scope_close) int fd = openat(dir, KEEPER_EVENTS, O_RDONLY | O_CLOEXEC);
    struct stat own;
    struct stat now;

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &own) == 0 &&
        fstatat(dir, KEEPER_EVENTS, &now, 0) == 0 && own.st_ino == now.st_ino &&
        own.st_size > ROTATE_BYTES) {
        (void)renameat(dir, KEEPER_EVENTS, dir, OLD);
    }
}

int event_dir(struct node *n)
{
    struct stat st;
    int dir = open(n->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir >= 0 && fstatat(dir, KEEPER_EVENTS, &st, 0) == 0 &&
        st.st_size > ROTATE_BYTES) {
        rotate(dir);
    }
    return dir;
}

/* Who stands behind this process, whatever user it has become: sudo, su. */
static void add_login(json_t *event)
{
    SCOPED(scope_free) char *text = NULL;
    unsigned long id;

    if (file_read(AT_FDCWD, "/proc/self/loginuid", 32, &text, NULL) < 0) {
        return;
    }
    id = strtoul(text, NULL, 10);
    if (id != NO_LOGIN) {
        (void)json_object_set_new(event, "login_uid", json_integer((json_int_t)id));
    }
}

/* Takes the event, adds when and who, and appends it. */
static void append(struct node *n, json_t *event)
{
    SCOPED(scope_json) json_t *owned = event;
    SCOPED(scope_close) int dir = event_dir(n);
    SCOPED(scope_close) int fd = -1;
    SCOPED(scope_free) char *line = NULL;
    char time[UNITS_TEXT_BYTES];
    struct str s = {0};

    units_print_time(wall_ns(), time);
    (void)json_object_set_new(event, "time", json_string(time));
    (void)json_object_set_new(event, "uid", json_integer((json_int_t)getuid()));
    add_login(event);
    line = event != NULL ? json_dumps(event, JSON_COMPACT) : NULL;
    fd = openat(dir, KEEPER_EVENTS, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || line == NULL) {
        return;
    }
    str_addf(&s, "%s\n", line);
    if (!str_failed(&s)) {
        (void)!write(fd, s.data, s.len);
    }
    str_fini(&s);
}

void event_write(struct node *n, const char *what, const struct guest *g,
                 const char *detail)
{
    append(n, json_pack("{s:s, s:s, s:s*, s:s*, s:s*}", "type", "guest", "event", what,
                        "id", g != NULL ? g->id : NULL, "name",
                        g != NULL ? guest_text(g, "name") : NULL, "detail", detail));
}

/* The host could not, rather than the platform would not. */
static bool is_failure(int code)
{
    return code == -EIO || code == -ENOSPC || code == -ENOMEM || code == -EROFS ||
           code == -EDQUOT || code == -EMFILE || code == -ENFILE || code == -EUCLEAN ||
           code == -EOWNERDEAD || code == -ECONNRESET;
}

void node_refused(struct node *n, const char *op, const char *object, const struct err *e)
{
    if (!n->placed) {
        return;
    }
    append(n, json_pack("{s:s, s:s, s:s, s:s*, s:s, s:i}", "type", "operation", "event",
                        is_failure(e->code) ? "failed" : "refused", "operation", op,
                        "name", object, "detail", e->text, "pid", (int)getpid()));
}
