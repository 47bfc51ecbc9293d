/* settings.c - instructions that change the configuration and no file. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/units.h"
#include "resource/image/build/stage.h"

static int no_memory(struct err *e)
{
    return err_set(e, -ENOMEM, "out of memory");
}

int settings_expand(const struct builder *b, const struct stage *s, const char *word,
                    struct str *ret, struct err *e)
{
    return words_expand(word, b->f.escape, stage_lookup, (void *)(uintptr_t)s, ret, e);
}

static int set(struct stage *s, const char *key, json_t *value, struct err *e)
{
    return json_object_set_new(stage_settings(s), key, value) < 0 ? no_memory(e) : 0;
}

static json_t *strings(const struct strv *v)
{
    json_t *list = json_array();

    for (size_t i = 0; i < v->n; i++) {
        (void)json_array_append_new(list, json_string(v->items[i]));
    }
    return list;
}

/* ENV: replace the variable where it stands, or add it. */
static int set_env(struct stage *s, const char *name, const char *value, struct err *e)
{
    json_t *env = json_object_get(stage_settings(s), "Env");
    size_t n = strlen(name);
    json_t *text = json_sprintf("%s=%s", name, value);

    if (!json_is_array(env)) {
        (void)set(s, "Env", json_array(), NULL);
        env = json_object_get(stage_settings(s), "Env");
    }
    if (text == NULL) {
        return err_set(e, -EINVAL, "the value of '%.60s' is not UTF-8", name);
    }
    for (size_t i = 0; i < json_array_size(env); i++) {
        const char *x = json_string_value(json_array_get(env, i));

        if (x != NULL && strncmp(x, name, n) == 0 && x[n] == '=') {
            return json_array_set_new(env, i, text) < 0 ? no_memory(e) : 0;
        }
    }
    return json_array_append_new(env, text) < 0 ? no_memory(e) : 0;
}

static int apply_pairs(struct builder *b, struct stage *s,
                       const struct containerfile_item *x, struct err *e)
{
    SCOPED(strv_fini) struct strv pairs = {0};
    json_t *settings = stage_settings(s);
    int r = words_pairs(x->rest, b->f.escape, stage_lookup, s, &pairs, e);

    if (r == 0 && x->verb == CONTAINERFILE_LABEL &&
        !json_is_object(json_object_get(settings, "Labels"))) {
        r = set(s, "Labels", json_object(), e);
    }
    for (size_t i = 0; r == 0 && i + 1 < pairs.n; i += 2) {
        const char *name = pairs.items[i], *value = pairs.items[i + 1];

        if (x->verb == CONTAINERFILE_ENV) {
            r = set_env(s, name, value, e);
        } else if (json_object_set_new(json_object_get(settings, "Labels"), name,
                                       json_string(value)) < 0) {
            r = no_memory(e);
        }
    }
    return r;
}

/* The value given with the command, the file's default, or the global one. */
static int declare_arg(struct builder *b, struct stage *s, const char *word,
                       struct err *e)
{
    SCOPED(scope_free) char *name = strdup(word);
    char *eq = name != NULL ? strchr(name, '=') : NULL;
    const char *given = NULL;
    struct str value = {0};
    int r = 0;

    if (name == NULL) {
        return no_memory(e);
    }
    if (eq != NULL) {
        *eq++ = '\0';
    }
    for (size_t i = 0; b->b->args != NULL && b->b->args[i] != NULL; i++) {
        size_t n = strlen(name);

        if (strncmp(b->b->args[i], name, n) == 0 && b->b->args[i][n] == '=') {
            given = b->b->args[i] + n + 1;
        }
    }
    if (given == NULL && eq != NULL) {
        r = settings_expand(b, s, eq, &value, e);
        given = str_text(&value);
    } else if (given == NULL) {
        given = stage_get_pair(&b->global_args, name);
    }
    if (r == 0 && given != NULL && stage_set_pair(&s->args, name, given) < 0) {
        r = no_memory(e);
    }
    str_fini(&value);
    return r;
}

static int apply_arg(struct builder *b, struct stage *s,
                     const struct containerfile_item *x, struct err *e)
{
    SCOPED(strv_fini) struct strv words = {0};
    int r = words_split(x->rest, b->f.escape, &words, e);

    for (size_t i = 0; i < words.n && r == 0; i++) {
        r = declare_arg(b, s, words.items[i], e);
    }
    return r;
}

