/*
 * The documents of a seed. meta-data, user-data and network-config are YAML, written as JSON, which YAML contains: quoting
 * is JSON's, and nothing in a value can become structure. The seed was checked before (seed_build).
 */
#ifndef CORE_SEED_TEXT_H
#define CORE_SEED_TEXT_H

#include <stdbool.h>

#include "core/seed.h"

#define SEED_DAEMON_FILE                                                                                               \
    "runner-guestd" /* on the volume (guest/daemon/seed.h), and below /usr/local/bin of the guest */

void seed_meta_data(const struct seed *seed, struct str *out);
void seed_user_data(const struct seed *seed, struct str *out);
bool seed_has_network(const struct seed *seed);
void seed_network_config(const struct seed *seed, struct str *out); /* version 2; only when it has one */
void seed_runner_json(const struct seed *seed, struct str *out);

#endif
