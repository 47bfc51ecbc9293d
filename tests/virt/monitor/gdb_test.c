/* gdb_test.c - packets of gdb's remote protocol against a machine of a few variables: right
 * ones, torn, wrong and hostile ones.  The packets are written down from the GDB manual's
 * appendix.  What a real gdb makes of it is tests/scenario/machine_gdb.sh.
 * rows: OPS-15 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contract/cpu_debug.h"
#include "contract/cpu_x86.h"
#include "tests/base/check.h"
#include "virt/monitor/gdb/gdb.h"

#define CPUS  2
#define BYTES 8192

struct fake {
    struct gdb *gdb;
    struct x86_regs regs[CPUS];
    uint8_t memory[BYTES];
    struct cpu_debug debug[CPUS];
    bool has_debug[CPUS], stands[CPUS];
    unsigned stops, goes, resets, kills, view;
    char out[65536];
};

static int on_stop(void *who)
{
    ((struct fake *)who)->stops++;
    return 0;
}

static void on_go(void *who)
{
    ((struct fake *)who)->goes++;
}

static void on_set(void *who, unsigned cpu, const struct cpu_debug *d, bool stands)
{
    struct fake *f = who;

    f->has_debug[cpu] = d != NULL;
    f->debug[cpu] = d != NULL ? *d : (struct cpu_debug){.steps = false};
    f->stands[cpu] = stands;
}

static void on_look(void *who, unsigned cpu, struct x86_regs *ret)
{
    *ret = ((struct fake *)who)->regs[cpu];
}

static int on_put(void *who, unsigned cpu, const struct x86_regs *r)
{
    if (r->cr4 >> 32 != 0) {
        return -EINVAL;
    }
    ((struct fake *)who)->regs[cpu] = *r;
    return 0;
}

static int on_read(void *who, unsigned cpu, uint64_t at, void *to, size_t bytes)
{
    struct fake *f = who;

    f->view = cpu;
    if (at > BYTES || bytes > BYTES - at) {
        return -EFAULT;
    }
    memcpy(to, f->memory + at, bytes);
    return 0;
}

static int on_write(void *who, unsigned cpu, uint64_t at, const void *from, size_t bytes)
{
    struct fake *f = who;

    f->view = cpu;
    if (at > BYTES || bytes > BYTES - at) {
        return -EFAULT;
    }
    memcpy(f->memory + at, from, bytes);
    return 0;
}

static int on_reset(void *who)
{
    ((struct fake *)who)->resets++;
    return 0;
}

static void on_kill(void *who)
{
    ((struct fake *)who)->kills++;
}

static struct fake *begin(void)
{
    struct fake *f = calloc(1, sizeof *f);
    struct gdb_target t;

    assert_non_null(f);
    t = (struct gdb_target){.cpus = CPUS,
                            .who = f,
                            .stop = on_stop,
                            .go = on_go,
                            .set = on_set,
                            .look = on_look,
                            .put = on_put,
                            .read = on_read,
                            .write = on_write,
                            .reset = on_reset,
                            .kill = on_kill};
    assert_int_equal(gdb_create(NULL, &t, &f->gdb, NULL), 0);
    gdb_open(f->gdb);
    return f;
}

static void end(struct fake *f)
{
    gdb_destroy(f->gdb);
    free(f);
}

static const char *feed(struct fake *f, const void *bytes, size_t n)
{
    size_t length = gdb_answer(f->gdb, bytes, n, (uint8_t *)f->out, sizeof f->out - 1);

    if (length == SIZE_MAX) {
        return NULL;
    }
    f->out[length] = '\0';
    return f->out;
}

/* The body of the answer to a packet: "+$BODY#SUM", checked. */
static const char *say_bytes(struct fake *f, const char *body, size_t n)
{
    char packet[4096];
    unsigned sum = 0;
    char *at = f->out;
    size_t length;

    packet[0] = '$';
    memcpy(packet + 1, body, n);
    for (size_t i = 0; i < n; i++) {
        sum += (uint8_t)body[i];
    }
    (void)snprintf(packet + 1 + n, 4, "#%02x", sum & 0xff);
    if (feed(f, packet, n + 4) == NULL) {
        return NULL;
    }
    at += *at == '+';
    if (*at == '\0') {
        return "(nothing)";
    }
    assert_int_equal(*at, '$');
    length = strlen(++at);
    assert_true(length >= 3 && at[length - 3] == '#');
    sum = 0;
    for (size_t i = 0; i < length - 3; i++) {
        sum += (uint8_t)at[i];
    }
    assert_int_equal(strtoul(at + length - 2, NULL, 16), sum & 0xff);
    at[length - 3] = '\0';
    return at;
}

