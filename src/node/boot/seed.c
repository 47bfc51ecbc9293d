/* seed.c - what a machine learns about itself at its first start: a volume in the way of
 * cloud-init's NoCloud, for images that have it, and the same to the agent for those that
 * do not (initrd.c).
 *
 * The volume is an ISO 9660 file system with one directory.  Its names are written as Linux
 * reads them without extensions: capitals, which it shows small, and ";1", which it leaves out;
 * that '-' stands in them is beyond the standard's letter and in everybody's practice.
 * Sources: ECMA-119 (1987), 8.4, 9.1, 9.4; cloud-init, "NoCloud" (meta-data, user-data,
 * network-config on a volume called "cidata"). */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/boot/private.h"

#define SECTOR      2048u
#define PATHS_AT    18 /* sectors: the table of directories, twice */
#define ROOT_AT     20
#define FILES_AT    21
#define FILES_MOST  3
#define ENTRY_HEAD  33u
#define TEXT_MOST   65536 /* bytes of a file that somebody ordered */
#define PATHS_BYTES 10u

struct seed_file {
    const char *name;
    struct str text;
};

/* ---- numbers in both orders ---- */

static void put16(uint8_t *at, unsigned v)
{
    at[0] = at[3] = (uint8_t)v;
    at[1] = at[2] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++) {
        at[i] = at[7 - i] = (uint8_t)(v >> (8 * i));
    }
}

/* 9.1: a directory record; its length. */
static unsigned put_entry(uint8_t *at, const char *name, unsigned name_bytes,
                          uint32_t sector, uint32_t bytes)
{
    unsigned n = (ENTRY_HEAD + name_bytes + 1) & ~1u;

    at[0] = (uint8_t)n;
    put32(at + 2, sector);
    put32(at + 10, bytes);
    at[18] = 70; /* 1970-01-01 */
    at[19] = at[20] = 1;
    at[25] = name_bytes == 1 ? 2 : 0; /* a directory: "." or ".." */
    put16(at + 28, 1);
    at[32] = (uint8_t)name_bytes;
    memcpy(at + ENTRY_HEAD, name, name_bytes);
    return n;
}

/* 8.4: the primary volume descriptor; 8.3: the end of descriptors. */
static void put_volume(uint8_t *at, uint32_t sectors)
{
    memcpy(at, "\1CD001\1", 7);
    memset(at + 8, ' ', 64);
    memcpy(at + 40, "cidata", 6);
    put32(at + 80, sectors);
    put16(at + 120, 1);
    put16(at + 124, 1);
    put16(at + 128, SECTOR);
    put32(at + 132, PATHS_BYTES);
    at[140] = PATHS_AT;
    at[151] = PATHS_AT + 1;
    (void)put_entry(at + 156, "", 1, ROOT_AT, SECTOR);
    memset(at + 190, ' ', 813 - 190);
    for (int i = 0; i < 4; i++) { /* 8.4.26: no time was specified */
        memset(at + 813 + 17 * i, '0', 16);
    }
    at[881] = 1;
    memcpy(at + SECTOR, "\377CD001\1", 7);
}

static void put_tables(uint8_t *image)
{
    uint8_t *little = image + PATHS_AT * SECTOR;
    uint8_t *big = little + SECTOR;

    little[0] = big[0] = 1;
    little[2] = ROOT_AT;
    big[5] = ROOT_AT;
    little[6] = 1;
    big[7] = 1;
}

static void put_files(uint8_t *image, const struct seed_file *files, unsigned count)
{
    uint8_t *entry = image + ROOT_AT * SECTOR;
    uint32_t sector = FILES_AT;

    entry += put_entry(entry, "", 1, ROOT_AT, SECTOR);
    entry += put_entry(entry, "\1", 1, ROOT_AT, SECTOR);
    for (unsigned i = 0; i < count; i++) {
        size_t len = files[i].text.len;
        char name[32];
        int n = snprintf(name, sizeof name, "%s.;1", files[i].name);

        for (char *c = name; *c != '\0'; c++) {
            *c = (char)toupper((unsigned char)*c);
        }
        entry += put_entry(entry, name, (unsigned)n, sector, (uint32_t)len);
        memcpy(image + (size_t)sector * SECTOR, str_text(&files[i].text), len);
        sector += (uint32_t)((len + SECTOR - 1) / SECTOR);
    }
}

