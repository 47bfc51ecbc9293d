/* packet.c - what a packet says is done, and answered.
 *
 * Sources: GDB manual, appendix "GDB Remote Serial Protocol": "Packets", "General Query
 * Packets", "vCont".  All-stop mode; what is not understood is answered by nothing, as the
 * protocol wants it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "virt/monitor/gdb/private.h"

#define MEMORY_MOST ((GDB_PACKET_MOST - 64) / 2)

/* ---- answers ---- */

void answer_add(struct gdb *g, const char *text)
{
    size_t n = strlen(text);

    if (n <= GDB_PACKET_MOST - g->answer_n) {
        memcpy(g->answer + g->answer_n, text, n + 1);
        g->answer_n += n;
    }
}

void answer_addf(struct gdb *g, const char *format, ...)
{
    size_t room = GDB_PACKET_MOST + 1 - g->answer_n;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(g->answer + g->answer_n, room, format, args);
    va_end(args);
    if (n > 0 && (size_t)n < room) {
        g->answer_n += (size_t)n;
    }
}

void answer_hex(struct gdb *g, const void *bytes, size_t n)
{
    const uint8_t *from = bytes;

    for (size_t i = 0; i < n; i++) {
        answer_addf(g, "%02x", from[i]);
    }
}

static bool answer_code(struct gdb *g, int r)
{
    if (r == 0) {
        answer_add(g, "OK");
    } else {
        answer_addf(g, "E%02x", r < 0 && r > -256 ? (unsigned)-r : 1u);
    }
    return true;
}

/* ---- registers ---- */

static struct x86_regs look(struct gdb *g)
{
    struct x86_regs r = {0};

    g->target.look(g->target.who, g->cpu, &r);
    return r;
}

/* One that goes elsewhere does not wait where it was. */
static int put(struct gdb *g, const struct x86_regs *before, struct x86_regs *r)
{
    r->halted = r->halted && r->gpr[X86_RIP] == before->gpr[X86_RIP];
    return g->target.put(g->target.who, g->cpu, r);
}

static bool do_registers(struct gdb *g, const char *text)
{
    const struct x86_regs r = look(g);

    registers_all(g, &r);
    return *text == '\0';
}

static bool do_set_registers(struct gdb *g, const char *text)
{
    const struct x86_regs before = look(g);
    struct x86_regs r = before;

    return answer_code(g, registers_set_all(&r, text) ? put(g, &before, &r) : -EINVAL);
}

static bool do_register(struct gdb *g, const char *text)
{
    const struct x86_regs r = look(g);
    uint64_t number;

    if (!text_number(&text, &number) || !registers_one(g, &r, number)) {
        return answer_code(g, -EINVAL);
    }
    return true;
}

static bool do_set_register(struct gdb *g, const char *text)
{
    const struct x86_regs before = look(g);
    struct x86_regs r = before;
    uint64_t number;
    bool is_good = text_number(&text, &number) && text_take(&text, '=') &&
                   registers_set_one(&r, number, text);

    return answer_code(g, is_good ? put(g, &before, &r) : -EINVAL);
}

/* ---- memory ---- */

static bool read_place(const char **text, uint64_t *ret_at, uint64_t *ret_bytes)
{
    return text_number(text, ret_at) && text_take(text, ',') &&
           text_number(text, ret_bytes) && *ret_bytes <= MEMORY_MOST;
}

static unsigned view(const struct gdb *g)
{
    return g->physical ? GDB_PHYSICAL : g->cpu;
}

/* As much as there is: less than was asked for is an answer, too. */
static bool do_read(struct gdb *g, const char *text)
{
    uint8_t bytes[MEMORY_MOST];
    uint64_t at, n;
    int r;

    if (!read_place(&text, &at, &n)) {
        return answer_code(g, -EINVAL);
    }
    r = g->target.read(g->target.who, view(g), at, bytes, n);
    if (r < 0 && n > 4096 - (at & 4095)) {
        n = 4096 - (at & 4095);
        r = g->target.read(g->target.who, view(g), at, bytes, n);
    }
    if (r < 0) {
        return answer_code(g, r);
    }
    answer_hex(g, bytes, n);
    return true;
}

static bool do_write(struct gdb *g, const char *text)
{
    uint8_t bytes[MEMORY_MOST];
    uint64_t at, n;

    if (!read_place(&text, &at, &n) || !text_take(&text, ':') ||
        !text_bytes(&text, bytes, n)) {
        return answer_code(g, -EINVAL);
    }
    return answer_code(g, g->target.write(g->target.who, view(g), at, bytes, n));
}

