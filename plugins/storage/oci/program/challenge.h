/* WWW-Authenticate: how a server wants to be told who asks. */
#ifndef OCI_CHALLENGE_H
#define OCI_CHALLENGE_H

#include <stdbool.h>

#include "core/util/str.h"

struct challenge {
    bool is_basic, is_bearer;      /* what it takes; both may be */
    char *realm, *service, *scope; /* of Bearer; NULL: not said. realm is not, with is_bearer */
};

/* Of one or more header values, a line each. What is not understood is passed over. */
void challenge_parse(const char *text, struct challenge *ret);
void challenge_done(struct challenge *challenge);

#endif
