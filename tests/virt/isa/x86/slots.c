/* slots.c - the opcode maps byte by byte. */
#include <stdlib.h>
#include <string.h>

#include "tests/base/check.h"
#include "tests/virt/isa/x86/slots.h"

#define SLOTS_MOST   400000
#define STRIDE_BYTES 16

/* Instructions of extensions that the processor does not offer, by the beginning of
 * their names. */
static const char *const foreign[] = {
    /* virtualization, enclaves, system management, trusted execution */
    "vmread", "vmwrite", "vmptr", "vmclear", "vmxo", "vmlaunch", "vmresume", "vmfunc",
    "vmrun", "vmload", "vmsave", "stgi", "clgi", "skinit", "invlpga", "invept", "invvpid",
    "encl", "rsm", "getsec", "pconfig", "seam", "tdcall", "rmp", "psmash", "pvalidate",
    "vmgexit", "tlbsync", "invlpgb", "hreset", "wrmsr", "rdmsrlist",
    /* shadow stacks, protection keys, transactions, user interrupts, waiting */
    "rdssp", "incssp", "saveprevssp", "rstorssp", "wrss", "wruss", "setssbsy", "clrssbsy",
    "rdpkru", "wrpkru", "xbegin", "xabort", "xend", "xtest", "xsusldtrk", "xresldtrk",
    "clui", "stui", "testui", "uiret", "senduipi", "umonitor", "umwait", "tpause",
    "monitorx", "mwaitx", "mcommit", "rdpru", "clzero",
    /* caches and stores */
    "wbnoinvd", "clwb", "cldemote", "movdir", "enqcmd", "serialize", "ptwrite",
    "prefetchit",
    /* bounds, three-d-now, SSE4a, the AMD sets before AVX2 */
    "bnd", "femms", "extrq", "insertq", "movnts", "llwpcb", "slwpcb", "lwp", "vfrcz",
    "vpcom", "vphadd", "vphsub", "vpmacs", "vpmadcs", "vpperm", "vprot", "vpsha", "vpshl",
    "vpcmov", "bextr", "blc", "bls", "t1mskc", "tzmsk", "vpermil2",
    /* AVX-512, AMX, VNNI, GFNI, the wide AES and SHA sets */
    "k", "tile", "tdp", "ldtilecfg", "sttilecfg", "gf2p8", "vgf2p8", "vpdp", "sha512",
    "vpmadd52", "vbcst", "vcvtne", "aesenc128", "aesenc256", "aesdec128", "aesdec256",
    "aesencwide", "aesdecwide", "loadiwkey", "encodekey", "vaes", "vpclmul", "cmp??xadd",
    "aadd", "aand", "aor", "axor", "rao", "rdfred",
    /* Cyrix, Geode, VIA */
    "xstore", "xcrypt", "xsha", "montmul", "dmint", "rdm", "svdc", "rsdc", "svldt",
    "rsldt", "svts", "rsts", "smint", "bb0", "bb1", "cpu_", "altinst", "paddsiw", "paveb",
    "pdistib", "pmachriw", "pmagw", "pmulhriw", "pmvgezb", "pmvlzb", "pmvnzb", "pmvzb",
    "psubsiw", "frstpm", "pf", "pi2f", "pswapd", "pmulhrw", "pavgusb"};

bool slots_is_foreign(const struct objdump_line *o, const char *normal)
{
    size_t name = strcspn(normal, " ");
    bool is_fma4 = (strncmp(normal, "vfm", 3) == 0 || strncmp(normal, "vfnm", 4) == 0) &&
                   name < strcspn(normal, "123");

    if (o->bytes[0] == 0x62 || is_fma4 || strncmp(normal, "{vex}", 5) == 0 ||
        strstr(normal, ",tr") != NULL || strncmp(normal, "mov tr", 6) == 0 ||
        (strncmp(normal, "cmp", 3) == 0 && strstr(normal, "xadd") != NULL)) {
        return true;
    }
    for (size_t k = 0; k < sizeof foreign / sizeof foreign[0]; k++) {
        if (strncmp(normal, foreign[k], strlen(foreign[k])) == 0) {
            return true;
        }
    }
    return false;
}

static void add_slot(struct slots *s, const uint8_t *bytes, size_t n)
{
    uint8_t *slot = s->bytes + s->count++ * STRIDE_BYTES;

    assert_true(s->count <= SLOTS_MOST);
    memset(slot, 0x90, STRIDE_BYTES);
    memcpy(slot, bytes, n);
}

/* Opcodes where modrm.reg chooses, and those where all of modrm does. */
enum group {
    NO_GROUP,
    BY_REG,
    BY_MODRM
};

