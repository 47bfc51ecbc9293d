/* bzimage.c - the header of a bzImage (Linux, Documentation/arch/x86/boot.rst). */
#include "resource/image/kernel/bzimage.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"

#define BOOT_FLAG      0x1feu /* 0xaa55 */
#define HEADER_JUMP    0x201u /* its second byte: where the header ends */
#define HEADER_MAGIC   0x202u /* "HdrS" */
#define HEADER_VERSION 0x206u
#define PAYLOAD_OFFSET 0x248u /* protocol 2.08 */
#define PAYLOAD_LENGTH 0x24cu
#define LEAST_VERSION  0x208u
#define LEAST_BYTES    0x268u
#define HEADER_END     0x290u /* of struct boot_params: the header's room */
#define SECTOR         512u

static uint32_t get(const uint8_t *at, unsigned bytes)
{
    uint32_t v = 0;

    memcpy(&v, at, bytes);
    return v;
}

bool bzimage_is(const uint8_t *file, size_t bytes)
{
    return bytes > LEAST_BYTES && get(file + BOOT_FLAG, 2) == 0xaa55 &&
           memcmp(file + HEADER_MAGIC, "HdrS", 4) == 0;
}

static int cut(struct err *e)
{
    return err_set(e, -EBADMSG, "the file is cut or damaged");
}

int bzimage_read(const uint8_t *file, size_t bytes, struct bzimage *ret, struct err *e)
{
    size_t end = HEADER_MAGIC + file[HEADER_JUMP];
    size_t sectors = file[BZIMAGE_SETUP_AT] == 0 ? 4 : file[BZIMAGE_SETUP_AT];
    uint64_t from = (sectors + 1) * SECTOR + (uint64_t)get(file + PAYLOAD_OFFSET, 4);
    uint64_t length = get(file + PAYLOAD_LENGTH, 4);

    end = end > HEADER_END ? HEADER_END : end;
    if (get(file + HEADER_VERSION, 2) < LEAST_VERSION || end > bytes) {
        return err_set(e, -ENOTSUP, "it is older than boot protocol 2.08");
    }
    if (from > bytes || length > bytes - from || length < 8) {
        return cut(e);
    }
    *ret = (struct bzimage){.setup = file + BZIMAGE_SETUP_AT,
                            .setup_bytes = end - BZIMAGE_SETUP_AT,
                            .payload = file + from,
                            .payload_bytes = length,
                            .plain_bytes = get(file + from + length - 4, 4)};
    return ret->plain_bytes == 0 || ret->plain_bytes > BZIMAGE_PLAIN_MOST ? cut(e) : 0;
}
