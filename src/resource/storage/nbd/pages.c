/* pages.c - whether big reads of what lies in the page cache are sent from there, or copied.
 *
 * Pages cost the server least, and a client that takes much at once into the same memory gets
 * 2.4 times as much by them.  A client with many buffers of its own gets half as much: it copies
 * from memory that no cache has, where a copy of ours would have brought it close.  Nothing on
 * the wire tells the two apart, so each connection is measured: windows of either way in turns,
 * then the better one for a while, which doubles each time.  The best window of each counts, as
 * what else runs on the host only makes them slower.  A client that pauses is in no hurry: its
 * window begins anew. */
#include "resource/storage/nbd/private.h"

#define SETTLE_BYTES ((uint64_t)4 << 20) /* may be under way when the way changes */
#define WINDOW_BYTES ((uint64_t)8 << 20)
#define REST_BYTES   ((uint64_t)512 << 20) /* of the first decision */
#define REST_MOST    ((uint64_t)16 << 30)
#define PAUSE_NS     20000000u
#define GAIN_TENTHS  9u /* of the time: what copies have to come to */

static void begin_window(struct pages_choice *p)
{
    p->copies = p->trial % 2 != 0;
    p->settles = true;
    p->left = SETTLE_BYTES;
}

static void begin_trial(struct pages_choice *p)
{
    p->trial = 0;
    p->least[0] = UINT64_MAX;
    p->least[1] = UINT64_MAX;
    begin_window(p);
}

static void decide(struct pages_choice *p)
{
    p->copies = p->least[1] < p->least[0] / 10 * GAIN_TENTHS;
    p->rest = p->rest == 0 ? REST_BYTES : p->rest < REST_MOST ? p->rest * 2 : p->rest;
    p->left = p->rest;
}

/* What was under way has come to its end. */
static void go_on(struct pages_choice *p, uint64_t now_ns)
{
    uint64_t *least = &p->least[p->copies];
    uint64_t spent = now_ns - p->began_ns;

    if (p->trial == PAGES_TRIALS) {
        begin_trial(p);
        return;
    }
    if (p->settles) {
        p->settles = false;
        p->began_ns = now_ns;
        p->left = WINDOW_BYTES;
        return;
    }
    *least = spent < *least ? spent : *least;
    p->trial++;
    if (p->trial < PAGES_TRIALS) {
        begin_window(p);
    } else {
        decide(p);
    }
}

bool nbd_pages_wanted(struct pages_choice *p, uint64_t bytes, uint64_t now_ns)
{
    bool pauses = now_ns - p->last_ns > PAUSE_NS;

    if (p->last_ns == 0) {
        begin_trial(p);
    } else if (p->left == 0) {
        go_on(p, now_ns);
    } else if (pauses && p->trial < PAGES_TRIALS) {
        begin_window(p);
    }
    p->last_ns = now_ns;
    p->left -= bytes < p->left ? bytes : p->left;
    return !p->copies;
}
