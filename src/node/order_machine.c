/* order_machine.c - what may be said of a machine, and what of a container only. */
#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "node/private.h"

#define CPUS_MOST       64
#define DISKS_MOST      8
#define PAGE_BYTES      4096
#define TAG_MOST        36
#define MILLIS_OF_A_CPU 1000
#define MEMORY_USUAL    (UINT64_C(512) << 20) /* as node/spec gives it */
#define MEMORY_MOST     (UINT64_C(512) << 30) /* addresses have 40 bits */
#define MEMORY_STEP     (UINT64_C(128) << 20) /* in which memory comes to a machine */

/* Options by the kind that they are for. */
static const char *const of_containers[] = {
    "init",       "tmpfs",        "device",  "read_only",  "sysctl",
    "cap_add",    "cap_drop",     "ulimit",  "privileged", "pids",
    "health_cmd", "security_opt", "io_read", "io_write",   "network_rate"};
/* ... and what only an image makes sense of: a kernel alone knows none of it. */
static const char *const of_images[] = {"command", "entrypoint", "user",      "workdir",
                                        "env",     "ssh_key",    "user_data", "boot"};
static const char *const of_machines[] = {
    "kernel",    "initrd",      "append",   "engine",          "disks",
    "cpus_most", "memory_most", "watchdog", "hide_hypervisor", "ssh_key",
    "user_data", "no_reboot",   "on_crash", "firmware",        "boot",
    "cdrom",     "screen",      "seed",     "deterministic"};
/* What does not come at an instruction, or what of it was not looked at. */
static const char *const of_hosts[] = {"image",  "cpus_most", "memory_most",
                                       "screen", "firmware",  "publish"};
/* Firmware finds its own kernel. */
static const char *const of_kernels[] = {"image", "kernel", "initrd", "append"};

/* "cap_add" -> "--cap-add"; "COMMAND" for what has no dashes. */
static void option_name(const char *key, char out[64])
{
    if (strcmp(key, "command") == 0 || strcmp(key, "image") == 0) {
        (void)str_print(out, 64, strcmp(key, "image") == 0 ? "IMAGE" : "COMMAND");
        return;
    }
    (void)str_print(out, 64, "--%s", key);
    for (char *c = out + 2; *c != '\0'; c++) {
        *c = *c == '_' ? '-' : *c;
    }
}

static int refuse(const json_t *config, const char *const *keys, size_t n,
                  const char *why, struct err *e)
{
    char name[64];

    for (size_t i = 0; i < n; i++) {
        if (json_object_get(config, keys[i]) != NULL) {
            option_name(keys[i], name);
            return err_set(e, -EINVAL, "cannot use %s %s", name, why);
        }
    }
    return 0;
}

static int check_words(const json_t *config, struct err *e)
{
    const char *network = "auto";
    const char *userns = "auto";
    const char *disk = "private";
    const char *kernel = NULL;
    const char *image = NULL;
    int r = json_opt_str(config, "", "network", &network, e);

    r = r == 0 ? json_opt_str(config, "", "userns", &userns, e) : r;
    r = r == 0 ? json_opt_str(config, "", "disk", &disk, e) : r;
    r = r == 0 ? json_opt_str(config, "", "kernel", &kernel, e) : r;
    r = r == 0 ? json_opt_str(config, "", "image", &image, e) : r;
    if (r < 0) {
        return r;
    }
    if (json_object_get(config, "firmware") != NULL) {
        r = refuse(config, of_kernels, sizeof of_kernels / sizeof of_kernels[0],
                   "with --firmware: it starts what is on the machine's disks", e);
    } else if (image == NULL && kernel == NULL) {
        r = err_set(e, -EINVAL,
                    "a machine needs an IMAGE, a kernel (--kernel FILE), or disks and "
                    "--firmware bios");
    }
    if (r < 0) {
        return r;
    }
    if (kernel != NULL && json_object_get(config, "boot") != NULL) {
        return err_set(e, -EINVAL,
                       "cannot use --boot and --kernel together: each says "
                       "which kernel is started");
    }
    if (image != NULL && json_object_get(config, "initrd") != NULL) {
        return err_set(
            e, -EINVAL,
            "cannot use --initrd with an image: a machine that is made from one "
            "begins in a file system of its kernel's modules");
    }
    if (strcmp(network, "host") == 0) {
        return err_set(e, -EINVAL,
                       "cannot use --network host with a machine: it has a kernel of its "
                       "own");
    }
    if (strcmp(userns, "auto") != 0 || strcmp(disk, "private") != 0) {
        return err_set(e, -EINVAL, "cannot use --%s with a machine",
                       strcmp(disk, "private") != 0 ? "disk" : "userns");
    }
    return 0;
}

/* Of a machine a volume is a disk, and what is in it the guest says; or what is to be at a path:
 * a directory, which the guest mounts by its path (VIRTIO 1.2, 5.11.4 has room for so much of
 * it), or a disk with a file system. */
