/* exec_process.c - the whole of what one more program is, from the little that was said.
 *
 * What the `process` object does not say is taken from the container's own:
 * environment, directory, user, capabilities.  Beside the members of the
 * specification it may have `userName` ("user[:group]" by the container's own files),
 * `addEnv`, `addCapabilities` and `addGids`. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/private.h"

#define FILE_MOST_BYTES (1 << 20)

static void take_default(json_t *process, const json_t *own, const char *key)
{
    if (config_get(process, key) == NULL && json_object_get(own, key) != NULL) {
        (void)json_object_set(process, key, json_object_get(own, key));
    }
}

/* "K=V" replaces the one with the same K. */
static void add_variable(json_t *env, const char *pair)
{
    size_t len = strcspn(pair, "=") + 1;
    size_t i;
    json_t *item;

    json_array_foreach(env, i, item)
    {
        if (strncmp(json_string_value(item), pair, len) == 0) {
            (void)json_array_set_new(env, i, json_string(pair));
            return;
        }
    }
    (void)json_array_append_new(env, json_string(pair));
}

/* "CAP_X" more, in every set that a program can use. */
static void add_capabilities(json_t *process, const json_t *more)
{
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    json_t *caps;
    size_t i;
    json_t *item;

    if (more == NULL) {
        return;
    }
    caps = json_deep_copy(json_object_get(process, "capabilities"));
    caps = caps != NULL ? caps : json_object();
    for (size_t k = 0; k < sizeof sets / sizeof sets[0]; k++) {
        json_t *list = json_object_get(caps, sets[k]);

        if (list == NULL) {
            list = json_array();
            (void)json_object_set_new(caps, sets[k], list);
        }
        json_array_foreach(more, i, item)
        {
            (void)json_array_append(list, item);
        }
    }
    (void)json_object_set_new(process, "capabilities", caps);
}

static json_t *complete(const struct container *c, const json_t *given)
{
    static const char *const keys[] = {"cwd",
                                       "user",
                                       "capabilities",
                                       "rlimits",
                                       "noNewPrivileges",
                                       "apparmorProfile",
                                       "selinuxLabel"};
    const json_t *own = config_get(c->config, "process");
    json_t *out = json_copy((json_t *)(uintptr_t)given);
    json_t *env;
    size_t i;
    json_t *item;

    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
        take_default(out, own, keys[k]);
    }
    env = json_deep_copy(config_get(given, "env") != NULL ? config_get(given, "env")
                                                          : config_get(own, "env"));
    if (env == NULL) {
        env = json_array();
    }
    json_array_foreach(config_get(given, "addEnv"), i, item)
    {
        add_variable(env, json_string_value(item));
    }
    (void)json_object_set_new(out, "env", env);
    (void)json_object_del(out, "addEnv");
    return out;
}

/* The line of a file of the container whose field 0 (or `field`) is `word`. */
static bool find_line(char *text, const char *word, int id_field, long *ret_id,
                      long *ret_more)
{
    char *save = NULL;
    char *end;
    long wanted = strtol(word, &end, 10);
    bool by_id = *end == '\0' && end != word;

    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char none[1] = "";
        char *f[4] = {line, none, none, none};

        for (int i = 1; i < 4; i++) {
            char *colon = strchr(f[i - 1], ':');

            if (colon == NULL) {
                break;
            }
            *colon = '\0';
            f[i] = colon + 1;
        }
        if (by_id ? strtol(f[id_field], NULL, 10) == wanted && f[id_field][0] != '\0'
                  : strcmp(f[0], word) == 0) {
            *ret_id = strtol(f[2], NULL, 10);
            *ret_more = strtol(f[3], NULL, 10);
            return true;
        }
    }
    return false;
}

