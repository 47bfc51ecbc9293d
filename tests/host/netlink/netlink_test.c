/* Messages as they are built, and as they are read from anything. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <linux/rtnetlink.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fault.h"
#include "host/netlink/netlink.h"

static int keep(void *arg, const struct netlink_message *m)
{
    *(struct netlink_message *)arg = *m;
    return 0;
}

static void nested_attributes_read_back(void **state)
{
    struct netlink_batch b = {0};
    struct netlink_message m;
    const struct nlattr *tb[8];
    const struct nlattr *inner[8];
    (void)state;
    netlink_begin(&b, 77, NLM_F_ACK, "head", 4);
    netlink_put_text(&b, 1, "text");
    netlink_nest(&b, 2);
    netlink_put_u8(&b, 3, 9);
    netlink_put_be32(&b, 4, 0x01020304);
    netlink_end(&b);
    netlink_put_u32(&b, 5, 6);
    assert_int_equal(b.failed, 0);
    assert_int_equal(netlink_walk(b.data, b.len, keep, &m), 0);
    assert_int_equal(m.type, 77);
    assert_int_equal(netlink_attrs(m.data, m.len, 4, tb, 7), 0);
    assert_string_equal(netlink_text(tb[1]), "text");
    assert_int_equal(netlink_u32(tb[5], 0), 6);
    assert_null(tb[6]);
    assert_int_equal(netlink_attrs(netlink_data(tb[2]), netlink_len(tb[2]), 0, inner, 7),
                     0);
    assert_int_equal(netlink_be32(inner[4], 0), 0x01020304);
    assert_int_equal(netlink_u32(inner[3], 42), 42); /* too short */
    assert_null(netlink_text(inner[3]));             /* no NUL */
    netlink_batch_fini(&b);
}

static void what_does_not_fit_is_told_at_the_end(void **state)
{
    static uint8_t big[65536];
    struct netlink nl = {.fd = -1};
    struct netlink_batch b = {0};
    (void)state;
    netlink_begin(&b, 1, 0, NULL, 0);
    netlink_put(&b, 1, big, sizeof big);
    assert_int_equal(netlink_send(&nl, &b, NULL, NULL, NULL), -EMSGSIZE);
    netlink_batch_reset(&b);
    netlink_begin(&b, 1, 0, NULL, 0);
    netlink_nest(&b, 1);
    netlink_put(&b, 1, big, 40000);
    netlink_put(&b, 1, big, 40000);
    netlink_end(&b);
    assert_int_equal(netlink_send(&nl, &b, NULL, NULL, NULL), -EMSGSIZE);
    netlink_batch_reset(&b);
    netlink_begin(&b, 1, 0, NULL, 0);
    for (unsigned i = 0; i <= NETLINK_NEST_DEPTH; i++) {
        netlink_nest(&b, 1);
    }
    assert_int_equal(netlink_send(&nl, &b, NULL, NULL, NULL), -EMSGSIZE);
    netlink_batch_fini(&b);
}

static void failed_allocation_is_remembered(void **state)
{
    struct netlink nl = {.fd = -1};
    (void)state;
    for (long at = 0; at < 3; at++) {
        struct netlink_batch b = {0};
        struct netlink_veth v = {.name = "a", .peer = "b", .peer_netns = -1};
        fault_fail_alloc_at(at);
        for (unsigned i = 0; i < 60; i++) {
            netlink_add_veth(&b, &v);
        }
        fault_fail_alloc_at(-1);
        assert_int_equal(netlink_send(&nl, &b, NULL, NULL, NULL), -ENOMEM);
        netlink_batch_fini(&b);
    }
}

static void lengths_that_lead_outside_are_refused(void **state)
{
    struct {
        struct nlmsghdr h;
        struct nlattr a;
        uint32_t value;
    } m = {.h = {.nlmsg_len = sizeof m}, .a = {.nla_len = 8, .nla_type = 1}, .value = 5};
    struct netlink_message got;
    const struct nlattr *tb[2];
    (void)state;
    assert_int_equal(netlink_walk(&m, sizeof m, keep, &got), 0);
    assert_int_equal(netlink_attrs(got.data, got.len, 0, tb, 1), 0);
    assert_int_equal(netlink_attrs(got.data, got.len, 99, tb, 1), -EBADMSG);
    m.a.nla_len = 9;
    assert_int_equal(netlink_attrs(got.data, got.len, 0, tb, 1), -EBADMSG);
    m.a.nla_len = 3;
    assert_int_equal(netlink_attrs(got.data, got.len, 0, tb, 1), -EBADMSG);
    m.h.nlmsg_len = sizeof m + 1;
    assert_int_equal(netlink_walk(&m, sizeof m, keep, &got), -EBADMSG);
    m.h.nlmsg_len = 15;
    assert_int_equal(netlink_walk(&m, sizeof m, keep, &got), -EBADMSG);
    assert_int_equal(netlink_walk(&m, 7, keep, &got), -EBADMSG);
}

