/* allocator.c - what a machine has: memory, processors, devices, and their addresses.
 *
 * The map of a PC:
 *
 *   0          RAM; 0xa0000 to 0xfffff is kept from the guest (tables of ACPI)
 *   1 MiB      RAM, to 3 GiB at most
 *   3 GiB      PCI memory; ECAM at 0xe0000000; I/O APIC, local APICs
 *   4 GiB      the rest of RAM
 *   behind     what comes while it runs, from a GiB on
 *   behind     PCI memory above 4 GiB
 *
 * With firmware 0xa0000 to 0xbffff is no RAM, what is behind up to 1 MiB is the firmware's, RAM
 * ends at 2 GiB, ECAM begins where firmware puts it, and the ROM ends at 4 GiB (firmware.c). */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "contract/mem.h"
#include "host/ram.h"
#include "virt/monitor/acpi/tables.h"
#include "virt/monitor/dev/exit.h"
#include "virt/monitor/dev/ioapic.h"
#include "virt/monitor/dev/keyboard.h"
#include "virt/monitor/dev/pic.h"
#include "virt/monitor/dev/pit.h"
#include "virt/monitor/dev/power.h"
#include "virt/monitor/dev/rtc.h"
#include "virt/monitor/dev/serial.h"
#include "virt/monitor/dev/watchdog.h"
#include "virt/monitor/identity.h"
#include "virt/monitor/pci/card.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/plug/plug.h"
#include "virt/monitor/private.h"
#include "virt/monitor/slots.h"

#define LEGACY_FIRST     UINT64_C(0xa0000)
#define LEGACY_END       UINT64_C(0x100000)
#define WINDOW_END       UINT64_C(0xc0000) /* of VGA's memory, from LEGACY_FIRST on */
#define LOOP_PATIENCE_MS 100
#define FIRMWARE_KEPT    UINT64_C(0x10000)      /* the least that a CMOS counts */
#define SLOTS_LEAST      8                      /* of PCI bus 0 that tables describe */
#define SLOT_FIRST       1                      /* of what is plugged in */
#define PCI_HIGH_LAST    UINT64_C(0xffffffffff) /* 40 bits: what processors have */

enum {
    RANGE_RAM = 1,
    RANGE_RESERVED = 2
};

static void add_range(struct machine *m, uint64_t base, uint64_t end, uint32_t type)
{
    if (end > base) {
        m->place.map[m->place.ranges++] =
            (struct boot_range){.base = base, .bytes = end - base, .type = type};
    }
}

static uint64_t next_gib(uint64_t at)
{
    return (at + (UINT64_C(1) << 30) - 1) & ~((UINT64_C(1) << 30) - 1);
}

/* Room for memory that comes, and what came to it before. */
static int reserve_plugs(struct machine *m, uint64_t high, struct err *e)
{
    const struct machine_options *o = &m->options;
    uint64_t room =
        o->memory_most > o->memory_bytes ? o->memory_most - o->memory_bytes : 0;
    int r = 0;

    m->plug_first = next_gib(MACHINE_HIGH + high);
    m->plug_bytes = room;
    for (unsigned i = 0; r == 0 && i < plug_memory_count(room, o->memory_plugged); i++) {
        r = allocator_plug_memory(m, i, e);
    }
    return r;
}

static uint64_t low_end(const struct machine *m)
{
    uint64_t most =
        m->options.firmware_bytes != 0 ? MACHINE_FIRMWARE_LOW_END : MACHINE_LOW_END;

    return m->options.memory_bytes < most ? m->options.memory_bytes : most;
}

/* Firmware moves about in all that it is told of: it is told of less. */
static void place_generation(struct machine *m)
{
    if (m->options.hides || m->place.low_end < LEGACY_END) {
        return;
    }
    m->generation_at = ACPI_GENERATION;
    if (m->options.firmware_bytes != 0) {
        m->place.low_end -= FIRMWARE_KEPT;
        m->generation_at = m->place.low_end;
    }
}

