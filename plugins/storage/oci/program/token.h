/* What a registry is told when it asks who asks: a name and password, or a token of the server that it names. */
#ifndef OCI_TOKEN_H
#define OCI_TOKEN_H

#include "plugins/storage/oci/program/registry.h"

/* challenge: the values of WWW-Authenticate, a line each. 1: registry->authorization is new; 0: there is nothing (else)
 * that could be told; -1: the token's server failed, or refuses. round: 1 at the first refusal of an exchange. */
int token_get(struct registry *registry, const char *challenge, int round, struct runner_error *err);

/* What the server of tokens answers. *ret: NULL before; the caller wipes and frees. An error shows none of it. */
int token_parse(const char *text, size_t len, char **ret, struct runner_error *err);

#endif
