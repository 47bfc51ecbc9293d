/* registry_fuzz.c - what a registry says: challenges, manifests, addresses.  The first
 * byte chooses; the rest is the text. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "resource/image/registry/challenge.h"
#include "resource/image/registry/http.h"
#include "resource/image/registry/manifest.h"
#include "tests/fuzz/target.h"

static void try_challenge(const char *text)
{
    struct challenge c;

    if (challenge_parse(text, &c) == 0) {
        assert(c.kind < CHALLENGE_KIND_COUNT);
        assert(strlen(c.realm) < sizeof c.realm && strlen(c.scope) < sizeof c.scope);
    }
}

static void try_manifest(const char *text, size_t len)
{
    struct manifest m = {0};
    struct err e = {0};

    if (manifest_parse(text, len, NULL, "linux/amd64", &m, &e) < 0) {
        assert(e.code < 0 && e.text[0] != '\0');
        return;
    }
    assert(m.is_index || (m.n > 0 && m.n <= MANIFEST_LAYERS_MAX + 1));
    for (size_t i = 0; i < m.n; i++) {
        assert(strncmp(m.blobs[i].digest, "sha256:", 7) == 0);
    }
    manifest_fini(&m);
}

static void try_address(const char *text)
{
    char *joined = NULL, *host = NULL, *origin = NULL;

    if (http_join("https://registry.example:5000/v2/x/blobs/uploads/", text, &joined) ==
        0) {
        assert(strncmp(joined, "http", 4) == 0);
        if (http_host(joined, &host) == 0) {
            (void)http_is_loopback(host);
        }
        (void)http_origin(joined, &origin);
    }
    free(joined);
    free(host);
    free(origin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (size == 0) {
        return 0;
    }
    text = malloc(size);
    assert(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0] % 3) {
    case 0:
        try_challenge(text);
        break;
    case 1:
        try_manifest(text, size - 1);
        break;
    default:
        try_address(text);
    }
    free(text);
    return 0;
}
