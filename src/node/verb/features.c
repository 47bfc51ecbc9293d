/* features.c - what of this host guests do not get by themselves, and how it is given.
 *
 * Whether a kind takes an option is asked of the check that orders go through, so that this
 * says what `run` and `create` do: what is refused is not offered, for the reason that they
 * give.  What has no option of its own is said in words, which a scenario holds up to guests. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/verb/private.h"

#define NAMES_SHOWN 6

/* An option that gives it: the key of an order, a value that could be one, and how it is written. */
struct offer {
    const char *key; /* NULL: `words` are all there is to say */
    const char *sample;
    const char *words;
};

struct feature {
    const char *name;
    const char *where; /* a class of devices in /sys, or a file; NULL: all have it */
    struct offer container, machine;
};

/* clang-format off */
static const struct feature features[] = {
    {"files", NULL,
     {"volume", "/etc:/etc", "--volume DIR:/PATH"}, {"volume", "/etc:/etc", "--volume DIR:/PATH"}},
    {"kernel", NULL,
     {NULL, NULL, "shared"}, {"kernel", "/boot/vmlinuz", "no: it boots its own (--kernel FILE)"}},
    {"kernel modules", "/proc/modules",
     {NULL, NULL, "no: refused to its root"}, {NULL, NULL, "no: those of its own kernel"}},
    {"kernel settings", "/proc/sys",
     {"sysctl", "net.ipv4.ip_forward=1", "--sysctl K=V, those of its namespaces"},
     {"sysctl", "net.ipv4.ip_forward=1", ""}},
    {"clock", NULL,
     {NULL, NULL, "shared: it cannot be set"}, {NULL, NULL, "no: a clock of its own"}},
    {"powers of root", NULL,
     {"privileged", NULL, "--privileged, --cap-add CAPABILITY"}, {"privileged", NULL, ""}},
    {"processor's features", NULL,
     {NULL, NULL, "shared"},
     {NULL, NULL, "no: those that its engine has (by kvm of this processor, else in software)"}},
    {"hardware virtualization", "/dev/kvm",
     {"device", "/dev/kvm", "--device /dev/kvm"}, {NULL, NULL, "no: its processors have none"}},
    {"performance counters", "/sys/bus/event_source/devices/cpu",
     {NULL, NULL, "no: perf_event_open is refused to it"}, {NULL, NULL, "no: its processors have none"}},
    {"disks", "/sys/class/block",
     {"device", "/dev/sda", "--device /dev/NAME"}, {"disks", "/dev/sda", "--disk /dev/NAME"}},
    {"network interfaces", "/sys/class/net",
     {"network", "host", "--network host"}, {"network", "host", ""}},
    {"graphics cards", "/sys/class/drm",
     {"device", "/dev/dri", "--device /dev/dri/NAME"}, {"device", "/dev/dri", ""}},
    {"sound cards", "/sys/class/sound",
     {"device", "/dev/snd", "--device /dev/snd/NAME"}, {"device", "/dev/snd", ""}},
    {"input devices", "/sys/class/input",
     {"device", "/dev/input", "--device /dev/input/NAME"}, {"device", "/dev/input", ""}},
    {"serial ports", "/sys/class/tty",
     {"device", "/dev/ttyS0", "--device /dev/NAME"}, {"device", "/dev/ttyS0", ""}},
    {"random numbers of hardware", "/dev/hwrng",
     {"device", "/dev/hwrng", "--device /dev/hwrng"}, {"device", "/dev/hwrng", ""}},
    {"USB devices", "/sys/bus/usb/devices",
     {"device", "/dev/bus/usb", "--device /dev/bus/usb/BUS/NUMBER"}, {"device", "/dev/bus/usb", ""}},
    {"PCI devices", "/sys/bus/pci/devices",
     {NULL, NULL, "no: the kernel's drivers have them"}, {NULL, NULL, "no: its PCI bus is its own"}},
};

/* clang-format on */

/* Those that stand for something else on this host, such as loop devices, are no hardware. */
static bool is_made_up(int dir, const char *name)
{
    char to[PATH_MAX];
    ssize_t n = readlinkat(dir, name, to, sizeof to - 1);

    to[n > 0 ? n : 0] = '\0';
    return strstr(to, "/devices/virtual/") != NULL;
}

/* The devices of a class by their names, the first ones; "yes" of what is a file or each host's. */
static void say_here(const char *where, struct str *out)
{
    DIR *d = where != NULL ? opendir(where) : NULL;
    struct strv names = {0};
    const struct dirent *entry;

    if (d == NULL) {
        str_add(out, where == NULL || access(where, F_OK) == 0 ? "yes" : "none");
        return;
    }
    while ((entry = readdir(d)) != NULL) {
        if (entry->d_name[0] != '.' && !is_made_up(dirfd(d), entry->d_name)) {
            strv_add(&names, entry->d_name);
        }
    }
    (void)closedir(d);
    for (size_t i = 0; i < names.n && i < NAMES_SHOWN; i++) {
        str_addf(out, "%s%s", i > 0 ? ", " : "", names.items[i]);
    }
    if (names.n > NAMES_SHOWN) {
        str_addf(out, " and %zu more", names.n - NAMES_SHOWN);
    }
    str_add(out, names.n == 0 ? "none" : "");
    strv_fini(&names);
}

/* Options that may stand more than once are lists of an order. */
static bool is_list(const char *key)
{
    return strcmp(key, "network") != 0 && strcmp(key, "kernel") != 0 &&
           strcmp(key, "privileged") != 0;
}

static json_t *say_offer(const char *kind, const struct offer *o)
{
    SCOPED(scope_json) json_t *config = json_pack("{s:s, s:s}", "as", kind, "image", "x");
    struct err why = {0};
    const char *reason;

    if (o->key == NULL) {
        return json_string(o->words);
    }
    (void)json_object_set_new(config, o->key,
                              o->sample == NULL ? json_true()
                              : is_list(o->key) ? json_pack("[s]", o->sample)
                                                : json_string(o->sample));
    if (order_check_kind(config, &why) == 0) {
        return json_string(o->words);
    }
    reason = strstr(why.text, ": ");
    return json_sprintf("no: %s", reason != NULL ? reason + 2 : why.text);
}

json_t *verb_features(void)
{
    json_t *out = json_object();

    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        const struct feature *f = &features[i];
        struct str here = {0};

        say_here(f->where, &here);
        (void)json_object_set_new(
            out, f->name,
            json_pack("{s:s, s:o, s:o}", "here", str_text(&here), "container",
                      say_offer("container", &f->container), "machine",
                      say_offer("machine", &f->machine)));
        str_fini(&here);
    }
    return out;
}
