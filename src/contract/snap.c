/* snap.c - sections: their heads and ends are the implementation's, or else bytes like others:
 * a head with name and version before, a mark behind. */
#include "contract/snap.h"

#include <errno.h>
#include <string.h>

#define SECTION_MAGIC 0x6e6f6973u
#define SECTION_END   0x646e6573u

struct head {
    uint32_t magic;
    uint32_t version;
    char name[32];
};

void snap_data(struct snap *s, void *bytes, size_t n)
{
    if (s->error != 0) {
        return;
    }
    s->error = s->is_loading ? s->ops->read(s, bytes, n) : s->ops->write(s, bytes, n);
}

void snap_bool(struct snap *s, bool *b)
{
    uint8_t byte = *b;

    SNAP_FIELD(s, byte);
    *b = byte != 0;
}

void snap_refuse(struct snap *s)
{
    if (s->error == 0) {
        s->error = -EBADMSG;
    }
}

int snap_error(const struct snap *s)
{
    return s->error;
}

uint64_t snap_number(struct snap *s, uint64_t value, uint64_t most)
{
    SNAP_FIELD(s, value);
    if (s->error != 0) {
        return 0;
    }
    if (value > most) {
        snap_refuse(s);
        return 0;
    }
    return value;
}

static void begin_inside(struct snap *s, const char *name, uint32_t *version)
{
    struct head h = {.magic = SECTION_MAGIC, .version = *version};

    (void)strncpy(h.name, name, sizeof h.name - 1);
    SNAP_FIELD(s, h);
    if (s->is_loading && s->error == 0 &&
        (h.magic != SECTION_MAGIC || strncmp(h.name, name, sizeof h.name) != 0)) {
        snap_refuse(s);
    }
    *version = h.version;
}

uint32_t snap_begin(struct snap *s, const char *name, uint32_t version)
{
    uint32_t found = version;

    (void)strncpy(s->section, name, sizeof s->section - 1);
    if (s->ops->begin == NULL || s->depth > 0) {
        begin_inside(s, name, &found);
    } else if (s->error == 0) {
        s->error = s->ops->begin(s, name, &found);
    }
    s->depth++;
    if (s->error == 0 && (found == 0 || found > version)) {
        snap_refuse(s);
    }
    return s->error == 0 ? found : 0;
}

void snap_end(struct snap *s)
{
    uint32_t mark = SECTION_END;

    s->depth -= s->depth > 0;
    if (s->ops->end == NULL || s->depth > 0) {
        SNAP_FIELD(s, mark);
        if (mark != SECTION_END) {
            snap_refuse(s);
        }
    } else if (s->error == 0) {
        s->error = s->ops->end(s);
    }
    if (s->error == 0) {
        s->section[0] = '\0'; /* else it says where it failed */
    }
}
