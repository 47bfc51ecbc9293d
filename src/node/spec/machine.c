/* node/spec/machine.c - the plan of a machine: what its worker is to run.
 *
 * Its disks are words of the program `machine` (node/machine/drives.h): the root, whose base is
 * in "root", and the seed, which is made when it is opened, of a machine with an image; then
 * files by their paths, then volumes by their names, which "disks" of the plan has, too, in the
 * same order, for whoever opens them.  Directories are words, too ("fss"), and in "shares" of the
 * plan what they are on the host.  "mounts" is what the guest's agent mounts of both. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/boot.h"
#include "node/spec/private.h"

#define MEMORY_BYTES    (UINT64_C(512) << 20)
#define OVERHEAD_BYTES  (UINT64_C(512) << 20) /* of the worker, whatever it runs */
#define CODE_BYTES      (UINT64_C(288) << 20) /* ... for each processor */
#define TASKS_OF_WORKER 32                    /* ... beside a thread for each processor */
#define MILLIS_OF_A_CPU 1000
#define SERIAL_BYTES    20 /* VIRTIO 1.2, 5.2.6: VIRTIO_BLK_ID_BYTES */

static json_int_t number_of(const json_t *obj, const char *key, json_int_t other)
{
    const json_t *v = json_object_get(obj, key);

    return json_is_integer(v) && json_integer_value(v) > 0 ? json_integer_value(v)
                                                           : other;
}

/* What the kernel of a machine with an image is told; its agent reads it, too. */
static json_t *command_line(const struct plan *p)
{
    const char *init = guest_text(p->g, "init");
    struct str text = {0};
    json_t *line;

    str_addf(&text,
             "console=ttyS0 quiet loglevel=1 panic=-1 strata.root=root strata.agent "
             "memhp_default_state=online");
    str_addf(&text, " systemd.hostname=%s",
             spec_text(p->config, "hostname", guest_text(p->g, "name")));
    if (init[0] != '\0') {
        str_addf(&text, " strata.init=%s", init);
    }
    str_addf(&text, " %s", spec_text(p->config, "append", ""));
    line = json_string(str_text(&text));
    str_fini(&text);
    return line;
}

/* The command that is all that the machine does, as its agent runs it. */
static json_t *command_part(const struct plan *p)
{
    json_t *c =
        json_pack("{s:o, s:o, s:s, s:s, s:b, s:b}", "args", spec_arguments(p), "env",
                  spec_environment(p), "user",
                  spec_text(p->config, "user", spec_text(p->image, "user", "")), "cwd",
                  spec_text(p->config, "workdir", spec_text(p->image, "workdir", "/")),
                  "tty", spec_flag(p->config, "tty") ? 1 : 0, "input",
                  spec_flag(p->config, "interactive") ? 1 : 0);
    struct winsize size;

    if (spec_flag(p->config, "tty") && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
        (void)json_object_set_new(c, "rows", json_integer(size.ws_row));
        (void)json_object_set_new(c, "columns", json_integer(size.ws_col));
    }
    return c;
}

/* For a system that sets itself up, and where something was ordered for that. */
static void add_seed(const struct plan *p, json_t *machine)
{
    json_t *keys = json_object_get(p->config, "ssh_key");
    json_t *data = json_object_get(p->config, "user_data");

    if (guest_text(p->g, "init")[0] != '\0' || keys != NULL || data != NULL) {
        (void)json_object_set_new(
            machine, "seed",
            json_pack("{s:s, s:O*, s:O*}", "host",
                      spec_text(p->config, "hostname", guest_text(p->g, "name")), "keys",
                      keys, "user_data", data));
        (void)json_array_insert_new(json_object_get(machine, "disks"), 1,
                                    json_string("seed,read-only,serial=seed"));
    }
}

static int image_part(const struct plan *p, json_t *machine, struct err *e)
{
    json_t *command;

    (void)json_object_set_new(machine, "root",
                              json_pack("{s:s}", "base", guest_text(p->g, "root")));
    (void)json_object_set_new(json_object_get(machine, "boot"), "append",
                              command_line(p));
    add_seed(p, machine);
    if (guest_text(p->g, "init")[0] != '\0') {
        return 0;
    }
    command = command_part(p);
    (void)json_object_set_new(machine, "command", command);
    return json_array_size(json_object_get(command, "args")) != 0 ? 0
                                                                  : spec_no_command(p, e);
}

