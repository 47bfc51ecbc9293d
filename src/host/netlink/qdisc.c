/* The rate of a link: a token bucket (tc-tbf(8)) as its queue. */
#include "host/netlink/route.h"

#include <stdint.h>

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "host/netlink/message.h"

#define OUR_HANDLE 0x53540000U /* 5354: in `tc qdisc` */

void netlink_add_rate(struct netlink_batch *b, uint32_t index,
                      const struct netlink_rate *rate)
{
    struct tcmsg head = {.tcm_family = AF_UNSPEC,
                         .tcm_ifindex = (int)index,
                         .tcm_handle = OUR_HANDLE,
                         .tcm_parent = TC_H_ROOT};
    bool long_rate = rate->bytes_per_second > UINT32_MAX;
    struct tc_tbf_qopt parms = {
        .rate = {.linklayer = TC_LINKLAYER_ETHERNET,
                 .rate = long_rate ? UINT32_MAX : (uint32_t)rate->bytes_per_second},
        .limit = rate->queue_bytes};
    netlink_begin(b, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, &head,
                  sizeof head);
    netlink_put_text(b, TCA_KIND, "tbf");
    netlink_nest(b, TCA_OPTIONS);
    netlink_put(b, TCA_TBF_PARMS, &parms, sizeof parms);
    if (long_rate) {
        netlink_put(b, TCA_TBF_RATE64, &rate->bytes_per_second,
                    sizeof rate->bytes_per_second);
    }
    netlink_put_u32(b, TCA_TBF_BURST, rate->burst_bytes);
    netlink_end(b);
}

void netlink_add_no_rate(struct netlink_batch *b, uint32_t index)
{
    struct tcmsg head = {.tcm_family = AF_UNSPEC,
                         .tcm_ifindex = (int)index,
                         .tcm_handle = OUR_HANDLE,
                         .tcm_parent = TC_H_ROOT};
    netlink_begin(b, RTM_DELQDISC, NLM_F_ACK, &head, sizeof head);
}
