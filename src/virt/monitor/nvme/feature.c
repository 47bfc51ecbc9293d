/* feature.c - what a driver chooses: NVMe 5.15 and 5.21.
 *
 * Most of it is kept and told, and changes nothing: there is one order of commands, one power state,
 * and interrupts are gathered anyway. */
#include <string.h>

#include "virt/monitor/nvme/private.h"

#define SAVE          0x80000000u /* dw10 of Set */
#define SELECT        0x700u      /* dw10 of Get: what is now, and nothing else */
#define UNDER         0x100000u   /* dw11 of a threshold: below */
#define SENSOR        0xf0000u
#define SENSOR_ALL    0xf0000u
#define COALESCES_NOT 0x10000u

void nvme_choice_reset(struct nvme *n)
{
    n->choice = (struct nvme_choice){.hot = TEMPERATURE_BAD};
    n->choice.feature[NVME_WRITE_CACHE] = 1;
    n->choice.feature[NVME_QUEUES] = (n->queues - 1) * 0x10001u;
    for (unsigned i = 0; i < QUEUES_ALL; i++) {
        n->choice.vector[i] = i;
    }
    n->choice.vector[0] |= COALESCES_NOT;
}

/* Bits that are kept of each; 0: there is no such feature. */
static uint32_t bits_of(uint32_t which)
{
    switch (which) {
    case NVME_ARBITRATION:
        return 0xffffff07u;
    case NVME_POWER:
        return 0xffu;
    case NVME_TEMPERATURE:
        return 0x3fffffu;
    case NVME_ERROR_RECOVERY:
    case NVME_COALESCING:
        return 0xffffu;
    case NVME_WRITE_CACHE:
    case NVME_ATOMICITY:
        return 1;
    case NVME_QUEUES:
        return UINT32_MAX;
    case NVME_VECTOR:
        return 0x1ffffu;
    case NVME_EVENTS:
        return NVME_EVENTS_OUR;
    default:
        return 0;
    }
}

static uint16_t get_threshold(struct nvme_request *r)
{
    const struct nvme_choice *c = &r->nvme->choice;

    if ((r->c.dw11 & SENSOR) != 0) {
        return NVME_INVALID_FIELD;
    }
    r->result = (r->c.dw11 & UNDER) != 0 ? c->cold : c->hot;
    return NVME_OK;
}

uint16_t nvme_get_feature(struct nvme_request *r)
{
    const struct nvme *n = r->nvme;
    uint32_t which = r->c.dw10 & 0xff;

    if (bits_of(which) == 0 || (r->c.dw10 & SELECT) != 0) {
        return NVME_INVALID_FIELD;
    }
    if (which == NVME_TEMPERATURE) {
        return get_threshold(r);
    }
    if (which == NVME_VECTOR) {
        if ((r->c.dw11 & 0xffff) >= n->f.msix.count) {
            return NVME_INVALID_FIELD;
        }
        r->result = n->choice.vector[r->c.dw11 & 0xffff];
        return NVME_OK;
    }
    r->result = n->choice.feature[which];
    return NVME_OK;
}

/* A disk that has no temperature has always the same. */
static uint16_t set_threshold(struct nvme_request *r)
{
    struct nvme_choice *c = &r->nvme->choice;
    uint32_t sensor = r->c.dw11 & SENSOR;

    if (sensor != 0 && sensor != SENSOR_ALL) {
        return NVME_INVALID_FIELD;
    }
    *((r->c.dw11 & UNDER) != 0 ? &c->cold : &c->hot) = r->c.dw11 & 0xffff;
    if ((c->feature[NVME_EVENTS] & NVME_EVENTS_HEAT) != 0 &&
        (c->hot <= TEMPERATURE || c->cold >= TEMPERATURE)) {
        nvme_raise(r->nvme, NVME_EVENT_HEALTH, NVME_HEALTH_HEAT);
    }
    return NVME_OK;
}

/* As many as there are, whatever was asked for; only at first. */
static uint16_t set_queues(struct nvme_request *r)
{
    const struct nvme_choice *c = &r->nvme->choice;

    if (c->has_queues) {
        return NVME_SEQUENCE;
    }
    if ((r->c.dw11 & 0xffff) == 0xffff || r->c.dw11 >> 16 == 0xffff) {
        return NVME_INVALID_FIELD;
    }
    r->result = c->feature[NVME_QUEUES];
    return NVME_OK;
}

static uint16_t set_vector(struct nvme_request *r)
{
    uint32_t vector = r->c.dw11 & 0xffff;

    if (vector >= r->nvme->f.msix.count) {
        return NVME_INVALID_FIELD;
    }
    r->nvme->choice.vector[vector] = r->c.dw11 & bits_of(NVME_VECTOR);
    return NVME_OK;
}

uint16_t nvme_set_feature(struct nvme_request *r)
{
    uint32_t which = r->c.dw10 & 0xff;

    if (bits_of(which) == 0) {
        return NVME_INVALID_FIELD;
    }
    if ((r->c.dw10 & SAVE) != 0) {
        return NVME_NOT_SAVEABLE;
    }
    switch (which) {
    case NVME_TEMPERATURE:
        return set_threshold(r);
    case NVME_QUEUES:
        return set_queues(r);
    case NVME_VECTOR:
        return set_vector(r);
    case NVME_POWER:
        if ((r->c.dw11 & 0x1f) != 0) {
            return NVME_INVALID_FIELD; /* there is one state */
        }
        break;
    default:
        break;
    }
    r->nvme->choice.feature[which] = r->c.dw11 & bits_of(which);
    return NVME_OK;
}