static const char *say(struct fake *f, const char *body)
{
    return say_bytes(f, body, strlen(body));
}

/* The place of a register in the order of the description. */
static unsigned number_of(struct fake *f, const char *name)
{
    static char xml[65536];
    char word[64];
    unsigned n = 0;
    char *at;

    xml[0] = '\0';
    for (size_t offset = 0; strlen(xml) == offset; offset += 0x400) {
        const char *part;

        (void)snprintf(word, sizeof word, "qXfer:features:read:target.xml:%zx,400",
                       offset);
        part = say(f, word);
        assert_true(*part == 'm' || *part == 'l');
        strcat(xml, part + 1);
    }
    assert_non_null(strstr(xml, "</target>"));
    (void)snprintf(word, sizeof word, "<reg name=\"%s\"", name);
    for (at = strstr(xml, "<reg "); strncmp(at, word, strlen(word)) != 0;
         at = strstr(at + 1, "<reg ")) {
        n++;
    }
    return n;
}

static void registers_are_read_and_written_by_number(void **state)
{
    struct fake *f = begin();
    char text[128];

    (void)state;
    f->regs[0].gpr[X86_RIP] = 0x1122334455667788;
    f->regs[1].gpr[X86_RIP] = 0x99;
    f->regs[0].cr4 = 0x6f0;
    f->regs[0].fpu.fsw = 7 << 11;
    f->regs[0].fpu.st[0][0] = 0xab; /* the second from the top */
    assert_int_equal(number_of(f, "rax"), 0);
    assert_int_equal(number_of(f, "rip"), 16); /* as gdb's own amd64 features have it */
    assert_int_equal(number_of(f, "mxcsr"), 56);
    assert_string_equal(say(f, "p10"), "8877665544332211");
    assert_string_equal(say(f, "Hg2"), "OK");
    assert_string_equal(say(f, "p10"), "9900000000000000");
    assert_string_equal(say(f, "P0=0102030405060708"), "OK");
    assert_int_equal(f->regs[1].gpr[X86_RAX], 0x0807060504030201);
    assert_string_equal(say(f, "Hg1"), "OK");
    (void)snprintf(text, sizeof text, "p%x", number_of(f, "cr4"));
    assert_string_equal(say(f, text), "f006000000000000");
    (void)snprintf(text, sizeof text, "P%x=0000000001000000", number_of(f, "cr4"));
    assert_string_equal(say(f, text), "E16"); /* EINVAL: no such state */
    (void)snprintf(text, sizeof text, "p%x", number_of(f, "st1"));
    assert_string_equal(say(f, text), "ab000000000000000000");
    f->regs[0].fpu.ftw = 0x81;
    (void)snprintf(text, sizeof text, "p%x", number_of(f, "ftag"));
    assert_string_equal(say(f, text), "fc3f0000");
    assert_string_equal(say(f, "p999"), "E16");
    assert_string_equal(say(f, "P0=01"), "E16");
    end(f);
}

static void all_registers_go_back_as_they_came(void **state)
{
    struct fake *f = begin();
    char packet[4096];
    struct x86_regs before;

    (void)state;
    for (size_t i = 0; i < offsetof(struct x86_regs, cr4); i++) {
        ((uint8_t *)&f->regs[0])[i] = (uint8_t)(i * 7);
    }
    f->regs[0].halted = false;
    before = f->regs[0];
    (void)snprintf(packet, sizeof packet, "G%s", say(f, "g"));
    memset(&f->regs[0].gpr, 0, sizeof f->regs[0].gpr);
    memset(&f->regs[0].fpu.ymm, 0, sizeof f->regs[0].fpu.ymm);
    assert_string_equal(say(f, packet), "OK");
    assert_memory_equal(before.gpr, f->regs[0].gpr, (X86_RIP + 1) * 8);
    assert_memory_equal(before.fpu.ymm, f->regs[0].fpu.ymm, sizeof before.fpu.ymm);
    packet[strlen(packet) - 1] = '\0';
    assert_string_equal(say(f, packet), "E16");
    end(f);
}

