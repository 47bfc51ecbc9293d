/* contract/display.h - what a guest shows, for whoever wants to see it.
 *
 * Implemented by virt/monitor/screen.  Used by what writes a picture of it to a file; a remote
 * desktop would stand on the same words.
 *
 * Threads: one viewer at a time, on the loop's thread of the guest; it need not stand still.
 * Units: pixels are words 0x00RRGGBB, rows count from the top. */
#ifndef CONTRACT_DISPLAY_H
#define CONTRACT_DISPLAY_H

#include <stdint.h>

struct display;

#define DISPLAY_WIDTH_MOST  4096u
#define DISPLAY_HEIGHT_MOST 4096u

struct display_size {
    uint32_t width, height; /* 1 to the most */
};

struct display_ops {
    const char *name;

    /* Begin a picture: how the guest shows what it has in its memory is taken as it is now,
     * palette and all.  Of that memory each row is read when it is drawn. */
    void (*look)(struct display *d, struct display_size *ret);

    /* A row of the picture that was begun: `width` pixels. */
    void (*draw)(struct display *d, uint32_t row, uint32_t *ret);
};

/* First member of every implementation's own struct. */
struct display {
    const struct display_ops *ops;
};

#endif
