/* format.h - numbers and layouts of a qcow2 file.
 *
 * QEMU, docs/interop/qcow2.rst ("Qcow2 Image File Format").  All numbers in the file
 * are big endian. */
#ifndef RESOURCE_STORAGE_QCOW2_FORMAT_H
#define RESOURCE_STORAGE_QCOW2_FORMAT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define QCOW2_MAGIC              0x514649fbu
#define QCOW2_V2_BYTES           72  /* "For version 2, the header is exactly 72 bytes" */
#define QCOW2_V3_BYTES           104 /* at least, in version 3 */
#define QCOW2_NAME_MOST          1023
#define QCOW2_CLUSTER_BITS_LEAST 9
#define QCOW2_CLUSTER_BITS_MOST  21 /* the limit of other implementations, too */
#define QCOW2_EXT_BITS_LEAST     14 /* with extended L2 entries */
#define QCOW2_SUBCLUSTERS        32

/* "Header": incompatible, compatible and autoclear features. */
#define QCOW2_DIRTY        ((uint64_t)1 << 0)
#define QCOW2_CORRUPT      ((uint64_t)1 << 1)
#define QCOW2_DATA_FILE    ((uint64_t)1 << 2)
#define QCOW2_COMPRESSION  ((uint64_t)1 << 3)
#define QCOW2_EXTENDED_L2  ((uint64_t)1 << 4)
#define QCOW2_KNOWN        ((uint64_t)0x1f)
#define QCOW2_LAZY         ((uint64_t)1 << 0)
#define QCOW2_AUTO_BITMAPS ((uint64_t)1 << 0)
#define QCOW2_AUTO_RAW     ((uint64_t)1 << 1)
#define QCOW2_AUTO_KNOWN   ((uint64_t)0x3)

/* "Header extensions". */
#define QCOW2_EXT_END      0x00000000u
#define QCOW2_EXT_FORMAT   0xe2792acau
#define QCOW2_EXT_FEATURES 0x6803f857u
#define QCOW2_EXT_BITMAPS  0x23852875u
#define QCOW2_EXT_CRYPT    0x0537be77u
#define QCOW2_EXT_DATA     0x44415441u

/* "Cluster mapping": L1 and L2 entries. */
#define QCOW2_OFFSET      ((uint64_t)0x00fffffffffffe00)
#define QCOW2_COPIED      ((uint64_t)1 << 63)
#define QCOW2_COMPRESSED  ((uint64_t)1 << 62)
#define QCOW2_ZERO        ((uint64_t)1)
#define QCOW2_L1_RESERVED ((uint64_t)0x7f000000000001ff)
#define QCOW2_L2_RESERVED ((uint64_t)0x3f000000000001fe)
#define QCOW2_RT_RESERVED ((uint64_t)0x1ff)
#define QCOW2_HOST_MOST   ((uint64_t)1 << 56)

/* Tables that an image may have: more is refused, so that foreign bytes cannot ask
 * for more memory.  The values are those of other implementations. */
#define QCOW2_L1_BYTES_MOST   (32u << 20)
#define QCOW2_RT_BYTES_MOST   (8u << 20)
#define QCOW2_SNAPSHOTS_MOST  65536u
#define QCOW2_SNAP_BYTES_MOST (64u << 20) /* of their whole table */
#define QCOW2_SNAP_EXTRA_MOST 1024u

static inline uint16_t qcow2_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t qcow2_get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return be32toh(v);
}

static inline uint64_t qcow2_get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return be64toh(v);
}

static inline void qcow2_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void qcow2_put32(uint8_t *p, uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, sizeof v);
}

static inline void qcow2_put64(uint8_t *p, uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, sizeof v);
}

#endif
