/* network/bridge under test: what the parts of check-network share. */
#ifndef CHECK_NETWORK_H
#define CHECK_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/runner-plugin.h"
#include "t/run/frames.h"

#define ID_A "0c0ffee0-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
#define ID_B "0c0ffee0-aabb-4bbb-8bbb-bbbbbbbbbbbb" /* the first 11 characters are A's */

#define COMING_MS 60000 /* how long what must come is waited for */

/* A program's output, or NULL; freed by the caller. */
char *run_program(const char *const *argv);
#define PROGRAM(...) run_program((const char *const[]){__VA_ARGS__, NULL})
/* Frees the output; without one the test ends. */
void must(char *output);

/* The plugin's ops; 0 or -1, with the reason told. setup is followed by the sweep of a runner that has no sandbox yet. */
int setup(void);
int detach(const char *id, const struct runner_nic *nic);
int apply(const char *id, const struct runner_nic *nic, const struct runner_policy *policy);
/* How many packets of it were. */
uint64_t refused(const struct runner_nic *nic);

bool await_links(size_t n); /* until there are so many interfaces */
size_t count_idle(void);    /* TAPs that are kept */

/* What two guests, the host and the outside send each other. out: the outside. B is detached afterwards. */
void check_packets(const struct runner_nic *nic_a, const struct runner_nic *nic_b, const struct guest *out);

#endif
