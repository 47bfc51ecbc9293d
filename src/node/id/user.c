/* user.c - look a user up in the layers of an image. */
#include "node/id/user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"

#define FILE_MOST_BYTES (1 << 20)
#define FIELDS_MOST     7

/* The file's text from the topmost layer that has it; NULL when none has. */
static char *read_from_layers(const struct strv *dirs, const char *path)
{
    for (size_t i = 0; i < dirs->n; i++) {
        SCOPED(scope_close)
        int root = open(dirs->items[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
        SCOPED(scope_close) int fd = -1;
        char *text = NULL;
        ssize_t n;

        fd = root >= 0 ? file_open_in_root(root, path, O_RDONLY | O_NONBLOCK, 0) : -1;
        if (fd < 0) {
            continue;
        }
        text = malloc(FILE_MOST_BYTES + 1);
        n = text != NULL ? file_read_all(fd, text, FILE_MOST_BYTES) : -1;
        if (n < 0) {
            free(text);
            return NULL; /* a whiteout: the file was removed in this layer */
        }
        text[n] = '\0';
        return text;
    }
    return NULL;
}

/* Cut "a:b:c" in place; missing fields are "". */
static void split(char *line, const char *fields[FIELDS_MOST])
{
    for (int i = 0; i < FIELDS_MOST; i++) {
        char *colon = strchr(line, ':');

        fields[i] = line;
        if (colon != NULL) {
            *colon = '\0';
            line = colon + 1;
        } else {
            line += strlen(line);
        }
    }
}

static bool is_number(const char *text, long *ret)
{
    char *end;

    *ret = strtol(text, &end, 10);
    return end != text && *end == '\0' && *ret >= 0 && *ret <= 0xfffffffeL;
}

static bool find_in_passwd(char *text, const char *word, struct user *u, char *name,
                           size_t name_size)
{
    long id = -1;
    bool by_id = is_number(word, &id);
    char *save = NULL;

    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        const char *f[FIELDS_MOST];
        long uid;
        long gid;

        split(line, f);
        if (!is_number(f[2], &uid) || !is_number(f[3], &gid)) {
            continue;
        }
        if (by_id ? uid != id : strcmp(f[0], word) != 0) {
            continue;
        }
        u->uid = (uid_t)uid;
        u->gid = (gid_t)gid;
        if (f[5][0] == '/') {
            (void)str_print(u->home, sizeof u->home, "%s", f[5]);
        }
        (void)str_print(name, name_size, "%s", f[0]);
        return true;
    }
    return false;
}

static bool is_member(const char *members, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = members; (p = strstr(p, name)) != NULL; p += n) {
        if ((p == members || p[-1] == ',') && (p[n] == ',' || p[n] == '\0')) {
            return true;
        }
    }
    return false;
}

/* Set the group named `group` (NULL: keep), else add those `name` is a member of. */
static bool read_groups(char *text, const char *group, const char *name, struct user *u)
{
    char *save = NULL;

    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        const char *f[FIELDS_MOST];
        long gid;

        split(line, f);
        if (!is_number(f[2], &gid)) {
            continue;
        }
        if (group != NULL && strcmp(f[0], group) == 0) {
            u->gid = (gid_t)gid;
            return true;
        }
        if (group == NULL && name[0] != '\0' && (gid_t)gid != u->gid &&
            is_member(f[3], name) && u->n_groups < USER_GROUPS_MAX) {
            u->groups[u->n_groups] = (gid_t)gid;
            u->n_groups += 1;
        }
    }
    return group == NULL;
}

static int find_group(const char *group, const char *name, const struct strv *dirs,
                      struct user *u, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    long id;

    if (group != NULL && is_number(group, &id)) {
        u->gid = (gid_t)id;
        return 0;
    }
    if (group == NULL && name[0] == '\0') {
        return 0;
    }
    text = read_from_layers(dirs, "etc/group");
    if (text != NULL && read_groups(text, group, name, u)) {
        return 0;
    }
    return group == NULL
               ? 0
               : err_set(e, -ENOENT, "cannot run as group '%s': not in the image", group);
}

int user_find(const char *word, const struct strv *dirs, struct user *ret, struct err *e)
{
    char name[256];
    char entry[256] = "";
    SCOPED(scope_free) char *text = NULL;
    const char *colon = strchr(word, ':');
    long id;

    memset(ret, 0, sizeof *ret);
    (void)str_print(ret->home, sizeof ret->home, "/");
    if (str_print(name, sizeof name, "%.*s", colon != NULL ? (int)(colon - word) : 255,
                  word) < 0) {
        return err_set(e, -EINVAL, "cannot run as user '%s': too long", word);
    }
    text = read_from_layers(dirs, "etc/passwd");
    if (text == NULL || !find_in_passwd(text, name, ret, entry, sizeof entry)) {
        if (strcmp(name, "root") == 0) {
            id = 0;
        } else if (!is_number(name, &id)) {
            return err_set(e, -ENOENT, "cannot run as user '%s': not in the image", name);
        }
        ret->uid = (uid_t)id;
        (void)str_print(ret->home, sizeof ret->home, "%s", id == 0 ? "/root" : "/");
    }
    return find_group(colon != NULL ? colon + 1 : NULL, entry, dirs, ret, e);
}

void user_fini(struct user *u)
{
    memset(u, 0, sizeof *u);
}

json_t *user_to_json(const struct user *u)
{
    json_t *more = json_array();

    for (size_t i = 0; i < u->n_groups; i++) {
        (void)json_array_append_new(more, json_integer(u->groups[i]));
    }
    return json_pack("{s:I, s:I, s:o}", "uid", (json_int_t)u->uid, "gid",
                     (json_int_t)u->gid, "additionalGids", more);
}
