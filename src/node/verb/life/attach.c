/* attach.c - disks and a network (cable.c) come to a machine and go again, also while it runs.
 *
 * What came is in the guest's configuration with the slot of PCI in which the guest sees it, so
 * that it is there again after a start, and where a saved guest looks for it.  It is recorded
 * before the worker gets it and forgotten after the guest let go of it: a command that dies in
 * between leaves a disk that the next start brings, and that 'detach' takes away. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/verb/life/private.h"
#include "node/verb/private.h"

#define SAVES_MOST  5 /* when others change the record, too */
#define LOOK_NS     50000000L
#define NS_OF_MS    1000000u
#define TIMEOUT_MS  10000u
#define SERIAL_WORD ",serial="
#define SLOT_WORD   ",slot="

/* ---- words of the configuration ---- */

static json_t *disks_of(const struct guest *g)
{
    json_t *list = json_object_get(guest_config(g), "disks");

    if (list == NULL) {
        (void)json_object_set_new(guest_config(g), "disks", json_array());
        list = json_object_get(guest_config(g), "disks");
    }
    return list;
}

static unsigned slot_of(const char *word)
{
    const char *slot = strstr(word, SLOT_WORD);

    return slot != NULL ? (unsigned)strtoul(slot + strlen(SLOT_WORD), NULL, 10) : 0;
}

static void path_of(const char *word, char out[PATH_MAX])
{
    (void)str_print(out, PATH_MAX, "%.*s", (int)strcspn(word, ","), word);
}

/* By its file, or its serial word. */
static bool is_called(const char *word, const char *name)
{
    SCOPED(scope_free) char *real = realpath(name, NULL);
    const char *serial = strstr(word, SERIAL_WORD);
    char path[PATH_MAX];

    path_of(word, path);
    if (strcmp(path, name) == 0 || (real != NULL && strcmp(path, real) == 0)) {
        return true;
    }
    serial = serial != NULL ? serial + strlen(SERIAL_WORD) : NULL;
    return serial != NULL && strcspn(serial, ",") == strlen(name) &&
           strncmp(serial, name, strlen(name)) == 0;
}

/* Its place in the list; -1. */
static int find(const struct guest *g, const char *name)
{
    size_t i;
    json_t *item;

    json_array_foreach(disks_of(g), i, item)
    {
        if (is_called(json_string_value(item), name)) {
            return (int)i;
        }
    }
    return -1;
}

bool life_slot_has_disk(const struct guest *g, unsigned slot)
{
    size_t i;
    json_t *item;

    json_array_foreach(disks_of(g), i, item)
    {
        if (slot_of(json_string_value(item)) == slot) {
            return true;
        }
    }
    return false;
}

unsigned life_free_slot(const struct guest *g)
{
    for (unsigned slot = FAR_SLOT_FIRST; slot < FAR_SLOT_FIRST + FAR_SLOTS; slot++) {
        if (slot != life_card_slot(g) && !life_slot_has_disk(g, slot)) {
            return slot;
        }
    }
    return 0;
}

/* ---- both ---- */

static int begin(struct node *n, const char *guest, const char *what,
                 struct life_change *c, struct err *e)
{
    int r = verb_find(n, guest, &c->g, &c->st, e);

    r = r == 0 ? guest_need_machine(&c->g, what, e) : r;
    if (r < 0 || guest_is_alive(&c->st)) {
        return r;
    }
    r = guest_lock_known(n, &c->g, VERB_LOCK_WAIT_MS, &c->lock, e);
    if (r == 0 && life_is_saved(n, &c->g)) {
        r = err_set(e, -EBUSY,
                    "cannot %s guest '%s': it is saved, and would not be told: start it "
                    "first",
                    what, guest_text(&c->g, "name"));
    }
    return r;
}

static void end(struct life_change *c)
{
    guest_fini(&c->g);
    scope_close(&c->lock);
}

/* Of one that runs the plan first: what the record lacks nobody could take away. */
static int save(struct node *n, struct life_change *c, struct err *e)
{
    int r = guest_is_alive(&c->st) ? launch_plan_anew(n, &c->g, NULL, e) : 0;

    (void)fault_step("life.detach.planned");
    return r == 0 ? guest_save(n, &c->g, e) : r;
}

