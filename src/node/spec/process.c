/* node/spec/process.c - the program of a guest: arguments, environment, capabilities, limits. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "node/spec/private.h"
#include "virt/container/confine/caps.h"
#include "virt/container/container.h"

#define PATH_DEFAULT "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

json_t *spec_arguments(const struct plan *p)
{
    const json_t *command = json_object_get(p->config, "command");
    const char *entry = spec_text(p->config, "entrypoint", NULL);
    json_t *args = json_array();

    if (spec_flag(p->config, "init")) {
        spec_add_text(args, "/dev/init");
        spec_add_text(args, "--");
    }
    if (entry != NULL) {
        spec_add_text(args, entry);
    } else {
        (void)json_array_extend(args, json_object_get(p->image, "entrypoint"));
    }
    if (json_array_size(command) != 0) {
        (void)json_array_extend(args, (json_t *)(uintptr_t)command);
    } else if (entry == NULL) {
        (void)json_array_extend(args, json_object_get(p->image, "cmd"));
    }
    return args;
}

/* Replace or append "K=V"; a bare "K" takes the caller's own value. */
static void set_env(json_t *env, const char *pair)
{
    const char *equals = strchr(pair, '=');
    size_t len = equals != NULL ? (size_t)(equals - pair) : strlen(pair);
    struct str own = {0};
    size_t i;
    json_t *item;

    if (equals == NULL) {
        const char *value = getenv(pair);

        if (value == NULL) {
            return;
        }
        str_addf(&own, "%s=%s", pair, value);
        pair = str_text(&own);
    }
    json_array_foreach(env, i, item)
    {
        const char *have = json_string_value(item);

        if (strncmp(have, pair, len) == 0 && have[len] == '=') {
            (void)json_array_set_new(env, i, json_string(pair));
            str_fini(&own);
            return;
        }
    }
    spec_add_text(env, pair);
    str_fini(&own);
}

json_t *spec_environment(const struct plan *p)
{
    json_t *env = json_array();
    char line[PATH_MAX + 8];
    size_t i;
    json_t *item;

    spec_add_text(env, PATH_DEFAULT);
    if (p->user.home[0] != '\0' &&
        str_print(line, sizeof line, "HOME=%s", p->user.home) == 0) {
        spec_add_text(env, line);
    }
    if (str_print(line, sizeof line, "HOSTNAME=%s",
                  spec_text(p->config, "hostname", guest_text(p->g, "name"))) == 0) {
        spec_add_text(env, line);
    }
    if (spec_flag(p->config, "tty")) {
        spec_add_text(env, "TERM=xterm");
    }
    json_array_foreach(json_object_get(p->image, "env"), i, item)
    {
        set_env(env, json_string_value(item));
    }
    json_array_foreach(json_object_get(p->config, "env"), i, item)
    {
        set_env(env, json_string_value(item));
    }
    return env;
}

int spec_read_caps(const json_t *list, uint64_t *ret, bool *ret_all, struct err *e)
{
    size_t i;
    json_t *item;

    *ret = 0;
    *ret_all = false;
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        int cap = caps_from_name(text);

        if (strcasecmp(text, "ALL") == 0) {
            *ret_all = true;
        } else if (cap < 0) {
            return err_set(e, -EINVAL, "'%s' is not a capability", text);
        } else {
            *ret |= UINT64_C(1) << cap;
        }
    }
    return 0;
}

