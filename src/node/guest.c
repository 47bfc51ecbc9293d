/* guest.c - make, describe and delete guests. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "base/word.h"
#include "contract/task.h"
#include "host/file.h"
#include "node/boot.h"
#include "node/private.h"
#include "node/record.h"
#include "resource/image/image.h"

#define CLAIM_TRIES  64
#define USERNS_LEAST 16 /* slot 16: the first host id is 1,048,576 */
#define USERNS_MOST  32000
#define USERNS_IDS   65536

static const char *const adjectives[] = {
    "brave",  "calm", "clever", "eager", "fair",  "gentle", "happy",  "keen",
    "lively", "mild", "noble",  "quick", "quiet", "sharp",  "steady", "warm"};
static const char *const nouns[] = {
    "badger", "crane", "dolphin", "falcon", "heron", "ibex",  "jackal", "lynx",
    "marten", "otter", "panda",   "raven",  "seal",  "swift", "tapir",  "wren"};

static void made_up_name(const char *id, char out[WORD_NAME_BYTES])
{
    char pair[3] = {id[0], id[1], '\0'};
    unsigned v = (unsigned)strtoul(pair, NULL, 16);

    (void)str_print(out, WORD_NAME_BYTES, "%s-%s-%.4s", adjectives[v >> 4], nouns[v & 15],
                    id + 2);
}

static json_t *text_list(const struct strv *v)
{
    json_t *list = json_array();

    for (size_t i = 0; i < v->n; i++) {
        (void)json_array_append_new(list, json_string(v->items[i]));
    }
    return list;
}

static json_t *image_to_json(const struct image *img)
{
    return json_pack(
        "{s:o, s:o, s:o, s:s, s:s, s:s, s:o, s:O*, s:O*}", "env", text_list(&img->env),
        "entrypoint", text_list(&img->entrypoint), "cmd", text_list(&img->cmd), "workdir",
        img->workdir, "user", img->user, "stop_signal", img->stop_signal, "exposed",
        text_list(&img->exposed), "labels", img->labels, "healthcheck", img->healthcheck);
}

static int unpack(struct node *n, const char *ref, struct err *e)
{
    SCOPED(scope_json) json_t *request = json_pack("{s:s}", "image", ref);
    SCOPED(scope_json) json_t *result = NULL;

    return node_image(n, "unpack", request, &result, e);
}

/* Fetch `ref` when its name, or the file of short names, says from where and `policy`
 * allows; 0 when it was. */
static int fetch(struct node *n, const char *ref, const char *policy, struct err *e)
{
    SCOPED(scope_json) json_t *request = NULL;
    SCOPED(scope_json) json_t *result = NULL;
    struct image_ref parts;

    if (strcmp(policy, "never") == 0 || image_ref_parse(ref, &parts, NULL) < 0) {
        return -ENOENT;
    }
    request = json_pack("{s:s}", "image", ref);
    return node_image(n, "pull", request, &result, e);
}

static int find_image(struct node *n, const char *ref, const char *policy,
                      struct image *ret, struct err *e)
{
    struct image_store *store;
    struct err missing = {0};
    int r = node_images(n, &store, e);

    if (r == 0 && strcmp(policy, "always") == 0) {
        r = fetch(n, ref, policy, e);
        r = r == -ENOENT && (e == NULL || e->code == 0) ? 0 : r;
    }
    if (r < 0) {
        return r;
    }
    r = image_find(store, ref, ret, &missing);
    if (r == -ENOENT && strcmp(policy, "missing") == 0 && fetch(n, ref, policy, e) == 0) {
        return image_find(store, ref, ret, e);
    }
    return r < 0 ? err_set(e, r, "%s", missing.text) : 0;
}

/* What the guest keeps of its image: it stays what it was, whatever is tagged later. */
static int take_image(struct node *n, const char *ref, const char *policy, json_t *record,
                      struct err *e)
{
    struct image_store *store;
    struct image img = {0};
    struct strv dirs = {0};
    int r = node_images(n, &store, e);

    if (r == 0) {
        r = find_image(n, ref, policy, &img, e);
    }
    if (r < 0) {
        return r;
    }
    r = image_layer_dirs(store, &img, &dirs, e);
    if (r > 0) {
        strv_fini(&dirs);
        r = unpack(n, ref, e);
        if (r == 0) {
            r = image_layer_dirs(store, &img, &dirs, e);
        }
    }
    if (r > 0) {
        r = err_set(e, -EIO, "cannot unpack image '%s': layers are missing after it",
                    ref);
    }
    if (r == 0) {
        (void)json_object_set_new(record, "image", json_string(ref));
        (void)json_object_set_new(record, "image_digest",
                                  json_string(img.manifest.digest));
        (void)json_object_set_new(record, "image_config", image_to_json(&img));
        (void)json_object_set_new(record, "layers", text_list(&dirs));
    }
    strv_fini(&dirs);
    image_fini(&img);
    return r;
}

static bool wants_userns(struct node *n, const json_t *config)
{
    const char *userns = json_string_value(json_object_get(config, "userns"));

    return !n->rootless && !json_is_true(json_object_get(config, "privileged")) &&
           (userns == NULL || strcmp(userns, "host") != 0);
}

