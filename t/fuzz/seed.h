/* The seed of a record, made and read again by those who read it in a guest. */
#ifndef FUZZ_SEED_H
#define FUZZ_SEED_H

#include <stddef.h>

#include "core/record.h"

/* Makes it; refused, or: cloud-init's documents are YAML, and the guest daemon takes its own with the record's id. */
void seed_check(struct record *record);

/* guest-seed.c, which alone knows the guest's struct seed: the daemon's reader takes runner.json, and reads that id. */
void guest_seed_check(const char *text, size_t len, const char *id);

#endif
