/* message.c - heads of packets, and the words in them. */
#include "virt/monitor/remote/message.h"

#include <errno.h>

#include "base/err.h"

static void put(uint8_t *at, unsigned bytes, uint32_t v)
{
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(v >> (8 * i));
    }
}

static uint32_t get(const uint8_t *at, unsigned bytes)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint32_t)at[i] << (8 * i);
    }
    return v;
}

void far_head_write(const struct far_head *h, uint8_t bytes[FAR_HEAD_BYTES])
{
    put(bytes, 4, h->size);
    put(bytes + 4, 2, h->version);
    put(bytes + 6, 2, h->word);
    put(bytes + 8, 4, h->serial);
}

int far_head_read(const uint8_t *bytes, size_t n, unsigned words, struct far_head *ret,
                  struct err *e)
{
    struct far_head h;

    if (n < FAR_HEAD_BYTES || n > FAR_MOST_BYTES) {
        return err_set(e, -EBADMSG, "a packet of %zu bytes", n);
    }
    h.size = get(bytes, 4);
    h.version = (uint16_t)get(bytes + 4, 2);
    h.word = (uint16_t)get(bytes + 6, 2);
    h.serial = get(bytes + 8, 4);
    if (h.size != n) {
        return err_set(e, -EBADMSG, "a packet of %zu bytes says that it has %u", n,
                       h.size);
    }
    if (h.version != FAR_VERSION) {
        return err_set(e, -EBADMSG, "version %u is not spoken here", h.version);
    }
    if (h.word >= words) {
        return err_set(e, -EBADMSG, "there is no word %u", h.word);
    }
    *ret = h;
    return 0;
}

const char *far_verb_name(unsigned verb)
{
    static const char *const names[FAR_VERB_COUNT] = {
        [FAR_HELLO] = "hello",   [FAR_STATE] = "state",   [FAR_STATS] = "stats",
        [FAR_PAUSE] = "pause",   [FAR_RESUME] = "resume", [FAR_POWER] = "power",
        [FAR_RESET] = "reset",   [FAR_END] = "end",       [FAR_SAVE] = "save",
        [FAR_MARK] = "mark",     [FAR_REWIND] = "rewind", [FAR_DUMP] = "dump",
        [FAR_GDB] = "gdb",       [FAR_LOOK] = "look",     [FAR_TRACE] = "trace",
        [FAR_RESIZE] = "resize", [FAR_ATTACH] = "attach", [FAR_DETACH] = "detach",
        [FAR_CABLE] = "cable",   [FAR_SCREEN] = "screen",
    };

    return verb < FAR_VERB_COUNT ? names[verb] : NULL;
}