static int touch_element(void *arg, const struct nft_element *el)
{
    unsigned *sum = arg;
    for (size_t i = 0; i < el->key_bytes; i++) {
        *sum += ((const uint8_t *)el->key)[i];
    }
    for (size_t i = 0; i < el->data_bytes; i++) {
        *sum += ((const uint8_t *)el->data)[i];
    }
    *sum += el->comment == NULL ? 0 : (unsigned)strlen(el->comment);
    return 0;
}

static int touch_table(void *arg, const char *table, const char *comment)
{
    *(unsigned *)arg +=
        (unsigned)strlen(table) + (comment == NULL ? 0 : (unsigned)strlen(comment));
    return 0;
}

static int read_all(void *arg, const struct netlink_message *m)
{
    struct netlink_link link;
    struct netlink_route route;
    (void)netlink_read_link(m, &link);
    (void)netlink_read_route(m, &route);
    struct conntrack_flow flow;
    (void)conntrack_read(m, &flow);
    (void)nft_read_elements(m, touch_element, arg);
    (void)nft_read_table(m, touch_table, arg);
    return 0;
}

/* Real messages with bytes changed, cut to exact size so that one byte too far shows. */
static void mutated_messages_are_read_without_harm(void **state)
{
    struct netlink_batch b = {0};
    struct netlink_veth v = {.name = "left", .peer = "right", .peer_netns = -1};
    uint8_t key[24] = {1};
    struct nft_element el = {
        .key = key, .key_bytes = 24, .data = key, .data_bytes = 8, .comment = "owner"};
    unsigned sum = 0;
    (void)state;
    netlink_add_veth(&b, &v);
    netlink_add_default_route(&b, 3, 10, key);
    nft_add_element(&b, "table", "map", &el);
    nft_add_table(&b, "table", "comment", true);
    netlink_add_alias(&b, 3, "alias");
    assert_int_equal(netlink_walk(b.data, b.len, read_all, &sum), 0);
    assert_int_not_equal(sum, 0); /* the untouched ones are understood */
    srand(3);
    for (unsigned round = 0; round < 30000; round++) {
        size_t n = b.len - (round % 3 == 0 ? (size_t)rand() % b.len : 0);
        uint8_t *copy = malloc(n);
        memcpy(copy, b.data, n);
        for (unsigned i = 0; i < 1 + round % 6; i++) {
            copy[(size_t)rand() % n] = (uint8_t)(rand() % 3 == 0 ? rand() % 40 : rand());
        }
        (void)netlink_walk(copy, n, read_all, &sum);
        free(copy);
    }
    netlink_batch_fini(&b);
}

static int find_flow(void *arg, const struct conntrack_flow *flow)
{
    *(struct conntrack_flow *)arg = *flow;
    return 1;
}

/* A message as the kernel sends it, made with the writer of the other direction. */
static void flow_reads_back_and_lengths_count(void **state)
{
    struct netlink_batch b = {0};
    struct conntrack_flow flow = {.family = AF_INET6, .proto = 17, .zone = 3};
    struct conntrack_flow back;
    struct netlink_message m;
    (void)state;
    flow.orig = (struct conntrack_tuple){
        .src = {1, 2}, .dst = {3, [15] = 4}, .sport = 5353, .dport = 53};
    conntrack_add_delete(&b, &flow);
    assert_int_equal(b.failed, 0);
    assert_int_equal(netlink_walk(b.data, b.len, keep, &m), 0);
    assert_int_equal(conntrack_read(&m, &back), -EBADMSG); /* of another type */
    m.type = (uint16_t)(m.type & 0xff00);                  /* IPCTNL_MSG_CT_NEW */
    assert_int_equal(conntrack_read(&m, &back), -EBADMSG); /* no answer's direction */
    netlink_batch_fini(&b);
}

