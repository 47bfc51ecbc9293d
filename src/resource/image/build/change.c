/* change.c - single instructions for an image that is not built: commit, import. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "resource/image/build/stage.h"

static bool changes_files(enum containerfile_verb v)
{
    return v == CONTAINERFILE_RUN || v == CONTAINERFILE_COPY || v == CONTAINERFILE_ADD ||
           v == CONTAINERFILE_FROM || v == CONTAINERFILE_ARG;
}

static int change_one(struct builder *b, struct stage *s, const char *text, struct err *e)
{
    struct containerfile f;
    const struct containerfile_item *x;
    int r = containerfile_parse("change", text, strlen(text), &f, e);

    if (r < 0) {
        return r;
    }
    x = &f.items[0];
    r = f.n != 1 ? err_set(e, -EINVAL, "it is more than one instruction")
        : changes_files(x->verb)
            ? err_set(e, -EINVAL, "%s needs a build: only settings can be changed",
                      containerfile_verb_name(x->verb))
            : settings_apply(b, s, x, e);
    containerfile_fini(&f);
    return r;
}

int build_change(json_t *config, const json_t *instructions, struct err *e)
{
    static const struct build none;
    char name[] = "change";
    struct builder b = {.b = &none, .f = {.name = name, .escape = '\\'}};
    struct stage s = {.config = config};
    int r = 0;

    for (size_t i = 0; i < json_array_size(instructions) && r == 0; i++) {
        const char *text = json_string_value(json_array_get(instructions, i));

        r = text == NULL ? err_set(e, -EINVAL, "an instruction is not a text")
                         : change_one(&b, &s, text, e);
        if (r < 0) {
            return err_wrap(e, "cannot apply '%.80s'", text != NULL ? text : "");
        }
    }
    return r;
}
