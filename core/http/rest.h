/* h2o: the loop that a front is nested in, and the REST handler behind socketpairs. The only file that knows h2o. */
#ifndef HTTP_REST_H
#define HTTP_REST_H

#include "core/http/front.h"

struct rest_config; /* what the loops share */
struct pair;        /* an h2o connection; its other end is an upstream */

struct rest_config *rest_config_new(const struct http_config *config);
void rest_config_free(struct rest_config *config);

/* An h2o loop that calls front_events() when the front's epoll set has something. */
struct rest *rest_new(struct front *front, struct rest_config *config);
void rest_free(struct rest *rest);
/* One round: waits at most that long (-1: for ever). */
void rest_run(struct rest *rest, int32_t wait_ms);

/* A new h2o connection; *ret_fd is the client's end. 0 or -1 with errno. */
int rest_pair_new(struct front *front, struct pair **ret, int *ret_fd);
bool rest_pair_is_open(const struct pair *pair);
/* The client's end was closed: a request under way is called off. */
void rest_pair_drop(struct pair *pair);

#endif