/* Exec form as it is, shell form behind the SHELL. */
static int apply_command(struct stage *s, const struct containerfile_item *x,
                         struct err *e)
{
    bool entry = x->verb == CONTAINERFILE_ENTRYPOINT;
    json_t *list;

    if (x->json) {
        list = strings(&x->list);
    } else {
        const json_t *shell = json_object_get(stage_settings(s), "Shell");

        list = json_is_array(shell) ? json_deep_copy(shell)
                                    : json_pack("[s,s]", "/bin/sh", "-c");
        (void)json_array_append_new(list, json_string(x->rest));
    }
    if (entry && !s->has_cmd) {
        (void)json_object_del(stage_settings(s), "Cmd"); /* of the base image */
    }
    s->has_cmd |= !entry;
    return set(s, entry ? "Entrypoint" : "Cmd", list, e);
}

static int apply_shell(struct stage *s, const struct containerfile_item *x, struct err *e)
{
    if (!x->json || x->list.n == 0) {
        return err_set(e, -EINVAL, "it must be a JSON array: [\"/bin/sh\", \"-c\"]");
    }
    return set(s, "Shell", strings(&x->list), e);
}

static int apply_text(struct builder *b, struct stage *s,
                      const struct containerfile_item *x, const char *key, struct err *e)
{
    struct str text = {0};
    int r = settings_expand(b, s, x->rest, &text, e);

    if (r == 0 && text.len == 0) {
        r = err_set(e, -EINVAL, "it is empty");
    }
    r = r < 0 ? r : set(s, key, json_string(str_text(&text)), e);
    str_fini(&text);
    return r;
}

/* A relative WORKDIR continues the one before. */
static int apply_workdir(struct builder *b, struct stage *s,
                         const struct containerfile_item *x, struct err *e)
{
    struct str text = {0}, path = {0};
    int r = settings_expand(b, s, x->rest, &text, e);
    char *rest = text.data, *part;

    if (r == 0 && text.len == 0) {
        r = err_set(e, -EINVAL, "it is empty");
    }
    if (r == 0) {
        if (text.data[0] != '/' && strcmp(stage_workdir(s), "/") != 0) {
            str_add(&path, stage_workdir(s));
        }
        while ((part = strsep(&rest, "/")) != NULL) {
            if (strcmp(part, "..") == 0) {
                char *slash = path.len > 0 ? strrchr(path.data, '/') : NULL;

                path.len = slash != NULL ? (size_t)(slash - path.data) : 0;
            } else if (part[0] != '\0' && strcmp(part, ".") != 0) {
                str_addf(&path, "/%s", part);
            }
            if (path.data != NULL) {
                path.data[path.len] = '\0';
            }
        }
        r = set(s, "WorkingDir", json_string(path.len > 0 ? path.data : "/"), e);
    }
    str_fini(&text);
    str_fini(&path);
    return r;
}

/* "8080", "8080/udp", "8000-8010": keys of an object. */
static int add_port(struct stage *s, const char *text, struct err *e)
{
    char proto[8] = "tcp";
    unsigned from = 0, to = 0;
    json_t *ports = json_object_get(stage_settings(s), "ExposedPorts");
    int n = 0, used = 0;
    char key[32];

    n = sscanf(text, "%5u%n-%5u%n", &from, &used, &to, &used);
    to = n < 2 ? from : to;
    if (text[used] == '/') {
        (void)str_print(proto, sizeof proto, "%s", text + used + 1);
        used += 1 + (int)strlen(proto);
    }
    for (char *p = proto; *p != '\0'; p++) {
        *p = (char)tolower((unsigned char)*p);
    }
    if (n < 1 || text[used] != '\0' || from == 0 || to < from || to > 65535 ||
        (strcmp(proto, "tcp") != 0 && strcmp(proto, "udp") != 0 &&
         strcmp(proto, "sctp") != 0)) {
        return err_set(e, -EINVAL, "'%.60s' is no port: write 80, 80/udp or 8000-8010",
                       text);
    }
    if (!json_is_object(ports)) {
        (void)set(s, "ExposedPorts", json_object(), NULL);
        ports = json_object_get(stage_settings(s), "ExposedPorts");
    }
    for (unsigned i = from; i <= to; i++) {
        (void)str_print(key, sizeof key, "%u/%s", i, proto);
        if (json_object_set_new(ports, key, json_object()) < 0) {
            return no_memory(e);
        }
    }
    return 0;
}