static int write_volume(const struct seed_file *files, unsigned count, struct err *e)
{
    SCOPED(scope_close) int fd = memfd_create("seed", MFD_CLOEXEC);
    SCOPED(scope_free) uint8_t *image = NULL;
    uint32_t sectors = FILES_AT;

    for (unsigned i = 0; i < count; i++) {
        sectors += (uint32_t)((files[i].text.len + SECTOR - 1) / SECTOR);
    }
    image = calloc(sectors, SECTOR);
    if (fd < 0 || image == NULL) {
        return err_set(e, -ENOMEM, "cannot make the machine's seed: no memory");
    }
    put_volume(image + 16 * SECTOR, sectors);
    put_tables(image);
    put_files(image, files, count);
    return file_write_all(fd, image, (size_t)sectors * SECTOR) < 0
               ? err_set(e, -ENOMEM, "cannot make the machine's seed: no memory")
               : scope_take_fd(&fd);
}

/* ---- what is in it ---- */

int guest_boot_volume(const json_t *spec, struct err *e)
{
    const json_t *seed = json_object_get(json_object_get(spec, "machine"), "seed");
    const char *data = json_string_value(json_object_get(seed, "user_data"));
    struct seed_file files[FILES_MOST] = {
        {"meta-data", {0}}, {"network-config", {0}}, {"user-data", {0}}};
    size_t i;
    json_t *key;
    int fd;

    str_addf(&files[0].text, "instance-id: %s\nlocal-hostname: %s\n",
             json_string_value(json_object_get(spec, "id")),
             json_string_value(json_object_get(seed, "host")));
    if (json_array_size(json_object_get(seed, "keys")) != 0) {
        str_add(&files[0].text, "public-keys:\n");
    }
    json_array_foreach(json_object_get(seed, "keys"), i, key)
    {
        str_addf(&files[0].text, "  - %s\n", json_string_value(key));
    }
    str_add(&files[1].text, "version: 2\nethernets:\n  all:\n    match: {name: \"e*\"}\n"
                            "    dhcp4: true\n");
    str_add(&files[2].text, data != NULL ? data : "#cloud-config\n{}\n");
    fd = write_volume(files, FILES_MOST, e);
    for (i = 0; i < FILES_MOST; i++) {
        str_fini(&files[i].text);
    }
    return fd;
}

/* ---- what was ordered ---- */

static int read_text(const char *option, const char *path, char **ret, struct err *e)
{
    size_t len = 0;
    int r = file_read(AT_FDCWD, path, TEXT_MOST, ret, &len);

    if (r == 0 && (len == 0 || strlen(*ret) != len)) {
        r = err_set(e, -EINVAL, "cannot use --%s '%s': it is %s", option, path,
                    len == 0 ? "empty" : "no text");
    }
    return r < 0 ? err_sys(e, r, "cannot read --%s '%s'", option, path) : 0;
}

/* A key of OpenSSH's: "ssh-ed25519 AAAA... comment" (sshd(8), AUTHORIZED_KEYS FILE FORMAT). */
static bool is_key(const char *line)
{
    static const char *const kinds[] = {"ssh-", "ecdsa-", "sk-"};
    bool known = false;

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        known = known || str_starts(line, kinds[i]);
    }
    for (const char *c = line; *c != '\0'; c++) {
        known = known && (unsigned char)*c >= ' ';
    }
    return known && strchr(line, ' ') != NULL;
}

static int read_keys(const char *path, json_t *keys, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    char *save = NULL;
    int r = read_text("ssh-key", path, &text, e);

    for (char *line = r < 0 ? NULL : strtok_r(text, "\r\n", &save); line != NULL;
         line = strtok_r(NULL, "\r\n", &save)) {
        if (line[0] == '#') {
            continue;
        }
        if (!is_key(line) || json_array_append_new(keys, json_string(line)) < 0) {
            return err_set(e, -EINVAL,
                           "cannot use --ssh-key '%s': it is no public key of OpenSSH",
                           path);
        }
    }
    return r;
}

int guest_boot_seed(struct guest *g, struct err *e)
{
    json_t *config = guest_config(g);
    const json_t *list = json_object_get(config, "ssh_key");
    const char *data = json_string_value(json_object_get(config, "user_data"));
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_json) json_t *keys = json_array();
    size_t i;
    json_t *item;
    int r = 0;

    json_array_foreach(list, i, item)
    {
        r = r < 0 ? r : read_keys(json_string_value(item), keys, e);
    }
    if (r == 0 && data != NULL) {
        r = read_text("user-data", data, &text, e);
    }
    if (r == 0 && list != NULL) {
        (void)json_object_set(config, "ssh_key", keys);
    }
    if (r == 0 && text != NULL &&
        json_object_set_new(config, "user_data", json_string(text)) < 0) {
        r = err_set(e, -EINVAL, "cannot use --user-data '%s': it is not UTF-8", data);
    }
    return r;
}
