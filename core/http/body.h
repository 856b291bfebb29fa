/* Where a message body ends. The bytes themselves pass unchanged; chunk framing and trailers are only checked. */
#ifndef HTTP_BODY_H
#define HTTP_BODY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum body_mode { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_EOF };

struct body {
    uint8_t mode, state, digits; /* digits of a chunk size so far */
    bool is_done;
    uint16_t extra; /* bytes of chunk extensions or trailers since the last data */
    uint64_t left;  /* of the length or the chunk */
    uint64_t taken; /* payload announced so far */
    uint64_t max;   /* payload allowed; 0: no limit */
};

enum { BODY_BAD = -1, BODY_LARGE = -2 };

void body_init(struct body *body, enum body_mode mode, uint64_t length, uint64_t max);
/* How many of the len bytes belong to the body; is_done when it ends there. BODY_BAD: broken framing. */
ssize_t body_take(struct body *body, const char *data, size_t len);

#endif
