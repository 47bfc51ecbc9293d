/* keyboard.h - a keyboard and its controller. */
#ifndef VIRT_MONITOR_DEV_KEYBOARD_H
#define VIRT_MONITOR_DEV_KEYBOARD_H

#include "virt/monitor/dev/dev.h"

struct keyboard_config {
    void (*reset)(void *who); /* the controller pulls the processors' line */
    void *who;                /* borrowed */
};

extern const struct dev_class dev_keyboard;

/* Press keys and let go of them: one, or some that are held together, as "ctrl-alt-delete".
 * -EINVAL: there is no such key; -EAGAIN: nobody takes what was typed before.  Takes the board's
 * lock. */
int keyboard_type(struct dev *d, const char *keys, struct err *e);

#endif