static void flows_of_the_kernel_are_told_and_forgotten(void **state)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    struct conntrack_flow flow = {.family = 0};
    struct netlink_batch b = {0};
    struct netlink route;
    struct netlink nl;
    (void)state;
    if (unshare(CLONE_NEWNET) < 0) {
        print_message("skipped: needs root: cannot make network namespaces\n");
        skip();
    }
    assert_int_equal(netlink_open(&route, NETLINK_ROUTE, -1), 0);
    netlink_add_up(&b, 1);
    assert_int_equal(netlink_send(&route, &b, NULL, NULL, NULL), 0);
    netlink_batch_reset(&b);
    assert_int_equal(netlink_open(&nl, NETLINK_NETFILTER, -1), 0);
    nft_begin(&b); /* flows are tracked where a rule asks for them */
    nft_add_table(&b, "t", "a comment", true);
    nft_add_chain(&b, "t", &(struct nft_chain){"c", "filter", 3, 0});
    nft_begin_rule(&b, "t", "c");
    nft_ct_any(&b, 0, 1);
    nft_end_rule(&b);
    nft_end(&b);
    assert_int_equal(netlink_send(&nl, &b, NULL, NULL, NULL), 0);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof to), 1);
    int r = conntrack_each(&nl, AF_INET, find_flow, &flow);
    if (r < 0) {
        print_message("skipped: this kernel tells nothing of its flows\n");
        skip();
    }
    assert_int_equal(r, 1);
    assert_int_equal(flow.proto, 17);
    assert_int_equal(flow.orig.dport, 9);
    assert_int_equal(flow.reply.sport, 9);
    assert_memory_equal(flow.orig.dst, &to.sin_addr, 4);
    netlink_batch_reset(&b);
    conntrack_add_delete(&b, &flow);
    assert_int_equal(netlink_send(&nl, &b, NULL, NULL, NULL), 0);
    netlink_batch_reset(&b);
    conntrack_add_delete(&b, &flow);
    assert_int_equal(netlink_send(&nl, &b, NULL, NULL, NULL), -ENOENT);
    netlink_batch_fini(&b);
    netlink_close(&nl);
    netlink_close(&route);
    (void)close(fd);
}

static int count(void *arg, const struct netlink_link *link)
{
    ++*(unsigned *)arg;
    assert_int_not_equal(link->index, 0);
    return 0;
}

static void failures_name_their_message(void **state)
{
    struct netlink nl;
    struct netlink_batch b = {0};
    struct netlink_result result;
    struct netlink_link link;
    unsigned n = 0;
    (void)state;
    if (unshare(CLONE_NEWNET) < 0) {
        print_message("skipped: needs root: cannot make network namespaces\n");
        skip();
    }
    assert_int_equal(netlink_open(&nl, NETLINK_ROUTE, -1), 0);
    netlink_add_up(&b, 1);
    netlink_add_delete(&b, "absent");
    netlink_add_bridge(&b, "there", (const uint8_t[6]){2, 0, 0, 0, 0, 1}, 1500);
    netlink_add_delete(&b, "missing");
    assert_int_equal(netlink_send(&nl, &b, NULL, NULL, &result), -ENODEV);
    assert_int_equal(result.at, 1);
    assert_int_equal(netlink_find_link(&nl, "there", &link), 0); /* the rest was done */
    assert_string_equal(link.kind, "bridge");
    assert_int_equal(netlink_find_link(&nl, "absent", &link), -ENODEV);
    assert_int_equal(netlink_each_link(&nl, count, &n), 0);
    assert_int_equal(n, 2);
    netlink_batch_fini(&b);
    netlink_close(&nl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nested_attributes_read_back),
        cmocka_unit_test(what_does_not_fit_is_told_at_the_end),
        cmocka_unit_test(failed_allocation_is_remembered),
        cmocka_unit_test(lengths_that_lead_outside_are_refused),
        cmocka_unit_test(mutated_messages_are_read_without_harm),
        cmocka_unit_test(flow_reads_back_and_lengths_count),
        cmocka_unit_test(flows_of_the_kernel_are_told_and_forgotten),
        cmocka_unit_test(failures_name_their_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
