#include "core/http/route.h"

#include <string.h>

#include "core/util/text.h"

static const struct route routes[] = {
    {"GET", "/", HTTP_INDEX, ROUTE_NO_BODY, true},
    {"GET", "/info", HTTP_INFO, ROUTE_NO_BODY, true},
    {"GET", "/metrics", HTTP_METRICS, ROUTE_NO_BODY, true},
    {"POST", "/sandboxes", HTTP_SANDBOX_CREATE, ROUTE_BODY, true},
    {"GET", "/sandboxes", HTTP_SANDBOX_LIST, ROUTE_NO_BODY, true},
    {"GET", "/sandboxes/{id}", HTTP_SANDBOX_GET, ROUTE_NO_BODY, true},
    {"DELETE", "/sandboxes/{id}", HTTP_SANDBOX_DESTROY, ROUTE_NO_BODY, true},
    {"POST", "/sandboxes/{id}/destroy", HTTP_SANDBOX_DESTROY, ROUTE_NO_BODY, true},
    {"POST", "/sandboxes/{id}/start", HTTP_SANDBOX_START, ROUTE_BODY, true},
    {"POST", "/sandboxes/{id}/stop", HTTP_SANDBOX_STOP, ROUTE_BODY_OPTIONAL, true},
    {"POST", "/sandboxes/{id}/pause", HTTP_SANDBOX_PAUSE, ROUTE_NO_BODY, true},
    {"POST", "/sandboxes/{id}/resume", HTTP_SANDBOX_RESUME, ROUTE_NO_BODY, true},
    {"GET", "/sandboxes/{id}/log", HTTP_SANDBOX_LOG, ROUTE_NO_BODY, true},
    {"POST", "/sandboxes/{id}/backup", HTTP_SANDBOX_BACKUP, ROUTE_BODY, false},
    {"POST", "/sandboxes/{id}/snapshot-from-sandbox", HTTP_SANDBOX_SNAPSHOT, ROUTE_BODY, false},
    {"POST", "/sandboxes/{id}/resize", HTTP_SANDBOX_RESIZE, ROUTE_BODY, true},
    {"POST", "/sandboxes/{id}/recover", HTTP_SANDBOX_RECOVER, ROUTE_BODY, true},
    {"POST", "/sandboxes/{id}/is-recoverable", HTTP_SANDBOX_IS_RECOVERABLE, ROUTE_BODY, true},
    {"POST", "/sandboxes/{id}/network-settings", HTTP_SANDBOX_NETWORK, ROUTE_BODY, true},
    {"GET", "/sandboxes/{id}/network-settings", HTTP_SANDBOX_NETWORK_GET, ROUTE_NO_BODY, true},
    {"GET", "/snapshots", HTTP_SNAPSHOT_LIST, ROUTE_NO_BODY, true},
    {"POST", "/snapshots/pull", HTTP_SNAPSHOT_PULL, ROUTE_BODY, true},
    {"POST", "/snapshots/build", HTTP_SNAPSHOT_BUILD, ROUTE_BODY, false},
    {"POST", "/snapshots/tag", HTTP_SNAPSHOT_TAG, ROUTE_BODY, true},
    {"GET", "/snapshots/exists", HTTP_SNAPSHOT_EXISTS, ROUTE_NO_BODY, true},
    {"GET", "/snapshots/info", HTTP_SNAPSHOT_INFO, ROUTE_NO_BODY, true},
    {"POST", "/snapshots/remove", HTTP_SNAPSHOT_REMOVE, ROUTE_NO_BODY, true},
    {"POST", "/snapshots/inspect", HTTP_SNAPSHOT_INSPECT, ROUTE_BODY, true},
    {"GET", "/snapshots/logs", HTTP_SNAPSHOT_LOGS, ROUTE_NO_BODY, true},
};

/* Whether the path fits the pattern; ret_id is filled at {id}. */
static bool route_fits(const char *pattern, const char *path, size_t len, char ret_id[256])
{
    const char *end = path + len;
    const char *stop;

    ret_id[0] = '\0';
    while (*pattern != '\0') {
        if (!text_starts(pattern, "{id}", &pattern)) {
            if (path == end || *pattern++ != *path++)
                return false;
            continue;
        }
        stop = memchr(path, '/', (size_t)(end - path));
        len = (size_t)((stop != NULL ? stop : end) - path);
        if (len == 0 || len > 255)
            return false;
        memcpy(ret_id, path, len);
        ret_id[len] = '\0';
        path += len;
    }
    return path == end;
}

const struct route *route_find(const char *method, size_t method_len, const char *path, size_t path_len,
                               char ret_id[256])
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (strlen(routes[i].method) == method_len && memcmp(routes[i].method, method, method_len) == 0 &&
            route_fits(routes[i].path, path, path_len, ret_id))
            return &routes[i];
    ret_id[0] = '\0';
    return NULL;
}

/* Moves *at behind prefix, when that is what stands there. */
static bool route_skip(const char **at, const char *end, const char *prefix)
{
    size_t len = strlen(prefix);

    if ((size_t)(end - *at) < len || memcmp(*at, prefix, len) != 0)
        return false;
    *at += len;
    return true;
}

static bool route_port(const char **at, const char *end, int *ret)
{
    int port = 0;
    const char *start = *at;

    while (*at < end && **at >= '0' && **at <= '9' && *at - start < 6)
        port = port * 10 + (*(*at)++ - '0');
    if (*at == start || *start == '0' || port > 65535)
        return false;
    *ret = port;
    return *at == end || **at == '/' || **at == '?';
}

enum route_kind route_proxy(const char *target, size_t len, struct route_target *ret)
{
    const char *at = target, *end = target + len, *id, *slash;
    bool has_port;

    if (!route_skip(&at, end, "/sandboxes/"))
        return ROUTE_REST;
    id = at;
    slash = memchr(at, '/', (size_t)(end - at));
    if (slash == NULL)
        return ROUTE_REST;
    at = slash;
    has_port = route_skip(&at, end, "/proxy/");
    if (!has_port && (!route_skip(&at, end, "/toolbox") || (at < end && *at != '/' && *at != '?')))
        return ROUTE_REST;
    if (slash - id > ROUTE_ID_MAX)
        return ROUTE_BAD_ID;
    memcpy(ret->id, id, (size_t)(slash - id));
    ret->id[slash - id] = '\0';
    if (!text_is_id(ret->id))
        return ROUTE_BAD_ID;
    ret->port = ROUTE_GUEST_PORT;
    if (has_port && !route_port(&at, end, &ret->port))
        return ROUTE_BAD_PORT;
    ret->rest = at;
    ret->rest_len = (size_t)(end - at);
    return ROUTE_PROXY;
}