static int apply_expose(struct builder *b, struct stage *s,
                        const struct containerfile_item *x, struct err *e)
{
    SCOPED(strv_fini) struct strv words = {0};
    struct str text = {0};
    int r = settings_expand(b, s, x->rest, &text, e);

    r = r < 0 ? r : words_split(str_text(&text), b->f.escape, &words, e);
    for (size_t i = 0; i < words.n && r == 0; i++) {
        r = add_port(s, words.items[i], e);
    }
    str_fini(&text);
    return r;
}

static int apply_volume(struct builder *b, struct stage *s,
                        const struct containerfile_item *x, struct err *e)
{
    SCOPED(strv_fini) struct strv words = {0};
    const struct strv *list = x->json ? &x->list : &words;
    int r = x->json ? 0 : words_split(x->rest, b->f.escape, &words, e);

    if (r == 0 && !json_is_object(json_object_get(stage_settings(s), "Volumes"))) {
        r = set(s, "Volumes", json_object(), e);
    }
    for (size_t i = 0; i < list->n && r == 0; i++) {
        struct str path = {0};

        r = settings_expand(b, s, list->items[i], &path, e);
        if (r == 0 && (path.len == 0 ||
                       json_object_set_new(json_object_get(stage_settings(s), "Volumes"),
                                           path.data, json_object()) < 0)) {
            r = err_set(e, -EINVAL, "'%.60s' is no path", list->items[i]);
        }
        str_fini(&path);
    }
    return r;
}

static int set_time(json_t *check, const char *key, const char *text, struct err *e)
{
    uint64_t ms;

    if (text == NULL) {
        return 0;
    }
    if (units_parse_duration(text, &ms) < 0 || ms > INT64_MAX / 1000000) {
        return err_set(e, -EINVAL, "'%.40s' is no duration (such as 30s)", text);
    }
    return json_object_set_new(check, key, json_integer((json_int_t)ms * 1000000)) < 0
               ? no_memory(e)
               : 0;
}

/* "NONE", or "CMD ..." in either form. */
static int fill_check(const struct containerfile_item *x, json_t *check, struct err *e)
{
    bool is_cmd = strncasecmp(x->rest, "CMD", 3) == 0;
    size_t blanks = is_cmd ? strspn(x->rest + 3, " \t") : 0;
    const char *rest = x->rest + (is_cmd ? 3 + blanks : 0);
    SCOPED(scope_json) json_t *list = NULL;
    json_t *test;

    if (strcasecmp(x->rest, "NONE") == 0) {
        test = json_pack("[s]", "NONE");
    } else if (!is_cmd || (blanks == 0 && *rest != '[') || *rest == '\0') {
        return err_set(e, -EINVAL, "it is 'NONE' or 'CMD' and a command");
    } else if (*rest == '[' && json_parse(rest, strlen(rest), "", &list, NULL) == 0 &&
               json_is_array(list)) {
        test = json_pack("[s]", "CMD");
        (void)json_array_extend(test, list);
    } else {
        test = json_pack("[s,s]", "CMD-SHELL", rest);
    }
    return json_object_set_new(check, "Test", test) < 0 ? no_memory(e) : 0;
}

static int apply_healthcheck(struct stage *s, const struct containerfile_item *x,
                             struct err *e)
{
    static const char *const known[] = {"interval",       "timeout", "start-period",
                                        "start-interval", "retries", NULL};
    const char *retries = stage_flag(x, "retries");
    json_t *check = json_object();
    int r = set(s, "Healthcheck", check, e);

