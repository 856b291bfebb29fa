/* Heads that are sent on: rebuilt from their vetted parts. */
#ifndef HTTP_FORWARD_H
#define HTTP_FORWARD_H

#include "core/http/auth.h"
#include "core/http/head.h"
#include "core/util/str.h"

struct forward_request {
    const char *host;   /* NULL: the client's own */
    const char *prefix; /* before the target */
    const char *target; /* copied byte for byte; "/" is put before it when it is empty or starts with '?' */
    size_t target_len;
    const char *peer;      /* client's address, appended to X-Forwarded-For; "" for none */
    enum auth_header used; /* this Authorization stays here; X-Daytona-Authorization always does */
    bool is_upgrade;       /* ask for what the client asked for */
};

void forward_add_request(struct str *out, const struct head *head, const struct forward_request *how);

/* is_closing: the client's connection ends after this answer. is_upgrade: 101, the upgrade goes through. */
void forward_add_response(struct str *out, const struct head *head, bool is_closing, bool is_upgrade);

#endif