static void memory_is_read_and_written(void **state)
{
    static const char raw[] = "X10,4:a}\x03}]\0";
    struct fake *f = begin();

    (void)state;
    memcpy(f->memory + 4090, "0123456789", 10);
    assert_string_equal(say(f, "mffa,4"), "30313233");
    assert_int_equal(f->view, 0);
    assert_string_equal(say(f, "mffa,a"), "30313233343536373839");
    assert_string_equal(say(f, "m1ffe,8"), "0000"); /* as much as there is */
    assert_string_equal(say(f, "m3000,1"), "E0e");
    assert_string_equal(say(f, "mffffffffffffffff,ffffffffffffffff"), "E16");
    assert_string_equal(say(f, "m0,4000"), "E16");
    assert_string_equal(say(f, "M8,2:abcd"), "OK");
    assert_memory_equal(f->memory + 8, "\xab\xcd", 2);
    assert_string_equal(say(f, "M8,2:ab"), "E16");
    assert_string_equal(say(f, "M8,2"), "E16");
    assert_string_equal(say_bytes(f, raw, sizeof raw - 1), "OK");
    assert_memory_equal(f->memory + 16, "a#}\0", 4);
    assert_string_equal(say(f, "X10,4:a}"), "E16");
    assert_string_equal(say(f, "X0,0:"), "OK"); /* whether it is understood */
    assert_string_equal(say(f, "Qqemu.PhyMemMode:1"), "OK");
    assert_string_equal(say(f, "qqemu.PhyMemMode"), "1");
    (void)say(f, "m0,1");
    assert_int_equal(f->view, GDB_PHYSICAL);
    end(f);
}

static void threads_are_processors(void **state)
{
    struct fake *f = begin();

    (void)state;
    assert_string_equal(say(f, "?"), "T05thread:1;");
    assert_string_equal(say(f, "qfThreadInfo"), "m1,2");
    assert_string_equal(say(f, "qsThreadInfo"), "l");
    assert_string_equal(say(f, "T2"), "OK");
    assert_string_equal(say(f, "T3"), "E03");
    assert_string_equal(say(f, "T0x"), "E03");
    assert_string_equal(say(f, "Hg0"), "OK");
    assert_string_equal(say(f, "Hc-1"), "OK");
    assert_string_equal(say(f, "Hg3"), "E16");
    assert_string_equal(say(f, "qC"), "QC1");
    f->regs[1].halted = true;
    f->regs[1].cpl = 3; /* "CPU 1, level 3, halted" */
    assert_string_equal(say(f, "qThreadExtraInfo,2"),
                        "43505520312c206c6576656c20332c2068616c746564");
    end(f);
}

static void it_goes_on_as_it_is_told(void **state)
{
    struct fake *f = begin();

    (void)state;
    assert_int_equal(f->stops, 1);
    assert_string_equal(say(f, "vCont?"), "vCont;c;C;s;S");
    assert_string_equal(say(f, "Z0,1000,1"), "OK");
    assert_string_equal(say(f, "Z0,1000,1"), "OK"); /* once */
    assert_string_equal(say(f, "Z1,2000,1"), "OK");
    assert_string_equal(say(f, "Z2,3000,4"), "OK");
    assert_string_equal(say(f, "Z4,3004,8"), "OK");
    assert_string_equal(say(f, "Z2,3000,0"), "E16");
    assert_string_equal(say(f, "Z5,0,0"), "");
    assert_string_equal(say(f, "Zx"), "");
    assert_string_equal(say(f, "vCont;s:2;c"), "(nothing)");
    assert_int_equal(f->goes, 1);
    assert_false(f->debug[0].steps || f->stands[0] || f->stands[1]);
    assert_true(f->debug[1].steps);
    assert_int_equal(f->debug[0].breaks, 2);
    assert_int_equal(f->debug[0].watches, 2);
    assert_true(f->debug[0].watch[1].reads && !f->debug[0].watch[0].reads);
    assert_string_equal(say(f, "g"), "(nothing)"); /* it runs: not now */
    gdb_stopped(f->gdb, 1, CPU_DEBUG_BREAK, 0x2000);
    assert_string_equal(feed(f, "", 0), "$T05thread:2;hwbreak:;#31");
    assert_string_equal(say(f, "?"), "T05thread:2;hwbreak:;");
    assert_string_equal(say(f, "qC"), "QC2");
    assert_string_equal(say(f, "z1,2000,1"), "OK");
    assert_string_equal(say(f, "z1,2000,1"), "OK");
    assert_string_equal(say(f, "z2,3000,4"), "OK");
    assert_string_equal(say(f, "vCont;s:2"), "(nothing)");
    assert_true(f->stands[0] && !f->stands[1] && f->debug[1].steps);
    assert_int_equal(f->debug[1].breaks, 1);
    gdb_stopped(f->gdb, 1, CPU_DEBUG_WATCH, 0x3004);
    assert_string_equal(feed(f, "", 0), "$T05thread:2;awatch:3004;#8c");
    assert_string_equal(say(f, "vCont"), "E16");
    assert_string_equal(say(f, "vCont;c:3"), "E16");
    assert_string_equal(say(f, "vCont;x"), "E16");
    assert_string_equal(say(f, "vCont;C05:-1"), "(nothing)");
    assert_string_equal(feed(f, "\x03", 1), "$T02thread:2;#d5");
    assert_int_equal(f->stops, 2);
    assert_string_equal(say(f, "c1234"), "(nothing)");
    assert_int_equal(f->regs[1].gpr[X86_RIP], 0x1234);
    gdb_ended(f->gdb, 3);
    assert_string_equal(feed(f, "", 0), "$W03#ba");
    end(f);
}