static int check_volumes(const json_t *config, struct err *e)
{
    const json_t *list = json_object_get(config, "volume");
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        const char *path = text != NULL ? strstr(text, ":/") : NULL;
        size_t length = path != NULL ? strcspn(path + 1, ":") : 0;

        if (text == NULL || text[0] == ':' ||
            (path == NULL && (text[0] == '/' || text[0] == '.'))) {
            return err_set(e, -EINVAL,
                           "cannot use --volume '%s' with a machine: want NAME[:ro] for "
                           "a disk, NAME|DIR:/PATH[:ro] for files",
                           text != NULL ? text : "?");
        }
        if (length > TAG_MOST || (path != NULL && strcspn(path, ",@\n") <= length)) {
            return err_set(e, -EINVAL,
                           "cannot use --volume '%s' with a machine: want a path of at "
                           "most %d bytes, without ',' and '@'",
                           text, TAG_MOST);
        }
    }
    return json_array_size(list) + json_array_size(json_object_get(config, "disks")) >
                   DISKS_MOST
               ? err_set(e, -EINVAL, "cannot use so many disks: a machine has at most %d",
                         DISKS_MOST)
               : 0;
}

/* --memory-most: whole steps above what it begins with. */
static int check_room(const json_t *config, struct err *e)
{
    uint64_t memory = MEMORY_USUAL;
    uint64_t most = 0;
    int r = json_opt_u64(config, "", "memory", &memory, e);

    r = r == 0 ? json_opt_u64(config, "", "memory_most", &most, e) : r;
    if (r == 0 && most != 0 && (most < memory || (most - memory) % MEMORY_STEP != 0)) {
        return err_set(e, -ERANGE,
                       "cannot use --memory-most with a machine: want what --memory is, "
                       "and a multiple of 128M more");
    }
    if (r == 0 && (memory > MEMORY_MOST || most > MEMORY_MOST)) {
        return err_set(e, -ERANGE, "cannot use more than 512G of memory with a machine");
    }
    return r;
}

static int check_size(const json_t *config, struct err *e)
{
    uint64_t cpus = MILLIS_OF_A_CPU;
    uint64_t most = 0;
    uint64_t memory = 0;
    int r = json_opt_u64(config, "", "cpus", &cpus, e);

    r = r == 0 ? json_opt_u64(config, "", "cpus_most", &most, e) : r;
    r = r == 0 ? json_opt_u64(config, "", "memory", &memory, e) : r;
    if (r == 0 && (cpus == 0 || cpus > (uint64_t)CPUS_MOST * MILLIS_OF_A_CPU)) {
        return err_set(e, -ERANGE,
                       "cannot use --cpus with a machine: want a number up to %d",
                       CPUS_MOST);
    }
    if (r == 0 && most != 0 && (most > CPUS_MOST || most * MILLIS_OF_A_CPU < cpus)) {
        return err_set(
            e, -ERANGE,
            "cannot use --cpus-most with a machine: want what --cpus is, to %d",
            CPUS_MOST);
    }
    if (r == 0 && memory % PAGE_BYTES != 0) {
        return err_set(e, -ERANGE,
                       "cannot use --memory with a machine: want a multiple of 4K");
    }
    return r;
}

static bool has_files(const json_t *config)
{
    size_t i;
    json_t *item;

    json_array_foreach(json_object_get(config, "volume"), i, item)
    {
        if (strstr(json_string_value(item), ":/") != NULL) {
            return true;
        }
    }
    json_array_foreach(json_object_get(config, "disks"), i, item)
    {
        const char *word = json_string_value(item);

        if (strstr(word, ",cdrom") != NULL || strstr(word, ",bus=nvme") != NULL) {
            return true;
        }
    }
    return false;
}

/* --deterministic: whatever could come to one run and not to the next is refused. */
static int check_deterministic(json_t *config, struct err *e)
{
    static const char with[] = "with --deterministic";
    const char *network = "none";
    const char *engine = "auto";
    uint64_t cpus = MILLIS_OF_A_CPU;
    int r = 0;

    if (!json_is_true(json_object_get(config, "deterministic"))) {
        return json_object_get(config, "seed") == NULL
                   ? 0
                   : err_set(e, -EINVAL, "cannot use --seed without --deterministic");
    }
    r = refuse(config, of_hosts, sizeof of_hosts / sizeof of_hosts[0], with, e);
    r = r == 0 ? json_opt_str(config, "", "network", &network, e) : r;
    r = r == 0 ? json_opt_str(config, "", "engine", &engine, e) : r;
    r = r == 0 ? json_opt_u64(config, "", "cpus", &cpus, e) : r;
    if (r < 0) {
        return r;
    }
    if (strcmp(network, "none") != 0) {
        return err_set(e, -EINVAL,
                       "cannot use --network %s %s: frames come when they come", network,
                       with);
    }
    if (strcmp(engine, "kvm") == 0) {
        return err_set(e, -EINVAL,
                       "cannot use --engine kvm %s: only software counts instructions",
                       with);
    }
    if (cpus != MILLIS_OF_A_CPU) {
        return err_set(e, -EINVAL, "cannot use --cpus %s: it has one processor", with);
    }
    if (has_files(config)) {
        return err_set(e, -EINVAL,
                       "cannot use --cdrom, bus=nvme or --volume SOURCE:/PATH %s: want "
                       "disks",
                       with);
    }
    return json_object_set_new(config, "network", json_string("none")) < 0
               ? err_set(e, -ENOMEM, "no memory")
               : 0;
}