/* Where there is a screen its window is no RAM. */
static int grant_low(struct machine *m, uint64_t low, struct err *e)
{
    int r;

    if (!m->options.has_screen || low <= WINDOW_END) {
        return mem_add_ram(m->mem, 0, low, false, e);
    }
    r = mem_add_ram(m->mem, 0, LEGACY_FIRST, false, e);
    return r == 0 ? mem_add_ram(m->mem, WINDOW_END, low - WINDOW_END, false, e) : r;
}

static int grant_memory(struct machine *m, struct err *e)
{
    uint64_t bytes = m->options.memory_bytes;
    uint64_t low = low_end(m);
    int r = ram_create(RAM_PRIVATE, &m->mem, e);

    if (r == 0 && m->options.pagemap > 0) {
        ram_take_pagemap(m->mem, m->options.pagemap);
        m->options.pagemap = 0;
    }
    m->place.mem = m->mem;
    m->place.low_end = low;
    if (r == 0) {
        r = m->options.firmware_bytes != 0 ? firmware_grant_memory(m, e)
                                           : grant_low(m, low, e);
    }
    if (r == 0 && bytes > low) {
        r = mem_add_ram(m->mem, MACHINE_HIGH, bytes - low, false, e);
    }
    r = r == 0 ? reserve_plugs(m, bytes - low, e) : r;
    place_generation(m);
    add_range(m, 0, low < LEGACY_FIRST ? low : LEGACY_FIRST, RANGE_RAM);
    add_range(m, LEGACY_FIRST, LEGACY_END, RANGE_RESERVED);
    add_range(m, LEGACY_END, low, RANGE_RAM);
    add_range(m, MACHINE_ECAM, MACHINE_ECAM + MACHINE_ECAM_SIZE, RANGE_RESERVED);
    add_range(m, MACHINE_HIGH, MACHINE_HIGH + (bytes - low), RANGE_RAM);
    return r;
}

/* ---- devices ---- */

static void on_pic(void *who, bool is_high)
{
    struct machine *m = who;

    if (is_high) {
        vcpu_kick(&m->vcpu[0], CPU_KICK_INTERRUPT);
    }
}

static void on_off(void *who)
{
    machine_finish(who, MACHINE_OFF, 0);
}

static void on_reset(void *who)
{
    reset_ask(who);
}

static void on_end(void *who, unsigned code)
{
    machine_finish(who, MACHINE_EXITED, code);
}

static void on_panic(void *who, unsigned events)
{
    struct machine *m = who;

    if ((events & EXIT_PANICKED) == 0) {
        return;
    }
    if (m->options.crashed != NULL) {
        reset_crash(m);
    } else {
        machine_finish(m, MACHINE_PANICKED, 0);
    }
}

static void on_watchdog(void *who)
{
    struct machine *m = who;

    if (m->options.watchdog == MACHINE_WATCHDOG_RESET) {
        reset_ask(m);
    } else if (m->options.watchdog == MACHINE_WATCHDOG_HOLD &&
               m->options.crashed != NULL) {
        reset_crash(m);
    } else {
        machine_finish(m, MACHINE_HUNG, 0);
    }
}

static void on_console(void *who, const uint8_t *bytes, unsigned n)
{
    struct machine *m = who;

    if (m->options.console != NULL) {
        m->options.console(m->options.who, bytes, n);
    }
}

/* Nobody is at the other end of the second port. */
static void on_nothing(void *who, const uint8_t *bytes, unsigned n)
{
    (void)who;
    (void)bytes;
    (void)n;
}

int allocator_add(struct machine *m, const struct dev_class *class, const void *config,
                  struct dev **ret, struct err *e)
{
    int r = dev_create(class, m->board, config, &m->dev[m->devices], e);

    if (r == 0) {
        if (ret != NULL) {
            *ret = m->dev[m->devices];
        }
        m->devices++;
    }
    return r;
}

/* Whatever comes and goes. */
static int grant_plugs(struct machine *m, struct err *e)
{
    const struct plug_cpus_config cpus = {.cpus = m->options.cpus,
                                          .most = m->options.cpus_most,
                                          .power = m->power,
                                          .change = allocator_plug_cpu,
                                          .who = m};

    const struct plug_memory_config memory = {
        .base = m->plug_first,
        .room = m->plug_bytes,
        .there = plug_memory_count(m->plug_bytes, m->options.memory_plugged),
        .power = m->power};
    int r = m->plugs_cpus ? allocator_add(m, &dev_plug_cpus, &cpus, &m->plug_cpus, e) : 0;

    return r == 0 && m->plug_bytes != 0
               ? allocator_add(m, &dev_plug_memory, &memory, &m->plug_memory, e)
               : r;
}