int life_save(struct node *n, struct life_change *c, life_edit *edit, const char *name,
              struct err *e)
{
    int r = -EAGAIN;

    for (unsigned i = 0; r == -EAGAIN && i < SAVES_MOST; i++) {
        err_clear(e);
        r = guest_reload(n, &c->g, e);
        r = r == 0 && edit(&c->g, name) ? save(n, c, e) : r;
    }
    return r;
}

static bool drop_disk(struct guest *g, const char *path)
{
    int at = find(g, path);

    if (at >= 0) {
        (void)json_array_remove(disks_of(g), (size_t)at);
    }
    return at >= 0;
}

/* ---- one comes ---- */

static int plan(struct guest *g, const char *word, struct err *e)
{
    SCOPED(scope_json) json_t *order = json_pack("{s:[s]}", "disks", word);
    SCOPED(scope_json) json_t *checked = NULL;
    unsigned slot = life_free_slot(g);
    const char *full;
    char path[PATH_MAX];
    int r = guest_name_disks(order, e);

    if (r < 0) {
        return r;
    }
    full = json_string_value(json_array_get(json_object_get(order, "disks"), 0));
    path_of(full, path);
    if (find(g, path) >= 0) {
        return err_set(e, -EEXIST, "guest '%s' has disk '%s'", guest_text(g, "name"),
                       path);
    }
    if (slot == 0 || slot_of(full) != 0) {
        return slot == 0
                   ? err_set(e, -ENOSPC, "guest '%s' has no room: %u devices have come",
                             guest_text(g, "name"), FAR_SLOTS)
                   : err_set(e, -EINVAL, "cannot choose the slot of a disk");
    }
    (void)json_array_append_new(disks_of(g),
                                json_sprintf("%s" SLOT_WORD "%u", full, slot));
    return order_to_config(guest_config(g), &checked, e);
}

static int give(struct node *n, const struct guest *g, const char *word, struct err *e)
{
    SCOPED(scope_json) json_t *arg = json_pack("{s:s}", "disk", word);
    int flags = strstr(word, ",read-only") != NULL ? O_RDONLY : O_RDWR;
    SCOPED(scope_close) int fd = -1;
    struct far_question q = {.verb = FAR_ATTACH, .arg = arg, .fds = &fd, .n_fds = 1};
    char path[PATH_MAX];

    path_of(word, path);
    fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);
    return fd < 0 ? err_sys(e, -errno, "cannot open disk '%s'", path)
                  : life_ask(n, g, &q, NULL, e);
}

void life_plan_again(struct node *n, struct life_change *c)
{
    struct err e = {0};
    int r = guest_is_alive(&c->st) ? guest_reload(n, &c->g, &e) : 0;

    r = r == 0 && guest_is_alive(&c->st) ? launch_plan_anew(n, &c->g, NULL, &e) : r;
    if (r < 0) {
        log_warn(n->log, "when guest '%s' fails it is started again as it was: %s",
                 guest_text(&c->g, "name"), e.text);
    }
}

static int attach(struct node *n, struct life_change *c, const char *wanted,
                  struct err *e)
{
    struct guest *g = &c->g;
    const char *word;
    char path[PATH_MAX];
    int r = plan(g, wanted, e);

    r = r == 0 ? guest_save(n, g, e) : r;
    (void)fault_step("life.attach.recorded");
    if (r < 0) {
        return r;
    }
    word =
        json_string_value(json_array_get(disks_of(g), json_array_size(disks_of(g)) - 1));
    path_of(word, path);
    r = guest_is_alive(&c->st) ? give(n, g, word, e) : 0;
    if (r < 0) {
        err_wrap(e, "cannot attach disk '%s' to guest '%s'", path, guest_text(g, "name"));
        (void)life_save(n, c, drop_disk, path, NULL);
        return r;
    }
    life_plan_again(n, c);
    event_write(n, "attached", g, path);
    return r;
}

int node_guest_attach(struct node *n, const char *guest, const json_t *order,
                      struct err *e)
{
    const char *word = json_string_value(json_object_get(order, "disk"));
    struct life_change c = {.lock = -1};
    const char *network = json_string_value(json_object_get(order, "network"));
    int r =
        begin(n, guest, word != NULL ? "attach a disk to" : "attach a network to", &c, e);

