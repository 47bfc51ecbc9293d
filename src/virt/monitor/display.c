/* display.c - a machine with a screen: the card, whose memory moves while nobody runs, and a
 * picture of what it shows.
 *
 * A guest that writes to the card's address register is held behind that store.  The loop's
 * thread then pauses the machine and lets it go on: the card's memory moves on the way. */
#include <errno.h>

#include "base/err.h"
#include "virt/monitor/dev/keyboard.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/private.h"
#include "virt/monitor/screen/png.h"
#include "virt/monitor/screen/screen.h"

#define SLOT (PCI_SLOT_LPC - 1)

static void on_moves(void *who)
{
    pause_hold(who, HOLD_PLACE, ASK_PLACE);
}

static void on_moved(void *who)
{
    (void)engine_add_memory(who, NULL);
}

int display_grant(struct machine *m, struct err *e)
{
    const struct screen_config c = {.bus = pci_bus_of(m->pci),
                                    .slot = SLOT,
                                    .mem = m->mem,
                                    .moves = on_moves,
                                    .moved = on_moved,
                                    .who = m};

    return m->options.has_screen ? screen_create(&c, &m->screen, e) : 0;
}

void display_serve(struct machine *m)
{
    if (machine_pause(m, NULL) == 0) {
        (void)machine_resume(m, NULL);
    }
    pause_release(m, HOLD_PLACE);
}

static int need_screen(const struct machine *m, struct err *e)
{
    return m->screen != NULL ? 0
                             : err_set(e, -ENOENT,
                                       "the machine has no screen: one that is made with "
                                       "--screen does");
}

int machine_screen(struct machine *m, int fd, struct err *e)
{
    int r = need_screen(m, e);

    return r == 0 ? png_write(screen_display(m->screen), fd, e) : r;
}

int machine_type(struct machine *m, const char *keys, struct err *e)
{
    int r = need_screen(m, e);

    return r == 0 ? keyboard_type(m->keyboard, keys, e) : r;
}