static int grant_devices(struct machine *m, struct err *e)
{
    const struct pic_config pic = {.output = on_pic, .who = m};
    const struct apic_bus bus = {.send = bus_send, .who = m};
    const struct rtc_config rtc = {m->options.memory_bytes, m->place.low_end,
                                   m->options.cpus};
    const struct power_config power = {.off = on_off, .who = m};
    const struct serial_config serial = {
        .port = 0x3f8, .line = 4, .send = on_console, .who = m};
    const struct serial_config second = {
        .port = 0x2f8, .line = 3, .send = on_nothing, .who = m};
    const struct keyboard_config keyboard = {.reset = on_reset, .who = m};
    const struct watchdog_config watchdog = {.over = on_watchdog, .who = m};
    const struct exit_config leave = {.end = on_end,
                                      .reset = on_reset,
                                      .panic = on_panic,
                                      .who = m,
                                      .has_keyboard = m->options.has_screen,
                                      .is_plain = m->options.hides};
    int r = allocator_add(m, &dev_pic, &pic, &m->pic, e);

    r = r == 0 ? allocator_add(m, &dev_ioapic, &bus, &m->ioapic, e) : r;
    r = r == 0 ? allocator_add(m, &dev_pit, NULL, NULL, e) : r;
    r = r == 0 ? allocator_add(m, &dev_rtc, &rtc, NULL, e) : r;
    r = r == 0 ? allocator_add(m, &dev_power, &power, &m->power, e) : r;
    r = r == 0 ? allocator_add(m, &dev_serial, &serial, &m->serial, e) : r;
    r = r == 0 ? allocator_add(m, &dev_serial, &second, NULL, e) : r;
    r = r == 0 ? allocator_add(m, &dev_exit, &leave, NULL, e) : r;
    if (r == 0 && m->options.watchdog != MACHINE_WATCHDOG_NONE) {
        r = allocator_add(m, &dev_watchdog, &watchdog, NULL, e);
    }
    if (r == 0 && m->options.has_screen) {
        r = allocator_add(m, &dev_keyboard, &keyboard, &m->keyboard, e);
    }
    return r == 0 ? grant_plugs(m, e) : r;
}

unsigned allocator_slot(const struct machine *m, unsigned i)
{
    unsigned slot = SLOT_FIRST;

    for (unsigned n = 0; n < i; n++) {
        slot += m->options.cards[n].slot == 0;
    }
    return i < m->options.card_count && m->options.cards[i].slot != 0
               ? m->options.cards[i].slot
               : slot;
}

int allocator_plug(struct machine *m, const struct pci_card *c, unsigned slot,
                   struct err *e)
{
    const struct pci_socket s = {.bus = pci_bus_of(m->pci),
                                 .slot = slot,
                                 .loop = m->loop,
                                 .space = &m->space.space};

    return c->plug(c->device, &s, e);
}

/* The bus of PCI, and what is plugged into it. */
static int grant_functions(struct machine *m, struct err *e)
{
    uint64_t ecam = m->options.firmware_bytes != 0 ? MACHINE_FIRMWARE_ECAM : MACHINE_ECAM;
    const struct pci_config pci = {.ecam = ecam,
                                   .window_first = MACHINE_LOW_END,
                                   .window_last = MACHINE_ECAM - 1,
                                   .messages = {.send = bus_send, .who = m},
                                   .reset = on_reset,
                                   .who = m};
    int r = allocator_add(m, &dev_pci, &pci, &m->pci, e);

    virtio_space_over_mem(&m->space, m->mem);
    for (unsigned i = 0; r == 0 && i < m->options.card_count; i++) {
        r = allocator_plug(m, &m->options.cards[i], allocator_slot(m, i), e);
    }
    r = r == 0 ? display_grant(m, e) : r;
    return r == 0 ? slots_grant(m, e) : r;
}

