/* order.c - from what somebody ordered to a checked guest configuration.
 *
 * The configuration is the order without the members that only matter to one
 * command (detach, pull, name), every member checked here once, so that the rest
 * of the node may trust it. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/word.h"
#include "node/private.h"

#define MEMORY_LEAST_BYTES (4ULL << 20)
#define CPU_MOST_MILLIS    1024000

static const char *const one_command_only[] = {"detach", "pull", "name", "command_words"};

static int check_pairs(const json_t *config, const char *key, struct err *e)
{
    size_t i;
    json_t *item;
    json_t *list = NULL;
    int r = json_opt_array(config, "", key, &list, e);

    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);

        if (text == NULL || text[0] == '=' || strchr(text, '=') == NULL) {
            return err_set(e, -EINVAL, "cannot use --%s '%s': want KEY=VALUE", key,
                           text != NULL ? text : "?");
        }
    }
    return r;
}

static int check_restart(const json_t *config, struct err *e)
{
    static const char *const words[] = {"no", "on-failure", "always", "unless-stopped"};
    const char *text = "no";
    int r = json_opt_str(config, "", "restart", &text, e);

    if (r < 0) {
        return r;
    }
    if (strcmp(text, "no") != 0 && json_is_true(json_object_get(config, "rm"))) {
        return err_set(e, -EINVAL,
                       "cannot use --restart with --rm: a guest that is "
                       "deleted at its end is not restarted");
    }
    if (str_starts(text, "on-failure:")) {
        char *end;
        long most = strtol(text + 11, &end, 10);

        return *end == '\0' && end != text + 11 && most >= 0
                   ? 0
                   : err_set(e, -EINVAL,
                             "cannot use --restart '%s': want on-failure:NUMBER", text);
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(words[i], text) == 0) {
            return 0;
        }
    }
    return err_set(e, -EINVAL,
                   "cannot use --restart '%s': want no, on-failure[:N], always or "
                   "unless-stopped",
                   text);
}

static int check_limits(const json_t *config, struct err *e)
{
    uint64_t memory = MEMORY_LEAST_BYTES;
    uint64_t cpus = 1;
    uint64_t weight = 1;
    int r = json_opt_u64(config, "", "memory", &memory, e);

    if (r == 0) {
        r = json_opt_u64(config, "", "cpus", &cpus, e);
    }
    if (r == 0) {
        r = json_opt_u64(config, "", "cpu_weight", &weight, e);
    }
    if (r == 0 && memory != 0 && memory < MEMORY_LEAST_BYTES) {
        r = err_set(e, -ERANGE,
                    "cannot use --memory %" PRIu64 ": a guest needs at least 4M", memory);
    }
    if (r == 0 && cpus > CPU_MOST_MILLIS) {
        r = err_set(e, -ERANGE, "cannot use --cpus: more than 1024 processors");
    }
    if (r == 0 && (weight == 0 || weight > 10000)) {
        r = err_set(e, -ERANGE, "cannot use --cpu-weight %" PRIu64 ": want 1 to 10000",
                    weight);
    }
    return r;
}

static int check_volumes(const json_t *config, struct err *e)
{
    const char *kind = json_string_value(json_object_get(config, "as"));
    size_t i;
    json_t *item;
    json_t *list = NULL;
    int r = json_opt_array(config, "", "volume", &list, e);

    if (kind != NULL && strcmp(kind, "machine") == 0) { /* see `order_check_kind` */
        return r;
    }
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        const char *colon = text != NULL ? strchr(text, ':') : NULL;

        if (colon == NULL || colon == text || colon[1] != '/') {
            return err_set(e, -EINVAL,
                           "cannot use --volume '%s': want NAME|DIR:/PATH[:ro]",
                           text != NULL ? text : "?");
        }
        if (text[0] != '/' && text[0] != '.' &&
            memchr(text, '/', (size_t)(colon - text))) {
            return err_set(
                e, -EINVAL,
                "cannot use --volume '%s': a host directory starts with / or .", text);
        }
    }
    return r;
}

static int check_words(const json_t *config, struct err *e)
{
    static const char *const lists[] = {"command", "env",    "publish", "volume",
                                        "label",   "device", "cap_add", "cap_drop",
                                        "tmpfs",   "sysctl", "ulimit",  "security_opt"};

    for (size_t k = 0; k < sizeof lists / sizeof lists[0]; k++) {
        json_t *list = NULL;
        size_t i;
        json_t *item;
        int r = json_opt_array(config, "", lists[k], &list, e);

        if (r < 0) {
            return r;
        }
        json_array_foreach(list, i, item)
        {
            if (!json_is_string(item)) {
                return err_set(e, -EINVAL, "'%s[%zu]' is not a string", lists[k], i);
            }
        }
    }
    return 0;
}

