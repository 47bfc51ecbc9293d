/* numbers.h - the numbers of NVM Express 1.4 (NVMe), as far as they are used here. */
#ifndef VIRT_MONITOR_NVME_NUMBERS_H
#define VIRT_MONITOR_NVME_NUMBERS_H

#include <stdint.h>

#define NVME_PAGE_BYTES 4096u

/* Registers: NVMe 3.1. */
#define NVME_CAP       0x00u
#define NVME_VS        0x08u
#define NVME_INTMS     0x0cu
#define NVME_INTMC     0x10u
#define NVME_CC        0x14u
#define NVME_CSTS      0x1cu
#define NVME_AQA       0x24u
#define NVME_ASQ       0x28u
#define NVME_ACQ       0x30u
#define NVME_DOORBELLS 0x1000u

#define NVME_VERSION 0x00010400u

/*  63      59    55    51    47 45 44    37 36 35    32 31    24 23  19 18 17 16 15       0
 * |  -  |CMBS|PMRS|MPSMAX|MPSMIN|-|BPS| CSS |NSSRS|DSTRD |  TO   |  -   | AMS  |CQR| MQES  | */
#define NVME_CAP_QUEUES_TOGETHER (UINT64_C(1) << 16)
#define NVME_CAP_TIMEOUT_SHIFT   24 /* half seconds */
#define NVME_CAP_NVM             (UINT64_C(1) << 37)

/*  31       24 23    20 19    16 15 14 13 11 10   7 6  4 3 1  0
 * |     -     | IOCQES | IOSQES | SHN |  AMS | MPS  |CSS | - | EN | */
#define NVME_CC_ENABLE    1u
#define NVME_CC_CSS       0x70u
#define NVME_CC_MPS       0x780u
#define NVME_CC_AMS       0x3800u
#define NVME_CC_SHUTDOWN  0xc000u
#define NVME_CC_SIZES     0xff0000u
#define NVME_CC_SIZES_OUR 0x460000u /* 16 bytes and 64 */
#define NVME_CC_BITS      0xfffff1u

#define NVME_CSTS_READY         1u
#define NVME_CSTS_FATAL         2u
#define NVME_CSTS_SHUTTING_DOWN 4u
#define NVME_CSTS_SHUT_DOWN     8u
#define NVME_CSTS_SHUTDOWN      0xcu
#define NVME_CSTS_BITS          0xfu

/* A command: NVMe 4.2. */
struct nvme_command {
    uint8_t opcode;
    uint8_t flags; /* fused, and kind of data pointer: both must be 0 */
    uint16_t id;
    uint32_t nsid;
    uint32_t dw2, dw3;
    uint64_t metadata;
    uint64_t prp[2];
    uint32_t dw10, dw11, dw12, dw13, dw14, dw15;
};

/* Its answer: NVMe 4.6. */
struct nvme_answer {
    uint32_t result, dw1;
    uint16_t sq_head, sq_id;
    uint16_t id;
    uint16_t status; /* bit 0: the phase */
};

/* NVM 6.7.1: of Dataset Management. */
struct nvme_range {
    uint32_t attributes, blocks;
    uint64_t first;
};

_Static_assert(sizeof(struct nvme_command) == 64, "NVMe 4.2");
_Static_assert(sizeof(struct nvme_answer) == 16, "NVMe 4.6");
_Static_assert(sizeof(struct nvme_range) == 16, "NVMe 6.7.1");

#define NVME_NSID     1u
#define NVME_NSID_ALL UINT32_MAX

enum nvme_admin {
    NVME_DELETE_SQ = 0x00,
    NVME_CREATE_SQ = 0x01,
    NVME_GET_LOG = 0x02,
    NVME_DELETE_CQ = 0x04,
    NVME_CREATE_CQ = 0x05,
    NVME_IDENTIFY = 0x06,
    NVME_ABORT = 0x08,
    NVME_SET_FEATURES = 0x09,
    NVME_GET_FEATURES = 0x0a,
    NVME_ASYNC_EVENT = 0x0c
};

