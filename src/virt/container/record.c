/* record.c - what others find a container by, written while it makes its mounts. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/units.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/container/setup.h"

int record_container(struct setup *s, struct err *e)
{
    struct container *c = s->c;
    const json_t *notes = config_get(s->config, "annotations");
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_free) char *place = cgroup_place(c->cgroup);
    char path[PATH_MAX];
    char created[UNITS_TEXT_BYTES];
    struct timespec now;
    int r = 0;

    if (place == NULL) {
        return err_set(e, -ENOMEM, "cannot record container '%s': no memory", c->id);
    }
    (void)json_object_set_new(c->state, "cgroup", json_string(place));
    if (config_get(s->config, "hooks") == NULL) {
        (void)json_object_set_new(c->state, "noHooks", json_true());
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    units_print_time(now.tv_sec * 1000000000LL + now.tv_nsec, created);
    (void)json_object_set_new(c->state, "created", json_string(created));
    (void)json_object_set_new(c->state, "owner", json_integer((json_int_t)getuid()));
    (void)json_object_set_new(c->state, "rootfs",
                              json_string(config_text(s->config, "root.path", "")));
    if (notes != NULL) {
        (void)json_object_set(c->state, "annotations", (json_t *)(uintptr_t)notes);
    }
    c->pid_started = state_process_start(c->pid);
    if (s->n->config != NULL) {
        text = json_dumps(s->config, JSON_COMPACT);
        (void)state_path(c, "config.json", path);
        r = text == NULL ? -ENOMEM
                         : file_replace(AT_FDCWD, path, text, strlen(text), 0600, false);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot record container '%s'", c->id);
    }
    return state_save(c, e);
}

int record_pid(struct setup *s, struct err *e)
{
    char text[24];
    int r;

    if (s->n->pid_file == NULL) {
        return 0;
    }
    (void)str_print(text, sizeof text, "%d", (int)s->c->pid);
    r = file_replace(AT_FDCWD, s->n->pid_file, text, strlen(text), 0644, false);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", s->n->pid_file) : 0;
}
