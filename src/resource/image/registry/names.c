/* names.c - read registries.json and apply it. */
#include "resource/image/registry/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"

#define FILE_BYTES_MAX (1u << 20)
#define HOST_FILE      "/etc/strata/" NAMES_FILE

static char *if_there(char *path)
{
    if (path != NULL && access(path, F_OK) < 0) {
        free(path);
        return NULL;
    }
    return path;
}

static char *join(const char *dir, const char *rest)
{
    char *out = NULL;

    return dir != NULL && asprintf(&out, "%s/%s", dir, rest) >= 0 ? out : NULL;
}

char *names_find_file(const char *state)
{
    const char *config = getenv("XDG_CONFIG_HOME");
    char *path = if_there(join(state, NAMES_FILE));

    if (path == NULL) {
        path = if_there(config != NULL && config[0] == '/'
                            ? join(config, "strata/" NAMES_FILE)
                            : join(getenv("HOME"), ".config/strata/" NAMES_FILE));
    }
    return path != NULL ? path : if_there(strdup(HOST_FILE));
}

static int check_members(const json_t *file, const char *path, struct err *e)
{
    static const char *const known[] = {"names", "default", "mirrors"};
    json_t *ignored = NULL, *value;
    const char *text = NULL, *key;
    int r = json_opt_object(file, "", "names", &ignored, e);

    r = r < 0 ? r : json_opt_object(file, "", "mirrors", &ignored, e);
    r = r < 0 ? r : json_opt_str(file, "", "default", &text, e);
    json_object_foreach((json_t *)(uintptr_t)file, key, value)
    {
        size_t i = 0;

        while (i < sizeof known / sizeof known[0] && strcmp(known[i], key) != 0) {
            i++;
        }
        if (r == 0 && i == sizeof known / sizeof known[0]) {
            r = err_set(e, -EINVAL, "'%.40s' is not known there", key);
        }
    }
    return r < 0 ? err_wrap(e, "cannot use '%s'", path) : 0;
}

int names_load(const char *path, json_t **ret, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_json) json_t *file = NULL;
    size_t len = 0;
    int r;

    *ret = NULL;
    if (path == NULL) {
        return 0;
    }
    r = file_read(AT_FDCWD, path, FILE_BYTES_MAX, &text, &len);
    if (r < 0) {
        return r == -ENOENT ? 0 : err_sys(e, r, "cannot read '%s'", path);
    }
    r = json_parse(text, len, path, &file, e);
    if (r == 0 && !json_is_object(file)) {
        r = err_set(e, -EINVAL, "cannot use '%s': it is no object", path);
    }
    r = r < 0 ? r : check_members(file, path, e);
    if (r == 0) {
        *ret = file;
        file = NULL;
    }
    return r;
}

/* "HOST[:PORT][/PATH]" in front of `path`; the ends of `ref` stay. */
static int put_in_front(const char *place, const char *path, struct image_ref *ref,
                        struct err *e)
{
    char text[IMAGE_NAME_BYTES];
    struct image_ref got;
    int r =
        str_print(text, sizeof text, "%s%s%s", place, path[0] != '\0' ? "/" : "", path);

    r = r < 0 ? err_set(e, r, "'%.100s' makes the name too long", place)
              : image_ref_parse(text, &got, e);
    if (r < 0 || got.registry[0] == '\0' || got.digest[0] != '\0') {
        err_clear(e);
        return err_set(e, -EINVAL, "'%.100s' in '" NAMES_FILE "' names no registry",
                       place);
    }
    memcpy(ref->registry, got.registry, sizeof ref->registry);
    memcpy(ref->path, got.path, sizeof ref->path);
    return 0;
}

int names_resolve(const json_t *file, struct image_ref *ref, struct err *e)
{
    const char *full =
        json_string_value(json_object_get(json_object_get(file, "names"), ref->path));
    const char *place = json_string_value(json_object_get(file, "default"));
    struct image_ref own = *ref;

    if (ref->registry[0] != '\0') {
        return 0;
    }
    if (full != NULL) {
        return put_in_front(full, "", ref, e);
    }
    return place == NULL ? -ENODATA : put_in_front(place, own.path, ref, e);
}

int names_mirror(const json_t *file, size_t i, const struct image_ref *ref,
                 struct image_ref *ret, struct err *e)
{
    const json_t *list = json_object_get(json_object_get(file, "mirrors"), ref->registry);
    const char *place = json_string_value(json_array_get(list, i));
    int r;

    if (place == NULL) {
        return 0;
    }
    *ret = *ref;
    r = put_in_front(place, ref->path, ret, e);
    return r < 0 ? r : 1;
}
