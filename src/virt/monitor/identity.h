/* identity.h - which life of the guest this is.
 *
 * A machine that goes on from where another one stands, too, or from where it was once before, has
 * the same memory: whatever in it was random or unique is so no more.  16 bytes of the
 * machine's memory are others then, and the guest is told by an event.
 *
 * Source: Microsoft, Virtual Machine Generation ID (2012). */
#ifndef VIRT_MONITOR_IDENTITY_H
#define VIRT_MONITOR_IDENTITY_H

#include <stdint.h>

struct machine;

#define IDENTITY_BYTES 16

/* Zeros become random bytes; and what is told after power-on. */
void identity_make_up(uint8_t generation[IDENTITY_BYTES]);
void identity_write(struct machine *m);

#endif
