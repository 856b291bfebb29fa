/*
 * The users that VMM processes of a host run as: one of a range for each sandbox, so that who breaks out of one VMM is
 * nobody to the others. Who has which is what the records say. Any thread.
 */
#ifndef CORE_UIDS_H
#define CORE_UIDS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/error.h"

/* "1900000000-1900065535", both in 1 to 4294967294, at most a million; or "none": then *ret_n is 0. False: neither. */
bool uids_parse(const char *text, uint32_t *ret_first, uint32_t *ret_n);

struct uids;

struct uids *uids_new(uint32_t first, uint32_t n);
void uids_free(struct uids *uids); /* takes NULL */

/* A free one, the one that was free longest; NOSPACE: there is none. */
int uids_take(struct uids *uids, uint32_t *ret, struct runner_error *err);
/* A record has it; beyond the range (it was another once), or 0: fine. */
void uids_adopt(struct uids *uids, uint32_t uid);
void uids_release(struct uids *uids, uint32_t uid); /* 0, beyond the range, not taken: fine */

#endif