#define VIDEO "/usr/share/seabios/vgabios-stdvga.bin" /* of the package that SeaBIOS is */

#define UEFI_VARIABLES "/usr/share/OVMF/OVMF_VARS_4M.fd" /* as they are at first */

/* What UEFI firmware keeps lies beside the machine's disk. */
static void add_variables(const struct plan *p, json_t *boot)
{
    char path[PATH_MAX];

    if (strcmp(spec_text(boot, "firmware", ""), BOOT_UEFI) == 0 &&
        access(UEFI_VARIABLES, R_OK) == 0) {
        (void)guest_state_path(p->n, p->g->id, "disk/variables", path);
        (void)json_object_set_new(boot, "vars", json_string(path));
        (void)json_object_set_new(boot, "vars_at_first", json_string(UEFI_VARIABLES));
    }
}

static json_t *boot_part(const struct plan *p)
{
    const json_t *config = p->config;
    static const char *const keys[] = {"kernel", "initrd", "append", "firmware"};
    json_t *boot = json_object();

    for (size_t i = 0; i < COUNT(keys); i++) {
        if (json_object_get(config, keys[i]) != NULL) {
            (void)json_object_set(boot, keys[i], json_object_get(config, keys[i]));
        }
    }
    if (spec_flag(config, "screen") && json_object_get(boot, "firmware") != NULL &&
        access(VIDEO, R_OK) == 0) {
        (void)json_object_set_new(boot, "video", json_string(VIDEO));
    }
    add_variables(p, boot);
    return boot;
}

/* What the host grants to guest and worker together; the guest's own bound is its memory. */
static json_t *bounds_part(const struct plan *p, json_int_t memory, json_int_t cpus)
{
    json_t *bounds =
        json_pack("{s:I, s:I}", "memory",
                  memory + (json_int_t)(OVERHEAD_BYTES + CODE_BYTES * (uint64_t)cpus),
                  "tasks", cpus + TASKS_OF_WORKER);
    json_t *weight = json_object_get(p->config, "cpu_weight");
    json_int_t millis = number_of(p->config, "cpus", MILLIS_OF_A_CPU);
    char path[64];

    if (json_is_integer(weight)) {
        (void)json_object_set(bounds, "cpu_weight", weight);
    }
    if (millis % MILLIS_OF_A_CPU != 0) { /* whole ones need no other bound */
        (void)json_object_set_new(bounds, "cpu_millis", json_integer(millis));
    }
    if (!p->n->rootless) {
        (void)str_print(path, sizeof path, "/strata/%s", p->g->id);
        (void)json_object_set_new(bounds, "cgroup", json_string(path));
    }
    return bounds;
}

/* One of --volume, taken apart. */
struct wanted {
    const char *text;
    char name[PATH_MAX];
    char path[PATH_MAX]; /* where the guest has it; "": as a disk only */
    struct spec_volume_words words;
};

/* NAME[:WORD,...] or NAME|DIR:/PATH[:WORD,...]. */
static int read_wanted(const char *text, struct wanted *w, struct err *e)
{
    const char *colon = strchr(text, ':');
    const char *path = strstr(text, ":/");
    const char *end = path != NULL ? strchr(path + 1, ':') : colon;
    int length = (int)(path != NULL ? path - text : (long)strcspn(text, ":"));

    *w = (struct wanted){.text = text};
    (void)str_print(w->name, sizeof w->name, "%.*s", length, text);
    if (path != NULL) {
        (void)str_print(w->path, sizeof w->path, "%.*s", (int)strcspn(path + 1, ":"),
                        path + 1);
    }
    return end != NULL ? spec_read_volume_words(text, end + 1, &w->words, e) : 0;
}

/* Disks are told apart by so much of their names; those of an image are in the list, or will
 * be: the seed. */
