/* window.h - what a `window` covers, and how it is packed into `imm`.
 *
 * A window is a few bytes of guest memory within one page, around the first of several
 * accesses.  One look-up finds where it lies in the host; the accesses in it (space
 * IR_DIRECT) use that.  If the window does not lie in one page of plain memory, its
 * value says so, and each access looks for itself. */
#ifndef VIRT_ISA_IR_WINDOW_H
#define VIRT_ISA_IR_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define IR_WINDOWS_MOST 16 /* of one region */

struct ir_window {
    int32_t disp;    /* of its beginning, to the address in the arguments */
    uint16_t before; /* its bytes in front of the first access */
    uint16_t span;   /* all of its bytes, at most 4096 */
    bool writes;     /* all of it must be writable */
    uint8_t number;  /* in its region */
    uint8_t align;   /* of its beginning, if the first access has to be aligned; else 1 */
};

uint64_t ir_window_pack(const struct ir_window *w);
struct ir_window ir_window_unpack(uint64_t imm);

#endif
