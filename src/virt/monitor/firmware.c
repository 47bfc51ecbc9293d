/* firmware.c - machines that start by firmware: a ROM below 4 GiB, its copy below 1 MiB, and what
 * it is told of the machine.
 *
 * The copy is RAM from the start: a chipset begins with the ROM there and shows RAM when its
 * PAM registers say so; here they are kept and change nothing.  Firmware that copies itself
 * copies what is there already.  Tables of ACPI are made when they are read, since only then
 * it is known where firmware put the configuration space of PCI. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/mem.h"
#include "virt/monitor/acpi/tables.h"
#include "virt/monitor/firmware/debug_port.h"
#include "virt/monitor/firmware/flash.h"
#include "virt/monitor/firmware/fwcfg.h"
#include "virt/monitor/pci/card.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/private.h"

#define CONVENTIONAL_END UINT64_C(0xa0000)
#define SHADOW_FIRST     UINT64_C(0xc0000)
#define SHADOW_END       UINT64_C(0x100000)
#define SHADOW_MOST      UINT64_C(0x20000) /* of the ROM */
#define ROM_MOST         (UINT64_C(16) << 20)
#define LEAST_BYTES      (UINT64_C(16) << 20)
#define SERIAL_PORT      0x3f8
#define ITEMS_MOST       16
#define ORDER_BYTES      2048
#define E820_RAM         1u
#define VIDEO_FILE       "pci1234,1111.rom" /* SeaBIOS looks for a function's code so */

struct e820 {
    uint64_t base, bytes;
    uint32_t type;
} __attribute__((packed));

struct firmware {
    struct fwcfg_item item[ITEMS_MOST];
    unsigned items;
    struct aml tables, commands; /* owned */
    uint8_t rsdp[ACPI_RSDP_BYTES];
    struct e820 map[2];
    uint64_t memory_bytes;
    uint16_t cpus, cpus_most, zero;
    uint64_t console; /* port */
    char order[ORDER_BYTES];
};

/* ---- memory ---- */

static int check(const struct machine *m, struct err *e)
{
    if (m->options.firmware_bytes > ROM_MOST ||
        m->options.variables_bytes > ROM_MOST - m->options.firmware_bytes ||
        m->options.firmware_bytes % MEM_PAGE_BYTES != 0) {
        return err_set(e, -EINVAL,
                       "cannot start by this firmware: it is not whole pages, "
                       "16 MiB at most");
    }
    if (m->options.memory_bytes < LEAST_BYTES) {
        return err_set(e, -EINVAL,
                       "cannot start by firmware: it needs at least 16 MiB of memory");
    }
    return 0;
}

int firmware_grant_memory(struct machine *m, struct err *e)
{
    uint64_t bytes = m->options.firmware_bytes;
    int r = check(m, e);

    r = r == 0 ? mem_add_ram(m->mem, 0, CONVENTIONAL_END, false, e) : r;
    r = r == 0
            ? mem_add_ram(m->mem, SHADOW_FIRST, m->place.low_end - SHADOW_FIRST, false, e)
            : r;
    r = r == 0 ? mem_add_ram(m->mem, MACHINE_HIGH - bytes, bytes, true, e) : r;
    return r == 0 ? mem_write(m->mem, MACHINE_HIGH - bytes, m->options.firmware, bytes)
                  : r;
}

int firmware_load(struct machine *m, struct err *e)
{
    uint64_t bytes =
        m->options.firmware_bytes < SHADOW_MOST ? m->options.firmware_bytes : SHADOW_MOST;
    uint8_t *copy = fault_malloc(bytes);
    int r = copy == NULL ? -ENOMEM : mem_read(m->mem, MACHINE_HIGH - bytes, copy, bytes);

    r = r == 0 ? mem_write(m->mem, SHADOW_END - bytes, copy, bytes) : r;
    free(copy);
    return r == 0 ? 0 : err_sys(e, r, "cannot load the firmware");
}

/* ---- what it is told ---- */

static void add_number(struct firmware *f, uint16_t key, const void *bytes,
                       uint32_t count)
{
    f->item[f->items++] = (struct fwcfg_item){.key = key, .bytes = bytes, .count = count};
}

static void add_file(struct firmware *f, const char *name, const void *bytes,
                     size_t count)
{
    f->item[f->items++] =
        (struct fwcfg_item){.name = name, .bytes = bytes, .count = (uint32_t)count};
}

static int make_tables(const struct machine *m, struct aml *ret_tables,
                       struct aml *ret_commands, struct err *e)
{
    struct acpi_config c;
    uint64_t ecam;
    int r;

    if (!pci_ecam(m->pci, &ecam) || ecam <= MACHINE_FIRMWARE_LOW_END ||
        ecam + MACHINE_FIRMWARE_ECAM_SIZE >= MACHINE_WINDOW_LAST) {
        ecam = MACHINE_FIRMWARE_ECAM;
    }
    allocator_describe(m, ecam, &c);
    r = acpi_make(&c, ret_tables, e);
    if (r != 0) {
        return r;
    }
    r = acpi_make_commands(ret_tables, ret_commands);
    if (r != 0) {
        aml_fini(ret_tables);
        return err_sys(e, r, "cannot make the ACPI tables");
    }
    return 0;
}

/* The guest may have moved ECAM; without memory the tables stay as they were. */
static void on_refresh(void *who)
{
    struct machine *m = who;
    struct firmware *f = m->firmware;
    struct aml tables;
    struct aml commands;

    if (make_tables(m, &tables, &commands, NULL) != 0) {
        return;
    }
    if (tables.count == f->tables.count && commands.count == f->commands.count) {
        memcpy(f->tables.bytes, tables.bytes, tables.count);
        memcpy(f->commands.bytes, commands.bytes, commands.count);
        memcpy(f->rsdp, tables.bytes, sizeof f->rsdp);
    }
    aml_fini(&tables);
    aml_fini(&commands);
}

