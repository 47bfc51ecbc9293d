/* frame_fuzz.c - any frame of a guest passes the user-mode network's filter or does not;
 * ports and resolver files are read or refused. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "resource/network/usernet/gate.h"
#include "resource/network/usernet/usernet.h"
#include "tests/fuzz/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct gate gate;
    uint8_t *copy = malloc(size + 1);
    struct network_publish publish;
    struct str out = {0};

    memcpy(copy, data, size);
    copy[size] = '\0';
    gate_note(&gate, copy, size);
    (void)gate_allows(&gate, copy, size);
    if (gate_is_from_loopback6(copy, size)) {
        gate_hide_loopback6(copy);
    }
    memcpy(copy, data, size);
    if (network_publish_parse((const char *)copy, &publish, NULL) == 0) {
        (void)network_publish_text(&publish, &out);
    }
    (void)network_resolv_conf((const char *)copy, (const char *)copy, NULL, &out);
    str_fini(&out);
    free(copy);
    return 0;
}
