/* made.c - times and configurations of built images. */
#include "resource/image/build/made.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/err.h"
#include "base/units.h"
#include "resource/image/build/stage.h"
#include "resource/image/store.h"

int64_t made_epoch(void)
{
    const char *text = getenv("SOURCE_DATE_EPOCH");
    char *end;
    long long n;

    if (text == NULL || text[0] == '\0') {
        return -1;
    }
    errno = 0;
    n = strtoll(text, &end, 10);
    return errno != 0 || *end != '\0' || n < 0 || n > INT64_MAX / 1000000000 ? -1 : n;
}

static void print_now(char out[UNITS_TEXT_BYTES])
{
    int64_t s = made_epoch();

    units_print_time((s >= 0 ? s : (int64_t)time(NULL)) * 1000000000, out);
}

json_t *made_config(const char *cmd)
{
    char now[UNITS_TEXT_BYTES];
    json_t *config;

    print_now(now);
    config = json_pack("{s:s,s:s,s:s,s:{s:[s]}}", "created", now, "architecture",
                       store_host_arch(), "os", "linux", "config", "Env", MADE_PATH);
    if (config != NULL && cmd != NULL &&
        json_object_set_new(json_object_get(config, "config"), "Cmd",
                            json_pack("[s]", cmd)) < 0) {
        json_decref(config);
        return NULL;
    }
    return config;
}

int made_history(json_t *config, const char *by, bool empty_layer)
{
    char now[UNITS_TEXT_BYTES];
    json_t *list = json_object_get(config, "history");
    json_t *x;
    int bad = 0;

    print_now(now);
    bad |= json_object_set_new(config, "created", json_string(now));
    if (!json_is_array(list)) {
        list = json_array();
        bad |= json_object_set_new(config, "history", list);
    }
    x = json_pack("{s:s,s:s}", "created", now, "created_by", by);
    if (x != NULL && empty_layer) {
        bad |= json_object_set_new(x, "empty_layer", json_true());
    }
    bad |= json_array_append_new(list, x);
    return bad != 0 ? -ENOMEM : 0;
}

int made_image(const struct pack *p, const struct made *m,
               const struct image_layer *layer, struct image_desc *ret, struct err *e)
{
    int r = settings_add_labels(m->config, m->labels, e);

    r = r < 0 ? r : pack_put_image(p->store, m->config, layer, 1, ret, e);
    return r < 0 ? r : image_tag_desc(p->store, ret, m->name, e);
}
