/* Which path means what: the proxied prefixes and the table of REST routes. */
#ifndef HTTP_ROUTE_H
#define HTTP_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#define ROUTE_ID_MAX     63
#define ROUTE_GUEST_PORT 2280 /* the guest daemon's */

enum http_route {
    HTTP_INDEX,
    HTTP_INFO,
    HTTP_METRICS,
    HTTP_SANDBOX_CREATE,
    HTTP_SANDBOX_LIST,
    HTTP_SANDBOX_GET,
    HTTP_SANDBOX_START,
    HTTP_SANDBOX_STOP,
    HTTP_SANDBOX_PAUSE,
    HTTP_SANDBOX_RESUME,
    HTTP_SANDBOX_DESTROY, /* POST .../destroy and DELETE */
    HTTP_SANDBOX_LOG,
    HTTP_SANDBOX_BACKUP,
    HTTP_SANDBOX_SNAPSHOT,
    HTTP_SANDBOX_RESIZE,
    HTTP_SANDBOX_RECOVER,
    HTTP_SANDBOX_IS_RECOVERABLE,
    HTTP_SANDBOX_NETWORK,
    HTTP_SANDBOX_NETWORK_GET,
    HTTP_SNAPSHOT_LIST,
    HTTP_SNAPSHOT_PULL,
    HTTP_SNAPSHOT_BUILD,
    HTTP_SNAPSHOT_TAG,
    HTTP_SNAPSHOT_EXISTS,
    HTTP_SNAPSHOT_INFO,
    HTTP_SNAPSHOT_REMOVE,
    HTTP_SNAPSHOT_INSPECT,
    HTTP_SNAPSHOT_LOGS,
};

enum route_body {
    ROUTE_NO_BODY,       /* ignored when one comes */
    ROUTE_BODY,          /* a JSON object is required */
    ROUTE_BODY_OPTIONAL, /* a JSON object, or nothing; what does not parse counts as nothing */
};

struct route {
    const char *method, *path; /* "{id}" stands for one path component */
    enum http_route route;
    enum route_body body;
    bool is_built; /* the others answer 501 */
};

/* The entry for a request, or NULL. ret_id gets the component at {id}, unchecked, or "". path ends at path_len. */
const struct route *route_find(const char *method, size_t method_len, const char *path, size_t path_len,
                               char ret_id[256]);

enum route_kind { ROUTE_REST, ROUTE_PROXY, ROUTE_BAD_ID, ROUTE_BAD_PORT };

struct route_target {
    char id[ROUTE_ID_MAX + 1];
    int port;
    const char
        *rest; /* what the guest is asked for, within the target; empty or starting with '?' wants a "/" before it */
    size_t rest_len;
};

/* Tells the proxied targets from the others. The bytes behind the prefix are never looked at. */
enum route_kind route_proxy(const char *target, size_t len, struct route_target *ret);

#endif
