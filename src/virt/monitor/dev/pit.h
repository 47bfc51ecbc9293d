/* pit.h - the 8254 timer of a PC, with the speaker's port. */
#ifndef VIRT_MONITOR_DEV_PIT_H
#define VIRT_MONITOR_DEV_PIT_H

#include "virt/monitor/dev/dev.h"

/* No configuration.  Channel 0 drives line 0. */
extern const struct dev_class dev_pit;

#endif
