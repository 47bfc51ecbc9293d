/* rtc.h - the clock and CMOS memory of a PC (MC146818). */
#ifndef VIRT_MONITOR_DEV_RTC_H
#define VIRT_MONITOR_DEV_RTC_H

#include <stdint.h>

#include "virt/monitor/dev/dev.h"

struct rtc_config {
    uint64_t memory_bytes; /* for the bytes in which firmware looks for it */
    unsigned cpus;
};

extern const struct dev_class dev_rtc;

#endif