enum nvme_nvm {
    NVME_FLUSH = 0x00,
    NVME_WRITE = 0x01,
    NVME_READ = 0x02,
    NVME_WRITE_ZEROES = 0x08,
    NVME_DATASET = 0x09
};

#define NVME_DW12_FUA        0x40000000u
#define NVME_DW12_DEALLOCATE 0x02000000u /* Write Zeroes: 6.16 */
#define NVME_DATASET_DROP    4u          /* dw11: 6.7 */
#define NVME_RANGES_MOST     256u

/* Status, as in an answer without the phase: type in bits 8 to 10, bit 14: do not retry. */
#define NVME_NO_RETRY 0x4000u

enum nvme_status {
    NVME_OK = 0,
    NVME_INVALID_OPCODE = NVME_NO_RETRY | 0x01,
    NVME_INVALID_FIELD = NVME_NO_RETRY | 0x02,
    NVME_DATA_TRANSFER = NVME_NO_RETRY | 0x04,
    NVME_INTERNAL = 0x06,
    NVME_ABORTED = 0x07,
    NVME_INVALID_NAMESPACE = NVME_NO_RETRY | 0x0b,
    NVME_SEQUENCE = NVME_NO_RETRY | 0x0c,
    NVME_INVALID_PRP_OFFSET = NVME_NO_RETRY | 0x13,
    NVME_WRITE_PROTECTED = NVME_NO_RETRY | 0x20,
    NVME_OUT_OF_RANGE = NVME_NO_RETRY | 0x80,
    NVME_NO_ROOM = 0x81,
    NVME_CQ_INVALID = NVME_NO_RETRY | 0x100,
    NVME_INVALID_QUEUE = NVME_NO_RETRY | 0x101,
    NVME_INVALID_SIZE = NVME_NO_RETRY | 0x102,
    NVME_TOO_MANY_EVENTS = NVME_NO_RETRY | 0x105,
    NVME_INVALID_VECTOR = NVME_NO_RETRY | 0x108,
    NVME_INVALID_LOG = NVME_NO_RETRY | 0x109,
    NVME_INVALID_DELETION = NVME_NO_RETRY | 0x10c,
    NVME_NOT_SAVEABLE = NVME_NO_RETRY | 0x10d,
    NVME_WRITE_FAULT = 0x280,
    NVME_READ_FAULT = 0x281
};

/* Events: NVMe 5.2, type in bits 0 to 2 and info in bits 8 to 15 of the answer's result. */
enum nvme_event {
    NVME_EVENT_ERROR = 0,
    NVME_EVENT_HEALTH = 1,
    NVME_EVENT_NOTICE = 2,
    NVME_EVENT_COUNT
};

#define NVME_ERROR_REGISTER   0u /* a doorbell of a queue that is not there */
#define NVME_ERROR_VALUE      1u
#define NVME_HEALTH_HEAT      1u
#define NVME_NOTICE_NAMESPACE 0u

enum nvme_log {
    NVME_LOG_ERRORS = 1,
    NVME_LOG_HEALTH = 2,
    NVME_LOG_FIRMWARE = 3,
    NVME_LOG_NAMESPACES = 4
};

/* Features: NVMe 5.21.1. */
enum nvme_feature {
    NVME_ARBITRATION = 0x01,
    NVME_POWER = 0x02,
    NVME_TEMPERATURE = 0x04,
    NVME_ERROR_RECOVERY = 0x05,
    NVME_WRITE_CACHE = 0x06,
    NVME_QUEUES = 0x07,
    NVME_COALESCING = 0x08,
    NVME_VECTOR = 0x09,
    NVME_ATOMICITY = 0x0a,
    NVME_EVENTS = 0x0b,
    NVME_FEATURES /* behind the last one that is kept */
};

#define NVME_EVENTS_HEAT      0x0002u
#define NVME_EVENTS_NAMESPACE 0x0100u
#define NVME_EVENTS_OUR       0x011fu

#endif
