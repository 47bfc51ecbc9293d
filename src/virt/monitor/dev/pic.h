/* pic.h - the pair of 8259A interrupt controllers of a PC. */
#ifndef VIRT_MONITOR_DEV_PIC_H
#define VIRT_MONITOR_DEV_PIC_H

#include <stdbool.h>

#include "virt/monitor/dev/dev.h"

struct pic_config {
    void (*output)(void *who, bool is_high); /* to the processor */
    void *who;                               /* borrowed */
};

extern const struct dev_class dev_pic;

/* The processor acknowledges: the vector. */
int pic_take(struct dev *d);
bool pic_asks(struct dev *d); /* its output, INTR, is high */

#endif
