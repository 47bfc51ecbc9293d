/* keyboard.c - an 8042 with a keyboard at its first port; nothing is at the second one.
 *
 * What the keyboard sends waits in its buffer, and goes on to the controller's one byte when
 * that was read; the controller's own answers come first.  A key has a code in set 1 and one in
 * set 2; with translation, as PCs have it, the guest sees set 1. */
#include "virt/monitor/dev/keyboard.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "contract/snap.h"
#include "virt/monitor/board/board.h"

#define PORT_DATA    0x60u
#define PORT_COMMAND 0x64u
#define LINE         1u

#define STATUS_FULL     0x01u
#define STATUS_SYSTEM   0x04u
#define STATUS_COMMAND  0x08u
#define STATUS_UNLOCKED 0x10u

#define MODE_INTERRUPTS 0x01u
#define MODE_SYSTEM     0x04u
#define MODE_OFF        0x10u /* the keyboard's clock stands */
#define MODE_NO_AUX     0x20u
#define MODE_TRANSLATES 0x40u

#define ACKNOWLEDGE 0xfau
#define AGAIN       0xfeu
#define PASSED      0xaau
#define BUFFER      32u
#define EXTENDED    0xe0u
#define RELEASE_2   0xf0u
#define RELEASE_1   0x80u

struct keyboard {
    struct dev dev;
    struct keyboard_config config;
    uint8_t mode;            /* the controller's command byte */
    uint8_t command;         /* of the controller, which waits for a byte; 0: none */
    uint8_t device_command;  /* ... of the keyboard */
    uint8_t was_command;     /* the last byte came to port 0x64 */
    uint8_t is_full, byte;   /* what port 0x60 gives */
    uint8_t answers, answer; /* the controller's own, at most one */
    uint8_t scans;           /* keys are told */
    uint8_t set;             /* of codes: 1, 2 or 3 */
    uint8_t count, buffer[BUFFER]; /* from the keyboard */
};

/* ---- bytes to the guest ---- */

static void settle(struct keyboard *k)
{
    if (!k->is_full && k->answers) {
        k->byte = k->answer;
        k->is_full = 1;
        k->answers = 0;
    } else if (!k->is_full && k->count > 0 && (k->mode & MODE_OFF) == 0) {
        k->byte = k->buffer[0];
        k->is_full = 1;
        k->count--;
        memmove(k->buffer, k->buffer + 1, k->count);
    }
    board_line(k->dev.board, LINE, k->is_full && (k->mode & MODE_INTERRUPTS) != 0);
}

static void answer(struct keyboard *k, uint8_t byte)
{
    k->answer = byte;
    k->answers = 1;
}

static void send(struct keyboard *k, uint8_t byte)
{
    if (k->count < BUFFER) {
        k->buffer[k->count++] = byte;
    }
}

/* ---- the keyboard ---- */

static void set_defaults(struct keyboard *k)
{
    k->set = 2;
    k->device_command = 0;
}

static void take_argument(struct keyboard *k, uint8_t value)
{
    uint8_t command = k->device_command;

    k->device_command = 0;
    send(k, ACKNOWLEDGE);
    if (command == 0xf0 && value == 0) {
        send(k, k->set);
    } else if (command == 0xf0 && value <= 3) {
        k->set = value;
    }
}

/* IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-Key)". */
static void obey(struct keyboard *k, uint8_t command)
{
    switch (command) {
    case 0xed: /* lamps */
    case 0xf0: /* a set of codes */
    case 0xf3: /* how fast keys repeat, which ours do not */
        k->device_command = command;
        send(k, ACKNOWLEDGE);
        break;
    case 0xee:
        send(k, 0xee);
        break;
    case 0xf2:
        send(k, ACKNOWLEDGE);
        send(k, 0xab);
        send(k, (k->mode & MODE_TRANSLATES) != 0 ? 0x41 : 0x83);
        break;
    case 0xf4:
        k->scans = 1;
        send(k, ACKNOWLEDGE);
        break;
    case 0xf5:
    case 0xf6:
        set_defaults(k);
        k->scans = command == 0xf6;
        send(k, ACKNOWLEDGE);
        break;
    case 0xff:
        set_defaults(k);
        k->scans = 1;
        k->count = 0;
        send(k, ACKNOWLEDGE);
        send(k, PASSED);
        break;
    default:
        send(k, AGAIN);
        break;
    }
}

/* ---- the controller ---- */

static void take_data(struct keyboard *k, uint8_t value)
{
    uint8_t command = k->command;

    k->command = 0;
    if (command == 0x60) {
        k->mode = value;
    } else if (command == 0xd1) {
        if ((value & 1) == 0) {
            k->config.reset(k->config.who);
        }
    } else if (command == 0xd2) {
        answer(k, value);
    } else if (command == 0) {
        k->mode &= (uint8_t)~MODE_OFF; /* it is spoken to */
        if (k->device_command != 0) {
            take_argument(k, value);
        } else {
            obey(k, value);
        }
    }
}