static enum group group_of(unsigned map, unsigned opcode)
{
    static const uint8_t one[] = {0x80, 0x81, 0x82, 0x83, 0x8c, 0x8e, 0x8f,
                                  0xc0, 0xc1, 0xc6, 0xc7, 0xd0, 0xd1, 0xd2,
                                  0xd3, 0xf6, 0xf7, 0xfe, 0xff};
    static const uint8_t two[] = {0x00, 0x0d, 0x18, 0x1a, 0x1b, 0x1c, 0x20, 0x21,
                                  0x22, 0x23, 0x71, 0x72, 0x73, 0xba, 0xc7};

    if ((map == 0 && opcode >= 0xd8 && opcode <= 0xdf) ||
        (map == 1 && (opcode == 0x01 || opcode == 0xae || opcode == 0x1e))) {
        return BY_MODRM;
    }
    if ((map == 0 && memchr(one, (int)opcode, sizeof one) != NULL) ||
        (map == 1 && memchr(two, (int)opcode, sizeof two) != NULL) ||
        (map == 2 && opcode == 0xf3)) {
        return BY_REG;
    }
    return NO_GROUP;
}

static void add_modrms(struct slots *s, uint8_t *bytes, size_t n, enum group group)
{
    for (unsigned reg = 0; reg < (group == NO_GROUP ? 1 : 8); reg++) {
        bytes[n] = (uint8_t)(reg << 3); /* [eax], [bx+si] */
        add_slot(s, bytes, n + 1);
        for (unsigned rm = 0; rm < (group == BY_MODRM ? 8 : 1); rm++) {
            bytes[n] = (uint8_t)(0xc0 | reg << 3 | rm);
            add_slot(s, bytes, n + 1);
        }
    }
}

static enum group at_least(enum group group, bool all_regs)
{
    return group == NO_GROUP && all_regs ? BY_REG : group;
}

static void add_legacy_map(struct slots *s, unsigned map, bool all_regs)
{
    static const uint8_t prefixes[4] = {0, 0x66, 0xf3, 0xf2};
    static const uint8_t escapes[4] = {0, 0, 0x38, 0x3a};

    for (unsigned k = 0; k < 4 * 256; k++) {
        uint8_t bytes[8];
        size_t n = 0;

        if (prefixes[k >> 8] != 0) {
            bytes[n++] = prefixes[k >> 8];
        }
        if (map > 0) {
            bytes[n++] = 0x0f;
        }
        if (map > 1) {
            bytes[n++] = escapes[map];
        }
        bytes[n++] = (uint8_t)k;
        add_modrms(s, bytes, n, at_least(group_of(map, k & 255), all_regs));
    }
}

static void add_vex_map(struct slots *s, unsigned map, bool all_regs)
{
    for (unsigned k = 0; k < 32 * 256; k++) { /* W, vvvv used, L, prefix; opcode */
        unsigned vvvv = k >> 11 & 1 ? 14 : 15;
        unsigned last = (k >> 12 & 1) << 7 | vvvv << 3 | (k >> 8 & 7);
        uint8_t bytes[5] = {0xc4, (uint8_t)(0xe0 | map), (uint8_t)last, (uint8_t)k};
        enum group group = at_least(group_of(map, k & 255), all_regs);

        add_modrms(s, bytes, 4, group == NO_GROUP ? NO_GROUP : BY_REG);
    }
}

static bool is_prefix_word(const char *word, size_t n)
{
    static const char *const words[] = {"repz",   "repnz", "data16", "data32", "addr16",
                                        "addr32", "lock",  "cs",     "ds",     "es",
                                        "ss",     "fs",    "gs",     "bnd",    "notrack"};

    for (size_t k = 0; k < sizeof words / sizeof words[0]; k++) {
        if (strlen(words[k]) == n && strncmp(word, words[k], n) == 0) {
            return true;
        }
    }
    return strncmp(word, "rex", 3) == 0;
}

bool slots_is_nothing(const struct objdump_line *o, const char *normal)
{
    if (o->is_bad || strchr(normal, '?') != NULL) {
        return true;
    }
    for (const char *p = normal; *p != '\0';) {
        size_t n = strcspn(p, " ");

        if (!is_prefix_word(p, n)) {
            return false;
        }
        p += n + strspn(p + n, " ");
    }
    return true;
}

void slots_make(struct slots *ret_slots, bool vex, bool all_regs)
{
    *ret_slots = (struct slots){.bytes = malloc((size_t)SLOTS_MOST * STRIDE_BYTES),
                                .stride = STRIDE_BYTES};
    assert_non_null(ret_slots->bytes);
    for (unsigned map = vex; map < 4; map++) {
        (vex ? add_vex_map : add_legacy_map)(ret_slots, map, all_regs);
    }
}

void slots_free(struct slots *s)
{
    free(s->bytes);
}