static void tell_memory(const struct machine *m, struct firmware *f)
{
    uint64_t low = m->place.low_end;
    uint64_t high = m->options.memory_bytes > MACHINE_FIRMWARE_LOW_END
                        ? m->options.memory_bytes - MACHINE_FIRMWARE_LOW_END
                        : 0;

    f->memory_bytes = m->options.memory_bytes;
    f->map[0] = (struct e820){0, low, E820_RAM};
    f->map[1] = (struct e820){MACHINE_HIGH, high, E820_RAM};
    add_number(f, FWCFG_MEMORY, &f->memory_bytes, sizeof f->memory_bytes);
    add_file(f, "etc/e820", f->map, (high != 0 ? 2 : 1) * sizeof f->map[0]);
}

/* Where a card is, and what firmware starts from on it.  A controller of NVMe has QEMU's name in
 * lists that OVMF reads, whatever it is. */
static int name_card(const struct machine *m, unsigned i, char *to, size_t room)
{
    static const struct {
        const char *card, *inside;
    } names[] = {[PCI_CARD_DISK] = {"scsi", "disk@0,0"},
                 [PCI_CARD_DISC] = {"scsi", "channel@0/disk@0,0"},
                 [PCI_CARD_NVME] = {"pci8086,5845", "namespace@1,0"}};
    enum pci_card_kind kind = m->options.cards[i].kind;

    return snprintf(to, room, "/pci@i0cf8/%s@%x/%s\n", names[kind].card,
                    allocator_slot(m, i), names[kind].inside);
}

/* All discs, or everything else, a line for each. */
static size_t tell_cards(const struct machine *m, bool discs, char to[ORDER_BYTES],
                         size_t at)
{
    for (unsigned i = 0; i < m->options.card_count; i++) {
        enum pci_card_kind kind = m->options.cards[i].kind;
        int n = kind != PCI_CARD_OTHER && (kind == PCI_CARD_DISC) == discs
                    ? name_card(m, i, to + at, ORDER_BYTES - at)
                    : 0;

        at += n > 0 && (size_t)n < ORDER_BYTES - at ? (size_t)n : 0;
    }
    to[at] = '\0';
    return at;
}

/* Discs before disks: a guest that is through with one opens the tray.  Without discs, and where all
 * disks are of one kind, they are taken as they are found. */
static void tell_order(const struct machine *m, struct firmware *f)
{
    unsigned kinds = 0;
    size_t n;

    for (unsigned i = 0; i < m->options.card_count; i++) {
        kinds |= 1u << m->options.cards[i].kind;
    }
    kinds &= ~(1u << PCI_CARD_OTHER);
    if ((kinds & 1u << PCI_CARD_DISC) != 0 || (kinds & (kinds - 1)) != 0) {
        n = tell_cards(m, true, f->order, 0);
        n = tell_cards(m, false, f->order, n);
        add_file(f, "bootorder", f->order, n + 1);
    }
}

static int tell(struct machine *m, struct firmware *f, struct err *e)
{
    int r = make_tables(m, &f->tables, &f->commands, e);

    if (r != 0) {
        return r;
    }
    memcpy(f->rsdp, f->tables.bytes, sizeof f->rsdp);
    f->cpus = (uint16_t)m->options.cpus;
    f->cpus_most = (uint16_t)m->cpus;
    f->console = SERIAL_PORT;
    tell_memory(m, f);
    add_number(f, FWCFG_CPUS, &f->cpus, sizeof f->cpus);
    add_number(f, FWCFG_CPUS_MOST, &f->cpus_most, sizeof f->cpus_most);
    add_number(f, FWCFG_BOOT_MENU, &f->zero, sizeof f->zero); /* nobody presses keys */
    add_file(f, ACPI_TABLES_FILE, f->tables.bytes, f->tables.count);
    add_file(f, ACPI_RSDP_FILE, f->rsdp, sizeof f->rsdp);
    add_file(f, ACPI_COMMANDS_FILE, f->commands.bytes, f->commands.count);
    add_file(f, "etc/sercon-port", &f->console, sizeof f->console);
    tell_order(m, f);
    if (m->options.has_screen && m->options.video != NULL) {
        add_file(f, VIDEO_FILE, m->options.video, m->options.video_bytes);
    }
    return 0;
}

int firmware_grant_devices(struct machine *m, struct err *e)
{
    const struct debug_port_config log = {.send = m->options.log, .who = m->options.who};
    const struct flash_config flash = {MACHINE_HIGH - m->options.firmware_bytes -
                                           m->options.variables_bytes,
                                       m->options.variables, m->options.variables_bytes};
    struct fwcfg_config told = {.mem = m->mem, .refresh = on_refresh, .who = m};
    int r;

    m->firmware = fault_calloc(1, sizeof *m->firmware);
    r = m->firmware == NULL ? err_set(e, -ENOMEM, "out of memory")
                            : tell(m, m->firmware, e);
    if (r != 0) {
        return r;
    }
    if (m->options.variables_bytes != 0) {
        r = allocator_add(m, &dev_flash, &flash, NULL, e);
    }
    told.item = m->firmware->item;
    told.items = m->firmware->items;
    r = r == 0 ? allocator_add(m, &dev_fwcfg, &told, NULL, e) : r;
    return r == 0 && log.send != NULL ? allocator_add(m, &dev_debug_port, &log, NULL, e)
                                      : r;
}

void firmware_release(struct machine *m)
{
    if (m->firmware != NULL) {
        aml_fini(&m->firmware->tables);
        aml_fini(&m->firmware->commands);
    }
    free(m->firmware);
    m->firmware = NULL;
}
