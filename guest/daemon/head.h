/* The head of an HTTP/1.x message: strict reader, and percent-decoding of what it names. */
#ifndef GUEST_HEAD_H
#define GUEST_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/str.h"

#define HEAD_MAX        (32 * 1024) /* bytes up to and with the empty line */
#define HEAD_FIELDS_MAX 100

struct head_field {
    const char *name, *value;
};

struct head {
    char *text; /* owned; everything below points into it */
    const char *method, *target;
    const char *path;  /* as sent, percent-encoded; starts with '/' */
    const char *query; /* as sent, without '?'; "" when absent */
    int status;        /* of a response */
    int minor;         /* HTTP/1.minor */
    struct head_field fields[HEAD_FIELDS_MAX];
    size_t n_fields;
    bool is_chunked, has_length, is_keep_alive;
    int64_t length; /* of the body, when has_length */
};

/* Length of the head with its empty line at the start of data, 0 while it is not complete. */
size_t head_find(const char *data, size_t len);

/* Parse text[0..len), a whole head. INVALID with the reason for anything ambiguous: bare LF or CR, NUL, folded lines,
 * blanks before ':', two lengths, a length together with chunked, an unknown transfer coding, a target that is no path.
 */
int head_parse_request(const char *text, size_t len, struct head *ret, struct runner_error *err);
int head_parse_response(const char *text, size_t len, struct head *ret, struct runner_error *err);
void head_done(struct head *h);

/* Value of the first field of that name (any case), or NULL. */
const char *head_get(const struct head *h, const char *name);
/* Whether the comma-separated field holds the word, in any case. */
bool head_has_word(const struct head *h, const char *name, const char *word);
/* Whether a proxy must keep the field to itself: Connection, Keep-Alive, TE, ..., and whatever Connection names. */
bool head_is_hop(const struct head *h, const char *name);

/* Percent-decoded copy of text[0..len), NULL when it is malformed or holds %00. plus: '+' is a blank (queries). */
char *head_decode(const char *text, size_t len, bool plus);
/* Decoded value of a query parameter, NULL when absent or malformed. The caller frees. */
char *head_query(const struct head *h, const char *name);

#endif
