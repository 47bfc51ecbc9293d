/* scalar_double.c - doubles one at a time: the four operations, square roots,
 * compares and conversions, over five bodies that draw each other. */
#define _MM_MALLOC_H_INCLUDED /* no C library here */
#include <emmintrin.h>

#include "cpu.h"

#define BODIES 5
#define ROUNDS CPU_ROUNDS(400000)

struct body {
    double at[3], speed[3], mass;
};

static struct body body[BODIES];

static double root(double x)
{
    __m128d v = _mm_set_sd(x);

    return _mm_cvtsd_f64(_mm_sqrt_sd(v, v));
}

static void pull(struct body *a, struct body *b)
{
    double d[3], squared = 0.01, force;
    int i;

    for (i = 0; i < 3; i++) {
        d[i] = a->at[i] - b->at[i];
        squared += d[i] * d[i];
    }
    force = 0.001 / (squared * root(squared));
    for (i = 0; i < 3; i++) {
        a->speed[i] -= d[i] * b->mass * force;
        b->speed[i] += d[i] * a->mass * force;
    }
}

static void move(struct body *b)
{
    int i;

    for (i = 0; i < 3; i++) {
        b->at[i] += b->speed[i] * 0.001;
        if (b->at[i] > 100.0 || b->at[i] < -100.0) {
            b->speed[i] = -b->speed[i];
        }
    }
}

uint64_t work(void)
{
    uint64_t sum = 0;
    int i, j, round;

    for (i = 0; i < BODIES; i++) {
        for (j = 0; j < 3; j++) {
            body[i].at[j] = (double)((i * 7 + j * 3) % 11) - 5.0;
            body[i].speed[j] = (double)((i + j) % 3) - 1.0;
        }
        body[i].mass = 1.0 + i;
    }
    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < BODIES; i++) {
            for (j = i + 1; j < BODIES; j++) {
                pull(&body[i], &body[j]);
            }
        }
        for (i = 0; i < BODIES; i++) {
            move(&body[i]);
        }
        sum += (uint64_t)(int64_t)(body[round % BODIES].at[0] * 1000.0);
    }
    return sum;
}