static char *read_inside(const struct container *c, const char *path)
{
    char root_path[64];
    SCOPED(scope_close) int root = -1;
    SCOPED(scope_close) int fd = -1;
    char *text = NULL;
    ssize_t n;

    (void)str_print(root_path, sizeof root_path, "/proc/%d/root", (int)c->pid);
    root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    fd = root >= 0 ? file_open_in_root(root, path, O_RDONLY | O_NONBLOCK, 0) : -1;
    text = fd >= 0 ? malloc(FILE_MOST_BYTES + 1) : NULL;
    n = text != NULL ? file_read_all(fd, text, FILE_MOST_BYTES) : -1;
    if (n < 0) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

/* "user[:group]" by the container's own files, to numbers. */
static int resolve_user(const struct container *c, json_t *process, struct err *e)
{
    const char *word = config_text(process, "userName", NULL);
    SCOPED(scope_free) char *passwd = NULL;
    SCOPED(scope_free) char *group = NULL;
    char name[256];
    const char *colon;
    char *end;
    long uid;
    long gid = 0;
    long more = 0;

    if (word == NULL) {
        return 0;
    }
    colon = strchr(word, ':');
    if (str_print(name, sizeof name, "%.*s", colon != NULL ? (int)(colon - word) : 255,
                  word) < 0) {
        return err_set(e, -EINVAL, "the user '%s' is too long", word);
    }
    passwd = read_inside(c, "/etc/passwd");
    if (passwd == NULL || !find_line(passwd, name, 2, &uid, &gid)) {
        uid = strtol(name, &end, 10);
        if (*end != '\0' || end == name) {
            return err_set(e, -ENOENT, "container '%s' has no user '%s'", c->id, name);
        }
    }
    if (colon != NULL) {
        group = read_inside(c, "/etc/group");
        if (group == NULL || !find_line(group, colon + 1, 2, &gid, &more)) {
            gid = strtol(colon + 1, &end, 10);
            if (*end != '\0' || end == colon + 1) {
                return err_set(e, -ENOENT, "container '%s' has no group '%s'", c->id,
                               colon + 1);
            }
        }
    }
    (void)json_object_del(process, "userName");
    (void)json_object_set_new(
        process, "user",
        json_pack("{s:I, s:I}", "uid", (json_int_t)uid, "gid", (json_int_t)gid));
    return 0;
}

/* A user other than root runs without capabilities it was not given. */
static void limit_user(json_t *process, const json_t *given)
{
    json_t *caps = json_object_get(process, "capabilities");
    json_t *copy;

    if (config_get(given, "capabilities") != NULL ||
        config_number(process, "user.uid", 0) == 0 || caps == NULL) {
        return;
    }
    copy = json_copy(caps);
    (void)json_object_set_new(copy, "effective", json_array());
    (void)json_object_set_new(copy, "permitted", json_array());
    (void)json_object_set_new(copy, "ambient", json_array());
    (void)json_object_set_new(process, "capabilities", copy);
}

static void add_groups(json_t *process, const json_t *more)
{
    json_t *user = json_deep_copy(json_object_get(process, "user"));
    json_t *list;
    size_t i;
    json_t *item;

    if (json_array_size(more) == 0) {
        json_decref(user);
        return;
    }
    user = user != NULL ? user : json_object();
    list = json_object_get(user, "additionalGids");
    if (list == NULL) {
        list = json_array();
        (void)json_object_set_new(user, "additionalGids", list);
    }
    json_array_foreach(more, i, item)
    {
        (void)json_array_append(list, item);
    }
    (void)json_object_set_new(process, "user", user);
}

int exec_complete(const struct container *c, const json_t *given, json_t **ret,
                  struct err *e)
{
    SCOPED(scope_json) json_t *process = complete(c, given);
    int r = resolve_user(c, process, e);

    if (r < 0) {
        return r;
    }
    limit_user(process, given);
    add_capabilities(process, config_get(given, "addCapabilities"));
    add_groups(process, config_get(given, "addGids"));
    (void)json_object_del(process, "addCapabilities");
    (void)json_object_del(process, "addGids");
    *ret = json_incref(process);
    return 0;
}