static int claim_userns(struct node *n, struct guest *g, const char *name,
                        struct strv *take, struct err *e)
{
    unsigned slot;
    int r = record_free_number(n, "/userns/", USERNS_LEAST, USERNS_MOST, &slot, e);

    if (r < 0) {
        return err_set(e, r, "cannot create guest '%s': no host ids are left", name);
    }
    strv_addf(take, "/userns/%06u", slot);
    (void)json_object_set_new(g->record, "userns",
                              json_pack("{s:I, s:i}", "base",
                                        (json_int_t)slot * USERNS_IDS, "size",
                                        USERNS_IDS));
    return 0;
}

/* One try: choose free slots, then take all keys in one transaction. */
static int claim_once(struct node *n, struct guest *g, const char *name,
                      struct record_claims *c, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    int r = volume_claim(n, g, c, e);

    strv_addf(&c->take, "/names/%s", name);
    if (r == 0 && wants_userns(n, guest_config(g))) {
        r = claim_userns(n, g, name, &c->take, e);
    }
    if (r < 0) {
        return r;
    }
    text = json_dumps(g->record, JSON_COMPACT);
    if (text == NULL) {
        return err_set(e, -ENOMEM, "cannot create guest '%s': no memory", name);
    }
    (void)fault_step("guest.create.claiming");
    return record_add(n, c, g->id, text, e);
}

static bool name_is_taken(struct node *n, const char *name)
{
    struct guest other = {0};
    bool taken = guest_find(n, name, &other, NULL) == 0 &&
                 strcmp(guest_text(&other, "name"), name) == 0;

    guest_fini(&other);
    return taken;
}

static int claim(struct node *n, struct guest *g, const char *name, struct err *e)
{
    for (int i = 0; i < CLAIM_TRIES; i++) {
        struct record_claims c = {0};
        int r = claim_once(n, g, name, &c, e);

        record_claims_fini(&c);
        if (r != -EEXIST) {
            return r;
        }
        if (name_is_taken(n, name)) {
            return err_set(e, -EEXIST, "cannot create guest '%s': the name is taken",
                           name);
        }
    }
    return err_set(e, -EBUSY, "cannot create guest '%s': too many commands at once",
                   name);
}

/* What the order alone decides; nothing of the host is touched. */
static int new_record(const json_t *order, struct guest *g, struct err *e)
{
    const char *name = json_string_value(json_object_get(order, "name"));
    char made[WORD_NAME_BYTES];
    char time[UNITS_TEXT_BYTES];
    struct timespec now;
    json_t *config = NULL;
    int r = order_to_config(order, &config, e);

    if (r == 0) {
        r = word_random_id(g->id, NODE_ID_DIGITS);
    }
    if (r < 0) {
        json_decref(config);
        return r;
    }
    if (name == NULL) {
        made_up_name(g->id, made);
        name = made;
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    units_print_time(now.tv_sec * 1000000000LL + now.tv_nsec, time);
    g->record = json_pack(
        "{s:i, s:s, s:s, s:s, s:s, s:o, s:s, s:i}", "schema", 1, "id", g->id, "name",
        name, "kind", json_object_get(config, "as") != NULL ? "machine" : "container",
        "created", time, "config", config, "desired", "stopped", "owner", (int)getuid());
    if (!word_is_name(name)) {
        return err_set(e, -EINVAL,
                       "'%s' cannot be the name of a guest: want letters, digits, _ . -",
                       name);
    }
    r = life_make_generation(g, e);
    if (r < 0) {
        return r;
    }
    return guest_is_machine(g) || json_is_string(json_object_get(order, "image"))
               ? 0
               : err_set(e, -EINVAL, "no image was named");
}

/* FILE[,KEY...], the file by its full name. */
int guest_name_disks(json_t *config, struct err *e)
{
    json_t *list = json_object_get(config, "disks");
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const char *word = json_string_value(item);
        const char *comma = word + strcspn(word, ",");
        struct str full = {0};
        char path[PATH_MAX];

        if (str_print(path, sizeof path, "%.*s", (int)(comma - word), word) < 0) {
            return err_set(e, -ENAMETOOLONG, "cannot use --disk '%s': too long", word);
        }
        {
            SCOPED(scope_free) char *real = realpath(path, NULL);

            if (real == NULL) {
                return err_sys(e, -errno, "cannot open disk '%s'", path);
            }
            str_addf(&full, "%s%s", real, comma);
        }
        (void)json_array_set_new(list, i, json_string(str_text(&full)));
        str_fini(&full);
    }
    return 0;
}