    r = r < 0 ? r : stage_check_flags(x, known, e);
    r = r < 0 ? r : fill_check(x, check, e);
    r = r < 0 ? r : set_time(check, "Interval", stage_flag(x, "interval"), e);
    r = r < 0 ? r : set_time(check, "Timeout", stage_flag(x, "timeout"), e);
    r = r < 0 ? r : set_time(check, "StartPeriod", stage_flag(x, "start-period"), e);
    r = r < 0 ? r : set_time(check, "StartInterval", stage_flag(x, "start-interval"), e);
    if (r == 0 && retries != NULL) {
        char *end;
        unsigned long n = strtoul(retries, &end, 10);

        r = *end != '\0' || n == 0 || n > 1000
                ? err_set(e, -EINVAL, "'%.40s' is no number of retries", retries)
                : json_object_set_new(check, "Retries", json_integer((json_int_t)n));
    }
    return r;
}

static int apply_maintainer(struct stage *s, const struct containerfile_item *x,
                            struct err *e)
{
    return json_object_set_new(s->config, "author", json_string(x->rest)) < 0
               ? no_memory(e)
               : 0;
}

/* Kept as it is written; what makes no sense later is refused now. */
static int apply_onbuild(struct builder *b, struct stage *s,
                         const struct containerfile_item *x, struct err *e)
{
    json_t *list = json_object_get(stage_settings(s), "OnBuild");
    struct containerfile f;
    enum containerfile_verb verb;
    int r = containerfile_parse(b->f.name, x->rest, strlen(x->rest), &f, e);

    if (r < 0) {
        return r;
    }
    verb = f.items[0].verb;
    containerfile_fini(&f);
    if (verb == CONTAINERFILE_FROM || verb == CONTAINERFILE_ONBUILD ||
        verb == CONTAINERFILE_MAINTAINER) {
        return err_set(e, -EINVAL, "%s cannot be triggered later",
                       containerfile_verb_name(verb));
    }
    if (!json_is_array(list)) {
        list = json_array();
        r = set(s, "OnBuild", list, e);
    }
    return r < 0                                                   ? r
           : json_array_append_new(list, json_string(x->rest)) < 0 ? no_memory(e)
                                                                   : 0;
}

int settings_add_labels(json_t *config, const char *const *labels, struct err *e)
{
    struct stage s = {.config = config};
    json_t *all = json_object_get(stage_settings(&s), "Labels");

    if (labels == NULL || labels[0] == NULL) {
        return 0;
    }
    if (!json_is_object(all)) {
        all = json_object();
        if (set(&s, "Labels", all, e) < 0) {
            return -ENOMEM;
        }
    }
    for (size_t i = 0; labels[i] != NULL; i++) {
        size_t n = strcspn(labels[i], "=");
        SCOPED(scope_free) char *name = strndup(labels[i], n);
        const char *value = labels[i][n] == '=' ? labels[i] + n + 1 : "";

        if (name == NULL || n == 0 ||
            json_object_set_new(all, name, json_string(value)) < 0) {
            return err_set(e, -EINVAL, "'%.60s' cannot be a label", labels[i]);
        }
    }
    return 0;
}

int settings_apply(struct builder *b, struct stage *s, const struct containerfile_item *x,
                   struct err *e)
{
    switch (x->verb) {
    case CONTAINERFILE_ARG:
        return apply_arg(b, s, x, e);
    case CONTAINERFILE_ENV:
    case CONTAINERFILE_LABEL:
        return apply_pairs(b, s, x, e);
    case CONTAINERFILE_CMD:
    case CONTAINERFILE_ENTRYPOINT:
        return apply_command(s, x, e);
    case CONTAINERFILE_SHELL:
        return apply_shell(s, x, e);
    case CONTAINERFILE_USER:
        return apply_text(b, s, x, "User", e);
    case CONTAINERFILE_STOPSIGNAL:
        return apply_text(b, s, x, "StopSignal", e);
    case CONTAINERFILE_WORKDIR:
        return apply_workdir(b, s, x, e);
    case CONTAINERFILE_EXPOSE:
        return apply_expose(b, s, x, e);
    case CONTAINERFILE_VOLUME:
        return apply_volume(b, s, x, e);
    case CONTAINERFILE_HEALTHCHECK:
        return apply_healthcheck(s, x, e);
    case CONTAINERFILE_MAINTAINER:
        return apply_maintainer(s, x, e);
    case CONTAINERFILE_ONBUILD:
        return apply_onbuild(b, s, x, e);
    default:
        return err_set(e, -EINVAL, "it changes files, not settings");
    }
}
