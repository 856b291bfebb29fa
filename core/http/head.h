/* Request and response heads: parsed by picohttpparser, then vetted strictly, since they are sent on rebuilt. */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include "core/http/body.h"
#include "core/http/phr.h"

#define HEAD_MAX        32768 /* bytes */
#define HEAD_FIELDS_MAX 100

enum head_name {
    HEAD_OTHER,
    HEAD_CONNECTION,
    HEAD_HOP, /* Keep-Alive, TE, Proxy-Connection and the like: for this hop only */
    HEAD_UPGRADE,
    HEAD_CONTENT_LENGTH,
    HEAD_TRANSFER_ENCODING,
    HEAD_HOST,
    HEAD_AUTHORIZATION,
    HEAD_RUNNER_AUTHORIZATION, /* X-Daytona-Authorization */
    HEAD_FORWARDED_FOR,
};

/* Points into the bytes it was parsed from. One per loop: it is large. */
struct head {
    struct phr_header field[HEAD_FIELDS_MAX + 1];
    uint8_t name[HEAD_FIELDS_MAX + 1];    /* enum head_name */
    bool is_dropped[HEAD_FIELDS_MAX + 1]; /* not sent on: hop-by-hop, or named in Connection */
    size_t n;
    size_t len; /* bytes of the head */
    const char *method, *target, *reason;
    size_t method_len, target_len, reason_len;
    int minor, status;
    enum body_mode body; /* of a response: BODY_EOF unless the head says otherwise */
    uint64_t length;     /* BODY_LENGTH */
    bool has_close;      /* Connection: close */
    bool has_upgrade;    /* Connection: upgrade and an Upgrade field */
};

enum { HEAD_BAD = -1, HEAD_PARTIAL = -2, HEAD_LARGE = -3 };

/* 0, or one of the above; ret_why says what is wrong with a bad one. seen: bytes that an earlier call found incomplete.
 */
int head_parse_request(struct head *head, const char *data, size_t len, size_t seen, const char **ret_why);
int head_parse_response(struct head *head, const char *data, size_t len, size_t seen, const char **ret_why);

/* The first field of that name, or NULL. */
const struct phr_header *head_find(const struct head *head, enum head_name name);
/* Whether the method is exactly that. */
bool head_is_method(const struct head *head, const char *method);

#endif
