/* screen.h - a graphics card: VGA, and frame buffers of any size by Bochs' interface.
 *
 * Its memory is a region of the guest's, where the base address register says: stores to it
 * leave nobody's guest.  It moves when the machine pauses, and so lies at MEM_AWAY while that
 * stands: files of memory have it at one place.  The window of VGA is on the board.
 *
 * Sources: IBM PS/2 Hardware Interface Technical Reference, Video Subsystem (1992), "VGA
 * Function" (VGA); Bochs, "VBE display API" (dispi); QEMU docs/specs/standard-vga.rst (PCI
 * function 1234:1111). */
#ifndef VIRT_MONITOR_SCREEN_SCREEN_H
#define VIRT_MONITOR_SCREEN_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

struct display;
struct err;
struct mem;
struct pci_bus;
struct screen;

#define SCREEN_BYTES (UINT32_C(16) << 20) /* of its own memory */

struct screen_config {
    struct pci_bus *bus; /* which owns it from then on */
    unsigned slot;
    struct mem *mem; /* borrowed; gets the card's memory */

    /* Its memory is to move: the machine must pause before its guest goes on.  Under the
     * board's lock, on any thread.  And: it has moved; while all stand. */
    void (*moves)(void *who);
    void (*moved)(void *who);
    void *who; /* borrowed */
};

int screen_create(const struct screen_config *c, struct screen **ret, struct err *e);

/* What it shows; lives as long as it. */
struct display *screen_display(struct screen *s);

#endif