static void control(struct keyboard *k, uint8_t command)
{
    k->command = 0;
    switch (command) {
    case 0x20:
        answer(k, k->mode);
        break;
    case 0x60: /* the command byte */
    case 0xd1: /* the output port; its gate of address line 20 is open anyway */
    case 0xd2:
    case 0xd3: /* to the second port, */
    case 0xd4: /* where nobody hears it */
        k->command = command;
        break;
    case 0xa7:
        k->mode |= MODE_NO_AUX;
        break;
    case 0xa8:
        k->mode &= (uint8_t)~MODE_NO_AUX;
        break;
    case 0xaa:
        k->mode |= MODE_SYSTEM;
        answer(k, 0x55);
        break;
    case 0xa9: /* the second port's data line is stuck */
        answer(k, 3);
        break;
    case 0xab:
        answer(k, 0);
        break;
    case 0xad:
        k->mode |= MODE_OFF;
        break;
    case 0xae:
        k->mode &= (uint8_t)~MODE_OFF;
        break;
    case 0xc0: /* input port: not locked */
        answer(k, 0x80);
        break;
    case 0xd0: /* output port: no reset, line 20 is open */
        answer(k, 0x03);
        break;
    default:
        if (command >= 0xf0 && (command & 1) == 0) {
            k->config.reset(k->config.who);
        }
        break;
    }
}

static uint64_t read_data(void *who, uint64_t offset, unsigned bytes)
{
    struct keyboard *k = who;
    uint8_t byte = k->byte;

    (void)offset;
    (void)bytes;
    k->is_full = 0;
    board_line(k->dev.board, LINE, false); /* the next byte is another edge */
    settle(k);
    return byte;
}

static void write_data(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    struct keyboard *k = who;

    (void)offset;
    (void)bytes;
    k->was_command = 0;
    take_data(k, (uint8_t)value);
    settle(k);
}

static uint64_t read_status(void *who, uint64_t offset, unsigned bytes)
{
    const struct keyboard *k = who;

    (void)offset;
    (void)bytes;
    return (k->is_full ? STATUS_FULL : 0) |
           ((k->mode & MODE_SYSTEM) != 0 ? STATUS_SYSTEM : 0) |
           (k->was_command ? STATUS_COMMAND : 0) | STATUS_UNLOCKED;
}

static void write_command(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    struct keyboard *k = who;

    (void)offset;
    (void)bytes;
    k->was_command = 1;
    control(k, (uint8_t)value);
    settle(k);
}

/* ---- keys ---- */

static const struct key {
    const char *name;
    uint8_t code_1, code_2;
    bool is_extended;
} keys[] = {
    {"esc", 0x01, 0x76, false},     {"1", 0x02, 0x16, false},
    {"2", 0x03, 0x1e, false},       {"3", 0x04, 0x26, false},
    {"4", 0x05, 0x25, false},       {"5", 0x06, 0x2e, false},
    {"6", 0x07, 0x36, false},       {"7", 0x08, 0x3d, false},
    {"8", 0x09, 0x3e, false},       {"9", 0x0a, 0x46, false},
    {"0", 0x0b, 0x45, false},       {"minus", 0x0c, 0x4e, false},
    {"equal", 0x0d, 0x55, false},   {"backspace", 0x0e, 0x66, false},
    {"tab", 0x0f, 0x0d, false},     {"q", 0x10, 0x15, false},
    {"w", 0x11, 0x1d, false},       {"e", 0x12, 0x24, false},
    {"r", 0x13, 0x2d, false},       {"t", 0x14, 0x2c, false},
    {"y", 0x15, 0x35, false},       {"u", 0x16, 0x3c, false},
    {"i", 0x17, 0x43, false},       {"o", 0x18, 0x44, false},
    {"p", 0x19, 0x4d, false},       {"[", 0x1a, 0x54, false},
    {"]", 0x1b, 0x5b, false},       {"enter", 0x1c, 0x5a, false},
    {"ctrl", 0x1d, 0x14, false},    {"a", 0x1e, 0x1c, false},
    {"s", 0x1f, 0x1b, false},       {"d", 0x20, 0x23, false},
    {"f", 0x21, 0x2b, false},       {"g", 0x22, 0x34, false},
    {"h", 0x23, 0x33, false},       {"j", 0x24, 0x3b, false},
    {"k", 0x25, 0x42, false},       {"l", 0x26, 0x4b, false},
    {";", 0x27, 0x4c, false},       {"'", 0x28, 0x52, false},
    {"`", 0x29, 0x0e, false},       {"shift", 0x2a, 0x12, false},
    {"\\", 0x2b, 0x5d, false},      {"z", 0x2c, 0x1a, false},
    {"x", 0x2d, 0x22, false},       {"c", 0x2e, 0x21, false},
    {"v", 0x2f, 0x2a, false},       {"b", 0x30, 0x32, false},
    {"n", 0x31, 0x31, false},       {"m", 0x32, 0x3a, false},
    {",", 0x33, 0x41, false},       {".", 0x34, 0x49, false},
    {"/", 0x35, 0x4a, false},       {"alt", 0x38, 0x11, false},
    {"space", 0x39, 0x29, false},   {"f1", 0x3b, 0x05, false},
    {"f2", 0x3c, 0x06, false},      {"f3", 0x3d, 0x04, false},
    {"f4", 0x3e, 0x0c, false},      {"f5", 0x3f, 0x03, false},
    {"f6", 0x40, 0x0b, false},      {"f7", 0x41, 0x83, false},
    {"f8", 0x42, 0x0a, false},      {"f9", 0x43, 0x01, false},
    {"f10", 0x44, 0x09, false},     {"f11", 0x57, 0x78, false},
    {"f12", 0x58, 0x07, false},     {"home", 0x47, 0x6c, true},
    {"up", 0x48, 0x75, true},       {"pageup", 0x49, 0x7d, true},
    {"left", 0x4b, 0x6b, true},     {"right", 0x4d, 0x74, true},
    {"end", 0x4f, 0x69, true},      {"down", 0x50, 0x72, true},
    {"pagedown", 0x51, 0x7a, true}, {"insert", 0x52, 0x70, true},
    {"delete", 0x53, 0x71, true},
};