/* What was added by name stays, even when ALL are dropped. */
static int choose_caps(const struct plan *p, uint64_t *ret, struct err *e)
{
    uint64_t add;
    uint64_t drop;
    bool add_all;
    bool drop_all;
    int r = spec_read_caps(json_object_get(p->config, "cap_add"), &add, &add_all, e);

    if (r == 0) {
        r = spec_read_caps(json_object_get(p->config, "cap_drop"), &drop, &drop_all, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = add_all ? CAPS_ALL : caps_default() | add;
    *ret &= ~(drop_all ? CAPS_ALL : drop) | add;
    if (spec_flag(p->config, "privileged")) {
        *ret = CAPS_ALL;
    }
    return 0;
}

static int capabilities(const struct plan *p, json_t *process, struct err *e)
{
    uint64_t set = 0;
    json_t *caps;
    int r = choose_caps(p, &set, e);

    if (r < 0) {
        return r;
    }
    caps = caps_to_json(set);
    /* A user other than root gets them in the bounding set only. */
    r = caps == NULL ? -ENOMEM
                     : json_object_set_new(process, "capabilities",
                                           json_pack("{s:O, s:O, s:O, s:[]}", "bounding",
                                                     caps, "effective", caps, "permitted",
                                                     caps, "ambient"));
    if (r == 0 && p->user.uid != 0) {
        json_t *sets = json_object_get(process, "capabilities");

        (void)json_object_set_new(sets, "effective", json_array());
        (void)json_object_set_new(sets, "permitted", json_array());
    }
    json_decref(caps);
    return r < 0 ? err_set(e, -ENOMEM, "no memory") : 0;
}

static bool has_word(const json_t *list, const char *word)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        if (strcasecmp(json_string_value(item), word) == 0) {
            return true;
        }
    }
    return false;
}

/* "nofile=1024[:4096]" */
int spec_read_ulimit(const char *text, json_t **ret, struct err *e)
{
    char name[40] = "RLIMIT_";
    char word[24];
    json_int_t soft;
    json_int_t hard;
    int n = sscanf(text, "%23[a-zA-Z]=%" SCNd64 ":%" SCNd64, word, (int64_t *)&soft,
                   (int64_t *)&hard);

    if (n < 2) {
        return err_set(e, -EINVAL, "cannot use --ulimit '%s': want NAME=SOFT[:HARD]",
                       text);
    }
    for (size_t k = 0; word[k] != '\0'; k++) {
        name[7 + k] = (char)toupper((unsigned char)word[k]);
        name[8 + k] = '\0';
    }
    if (!container_has_limit(name)) {
        return err_set(e, -EINVAL, "cannot use --ulimit '%s': there is no such limit",
                       text);
    }
    *ret = json_pack("{s:s, s:I, s:I}", "type", name, "soft", soft, "hard",
                     n == 3 ? hard : soft);
    return 0;
}

static int resource_limits(const struct plan *p, json_t *process, struct err *e)
{
    json_t *list = json_array();
    size_t i;
    json_t *item;

    (void)json_object_set_new(process, "rlimits", list);
    json_array_foreach(json_object_get(p->config, "ulimit"), i, item)
    {
        json_t *limit = NULL;
        int r = spec_read_ulimit(json_string_value(item), &limit, e);

        if (r < 0) {
            return r;
        }
        (void)json_array_append_new(list, limit);
    }
    return 0;
}

int spec_no_command(const struct plan *p, struct err *e)
{
    return err_set(e, -EINVAL,
                   "cannot run image '%s': it names no command, and none was given",
                   spec_text(p->config, "image", "?"));
}

int spec_build_process(struct plan *p, struct err *e)
{
    json_t *process = json_object();
    json_t *args = spec_arguments(p);
    int r = 0;

    (void)json_object_set_new(p->oci, "process", process);
    (void)json_object_set_new(process, "args", args);
    if (json_array_size(args) == (spec_flag(p->config, "init") ? 2U : 0U)) {
        return spec_no_command(p, e);
    }
    (void)json_object_set_new(process, "terminal",
                              json_boolean(spec_flag(p->config, "tty")));
    (void)json_object_set_new(process, "env", spec_environment(p));
    (void)json_object_set_new(
        process, "cwd",
        json_string(
            spec_text(p->config, "workdir", spec_text(p->image, "workdir", "/"))));
    (void)json_object_set_new(process, "user", user_to_json(&p->user));
    if (!spec_flag(p->config, "privileged")) {
        (void)json_object_set_new(
            process, "noNewPrivileges",
            json_boolean(has_word(json_object_get(p->config, "security_opt"),
                                  "no-new-privileges")));
    }
    r = capabilities(p, process, e);
    return r < 0 ? r : resource_limits(p, process, e);
}