static bool has_disk(const struct plan *p, const json_t *machine, const char *name)
{
    char serial[sizeof ",serial=" + SERIAL_BYTES];
    size_t length = strlen(",serial=") + strnlen(name, SERIAL_BYTES);
    size_t i;
    json_t *word;

    (void)str_print(serial, sizeof serial, ",serial=%.*s", SERIAL_BYTES, name);
    json_array_foreach(json_object_get(machine, "disks"), i, word)
    {
        const char *found = strstr(json_string_value(word), serial);

        if (found != NULL && (found[length] == '\0' || found[length] == ',')) {
            return true;
        }
    }
    return strcmp(name, "seed") == 0 && guest_text(p->g, "root")[0] != '\0';
}

static int refuse_disk(const struct plan *p, const json_t *machine,
                       const struct wanted *w, const json_t *disk, struct err *e)
{
    const char *why =
        disk == NULL              ? "it is a directory: say at which path (NAME:/PATH)"
        : w->words.partition != 0 ? "a machine has the whole disk, and not a partition"
        : has_disk(p, machine, w->name)
            ? "the machine has it already, or one that begins with the same 20 letters"
        : w->path[0] != '\0' && guest_text(p->g, "root")[0] == '\0'
            ? "it is a disk, which a machine without an image has as --volume NAME"
            : NULL;

    return why == NULL ? 0
                       : err_set(e, -EINVAL, "cannot use volume '%s': %s", w->name, why);
}

/* What the guest's agent mounts. */
static void add_place(json_t *machine, const struct wanted *w, const char *serial)
{
    json_t *list = json_object_get(machine, "mounts");

    if (w->path[0] != '\0') {
        (void)json_array_append_new(list, json_pack("{s:s*, s:s, s:b}", "serial", serial,
                                                    "path", w->path, "read_only",
                                                    w->words.read_only));
    }
}

/* A disk that guests see by its name, as far as a serial number reaches.  `take_disk`: of
 * `volume_plan`. */
static int add_volume(const struct plan *p, json_t *machine, const struct wanted *w,
                      json_t *take_disk, struct err *e)
{
    SCOPED(scope_json) json_t *disk = take_disk;
    char serial[SERIAL_BYTES + 1];
    int r = refuse_disk(p, machine, w, disk, e);

    if (r < 0) {
        return r;
    }
    (void)json_object_set_new(disk, "read_only", json_boolean(w->words.read_only));
    if (!w->words.read_only && !p->n->rootless) { /* else the worker has no file for it */
        (void)json_object_set_new(disk, "live", json_true());
    }
    if (w->words.key_file[0] != '\0') {
        (void)json_object_set_new(disk, "key_file", json_string(w->words.key_file));
    }
    (void)json_array_append(p->disks, disk);
    (void)snprintf(serial, sizeof serial, "%.*s", SERIAL_BYTES, w->name);
    (void)json_array_append_new(json_object_get(machine, "disks"),
                                json_sprintf("%s,serial=%s%s", w->name, serial,
                                             w->words.read_only ? ",read-only" : ""));
    add_place(machine, w, serial);
    return 0;
}

/* A directory `from`, which the guest mounts by its path as the tag. */
static int add_share(json_t *spec, json_t *machine, const struct wanted *w,
                     const char *from, struct err *e)
{
    (void)json_array_append_new(json_object_get(machine, "fss"),
                                json_sprintf("tag=%s,fd=@", w->path));
    add_place(machine, w, NULL);
    return json_array_append_new(
               json_object_get(spec, "shares"),
               json_pack("{s:s, s:b}", "from", from, "read_only", w->words.read_only)) < 0
               ? err_set(e, -ENOMEM, "cannot use volume '%s': no memory", w->name)
               : 0;
}

static int add_wanted(const struct plan *p, json_t *spec, json_t *machine,
                      const char *text, struct err *e)
{
    struct wanted w;
    json_t *disk = NULL;
    char from[PATH_MAX];
    int r = read_wanted(text, &w, e);

    if (r == 0 && (w.name[0] == '/' || w.name[0] == '.')) {
        return realpath(w.name, from) == NULL
                   ? err_sys(e, -errno, "cannot use volume '%s'", w.name)
                   : add_share(spec, machine, &w, from, e);
    }
    r = r == 0 ? volume_plan(p->n, w.name, &disk, e) : r;
    if (r < 0 || disk != NULL || w.path[0] == '\0') {
        return r < 0 ? r : add_volume(p, machine, &w, disk, e);
    }
    r = volume_files(p->n, w.name, from, e);
    return r < 0 ? r : add_share(spec, machine, &w, from, e);
}

