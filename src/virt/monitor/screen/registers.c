/* registers.c - the registers of VGA, as its ports reach them.
 *
 * Retraces follow from the machine's time: 70 pictures a second of 449 lines.  Ports answer
 * whether the function is switched on or not: a guest that no firmware started relies on it. */
#include "contract/snap.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/screen/private.h"

#define PICTURE_NS   UINT64_C(14268000)
#define PICTURE_SHOW UINT64_C(12711000) /* 400 lines of it */
#define LINE_NS      UINT64_C(31778)
#define LINE_SHOW    UINT64_C(25422)

#define STATUS_BLANK   0x01u
#define STATUS_RETRACE 0x08u
#define MISC_COLOR     0x01u /* the CRT controller is at 0x3d4, not 0x3b4 */
#define SENSE          0x10u
#define PROTECT        0x80u /* of CRTC 0x11: registers 0 to 7 */
#define DAC_READING    0x03u

static uint8_t status(struct screen *s)
{
    uint64_t now = board_now(pci_board(s->config.bus));
    bool retraces = now % PICTURE_NS >= PICTURE_SHOW;

    return retraces                     ? STATUS_RETRACE | STATUS_BLANK
           : now % LINE_NS >= LINE_SHOW ? STATUS_BLANK
                                        : 0;
}

static uint8_t read_dac(struct vga *v)
{
    uint8_t value = v->dac[v->dac_read][v->dac_part % 3];

    v->dac_part = (uint8_t)((v->dac_part + 1) % 3);
    v->dac_read = (uint8_t)(v->dac_read + (v->dac_part == 0));
    return value;
}

static void write_dac(struct vga *v, uint8_t value)
{
    bool has_8 = (v->dispi[DISPI_ENABLE] & DISPI_DAC_8) != 0;

    v->dac[v->dac_write][v->dac_part % 3] = has_8 ? value : value & 0x3f;
    v->dac_part = (uint8_t)((v->dac_part + 1) % 3);
    v->dac_write = (uint8_t)(v->dac_write + (v->dac_part == 0));
}

static void write_ac(struct vga *v, uint8_t value)
{
    if (!v->ac_has_index) {
        v->ac_at = value & 0x3f;
    } else {
        v->ac[v->ac_at % AC_COUNT] = value;
    }
    v->ac_has_index = !v->ac_has_index;
}

static void write_crtc(struct vga *v, uint8_t value)
{
    bool is_kept =
        v->crtc_at <= CRTC_OVERFLOW && (v->crtc[CRTC_RETRACE_END] & PROTECT) != 0;

    if (is_kept && v->crtc_at == CRTC_OVERFLOW) { /* but for the split's bit */
        v->crtc[CRTC_OVERFLOW] = (v->crtc[CRTC_OVERFLOW] & 0xef) | (value & 0x10);
    } else if (!is_kept && v->crtc_at < CRTC_COUNT) {
        v->crtc[v->crtc_at] = value;
    }
}

/* Ports that there are once for monochrome and once for color. */
static unsigned port_of_color(const struct vga *v, unsigned port)
{
    bool is_color = (v->misc & MISC_COLOR) != 0;

    if (port == 0x3b4 || port == 0x3b5 || port == 0x3ba) {
        return is_color ? 0 : port + 0x20;
    }
    return (port == 0x3d4 || port == 0x3d5 || port == 0x3da) && !is_color ? 0 : port;
}

uint8_t vga_read(struct screen *s, unsigned port)
{
    struct vga *v = &s->vga;

    switch (port_of_color(v, port)) {
    case 0x3c0:
        return v->ac_at;
    case 0x3c1:
        return v->ac[v->ac_at % AC_COUNT];
    case 0x3c2:
        return SENSE;
    case 0x3c3:
        return 1; /* it is awake */
    case 0x3c4:
        return v->seq_at;
    case 0x3c5:
        return v->seq[v->seq_at % SEQ_COUNT];
    case 0x3c6:
        return v->dac_mask;
    case 0x3c7:
        return v->dac_reads ? DAC_READING : 0;
    case 0x3c8:
        return v->dac_write;
    case 0x3c9:
        return read_dac(v);
    case 0x3ca:
        return v->feature;
    case 0x3cc:
        return v->misc;
    case 0x3ce:
        return v->gc_at;
    case 0x3cf:
        return v->gc[v->gc_at % GC_COUNT];
    case 0x3d4:
        return v->crtc_at;
    case 0x3d5:
        return v->crtc_at < CRTC_COUNT ? v->crtc[v->crtc_at] : 0;
    case 0x3da:
        v->ac_has_index = 0;
        return status(s);
    default:
        return 0xff;
    }
}

void vga_write(struct screen *s, unsigned port, uint8_t value)
{
    struct vga *v = &s->vga;

    switch (port_of_color(v, port)) {
    case 0x3c0:
        write_ac(v, value);
        break;
    case 0x3c2:
        v->misc = value;
        break;
    case 0x3c4:
        v->seq_at = value % SEQ_COUNT;
        break;
    case 0x3c5:
        v->seq[v->seq_at % SEQ_COUNT] = value;
        break;
    case 0x3c6:
        v->dac_mask = value;
        break;
    case 0x3c7:
        v->dac_read = value;
        v->dac_part = 0;
        v->dac_reads = 1;
        break;
    case 0x3c8:
        v->dac_write = value;
        v->dac_part = 0;
        v->dac_reads = 0;
        break;
    case 0x3c9:
        write_dac(v, value);
        break;
    case 0x3ce:
        v->gc_at = value % GC_COUNT;
        break;
    case 0x3cf:
        v->gc[v->gc_at % GC_COUNT] = value;
        break;
    case 0x3d4:
        v->crtc_at = value & 0x3f;
        break;
    case 0x3d5:
        write_crtc(v, value);
        break;
    case 0x3da:
        v->feature = value & 0x0b;
        break;
    default:
        break;
    }
}

void vga_reset(struct vga *v)
{
    *v = (struct vga){.misc = MISC_COLOR, .dac_mask = 0xff};
    v->dispi[DISPI_ID] = 0xb0c5;
}

void vga_carry(struct vga *v, struct snap *s)
{
    SNAP_FIELD(s, v->misc);
    SNAP_FIELD(s, v->feature);
    SNAP_FIELD(s, v->seq_at);
    SNAP_FIELD(s, v->seq);
    SNAP_FIELD(s, v->gc_at);
    SNAP_FIELD(s, v->gc);
    SNAP_FIELD(s, v->crtc_at);
    SNAP_FIELD(s, v->crtc);
    SNAP_FIELD(s, v->ac_at);
    SNAP_FIELD(s, v->ac);
    SNAP_FIELD(s, v->ac_has_index);
    SNAP_FIELD(s, v->dac_mask);
    SNAP_FIELD(s, v->dac_read);
    SNAP_FIELD(s, v->dac_write);
    SNAP_FIELD(s, v->dac_part);
    SNAP_FIELD(s, v->dac_reads);
    SNAP_FIELD(s, v->dac);
    SNAP_FIELD(s, v->latch);
    SNAP_FIELD(s, v->dispi_at);
    SNAP_FIELD(s, v->dispi);
}
