/* mix.c - the everyday mix: a list that is searched and reversed, a small matrix
 * product, a state machine over text, and a CRC over what they gave. */
#include "cpu.h"

#define ROUNDS CPU_ROUNDS(8000)
#define ITEMS  64
#define SIDE   12

struct item {
    struct item *next;
    int16_t key, value;
};

static struct item items[ITEMS];

static uint16_t crc16(uint16_t crc, uint32_t value)
{
    int i;

    crc ^= (uint16_t)value;
    for (i = 0; i < 16; i++) {
        crc = (uint16_t)((crc & 1) != 0 ? (crc >> 1) ^ 0xa001 : crc >> 1);
    }
    return crc;
}

static struct item *make_list(uint32_t seed)
{
    unsigned i;

    for (i = 0; i < ITEMS; i++) {
        items[i].next = i + 1 < ITEMS ? &items[i + 1] : NULL;
        items[i].key = (int16_t)((i * 37 + seed) % ITEMS);
        items[i].value = (int16_t)(seed ^ i);
    }
    return items;
}

static struct item *reverse(struct item *list)
{
    struct item *done = NULL;

    while (list != NULL) {
        struct item *next = list->next;

        list->next = done;
        done = list;
        list = next;
    }
    return done;
}

static int find(const struct item *list, int16_t key)
{
    for (; list != NULL; list = list->next) {
        if (list->key == key) {
            return list->value;
        }
    }
    return -1;
}

static uint32_t lists(uint32_t seed)
{
    struct item *list = make_list(seed);
    uint32_t sum = 0;
    int16_t i;

    for (i = 0; i < ITEMS; i += 4) {
        sum += (uint32_t)find(list, i);
        list = reverse(list);
    }
    return sum;
}

static uint32_t matrices(uint32_t seed)
{
    static int16_t a[SIDE][SIDE], b[SIDE][SIDE];
    uint32_t sum = 0;
    int i, j, k;

    for (i = 0; i < SIDE; i++) {
        for (j = 0; j < SIDE; j++) {
            a[i][j] = (int16_t)(seed + (uint32_t)(i * j));
            b[j][i] = (int16_t)(seed ^ (uint32_t)(i + j));
        }
    }
    for (i = 0; i < SIDE; i++) {
        for (j = 0; j < SIDE; j++) {
            int32_t dot = 0;

            for (k = 0; k < SIDE; k++) {
                dot += a[i][k] * b[k][j];
            }
            sum += (uint32_t)dot >> 2;
        }
    }
    return sum;
}

enum state {
    START,
    SIGN,
    DIGITS,
    FRACTION,
    BAD
};

static enum state step(enum state s, char c)
{
    if (c == ',') {
        return START;
    }
    switch (s) {
    case START:
        return c == '-' || c == '+' ? SIGN : c >= '0' && c <= '9' ? DIGITS : BAD;
    case SIGN:
    case DIGITS:
        return c >= '0' && c <= '9' ? DIGITS : c == '.' ? FRACTION : BAD;
    case FRACTION:
        return c >= '0' && c <= '9' ? FRACTION : BAD;
    default:
        return BAD;
    }
}

static uint32_t states(uint32_t seed)
{
    static char text[] = "5012,-874,+122,35.54,1x5,.5,-110.7,0x10,7,8.9.1,+64,";
    uint32_t seen[BAD + 1] = {0};
    enum state s = START;
    unsigned i, turn;

    text[seed % (sizeof text - 1)] ^= 1;
    for (turn = 0; turn < 4; turn++) {
        for (i = 0; text[i] != 0; i++) {
            s = step(s, text[i]);
            seen[s]++;
        }
    }
    return seen[START] + (seen[DIGITS] << 8) + (seen[FRACTION] << 16) + (seen[BAD] << 24);
}

uint64_t work(void)
{
    uint16_t crc = 0;
    uint64_t sum = 0;
    uint32_t i;

    for (i = 0; i < ROUNDS; i++) {
        uint32_t l = lists(i), m = matrices(i), s = states(i);

        crc = crc16(crc16(crc16(crc, l), m), s);
        sum = cpu_mix(sum, crc ^ l ^ ((uint64_t)m << 20));
    }
    return sum;
}
