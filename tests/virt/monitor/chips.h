/* chips.h - every chip of a PC with nobody behind it, for tests of their state. */
#ifndef TESTS_VIRT_MONITOR_CHIPS_H
#define TESTS_VIRT_MONITOR_CHIPS_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/monitor/dev/ioapic.h"
#include "virt/monitor/dev/pic.h"
#include "virt/monitor/dev/pit.h"
#include "virt/monitor/dev/power.h"
#include "virt/monitor/dev/rtc.h"
#include "virt/monitor/dev/serial.h"

/* What they say is not heard. */
static inline void chip_output(void *who, bool is_high)
{
    (void)who;
    (void)is_high;
}

static inline void chip_message(void *who, const struct apic_message *msg)
{
    (void)who;
    (void)msg;
}

static inline void chip_bytes(void *who, const uint8_t *bytes, unsigned n)
{
    (void)who;
    (void)bytes;
    (void)n;
}

static inline void chip_event(void *who)
{
    (void)who;
}

enum chip {
    CHIP_PIC,
    CHIP_IOAPIC,
    CHIP_PIT,
    CHIP_RTC,
    CHIP_POWER,
    CHIP_SERIAL,
    CHIPS
};

static const struct pic_config chip_pic = {.output = chip_output};
static const struct apic_bus chip_bus = {.send = chip_message};
static const struct rtc_config chip_rtc = {
    .memory_bytes = 1 << 24, .low_bytes = 1 << 24, .cpus = 1};
static const struct power_config chip_power = {.off = chip_event};
static const struct serial_config chip_serial = {
    .port = 0x3f8, .line = 4, .send = chip_bytes};

static const struct chip_kind {
    const struct dev_class *class;
    const void *config;
} chip_kinds[CHIPS] = {
    [CHIP_PIC] = {&dev_pic, &chip_pic},
    [CHIP_IOAPIC] = {&dev_ioapic, &chip_bus},
    [CHIP_PIT] = {&dev_pit, NULL},
    [CHIP_RTC] = {&dev_rtc, &chip_rtc},
    [CHIP_POWER] = {&dev_power, &chip_power},
    [CHIP_SERIAL] = {&dev_serial, &chip_serial},
};

#endif