static void breakpoints_have_an_end(void **state)
{
    struct fake *f = begin();
    char text[32];

    (void)state;
    for (unsigned i = 0; i < CPU_BREAKS_MOST; i++) {
        (void)snprintf(text, sizeof text, "Z0,%x,1", i);
        assert_string_equal(say(f, text), "OK");
    }
    assert_string_equal(say(f, "Z0,ffff,1"), "E1c"); /* ENOSPC */
    end(f);
}

static void who_goes_leaves_nothing(void **state)
{
    struct fake *f = begin();

    (void)state;
    (void)say(f, "Z0,1000,1");
    (void)say(f, "c");
    gdb_stopped(f->gdb, 0, CPU_DEBUG_BREAK, 0x1000);
    (void)feed(f, "", 0);
    assert_null(say(f, "D")); /* sent away */
    assert_int_equal(f->goes, 2);
    assert_false(f->has_debug[0] || f->has_debug[1]);
    gdb_open(f->gdb);
    assert_null(say(f, "k"));
    assert_int_equal(f->kills, 1);
    gdb_open(f->gdb);
    assert_string_equal(say(f, "qRcmd,7265736574"), "OK"); /* reset */
    assert_int_equal(f->resets, 1);
    assert_string_equal(say(f, "qRcmd,706879736963616c206f6e"), "OK");
    assert_string_equal(say(f, "qqemu.PhyMemMode"), "1");
    assert_string_equal(say(f, "qRcmd,7"), "E16");
    end(f);
}

static void torn_and_wrong_packets(void **state)
{
    struct fake *f = begin();
    static char long_one[GDB_PACKET_MOST + 64];

    (void)state;
    assert_string_equal(feed(f, "+++$q", 5), "");
    assert_string_equal(feed(f, "C#", 2), "");
    assert_string_equal(feed(f, "b4", 2), "+$QC1#c5");
    assert_string_equal(feed(f, "-", 1), "$QC1#c5");  /* once more */
    assert_string_equal(feed(f, "$qC#b5", 6), "-");   /* does not add up */
    assert_string_equal(feed(f, "$#00", 4), "+$#00"); /* nothing is nothing */
    assert_string_equal(say(f, "vMustReplyEmpty"), "");
    assert_string_equal(say(f, "QStartNoAckMode"), "OK");
    assert_string_equal(feed(f, "$qC#b4", 6), "$QC1#c5");
    assert_null(feed(f, "$qC#zz", 6));
    gdb_open(f->gdb);
    memset(long_one, 'a', sizeof long_one);
    long_one[0] = '$';
    assert_null(feed(f, long_one, sizeof long_one));
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_are_read_and_written_by_number),
        cmocka_unit_test(all_registers_go_back_as_they_came),
        cmocka_unit_test(memory_is_read_and_written),
        cmocka_unit_test(threads_are_processors),
        cmocka_unit_test(it_goes_on_as_it_is_told),
        cmocka_unit_test(breakpoints_have_an_end),
        cmocka_unit_test(who_goes_leaves_nothing),
        cmocka_unit_test(torn_and_wrong_packets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
