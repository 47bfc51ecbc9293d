/* rtc.h - the clock and CMOS memory of a PC (MC146818). */
#ifndef VIRT_MONITOR_DEV_RTC_H
#define VIRT_MONITOR_DEV_RTC_H

#include <stdint.h>

#include "virt/monitor/dev/dev.h"

struct rtc_config {
    /* For the bytes in which firmware looks for it: all, and what of it is below 4 GiB. */
    uint64_t memory_bytes, low_bytes;
    unsigned cpus;
};

extern const struct dev_class dev_rtc;

#endif
