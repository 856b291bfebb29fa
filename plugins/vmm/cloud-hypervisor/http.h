/*
 * The HTTP of Cloud Hypervisor's API, as bytes: requests, and replies read piece by piece. Its server is a small
 * library with its own ways: no reason phrase, never a chunk, never a close, no length with a 204, errors of the
 * library as text that looks like JSON and is none.
 */
#ifndef CH_HTTP_H
#define CH_HTTP_H

#include <stdbool.h>

#include "core/util/json.h"
#include "core/util/str.h"
#include "include/runner-plugin.h"

/*
 * Bytes. The server takes 51200 (v53), but vm.info tells all of them again, and when its HTTP thread has sent some 37 KiB
 * glibc's malloc gives memory back, looks into /proc for that, and the thread's seccomp filter kills the process: the
 * machine with it. A machine of the most disks and interfaces has 13 KiB of vm.info beside what its paths and its command
 * line are longer than usual.
 */
#define HTTP_REQUEST_BODY_MAX 20480
#define HTTP_HEAD_MAX         8192       /* bytes of a reply's head */
#define HTTP_BODY_MAX         (4u << 20) /* bytes of a reply's body */

struct http_reply {
    int status;      /* 204, ... */
    size_t head_len; /* bytes of the head, interim replies before it included */
    size_t body_len;
};

/* Appends a request: method GET or PUT, action such as "vm.boot"; body NULL: none. */
void http_add_request(struct str *out, const char *method, const char *action, const char *body, size_t len);

/* Reads the head of the reply that data begins with: 1, 0 when more bytes are needed, -1 when it is none or too
 * large. */
int http_read_head(const char *data, size_t len, struct http_reply *ret, struct runner_error *err);

/* The body as a tree. Numbers that do not fit in 63 bits become the largest that does: an idle disk's latency is said
 * to be 2^64-1. */
int http_body_json(const char *body, size_t len, struct json **ret, struct runner_error *err);

/* What the body of a failure says: the chain of causes joined by ": ", verbatim, or whatever text it is. */
void http_add_causes(struct str *out, const char *body, size_t len);

#endif