/* Bytes as they are; behind '}' one is XORed with a blank. */
static bool do_write_raw(struct gdb *g, const char *text)
{
    const char *end = g->in + g->in_n;
    uint8_t bytes[MEMORY_MOST];
    uint64_t at, n, have = 0;

    if (!read_place(&text, &at, &n) || !text_take(&text, ':')) {
        return answer_code(g, -EINVAL);
    }
    for (; text < end && have < n; text++) {
        bool is_escape = *text == '}';

        if (is_escape && ++text == end) {
            break;
        }
        bytes[have++] = (uint8_t)(is_escape ? *text ^ 0x20 : *text);
    }
    if (have != n || text != end) {
        return answer_code(g, -EINVAL);
    }
    return answer_code(g, n == 0 ? 0
                                 : g->target.write(g->target.who, view(g), at, bytes, n));
}

/* ---- threads ---- */

/* "-1" and "0" leave the choice; false: there is no such one. */
static bool read_cpu(const struct gdb *g, const char *text, unsigned *ret)
{
    uint64_t n;

    *ret = g->cpu;
    if (strcmp(text, "-1") == 0 || strcmp(text, "0") == 0) {
        return true;
    }
    if (!text_number(&text, &n) || *text != '\0' || n == 0 || n > g->target.cpus) {
        return false;
    }
    *ret = (unsigned)n - 1;
    return true;
}

static bool do_choose(struct gdb *g, const char *text)
{
    unsigned cpu;

    if ((*text != 'g' && *text != 'c') || !read_cpu(g, text + 1, &cpu)) {
        return answer_code(g, -EINVAL);
    }
    g->cpu = cpu;
    return answer_code(g, 0);
}

static bool do_is_alive(struct gdb *g, const char *text)
{
    unsigned cpu;

    return answer_code(g, read_cpu(g, text, &cpu) ? 0 : -ESRCH);
}

static bool do_threads(struct gdb *g, const char *text)
{
    (void)text;
    for (unsigned i = 0; i < g->target.cpus; i++) {
        answer_addf(g, "%c%x", i == 0 ? 'm' : ',', i + 1);
    }
    return true;
}

static bool do_no_more_threads(struct gdb *g, const char *text)
{
    (void)text;
    answer_add(g, "l");
    return true;
}

static bool do_thread_text(struct gdb *g, const char *text)
{
    struct x86_regs r = {0};
    unsigned cpu;
    char line[64];

    if (!read_cpu(g, text, &cpu)) {
        return answer_code(g, -ESRCH);
    }
    g->target.look(g->target.who, cpu, &r);
    (void)str_print(line, sizeof line, "CPU %u, level %u%s", cpu, r.cpl,
                    r.halted ? ", halted" : "");
    answer_hex(g, line, strlen(line));
    return true;
}

static bool do_current(struct gdb *g, const char *text)
{
    (void)text;
    answer_addf(g, "QC%x", g->cpu + 1);
    return true;
}

/* ---- going on ---- */

/* "c", "s" and their kin, with an address or without: all go, or one steps. */
static bool do_go(struct gdb *g, const char *text)
{
    bool has_signal = text[-1] == 'C' || text[-1] == 'S';
    bool steps = text[-1] == 's' || text[-1] == 'S';
    enum way way[GDB_CPUS_MOST];
    const struct x86_regs before = look(g);
    struct x86_regs r = before;
    uint64_t at;

    if (has_signal &&
        (!text_number(&text, &at) || (*text != '\0' && !text_take(&text, ';')))) {
        return answer_code(g, -EINVAL);
    }
    if (*text != '\0') {
        if (!text_number(&text, &r.gpr[X86_RIP]) || *text != '\0' ||
            put(g, &before, &r) < 0) {
            return answer_code(g, -EINVAL);
        }
    }
    for (unsigned i = 0; i < g->target.cpus; i++) {
        way[i] = !steps ? WAY_GOES : i == g->cpu ? WAY_STEPS : WAY_STANDS;
    }
    points_go(g, way);
    return false;
}

static bool do_continue(struct gdb *g, const char *text)
{
    return points_continue(g, text) ? false : answer_code(g, -EINVAL);
}

static bool do_ways(struct gdb *g, const char *text)
{
    (void)text;
    answer_add(g, "vCont;c;C;s;S");
    return true;
}

static bool do_point(struct gdb *g, const char *text)
{
    int r;

    return !points_change(g, text, text[-1] == 'Z', &r) || answer_code(g, r);
}