#define HELD_MOST 4u

static const struct key *find_key(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strlen(keys[i].name) == length && memcmp(keys[i].name, name, length) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

static void tell(struct keyboard *k, const struct key *key, bool is_down)
{
    bool is_1 = (k->mode & MODE_TRANSLATES) != 0 || k->set == 1;

    if (key->is_extended) {
        send(k, EXTENDED);
    }
    if (!is_down && !is_1) {
        send(k, RELEASE_2);
    }
    send(k, !is_1     ? key->code_2
            : is_down ? key->code_1
                      : (uint8_t)(key->code_1 | RELEASE_1));
}

static int type_held(struct keyboard *k, const struct key *const *held, unsigned n)
{
    if (!k->scans || BUFFER - k->count < n * 5) { /* two bytes down, three up */
        return -EAGAIN;
    }
    for (unsigned i = 0; i < n; i++) {
        tell(k, held[i], true);
    }
    for (unsigned i = n; i-- > 0;) {
        tell(k, held[i], false);
    }
    settle(k);
    return 0;
}

int keyboard_type(struct dev *d, const char *words, struct err *e)
{
    const struct key *held[HELD_MOST];
    const char *at = words;
    unsigned n = 0;
    int r;

    while (n < HELD_MOST) {
        size_t length = strcspn(at, "-");

        held[n] = find_key(at, length);
        if (held[n++] == NULL) {
            return err_set(e, -EINVAL, "there is no key '%.*s'", (int)length, at);
        }
        at += length;
        if (*at == '\0') {
            break;
        }
        at++;
    }
    if (*at != '\0' || at == words) {
        return err_set(e, -EINVAL, "'%s' is too many keys at once", words);
    }
    board_lock(d->board);
    r = type_held((struct keyboard *)d, held, n);
    board_unlock(d->board);
    return r == 0 ? 0 : err_set(e, r, "the guest does not take what is typed");
}

/* ---- the device ---- */

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io data = {
        .name = "keyboard", .read = read_data, .write = write_data};
    static const struct board_io command = {
        .name = "keyboard", .read = read_status, .write = write_command};
    const struct board_claim first = {PORT_DATA, 1, &data, d};
    const struct board_claim second = {PORT_COMMAND, 1, &command, d};
    int r = board_claim(d->board, BOARD_PORTS, &first, e);

    ((struct keyboard *)d)->config = *(const struct keyboard_config *)config;
    return r == 0 ? board_claim(d->board, BOARD_PORTS, &second, e) : r;
}

static void reset(struct dev *d)
{
    struct keyboard *k = (struct keyboard *)d;

    *k = (struct keyboard){.dev = k->dev,
                           .config = k->config,
                           .mode = MODE_TRANSLATES | MODE_NO_AUX,
                           .scans = 1,
                           .set = 2};
}

static void carry(struct dev *d, struct snap *s)
{
    struct keyboard *k = (struct keyboard *)d;

    SNAP_FIELD(s, k->mode);
    SNAP_FIELD(s, k->command);
    SNAP_FIELD(s, k->device_command);
    SNAP_FIELD(s, k->was_command);
    SNAP_FIELD(s, k->is_full);
    SNAP_FIELD(s, k->byte);
    SNAP_FIELD(s, k->answers);
    SNAP_FIELD(s, k->answer);
    SNAP_FIELD(s, k->scans);
    SNAP_FIELD(s, k->set);
    k->count = (uint8_t)snap_number(s, k->count, BUFFER);
    SNAP_FIELD(s, k->buffer);
}

const struct dev_class dev_keyboard = {
    .name = "keyboard",
    .summary = "keyboard controller with a keyboard",
    .source = "IBM PS/2 Hardware Interface Technical Reference, Keyboard and Auxiliary "
              "Device Controller; Keyboards (101- and 102-Key)",
    .state_bytes = sizeof(struct keyboard),
    .start = start,
    .reset = reset,
    .carry = carry,
};
