/* What a registry answers when it does not do what it was asked for, in words. */
#ifndef OCI_REFUSAL_H
#define OCI_REFUSAL_H

#include "plugins/storage/oci/program/registry.h"

/* Appends what the body of such an answer says, e.g. "MANIFEST_UNKNOWN: manifest unknown": a line of printable ASCII, what
 * else there is as \xNN, at most REFUSAL_TEXT_MAX bytes. Nothing when it says nothing, or repeats one of the secrets. */
#define REFUSAL_TEXT_MAX 200
void refusal_add_text(const char *body, size_t len, const char *const *secrets, size_t n_secrets, struct str *out);

/* An error for a status that the caller did not want; what: "blob sha256:..", or the reference. Names it, the server, the
 * status and the registry's own words. Returns -1. */
int refusal(const struct registry *registry, const struct exchange *x, const char *what, struct runner_error *err);

#endif