static bool do_why(struct gdb *g, const char *text)
{
    (void)text;
    answer_add(g, g->stop);
    return true;
}

static bool do_detach(struct gdb *g, const char *text)
{
    (void)text;
    g->is_lost = true;
    return answer_code(g, 0);
}

static bool do_kill(struct gdb *g, const char *text)
{
    bool is_answered = text[-1] != 'k'; /* vKill is */

    g->is_lost = true;
    g->target.kill(g->target.who);
    return is_answered && answer_code(g, 0);
}

/* ---- queries ---- */

static bool do_supported(struct gdb *g, const char *text)
{
    (void)text;
    answer_addf(g,
                "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+;"
                "swbreak+;hwbreak+",
                GDB_PACKET_MOST);
    return true;
}

static bool do_quiet(struct gdb *g, const char *text)
{
    (void)text;
    g->acks = false;
    return answer_code(g, 0);
}

static bool do_describe(struct gdb *g, const char *text)
{
    uint64_t offset, bytes;

    if (!text_number(&text, &offset) || !text_take(&text, ',') ||
        !text_number(&text, &bytes)) {
        return answer_code(g, -EINVAL);
    }
    registers_describe(g, offset, bytes);
    return true;
}

static bool do_attached(struct gdb *g, const char *text)
{
    (void)text;
    answer_add(g, "1");
    return true;
}

static bool do_ok(struct gdb *g, const char *text)
{
    (void)text;
    return answer_code(g, 0);
}

static bool do_is_physical(struct gdb *g, const char *text)
{
    (void)text;
    answer_add(g, g->physical ? "1" : "0");
    return true;
}

static bool do_physical(struct gdb *g, const char *text)
{
    bool is_good = (*text == '0' || *text == '1') && text[1] == '\0';

    g->physical = is_good ? *text == '1' : g->physical;
    return answer_code(g, is_good ? 0 : -EINVAL);
}

/* gdb's command "monitor": a word in hexadecimal. */
static bool do_monitor(struct gdb *g, const char *text)
{
    static const char help[] =
        "reset: start again, and stand before the first instruction\n"
        "physical on, physical off: addresses of memory are those\n";
    char word[32] = "";
    size_t n = strlen(text) / 2;

    if (n >= sizeof word || !text_bytes(&text, (uint8_t *)word, n) || *text != '\0') {
        return answer_code(g, -EINVAL);
    }
    if (strcmp(word, "reset") == 0) {
        return answer_code(g, g->target.reset(g->target.who));
    }
    if (strcmp(word, "physical on") == 0 || strcmp(word, "physical off") == 0) {
        g->physical = strcmp(word, "physical on") == 0;
        return answer_code(g, 0);
    }
    answer_hex(g, help, sizeof help - 1);
    return true;
}

/* ---- all of them ---- */

/* The longest that fits comes first. */
static const struct {
    const char *begin;
    bool (*fn)(struct gdb *g, const char *rest); /* whether there is an answer */
} words[] = {
    {"vCont?", do_ways},
    {"vCont", do_continue},
    {"vKill", do_kill},
    {"qSupported", do_supported},
    {"QStartNoAckMode", do_quiet},
    {"qXfer:features:read:target.xml:", do_describe},
    {"qfThreadInfo", do_threads},
    {"qsThreadInfo", do_no_more_threads},
    {"qThreadExtraInfo,", do_thread_text},
    {"qAttached", do_attached},
    {"qSymbol::", do_ok},
    {"qRcmd,", do_monitor},
    {"qqemu.PhyMemMode", do_is_physical}, /* as scripts for another monitor say it */
    {"Qqemu.PhyMemMode:", do_physical},
    {"qC", do_current},
    {"?", do_why},
    {"g", do_registers},
    {"G", do_set_registers},
    {"p", do_register},
    {"P", do_set_register},
    {"m", do_read},
    {"M", do_write},
    {"X", do_write_raw},
    {"H", do_choose},
    {"T", do_is_alive},
    {"Z", do_point},
    {"z", do_point},
    {"c", do_go},
    {"C", do_go},
    {"s", do_go},
    {"S", do_go},
    {"D", do_detach},
    {"k", do_kill},
};

bool packet_do(struct gdb *g)
{
    g->answer_n = 0;
    g->answer[0] = '\0';
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (str_starts(g->in, words[i].begin)) {
            return words[i].fn(g, g->in + strlen(words[i].begin));
        }
    }
    return true;
}
