/* protocol.h - the numbers of the protocol, docs/interop/vhost-user.rst of QEMU 7.2. */
#ifndef RESOURCE_STORAGE_VHOST_USER_PROTOCOL_H
#define RESOURCE_STORAGE_VHOST_USER_PROTOCOL_H

#include <stdint.h>

/* Feature bits beside those of the device. */
#define VHOST_F_LOG_ALL       ((uint64_t)1 << 26)
#define VHOST_USER_F_PROTOCOL ((uint64_t)1 << 30)

/* Protocol features. */
#define VHOST_USER_P_MQ        ((uint64_t)1 << 0)
#define VHOST_USER_P_LOG_SHMFD ((uint64_t)1 << 1)
#define VHOST_USER_P_REPLY_ACK ((uint64_t)1 << 3)
#define VHOST_USER_P_BACKEND   ((uint64_t)1 << 5)
#define VHOST_USER_P_CONFIG    ((uint64_t)1 << 9)
#define VHOST_USER_P_INFLIGHT  ((uint64_t)1 << 12)
#define VHOST_USER_P_RESET     ((uint64_t)1 << 13)
#define VHOST_USER_P_MEM_SLOTS ((uint64_t)1 << 15)

enum vhost_user_message {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_RESET_OWNER = 4,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_LOG_BASE = 6,
    VHOST_USER_SET_LOG_FD = 7,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_SET_VRING_ERR = 14,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_SET_BACKEND_FD = 21,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_SET_CONFIG = 25,
    VHOST_USER_GET_INFLIGHT_FD = 31,
    VHOST_USER_SET_INFLIGHT_FD = 32,
    VHOST_USER_RESET_DEVICE = 34,
    VHOST_USER_GET_MAX_MEM_SLOTS = 36,
    VHOST_USER_ADD_MEM_REG = 37,
    VHOST_USER_REM_MEM_REG = 38,
    VHOST_USER_MESSAGE_COUNT
};

#define VHOST_USER_BACKEND_CONFIG_CHANGE 2 /* a message of ours */

#define VHOST_USER_VERSION      1u
#define VHOST_USER_VERSION_MASK 3u
#define VHOST_USER_REPLY        4u
#define VHOST_USER_NEED_REPLY   8u

#define VHOST_USER_FDS_MOST    8
#define VHOST_USER_CONFIG_MOST 256u
#define VHOST_USER_TABLE_MOST  8    /* regions in one SET_MEM_TABLE */
#define VHOST_USER_NO_FD       256u /* in the index of kick, call, err */
#define VHOST_USER_INDEX_MASK  255u
#define VHOST_USER_VRING_LOG   1u /* flag of SET_VRING_ADDR */
#define VHOST_USER_LOG_PAGE    4096u

struct vhost_user_head {
    uint32_t request;
    uint32_t flags;
    uint32_t bytes; /* of the payload */
};

struct vhost_user_state {
    uint32_t index;
    uint32_t number;
};

struct vhost_user_addresses {
    uint32_t index;
    uint32_t flags;
    uint64_t desc;
    uint64_t used;
    uint64_t available;
    uint64_t log;
};

struct vhost_user_region {
    uint64_t guest;
    uint64_t bytes;
    uint64_t user;
    uint64_t offset; /* in its file */
};

struct vhost_user_table {
    uint32_t count;
    uint32_t padding;
    struct vhost_user_region region[VHOST_USER_TABLE_MOST];
};

struct vhost_user_one_region {
    uint64_t padding;
    struct vhost_user_region region;
};

/* A part of a file: SET_LOG_BASE, and the begin of the inflight messages. */
struct vhost_user_area {
    uint64_t bytes;
    uint64_t offset;
};

struct vhost_user_inflight {
    struct vhost_user_area area;
    uint16_t queues;
    uint16_t size;
} __attribute__((packed));

struct vhost_user_config {
    uint32_t offset;
    uint32_t bytes;
    uint32_t flags;
    uint8_t payload[VHOST_USER_CONFIG_MOST];
};

union vhost_user_payload {
    uint64_t number;
    struct vhost_user_state state;
    struct vhost_user_addresses addresses;
    struct vhost_user_table table;
    struct vhost_user_one_region one_region;
    struct vhost_user_area area;
    struct vhost_user_inflight inflight;
    struct vhost_user_config config;
};

#endif
