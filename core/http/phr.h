/* picohttpparser, which libh2o exports without a header of its own. */
#ifndef HTTP_PHR_H
#define HTTP_PHR_H

#include <stddef.h>

struct phr_header {
    const char *name; /* NULL: a folded continuation line */
    size_t name_len;
    const char *value;
    size_t value_len;
};

/* Bytes of the head, -1 when it is none, -2 when it is not complete; last_len: bytes already seen by a call before. */
int phr_parse_request(const char *buf, size_t len, const char **method, size_t *method_len, const char **path,
                      size_t *path_len, int *minor_version, struct phr_header *headers, size_t *num_headers,
                      size_t last_len);
int phr_parse_response(const char *buf, size_t len, int *minor_version, int *status, const char **msg, size_t *msg_len,
                       struct phr_header *headers, size_t *num_headers, size_t last_len);

#endif
