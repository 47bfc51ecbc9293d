/* protocol.h - the numbers of the protocol, doc/proto.md. */
#ifndef RESOURCE_STORAGE_NBD_PROTOCOL_H
#define RESOURCE_STORAGE_NBD_PROTOCOL_H

#include <stdint.h>

#define NBD_MAGIC             0x4e42444d41474943u /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC      0x49484156454f5054u /* "IHAVEOPT" */
#define NBD_REPLY_MAGIC       0x0003e889045565a9u /* of an option */
#define NBD_REQUEST_MAGIC     0x25609513u
#define NBD_EXTENDED_MAGIC    0x21e41c71u /* request with a length of 64 bits */
#define NBD_SIMPLE_MAGIC      0x67446698u
#define NBD_CHUNK_MAGIC       0x668e33efu /* structured reply */
#define NBD_EXT_CHUNK_MAGIC   0x6e8a278cu
#define NBD_NAME_MOST         4096u /* bytes of a string */
#define NBD_PAYLOAD_MOST      (32u * 1024 * 1024)
#define NBD_OPTION_MOST       65536u /* bytes of an option's data that we look at */
#define NBD_REQUEST_BYTES     28u
#define NBD_EXT_REQUEST_BYTES 32u

enum nbd_handshake {
    NBD_FIXED_NEWSTYLE = 1,
    NBD_NO_ZEROES = 2
};

enum nbd_option {
    NBD_OPT_EXPORT_NAME = 1,
    NBD_OPT_ABORT = 2,
    NBD_OPT_LIST = 3,
    NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED_REPLY = 8,
    NBD_OPT_LIST_META_CONTEXT = 9,
    NBD_OPT_SET_META_CONTEXT = 10,
    NBD_OPT_EXTENDED_HEADERS = 11
};

#define NBD_REP_ERROR 0x80000000u

enum nbd_option_reply {
    NBD_REP_ACK = 1,
    NBD_REP_SERVER = 2,
    NBD_REP_INFO = 3,
    NBD_REP_META_CONTEXT = 4
};

enum nbd_option_error { /* with NBD_REP_ERROR */
    NBD_ERR_UNSUP = 1,
    NBD_ERR_POLICY = 2,
    NBD_ERR_INVALID = 3,
    NBD_ERR_TLS_REQD = 5,
    NBD_ERR_UNKNOWN = 6,
    NBD_ERR_TOO_BIG = 9
};

enum nbd_info {
    NBD_INFO_EXPORT = 0,
    NBD_INFO_NAME = 1,
    NBD_INFO_DESCRIPTION = 2,
    NBD_INFO_BLOCK_SIZE = 3
};

enum nbd_flag {
    NBD_HAS_FLAGS = 1,
    NBD_READ_ONLY = 2,
    NBD_SEND_FLUSH = 4,
    NBD_SEND_FUA = 8,
    NBD_SEND_TRIM = 32,
    NBD_SEND_WRITE_ZEROES = 64,
    NBD_SEND_DF = 128,
    NBD_CAN_MULTI_CONN = 256,
    NBD_SEND_RESIZE = 512,
    NBD_SEND_CACHE = 1024,
    NBD_SEND_FAST_ZERO = 2048
};

enum nbd_command {
    NBD_CMD_READ = 0,
    NBD_CMD_WRITE = 1,
    NBD_CMD_DISC = 2,
    NBD_CMD_FLUSH = 3,
    NBD_CMD_TRIM = 4,
    NBD_CMD_CACHE = 5,
    NBD_CMD_WRITE_ZEROES = 6,
    NBD_CMD_BLOCK_STATUS = 7,
    NBD_CMD_RESIZE = 8
};

enum nbd_command_flag {
    NBD_CMD_FUA = 1,
    NBD_CMD_NO_HOLE = 2,
    NBD_CMD_DF = 4,
    NBD_CMD_REQ_ONE = 8,
    NBD_CMD_FAST_ZERO = 16
};

enum nbd_chunk {
    NBD_CHUNK_NONE = 0,
    NBD_CHUNK_DATA = 1,
    NBD_CHUNK_HOLE = 2,
    NBD_CHUNK_STATUS = 5,
    NBD_CHUNK_STATUS_EXT = 6,
    NBD_CHUNK_ERROR = 32769
};

#define NBD_CHUNK_DONE 1u

enum nbd_state { /* of base:allocation */
    NBD_STATE_HOLE = 1,
    NBD_STATE_ZERO = 2
};

static inline void nbd_put16(char *at, uint16_t v)
{
    v = __builtin_bswap16(v);
    __builtin_memcpy(at, &v, sizeof v);
}

static inline void nbd_put32(char *at, uint32_t v)
{
    v = __builtin_bswap32(v);
    __builtin_memcpy(at, &v, sizeof v);
}

static inline void nbd_put64(char *at, uint64_t v)
{
    v = __builtin_bswap64(v);
    __builtin_memcpy(at, &v, sizeof v);
}

static inline uint16_t nbd_get16(const char *at)
{
    uint16_t v;

    __builtin_memcpy(&v, at, sizeof v);
    return __builtin_bswap16(v);
}

static inline uint32_t nbd_get32(const char *at)
{
    uint32_t v;

    __builtin_memcpy(&v, at, sizeof v);
    return __builtin_bswap32(v);
}

static inline uint64_t nbd_get64(const char *at)
{
    uint64_t v;

    __builtin_memcpy(&v, at, sizeof v);
    return __builtin_bswap64(v);
}

#endif