    if (r == 0 && word != NULL && network != NULL) {
        r = err_set(e, -EINVAL, "one thing after the other: --disk or --network");
    }
    r = r < 0          ? r
        : word != NULL ? attach(n, &c, word, e)
                       : life_attach_network(n, &c, network, e);
    end(&c);
    return r;
}

/* ---- one goes ---- */

static int ask(struct node *n, const struct guest *g, unsigned slot, const char *how,
               bool *ret_there, struct err *e)
{
    SCOPED(scope_json)
    json_t *arg = json_pack("{s:i, s:s}", "slot", (int)slot, "how", how);
    SCOPED(scope_json) json_t *told = NULL;
    const struct far_question q = {.verb = FAR_DETACH, .arg = arg};
    int r = life_ask(n, g, &q, &told, e);

    *ret_there = json_is_true(json_object_get(told, "there"));
    return r;
}

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / NS_OF_MS;
}

/* Until the guest let go of it. */
static int take_out(struct node *n, const struct guest *g, unsigned slot,
                    uint64_t timeout_ms, struct err *e)
{
    uint64_t end = now_ms() + timeout_ms;
    bool there = true;
    int r = ask(n, g, slot, "ask", &there, e);

    while (r == 0 && there && now_ms() < end) {
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
        r = ask(n, g, slot, "look", &there, e);
    }
    if (r == 0 && there) { /* it may have done so in the last moment */
        r = ask(n, g, slot, "keep", &there, e);
        r = r == 0 ? ask(n, g, slot, "look", &there, e) : r;
    }
    return r == 0 && there
               ? err_set(e, -ETIMEDOUT,
                         "the guest did not let go of it: does its system know how, and "
                         "is it not in use?")
               : r;
}

static int check(const struct life_change *c, const char *name, unsigned slot,
                 struct err *e)
{
    const struct guest *g = &c->g;

    if (slot == 0) {
        return err_set(e, -ENOENT,
                       "guest '%s' was made with '%s': what came by 'attach' can go",
                       guest_text(g, "name"), name);
    }
    return c->st.state == GUEST_PAUSED
               ? err_set(e, -EBUSY,
                         "cannot detach '%s' from guest '%s': it is paused, and has to "
                         "let go of it",
                         name, guest_text(g, "name"))
               : 0;
}

static int detach(struct node *n, struct life_change *c, const char *name,
                  uint64_t wait_ms, struct err *e)
{
    bool is_network = life_has_network(&c->g, name);
    int at = is_network ? -1 : find(&c->g, name);
    const char *word = json_string_value(json_array_get(disks_of(&c->g), (size_t)at));
    char path[PATH_MAX];
    unsigned slot;
    int r;

    if (!is_network && at < 0) {
        return err_set(e, -ENOENT, "guest '%s' has no disk or network '%s'",
                       guest_text(&c->g, "name"), name);
    }
    path_of(is_network ? name : word, path);
    slot = is_network ? life_card_slot(&c->g) : slot_of(word);
    r = check(c, path, slot, e);
    if (r == 0 && guest_is_alive(&c->st)) {
        r = take_out(n, &c->g, slot, wait_ms, e);
        if (r < 0) {
            err_wrap(e, "cannot detach '%s' from guest '%s'", path,
                     guest_text(&c->g, "name"));
        }
    }
    (void)fault_step("life.detach.gone");
    r = r < 0        ? r
        : is_network ? life_forget_network(n, c, e)
                     : life_save(n, c, drop_disk, path, e);
    if (r == 0) {
        event_write(n, "detached", &c->g, path);
    }
    return r;
}

int node_guest_detach(struct node *n, const char *guest, const json_t *order,
                      struct err *e)
{
    const char *name = json_string_value(json_object_get(order, "name"));
    const json_t *timeout = json_object_get(order, "timeout");
    uint64_t wait_ms =
        json_is_integer(timeout) ? (uint64_t)json_integer_value(timeout) : TIMEOUT_MS;
    struct life_change c = {.lock = -1};
    int r = begin(n, guest, "detach anything from", &c, e);

    r = r == 0 ? detach(n, &c, name, wait_ms, e) : r;
    end(&c);
    return r;
}
