/* host/netlink/netlink.h - the kernel's netlink: rtnetlink and nf_tables. */
#ifndef HOST_NETLINK_NETLINK_H
#define HOST_NETLINK_NETLINK_H

#include "host/netlink/conntrack.h"
#include "host/netlink/message.h"
#include "host/netlink/nft.h"
#include "host/netlink/route.h"

#endif
