/* caps.c - capability sets by name, and putting them into force. */
#include "virt/container/confine/caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

#define CAPS_WORDS 2 /* 32-bit words of version 3: capset(2) */
#define PREFIX     "CAP_"

/* In the order of their numbers: <linux/capability.h>. */
static const char *const names[] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

#define NAMES ((int)(sizeof names / sizeof names[0]))

static uint64_t bit(int cap)
{
    return UINT64_C(1) << cap;
}

int caps_from_name(const char *name)
{
    size_t skip = strncasecmp(name, PREFIX, strlen(PREFIX)) == 0 ? strlen(PREFIX) : 0;

    for (int i = 0; i < NAMES; i++) {
        if (strcasecmp(names[i] + strlen(PREFIX), name + skip) == 0) {
            return i;
        }
    }
    return -1;
}

const char *caps_name(int cap)
{
    return cap >= 0 && cap < NAMES ? names[cap] : NULL;
}

json_t *caps_to_json(uint64_t set)
{
    json_t *list = json_array();

    for (int i = 0; list != NULL && i < NAMES; i++) {
        if ((set & bit(i)) != 0 &&
            json_array_append_new(list, json_string(names[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

uint64_t caps_default(void)
{
    return bit(CAP_CHOWN) | bit(CAP_DAC_OVERRIDE) | bit(CAP_FSETID) | bit(CAP_FOWNER) |
           bit(CAP_MKNOD) | bit(CAP_NET_RAW) | bit(CAP_SETGID) | bit(CAP_SETUID) |
           bit(CAP_SETFCAP) | bit(CAP_SETPCAP) | bit(CAP_NET_BIND_SERVICE) |
           bit(CAP_SYS_CHROOT) | bit(CAP_KILL) | bit(CAP_AUDIT_WRITE);
}

static int parse_set(const json_t *obj, const char *where, const char *key, uint64_t *ret,
                     struct strv *warnings, struct err *e)
{
    json_t *list = NULL;
    json_t *item;
    size_t i;
    int r = json_opt_array(obj, where, key, &list, e);

    json_array_foreach(list, i, item)
    {
        int cap = json_is_string(item) ? caps_from_name(json_string_value(item)) : -1;

        if (!json_is_string(item)) {
            return err_set(e, -EINVAL, "'%s.%s[%zu]' is not a string", where, key, i);
        }
        if (cap >= 0) {
            *ret |= bit(cap);
        } else if (warnings != NULL) {
            strv_addf(warnings, "capability '%s' is unknown and left out",
                      json_string_value(item));
        }
    }
    return r;
}

int caps_parse(const json_t *obj, const char *where, struct caps *ret,
               struct strv *warnings, struct err *e)
{
    struct caps c = {0};
    int r = parse_set(obj, where, "bounding", &c.bounding, warnings, e);

    r = r == 0 ? parse_set(obj, where, "effective", &c.effective, warnings, e) : r;
    r = r == 0 ? parse_set(obj, where, "inheritable", &c.inheritable, warnings, e) : r;
    r = r == 0 ? parse_set(obj, where, "permitted", &c.permitted, warnings, e) : r;
    r = r == 0 ? parse_set(obj, where, "ambient", &c.ambient, warnings, e) : r;
    if (r == 0) {
        *ret = c;
    }
    return r;
}

static int get(struct __user_cap_data_struct data[CAPS_WORDS])
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};

    return syscall(SYS_capget, &head, data) < 0 ? -errno : 0;
}

int caps_host(uint64_t *ret_bounding, uint64_t *ret_permitted)
{
    struct __user_cap_data_struct data[CAPS_WORDS];
    uint64_t bounding = 0;
    int r = get(data);

    if (r < 0) {
        return r;
    }
    for (int i = 0; i < NAMES; i++) {
        bounding |= prctl(PR_CAPBSET_READ, i) == 1 ? bit(i) : 0;
    }
    *ret_bounding = bounding;
    *ret_permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    return 0;
}

static uint64_t known_to_kernel(void)
{
    uint64_t known = 0;

    for (int i = 0; i < NAMES && prctl(PR_CAPBSET_READ, i) >= 0; i++) {
        known |= bit(i);
    }
    return known;
}

static void tell(uint64_t lost, struct strv *warnings)
{
    struct str s = {0};

    for (int i = 0; i < NAMES; i++) {
        if ((lost & bit(i)) != 0) {
            str_addf(&s, "%s%s", s.len > 0 ? " " : "", names[i]);
        }
    }
    if (warnings != NULL && s.len > 0) {
        strv_addf(warnings, "capabilities that this host withholds are left out: %s",
                  str_text(&s));
    }
    str_fini(&s);
}

void caps_limit(struct caps *c, bool in_userns, struct strv *warnings)
{
    uint64_t asked =
        c->bounding | c->effective | c->inheritable | c->permitted | c->ambient;
    uint64_t bounding = 0;
    uint64_t permitted = 0;

    if (in_userns) {
        bounding = permitted = known_to_kernel();
    } else if (caps_host(&bounding, &permitted) < 0) {
        return; /* capset will tell */
    }
    tell(asked & ~(bounding & permitted), warnings);
    c->bounding &= bounding & permitted;
    c->permitted &= bounding & permitted;
    c->effective &= c->permitted;
    c->inheritable &= bounding & permitted;
    c->ambient &= c->permitted & c->inheritable; /* the kernel's own rule */
}

int caps_before_setuid(const struct caps *c)
{
    for (int i = 0; i < 64; i++) {
        int has = prctl(PR_CAPBSET_READ, i);

        if (has < 0) {
            break; /* past the last that the kernel knows */
        }
        if (has == 1 && (c->bounding & bit(i)) == 0 && prctl(PR_CAPBSET_DROP, i) < 0) {
            return -errno;
        }
    }
    return prctl(PR_SET_KEEPCAPS, 1) < 0 ? -errno : 0;
}

int caps_after_setuid(const struct caps *c)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[CAPS_WORDS];

    for (int i = 0; i < CAPS_WORDS; i++) {
        data[i].effective = (uint32_t)(c->effective >> (32 * i));
        data[i].permitted = (uint32_t)(c->permitted >> (32 * i));
        data[i].inheritable = (uint32_t)(c->inheritable >> (32 * i));
    }
    if (syscall(SYS_capset, &head, data) < 0 || prctl(PR_SET_KEEPCAPS, 0) < 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) {
        return -errno;
    }
    for (int i = 0; i < NAMES; i++) {
        if ((c->ambient & bit(i)) != 0 &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0) {
            return -errno;
        }
    }
    return 0;
}
