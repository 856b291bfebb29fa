/* Who may send requests: the first thing looked at in each of them. */
#ifndef HTTP_AUTH_H
#define HTTP_AUTH_H

#include "core/http/head.h"

enum auth_header { AUTH_NONE, AUTH_AUTHORIZATION, AUTH_RUNNER };

/*
 * Checks the bearer token of a request against token (NULL or empty: nobody has it), in constant time. NULL when it is
 * right, and ret_used says which header showed it; else the contract's message.
 */
const char *auth_check(const struct head *head, const char *token, enum auth_header *ret_used);

/* NULL when the peer of a unix socket is root or this process's user; else the message. */
const char *auth_check_peer(int fd);

#endif