/* Nothing reaches for the guest's memory any more. */
static void withdraw_functions(struct machine *m)
{
    if (m->pci == NULL) {
        return;
    }
    pci_rest(m->pci);
    while (!pci_rests(m->pci) && loop_turn(m->loop, LOOP_PATIENCE_MS) == 0) {
    }
}

static unsigned slots(const struct machine *m)
{
    unsigned n = allocator_slot(m, m->options.card_count);

    return n < SLOTS_LEAST ? SLOTS_LEAST : n;
}

static uint64_t absent(const struct machine *m)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < m->cpus; i++) {
        bits |= (uint64_t)!atomic_load(&m->vcpu[i].is_there) << i;
    }
    return bits;
}

/* Windows of PCI memory: around ECAM, and behind all RAM. */
static void describe_windows(const struct machine *m, uint64_t ecam,
                             struct acpi_window *ret)
{
    uint64_t high = next_gib(m->plug_first + m->plug_bytes);

    if (m->options.firmware_bytes == 0) {
        *ret++ = (struct acpi_window){MACHINE_LOW_END, ecam - 1};
        *ret = (struct acpi_window){high, high + (UINT64_C(16) << 30) - 1};
        return;
    }
    *ret++ = (struct acpi_window){MACHINE_FIRMWARE_LOW_END, ecam - 1};
    *ret++ = (struct acpi_window){ecam + MACHINE_FIRMWARE_ECAM_SIZE, MACHINE_WINDOW_LAST};
    *ret = (struct acpi_window){high, PCI_HIGH_LAST};
}

void allocator_describe(const struct machine *m, uint64_t ecam, struct acpi_config *ret)
{
    *ret = (struct acpi_config){
        .hides = m->options.hides,
        .cpus = m->cpus,
        .absent = absent(m),
        .plugs_cpus = m->plug_cpus != NULL,
        .has_screen = m->options.has_screen,
        .watches = m->options.watchdog != MACHINE_WATCHDOG_NONE,
        .slots = slots(m),
        .slot_first = MACHINE_SLOT_FIRST,
        .plug_slots = MACHINE_SLOTS,
        .ecam_base = ecam,
        .plug_first = m->plug_first,
        .plug_bytes = m->plug_bytes,
        .generation = m->generation_at,
    };
    describe_windows(m, ecam, ret->window);
}

int allocator_write_tables(struct machine *m, struct err *e)
{
    struct acpi_config c;
    struct aml tables;
    int r;

    identity_write(m);
    if (m->firmware != NULL) {
        return firmware_load(m, e);
    }
    if (m->place.low_end < LEGACY_END) {
        return 0;
    }
    allocator_describe(m, MACHINE_ECAM, &c);
    r = acpi_make(&c, &tables, e);
    if (r != 0) {
        return r;
    }
    acpi_place(&tables, ACPI_BASE);
    r = mem_write(m->mem, ACPI_BASE, tables.bytes, tables.count);
    m->place.rsdp = ACPI_BASE;
    aml_fini(&tables);
    return r == 0 ? 0 : err_sys(e, r, "cannot write the ACPI tables");
}

int allocator_build(struct machine *m, struct err *e)
{
    int r = board_create(m->loop, &m->board, e);

    if (r == 0 && m->options.is_deterministic) {
        board_count_time(m->board);
    }
    r = r == 0 ? grant_memory(m, e) : r;
    r = r == 0 ? grant_devices(m, e) : r;
    r = r == 0 ? grant_functions(m, e) : r;
    for (; r == 0 && m->cpus < m->options.cpus_most; m->cpus += r == 0) {
        r = vcpu_init(&m->vcpu[m->cpus], m, m->cpus, e);
    }
    r = r == 0 && m->options.firmware_bytes != 0 ? firmware_grant_devices(m, e) : r;
    return r == 0 ? allocator_write_tables(m, e) : r;
}

void allocator_release(struct machine *m)
{
    for (unsigned i = 0; i < MACHINE_CPUS_MOST; i++) {
        vcpu_fini(&m->vcpu[i]);
    }
    engine_release(m);
    slots_release(m);
    withdraw_functions(m);
    while (m->devices > 0) {
        dev_destroy(m->dev[--m->devices]);
    }
    firmware_release(m);
    mem_destroy(m->mem);
    board_destroy(m->board);
}