/* A word for firmware is that of a package. */
static int choose_firmware(struct guest *g, struct err *e)
{
    static const struct {
        const char *word, *path, *package;
    } known[] = {{"bios", "/usr/share/seabios/bios-256k.bin", "seabios"},
                 {"uefi", BOOT_UEFI, "ovmf"}};

    json_t *config = guest_config(g);
    const char *word = json_string_value(json_object_get(config, "firmware"));

    for (size_t i = 0; word != NULL && i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(word, known[i].word) != 0) {
            continue;
        }
        return access(known[i].path, R_OK) == 0
                   ? json_object_set_new(config, "firmware", json_string(known[i].path))
                   : err_sys(e, -errno, "cannot start by '%s': no '%s' (Debian: %s)",
                             word, known[i].path, known[i].package);
    }
    return 0;
}

/* The files that a machine is started from, named so that any command finds them. */
static int choose_kernel(struct guest *g, struct err *e)
{
    static const char *const keys[] = {"kernel", "initrd", "firmware"};
    int r = choose_firmware(g, e);

    if (r < 0) {
        return r;
    }

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *word = json_string_value(json_object_get(guest_config(g), keys[i]));
        char path[PATH_MAX];

        if (word == NULL) {
            continue;
        }
        if (realpath(word, path) == NULL || access(path, R_OK) < 0) {
            return err_sys(e, -errno, "cannot read %s '%s'", keys[i], word);
        }
        (void)json_object_set_new(guest_config(g), keys[i], json_string(path));
        if (i != 1 && json_object_get(guest_config(g), "image") == NULL) {
            (void)json_object_set_new(g->record, "image", json_string(path));
        }
    }
    return guest_name_disks(guest_config(g), e);
}

static int choose_image(struct node *n, const json_t *order, bool is_copy,
                        struct guest *g, struct err *e)
{
    const char *image = json_string_value(json_object_get(order, "image"));
    const char *policy = json_string_value(json_object_get(order, "pull"));
    bool is_machine = guest_is_machine(g);
    struct record_claims early = {0};
    int r = is_machine ? choose_kernel(g, e) : 0;

    r = r < 0 || !is_machine || is_copy ? r : guest_boot_seed(g, e);
    if (r < 0 || image == NULL) {
        return r;
    }
    r = volume_claim(n, g, &early, e); /* before an image is fetched in vain */
    record_claims_fini(&early);
    r = r < 0 ? r
              : take_image(n, image, policy != NULL ? policy : "missing", g->record, e);
    return r < 0 || !is_machine ? r : guest_boot_choose(n, g, e);
}

/* All that is kept on disk; the record, saved with the network, is complete. */
static int fill(struct node *n, struct guest *g, const struct guest_source *from,
                struct err *e)
{
    int r = disk_create(n, g, e);

    (void)fault_step("guest.create.disk");
    r = r < 0 || !guest_is_machine(g) || from != NULL ? r : guest_boot_disk(n, g, e);
    (void)fault_step("guest.create.root");
    if (r == 0) {
        r = volume_make(n, g, e);
    }
    if (r == 0 && from != NULL) {
        if (guest_is_machine(g)) {
            (void)json_object_set_new(g->record, "copy", json_true());
        }
        r = guest_is_machine(g) ? life_clone(n, from, g, e)
                                : disk_clone(n, from->guest, from->snapshot, g, e);
        (void)json_object_set(g->record, "image",
                              json_object_get(from->guest->record, "image"));
    }
    (void)fault_step("guest.create.cloned");
    return r < 0 ? r : net_allocate(n, g, e);
}

/* The record, with all that it claims, in the store; the guest's lock is held. */
static int record_guest(struct node *n, const json_t *order, bool is_copy,
                        struct guest *g, int *ret_lock, struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    char path[PATH_MAX];
    int r = choose_image(n, order, is_copy, g, e);

    if (r == 0) {
        r = guest_lock(n, g, 0, &lock, e);
        (void)fault_step("guest.create.locked");
    }
    if (r == 0) {
        r = claim(n, g, guest_text(g, "name"), e);
        if (r < 0) {
            (void)guest_run_path(n, g->id, "", path);
            (void)file_remove_tree(AT_FDCWD, path);
        }
    }
    if (r == 0) {
        (void)fault_step("guest.create.recorded");
        *ret_lock = scope_take_fd(&lock);
    }
    return r;
}

int guest_make(struct node *n, const json_t *order, const struct guest_source *from,
               struct guest *g, int *ret_lock, struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    struct image_store *store = NULL;
    int r = new_record(order, g, e);

    if (r == 0) {
        r = node_need_places(n, e);
    }
    if (r == 0 && json_object_get(guest_config(g), "image") != NULL) {
        r = node_images(n, &store, e);
        if (r == 0) {
            r = image_hold(store,
                           e); /* what is found is not pruned before it is recorded */
        }
    }
    if (r == 0) {
        r = record_guest(n, order, from != NULL, g, &lock, e);
    }
    if (store != NULL) {
        image_release(store);
    }
    if (r < 0) {
        return r;
    }
    r = guest_reload(n, g, e);
    if (r == 0) {
        r = fill(n, g, from, e);
    }
    (void)fault_step("guest.create.filled");
    if (r < 0) {
        struct err ignored = {0};

        (void)remove_guest(n, g, &ignored);
        return r;
    }
    event_write(n, "created", g, NULL);
    *ret_lock = scope_take_fd(&lock);
    return 0;
}
