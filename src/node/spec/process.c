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

#define PATH_DEFAULT "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static json_t *argument_list(const struct plan *p)
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

static json_t *environment(const struct plan *p)
{
    json_t *env = json_array();
    char line[PATH_MAX + 8];
    size_t i;
    json_t *item;

    spec_add_text(env, PATH_DEFAULT);
    if (str_print(line, sizeof line, "HOME=%s", p->user.home) == 0) {
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

static const char *const default_caps[] = {"CAP_CHOWN",
                                           "CAP_DAC_OVERRIDE",
                                           "CAP_FSETID",
                                           "CAP_FOWNER",
                                           "CAP_MKNOD",
                                           "CAP_SETGID",
                                           "CAP_SETUID",
                                           "CAP_SETFCAP",
                                           "CAP_SETPCAP",
                                           "CAP_NET_RAW",
                                           "CAP_KILL",
                                           "CAP_SYS_CHROOT",
                                           "CAP_NET_BIND_SERVICE",
                                           "CAP_AUDIT_WRITE"};

static const char *const all_caps[] = {"CAP_CHOWN",
                                       "CAP_DAC_OVERRIDE",
                                       "CAP_DAC_READ_SEARCH",
                                       "CAP_FOWNER",
                                       "CAP_FSETID",
                                       "CAP_KILL",
                                       "CAP_SETGID",
                                       "CAP_SETUID",
                                       "CAP_SETPCAP",
                                       "CAP_LINUX_IMMUTABLE",
                                       "CAP_NET_BIND_SERVICE",
                                       "CAP_NET_BROADCAST",
                                       "CAP_NET_ADMIN",
                                       "CAP_NET_RAW",
                                       "CAP_IPC_LOCK",
                                       "CAP_IPC_OWNER",
                                       "CAP_SYS_MODULE",
                                       "CAP_SYS_RAWIO",
                                       "CAP_SYS_CHROOT",
                                       "CAP_SYS_PTRACE",
                                       "CAP_SYS_PACCT",
                                       "CAP_SYS_ADMIN",
                                       "CAP_SYS_BOOT",
                                       "CAP_SYS_NICE",
                                       "CAP_SYS_RESOURCE",
                                       "CAP_SYS_TIME",
                                       "CAP_SYS_TTY_CONFIG",
                                       "CAP_MKNOD",
                                       "CAP_LEASE",
                                       "CAP_AUDIT_WRITE",
                                       "CAP_AUDIT_CONTROL",
                                       "CAP_SETFCAP",
                                       "CAP_MAC_OVERRIDE",
                                       "CAP_MAC_ADMIN",
                                       "CAP_SYSLOG",
                                       "CAP_WAKE_ALARM",
                                       "CAP_BLOCK_SUSPEND",
                                       "CAP_AUDIT_READ",
                                       "CAP_PERFMON",
                                       "CAP_BPF",
                                       "CAP_CHECKPOINT_RESTORE"};

/* "net_admin", "CAP_NET_ADMIN" -> the full name of the table, or NULL. */
static const char *cap_name(const char *word)
{
    if (strncasecmp(word, "CAP_", 4) == 0) {
        word += 4;
    }
    for (size_t i = 0; i < COUNT(all_caps); i++) {
        if (strcasecmp(all_caps[i] + 4, word) == 0) {
            return all_caps[i];
        }
    }
    return NULL;
}

static bool list_has(const json_t *list, const char *word, const char *all_word)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        const char *name = cap_name(text);

        if (strcasecmp(text, all_word) == 0 ||
            (name != NULL && strcmp(name, word) == 0)) {
            return true;
        }
    }
    return false;
}

static int check_caps(const json_t *list, struct err *e)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);

        if (strcasecmp(text, "ALL") != 0 && cap_name(text) == NULL) {
            return err_set(e, -EINVAL, "'%s' is not a capability", text);
        }
    }
    return 0;
}

static int capabilities(const struct plan *p, json_t *process, struct err *e)
{
    const json_t *add = json_object_get(p->config, "cap_add");
    const json_t *drop = json_object_get(p->config, "cap_drop");
    bool all = spec_flag(p->config, "privileged");
    json_t *caps = json_array();
    json_t *none = json_array();
    int r = check_caps(add, e);

    if (r == 0) {
        r = check_caps(drop, e);
    }
    for (size_t i = 0; i < COUNT(all_caps); i++) {
        bool have = all || list_has(add, all_caps[i], "ALL");

        for (size_t k = 0; !have && k < COUNT(default_caps); k++) {
            have = strcmp(default_caps[k], all_caps[i]) == 0;
        }
        if (have && (all || list_has(add, all_caps[i], "\n") ||
                     !list_has(drop, all_caps[i], "ALL"))) {
            spec_add_text(caps, all_caps[i]);
        }
    }
    /* A user other than root gets them in the bounding set only. */
    (void)json_object_set_new(process, "capabilities",
                              json_pack("{s:O, s:O, s:O, s:[]}", "bounding", caps,
                                        "effective", p->user.uid == 0 ? caps : none,
                                        "permitted", p->user.uid == 0 ? caps : none,
                                        "ambient"));
    json_decref(caps);
    json_decref(none);
    return r;
}

/* "nofile=1024[:4096]" */
static int resource_limits(const struct plan *p, json_t *process, struct err *e)
{
    json_t *list = json_array();
    size_t i;
    json_t *item;

    (void)json_object_set_new(process, "rlimits", list);
    json_array_foreach(json_object_get(p->config, "ulimit"), i, item)
    {
        const char *text = json_string_value(item);
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
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:I, s:I}", "type", name, "soft",
                                              soft, "hard", n == 3 ? hard : soft));
    }
    return 0;
}

int spec_build_process(struct plan *p, struct err *e)
{
    json_t *process = json_object();
    json_t *args = argument_list(p);
    int r = 0;

    (void)json_object_set_new(p->oci, "process", process);
    (void)json_object_set_new(process, "args", args);
    if (json_array_size(args) == (spec_flag(p->config, "init") ? 2U : 0U)) {
        return err_set(e, -EINVAL,
                       "cannot run image '%s': it names no command, and none was given",
                       spec_text(p->config, "image", "?"));
    }
    (void)json_object_set_new(process, "terminal",
                              json_boolean(spec_flag(p->config, "tty")));
    (void)json_object_set_new(process, "env", environment(p));
    (void)json_object_set_new(
        process, "cwd",
        json_string(
            spec_text(p->config, "workdir", spec_text(p->image, "workdir", "/"))));
    (void)json_object_set_new(process, "user", user_to_json(&p->user));
    if (!spec_flag(p->config, "privileged")) {
        (void)json_object_set_new(
            process, "noNewPrivileges",
            json_boolean(list_has(json_object_get(p->config, "security_opt"), "\n",
                                  "no-new-privileges")));
    }
    r = capabilities(p, process, e);
    return r < 0 ? r : resource_limits(p, process, e);
}