static int check_tmpfs(const json_t *config, struct err *e)
{
    size_t i;
    json_t *item;

    json_array_foreach(json_object_get(config, "tmpfs"), i, item)
    {
        const char *text = json_string_value(item);

        if (text == NULL || text[0] != '/') {
            return err_set(e, -EINVAL,
                           "cannot use --tmpfs '%s': want /PATH[:OPTION,OPTION...]",
                           text != NULL ? text : "?");
        }
    }
    return 0;
}

static int check_names(const json_t *config, struct err *e)
{
    const char *hostname = NULL;
    const char *workdir = NULL;
    const char *disk = "private";
    const char *userns = "auto";
    int r = json_opt_str(config, "", "hostname", &hostname, e);

    if (r == 0) {
        r = json_opt_str(config, "", "workdir", &workdir, e);
    }
    if (r == 0) {
        r = json_opt_str(config, "", "disk", &disk, e);
    }
    if (r == 0) {
        r = json_opt_str(config, "", "userns", &userns, e);
    }
    if (r == 0 && hostname != NULL && !word_is_name(hostname)) {
        r = err_set(e, -EINVAL, "cannot use --hostname '%s': not a host name", hostname);
    }
    if (r == 0 && workdir != NULL && workdir[0] != '/') {
        r = err_set(e, -EINVAL, "cannot use --workdir '%s': want an absolute path",
                    workdir);
    }
    if (r == 0 && strcmp(disk, "private") != 0 && strcmp(disk, "shared") != 0) {
        r = err_set(e, -EINVAL, "cannot use --disk '%s': want private or shared", disk);
    }
    if (r == 0 && strcmp(userns, "auto") != 0 && strcmp(userns, "host") != 0) {
        r = err_set(e, -EINVAL, "cannot use --userns '%s': want auto or host", userns);
    }
    return r;
}

/* Networks that are no objects of the store; an address or a port belongs to none of them. */
static bool is_plain(const char *network)
{
    return strcmp(network, "none") == 0 || strcmp(network, "host") == 0 ||
           strcmp(network, "user") == 0;
}

static int check_network(const json_t *config, struct err *e)
{
    const json_t *publish = json_object_get(config, "publish");
    const json_t *ip = json_object_get(config, "ip");
    const char *name = "auto";
    int r = json_opt_str(config, "", "network", &name, e);

    if (r == 0 && !word_is_name(name)) {
        r = err_set(e, -EINVAL, "cannot use --network '%s': not the name of a network",
                    name);
    }
    if (r == 0 && json_array_size(publish) != 0 &&
        (strcmp(name, "host") == 0 || strcmp(name, "none") == 0)) {
        r = err_set(e, -EINVAL, "cannot publish ports of a guest on network '%s'", name);
    }
    if (r == 0 && is_plain(name) && (json_is_string(ip) || json_array_size(ip) != 0)) {
        r = err_set(e, -EINVAL, "cannot use --ip with network '%s': it gives no address",
                    name);
    }
    return r;
}

int order_to_config(const json_t *order, json_t **ret_config, struct err *e)
{
    static int (*const checks[])(const json_t *, struct err *) = {
        check_words, check_restart, check_limits,  check_volumes,
        check_tmpfs, check_names,   check_network, spec_check};
    json_t *config = json_deep_copy(order);
    int r = 0;

    if (config == NULL) {
        return err_set(e, -ENOMEM, "cannot read the order: no memory");
    }
    for (size_t i = 0; i < sizeof one_command_only / sizeof one_command_only[0]; i++) {
        (void)json_object_del(config, one_command_only[i]);
    }
    r = order_take_disks(config, e);
    for (size_t i = 0; r == 0 && i < sizeof checks / sizeof checks[0]; i++) {
        r = checks[i](config, e);
    }
    if (r == 0) {
        r = order_check_kind(config, e);
    }
    if (r == 0) {
        r = check_pairs(config, "label", e);
    }
    if (r == 0) {
        r = check_pairs(config, "sysctl", e);
    }
    if (r < 0) {
        json_decref(config);
        return r;
    }
    *ret_config = config;
    return 0;
}
