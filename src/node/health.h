/* node/health.h - health checks of a guest and their results. */
#ifndef NODE_HEALTH_H
#define NODE_HEALTH_H

#include <jansson.h>

#include "node/private.h"

/* Run the check of the plan `spec` in the guest and keep its result; its exit code. */
int health_check(const json_t *spec, const char *run_dir, struct task *t);

/* The last results, oldest first: time, duration_ms, exit_code, output, timed_out. */
json_t *health_read(const char *run_dir);

#endif
