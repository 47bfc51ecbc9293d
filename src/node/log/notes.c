/* notes.c - what this host withheld from a guest, kept for `inspect`.
 *
 * Warnings that are said while a guest is started go to RUN/guests/ID/notes, too, a line
 * each; they are about this start, and a new one begins a new file. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/private.h"

#define NOTES_MOST_BYTES 65536

static void keep(const struct notes *s, const char *line)
{
    SCOPED(scope_close)
    int fd = open(s->path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct str text = {0};

    str_addf(&text, "%s\n", line);
    if (fd >= 0 && !str_failed(&text)) {
        (void)!write(fd, text.data, text.len);
    }
    str_fini(&text);
}

static void note(void *arg, enum log_level level, const char *line)
{
    const struct notes *s = arg;

    if (level <= LOG_LEVEL_WARN) {
        keep(s, line);
    }
    if (s->below != NULL && s->below->sink != NULL && level <= s->below->most) {
        s->below->sink(s->below->arg, level, line);
    }
}

void notes_begin(struct node *n, const struct guest *g, struct notes *s)
{
    (void)guest_run_path(n, g->id, "notes", s->path);
    (void)unlink(s->path);
    s->below = n->log;
    s->log = (struct log){.sink = note,
                          .arg = s,
                          .most = n->log != NULL && n->log->most > LOG_LEVEL_WARN
                                      ? n->log->most
                                      : LOG_LEVEL_WARN};
    n->log = &s->log;
}

void notes_end(struct node *n, const struct notes *s)
{
    n->log = s->below;
}

json_t *notes_read(struct node *n, const struct guest *g)
{
    SCOPED(scope_free) char *text = NULL;
    char path[PATH_MAX];
    char *save = NULL;
    json_t *list = json_array();

    (void)guest_run_path(n, g->id, "notes", path);
    if (file_read(AT_FDCWD, path, NOTES_MOST_BYTES, &text, NULL) < 0) {
        return list;
    }
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        (void)json_array_append_new(list, json_string(line));
    }
    return list;
}