/* --cdrom: a disk that is read only, in a drive. */
static int take_discs(json_t *config, bool machine, struct err *e)
{
    const json_t *list = json_object_get(config, "cdrom");
    json_t *disks = json_object_get(config, "disks");
    size_t i;
    json_t *item;

    if (json_array_size(list) == 0 || !machine) {
        return 0; /* and `order_check_kind` refuses it */
    }
    if (disks == NULL) {
        disks = json_array();
        (void)json_object_set_new(config, "disks", disks);
    }
    json_array_foreach(list, i, item)
    {
        const char *file = json_string_value(item);

        if (file == NULL || file[0] == '\0' || strchr(file, ',') != NULL) {
            return err_set(e, -EINVAL, "cannot use --cdrom '%s': it names no file",
                           file != NULL ? file : "?");
        }
        (void)json_array_append_new(disks, json_sprintf("%s,read-only,cdrom", file));
    }
    (void)json_object_del(config, "cdrom");
    return 0;
}

/* --disk: of a container one word, how changes are kept; of a machine its disks. */
int order_take_disks(json_t *config, struct err *e)
{
    const char *kind = json_string_value(json_object_get(config, "as"));
    json_t *list = json_object_get(config, "disk");
    bool machine = kind != NULL && strcmp(kind, "machine") == 0;
    size_t i;
    json_t *item;

    if (!json_is_array(list)) {
        return take_discs(config, machine, e);
    }
    json_array_foreach(list, i, item)
    {
        const char *word = json_string_value(item);

        if (word == NULL || *word == '\0' || *word == ',') {
            return err_set(e, -EINVAL, "cannot use --disk '%s': it names no file",
                           word != NULL ? word : "?");
        }
        if (machine && strstr(word, ",slot=") != NULL) {
            return err_set(e, -EINVAL,
                           "cannot use --disk '%s': where it is plugged in is not said",
                           word);
        }
    }
    if (!machine && json_array_size(list) != 1) {
        return err_set(e, -EINVAL, "cannot use --disk twice with a container");
    }
    if (machine && json_array_size(list) > DISKS_MOST) {
        return err_set(e, -EINVAL, "cannot use --disk so often: a machine has at most %d",
                       DISKS_MOST);
    }
    (void)json_object_set(config, machine ? "disks" : "disk",
                          machine ? list : json_array_get(list, 0));
    if (machine) {
        (void)json_object_del(config, "disk");
    }
    return take_discs(config, machine, e);
}

int order_check_kind(json_t *config, struct err *e)
{
    const char *kind = "container";
    int r = json_opt_str(config, "", "as", &kind, e);

    if (r < 0) {
        return r;
    }
    if (strcmp(kind, "machine") != 0) {
        (void)json_object_del(config, "as"); /* as older records have it */
        return refuse(config, of_machines, sizeof of_machines / sizeof of_machines[0],
                      "with a container: a machine boots a kernel (--as machine)", e);
    }
    r = refuse(config, of_containers, sizeof of_containers / sizeof of_containers[0],
               "with a machine: only containers have it", e);
    if (r == 0 && json_object_get(config, "image") == NULL) {
        r = refuse(config, of_images, sizeof of_images / sizeof of_images[0],
                   "with a machine that has no image", e);
    }
    r = r == 0 ? check_words(config, e) : r;
    r = r == 0 ? check_volumes(config, e) : r;
    r = r == 0 ? check_size(config, e) : r;
    r = r == 0 ? check_deterministic(config, e) : r;
    return r == 0 ? check_room(config, e) : r;
}

bool guest_is_machine(const struct guest *g)
{
    return strcmp(guest_text(g, "kind"), "machine") == 0;
}

int guest_need_machine(const struct guest *g, const char *what, struct err *e)
{
    return guest_is_machine(g)
               ? 0
               : err_set(e, -EOPNOTSUPP, "cannot %s guest '%s': it is a container", what,
                         guest_text(g, "name"));
}

int guest_need_container(const struct guest *g, const char *what, struct err *e)
{
    return guest_is_machine(g)
               ? err_set(e, -EOPNOTSUPP, "cannot %s guest '%s': it is a machine", what,
                         guest_text(g, "name"))
               : 0;
}
