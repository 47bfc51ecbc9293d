/* ref.c - references to images, by the grammar of the distribution specification 1.1. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "resource/image/store.h"

#define PATH_BYTES_MAX 255 /* registry and path together, as registries enforce it */

static bool is_low(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_word(char c)
{
    return is_low(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

bool store_is_digest(const char *text)
{
    if (!str_starts(text, "sha256:") || strlen(text) != IMAGE_DIGEST_BYTES - 1) {
        return false;
    }
    return strspn(text + 7, "0123456789abcdef") == 64;
}

/* [a-z0-9]+ ( [.] | _ | __ | -+ [a-z0-9]+ )*, up to `end`. */
static bool is_component(const char *p, const char *end)
{
    while (p < end && is_low(*p)) {
        p++;
        if (p == end) {
            return true;
        }
        if (*p == '.') {
            p++;
        } else if (*p == '_') {
            p += p[1] == '_' ? 2 : 1;
        } else {
            while (*p == '-') {
                p++;
            }
        }
    }
    return false;
}

static bool is_path(const char *path)
{
    for (;;) {
        const char *end = strchrnul(path, '/');

        if (!is_component(path, end)) {
            return false;
        }
        if (*end == '\0') {
            return true;
        }
        path = end + 1;
    }
}

static bool is_port(const char *text)
{
    size_t n = strspn(text, "0123456789");

    return n > 0 && n <= 5 && text[n] == '\0';
}

/* A host name, an IPv4 address or "[IPv6]", each with ":port" or without. */
static bool is_registry(const char *text)
{
    const char *p = text;

    if (*p == '[') {
        p++;
        p += strspn(p, "0123456789abcdefABCDEF:.");
        if (*p != ']') {
            return false;
        }
        p++;
    } else {
        if (!is_word(*p) || *p == '_') {
            return false;
        }
        while ((is_word(*p) && *p != '_') || *p == '.' || *p == '-') {
            p++;
        }
    }
    return *p == '\0' || (*p == ':' && is_port(p + 1));
}

static bool is_tag(const char *text)
{
    const char *p = text;

    if (!is_word(*p)) {
        return false;
    }
    while (is_word(*p) || *p == '.' || *p == '-') {
        p++;
    }
    return *p == '\0' && p - text <= 128;
}

/* The part before the first slash names a registry when it cannot be a path:
 * it has a dot, a colon or capitals, or is "localhost". */
static bool leads_with_registry(const char *text, const char *slash)
{
    for (const char *p = text; p < slash; p++) {
        if (*p == '.' || *p == ':' || (*p >= 'A' && *p <= 'Z')) {
            return true;
        }
    }
    return strncmp(text, "localhost/", 10) == 0;
}

static int refuse(const char *text, const char *why, struct err *e)
{
    return err_set(e, -EINVAL, "'%.200s' is not the name of an image: %s", text, why);
}

/* Cut "@digest" and ":tag" off the end of `rest`. */
static int cut_ends(const char *text, char *rest, struct image_ref *ref, struct err *e)
{
    char *at = strchr(rest, '@');
    char *colon;

    if (at != NULL) {
        *at = '\0';
        if (!store_is_digest(at + 1)) {
            return refuse(text, "the digest is not 'sha256:' and 64 hex digits", e);
        }
        (void)str_print(ref->digest, sizeof ref->digest, "%s", at + 1);
    }
    colon = strrchr(rest, ':');
    if (colon != NULL && strchr(colon, '/') == NULL) {
        *colon = '\0';
        if (!is_tag(colon + 1)) {
            return refuse(text, "a tag has 1 to 128 of A-Z a-z 0-9 _ . -", e);
        }
        (void)str_print(ref->tag, sizeof ref->tag, "%s", colon + 1);
    }
    return 0;
}

int image_ref_parse(const char *text, struct image_ref *ret, struct err *e)
{
    struct image_ref ref = {0};
    char copy[IMAGE_NAME_BYTES];
    char *path = copy;
    char *slash;
    int r;

    if (str_print(copy, sizeof copy, "%s", text) < 0) {
        return refuse(text, "it is too long", e);
    }
    slash = strchr(copy, '/');
    if (slash != NULL && leads_with_registry(copy, slash)) {
        *slash = '\0';
        if (!is_registry(copy) ||
            str_print(ref.registry, sizeof ref.registry, "%s", copy) < 0) {
            return refuse(text, "the registry is not HOST or HOST:PORT", e);
        }
        path = slash + 1;
    }
    r = cut_ends(text, path, &ref, e);
    if (r < 0) {
        return r;
    }
    if (strlen(ref.registry) + strlen(path) > PATH_BYTES_MAX) {
        return refuse(text, "it is too long", e);
    }
    if (!is_path(path)) {
        return refuse(text, "a path has lower-case letters and digits, parted by . _ - /",
                      e);
    }
    (void)str_print(ref.path, sizeof ref.path, "%s", path);
    if (ref.tag[0] == '\0' && ref.digest[0] == '\0') {
        (void)str_print(ref.tag, sizeof ref.tag, "latest");
    }
    *ret = ref;
    return 0;
}

int image_ref_name(const struct image_ref *ref, char out[IMAGE_NAME_BYTES])
{
    const char *tag = ref->tag[0] != '\0' ? ref->tag : "latest";

    return str_print(out, IMAGE_NAME_BYTES, "%s%s%s:%s", ref->registry,
                     ref->registry[0] != '\0' ? "/" : "", ref->path, tag);
}