/* Firmware reads blocks: it starts no system that lies in a directory. */
static int need_blocks(const struct plan *p, const json_t *machine, struct err *e)
{
    const char *first =
        json_string_value(json_array_get(json_object_get(p->config, "volume"), 0));

    return first == NULL || json_object_get(p->config, "firmware") == NULL ||
                   json_array_size(json_object_get(machine, "disks")) != 0
               ? 0
               : err_set(
                     e, -EINVAL,
                     "cannot boot from volume '%.*s': it is a directory, and firmware "
                     "starts what is on the blocks of a disk (--disk FILE, or a "
                     "volume made with --size or --device)",
                     (int)strcspn(first, ":"), first);
}

static int disks_part(const struct plan *p, json_t *spec, json_t *machine, struct err *e)
{
    size_t i;
    json_t *item;
    int r = 0;

    (void)json_object_set_new(machine, "disks", guest_boot_disks(p->n, p->g));
    (void)json_object_set_new(machine, "mounts", json_array());
    json_array_foreach(json_object_get(p->config, "volume"), i, item)
    {
        r = r < 0 ? r : add_wanted(p, spec, machine, json_string_value(item), e);
    }
    return r < 0 ? r : need_blocks(p, machine, e);
}

int spec_build_machine(const struct plan *p, json_t *spec, struct err *e)
{
    json_int_t millis = number_of(p->config, "cpus", MILLIS_OF_A_CPU);
    json_int_t cpus = (millis + MILLIS_OF_A_CPU - 1) / MILLIS_OF_A_CPU;
    json_int_t most = number_of(p->config, "cpus_most", 0);
    json_int_t memory = number_of(p->config, "memory", (json_int_t)MEMORY_BYTES);
    json_int_t room = number_of(p->config, "memory_most", memory);
    json_int_t high = number_of(p->config, "memory_high", memory);
    json_t *machine = json_pack(
        "{s:s, s:I, s:I, s:I, s:b, s:b, s:b, s:o}", "engine",
        spec_text(p->config, "engine", "auto"), "cpus", cpus, "cpus_most", most, "memory",
        memory, "hide", spec_flag(p->config, "hide_hypervisor") ? 1 : 0, "no_reboot",
        spec_flag(p->config, "no_reboot") ? 1 : 0, "hold_crash",
        strcmp(spec_text(p->config, "on_crash", "end"), "hold") == 0, "boot",
        boot_part(p));
    int r;

    if (json_object_get(p->g->record, "generation") != NULL) {
        (void)json_object_set(machine, "generation",
                              json_object_get(p->g->record, "generation"));
    }
    (void)json_object_set_new(machine, "memory_most", json_integer(room));
    (void)json_object_set_new(machine, "screen",
                              json_boolean(spec_flag(p->config, "screen")));
    (void)json_object_set_new(machine, "watchdog",
                              json_string(spec_text(p->config, "watchdog", "none")));
    (void)json_object_set_new(machine, "deterministic",
                              json_boolean(spec_flag(p->config, "deterministic")));
    (void)json_object_set_new(machine, "random_seed",
                              json_integer(number_of(p->config, "seed", 0)));
    (void)json_object_set_new(machine, "memory_plugged",
                              json_integer(high > memory ? high - memory : 0));
    (void)json_object_set_new(/* by its balloon, which every machine has */
                              machine, "memory_now",
                              json_integer(number_of(p->config, "memory_now", memory)));
    if (p->base > 0) { /* a user that no other guest has */
        (void)json_object_set_new(machine, "user", json_integer(p->base));
    }
    (void)json_object_set_new(
        spec, "hostname",
        json_string(spec_text(p->config, "hostname", guest_text(p->g, "name"))));
    (void)json_object_set_new(spec, "machine", machine);
    (void)json_object_set_new(spec, "bounds",
                              bounds_part(p, room, most > cpus ? most : cpus));
    (void)json_object_set_new(spec, "shares", json_array());
    (void)json_object_set_new(machine, "fss", json_array());
    r = disks_part(p, spec, machine, e);
    return r < 0 || guest_text(p->g, "root")[0] == '\0' ? r : image_part(p, machine, e);
}
