/* path.c - members of a configuration by dotted path. */
#include <string.h>

#include "virt/container/private.h"

json_t *config_get(const json_t *config, const char *path)
{
    const json_t *at = config;

    while (at != NULL && *path != '\0') {
        size_t len = strcspn(path, ".");
        char key[64];

        if (len >= sizeof key) {
            return NULL;
        }
        memcpy(key, path, len);
        key[len] = '\0';
        at = json_object_get(at, key);
        path += len + (path[len] == '.' ? 1 : 0);
    }
    return json_is_null(at) ? NULL : (json_t *)(uintptr_t)at;
}

const char *config_text(const json_t *config, const char *path, const char *other)
{
    const char *text = json_string_value(config_get(config, path));

    return text != NULL ? text : other;
}

bool config_flag(const json_t *config, const char *path)
{
    return json_is_true(config_get(config, path));
}

int64_t config_number(const json_t *config, const char *path, int64_t other)
{
    const json_t *v = config_get(config, path);

    return json_is_integer(v) ? json_integer_value(v) : other;
}
