#include "guest/daemon/router.h"

#include <string.h>

static void clear_args(struct exchange *x)
{
    for (size_t i = 0; i < EXCHANGE_ARGS; i++) {
        free(x->args[i]);
        x->args[i] = NULL;
    }
}

/* Matches segment by segment on the bytes as sent, so that an encoded '/' stays within its segment. */
static bool match(struct exchange *x, const char *pattern)
{
    const char *path = x->head.path;
    size_t n_args = 0;

    while (*pattern != '\0' && *pattern != '*') {
        if (*pattern == '{') {
            size_t len = strcspn(path, "/?");
            if (len == 0 || n_args == EXCHANGE_ARGS || (x->args[n_args++] = head_decode(path, len, false)) == NULL)
                return false;
            path += len;
            pattern += strcspn(pattern, "}") + 1;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    if (*pattern == '*') {
        x->rest = path;
        return *path == '\0' || *path == '/' || *path == '?';
    }
    if (*path == '/')
        path++;
    return *path == '\0' || *path == '?';
}

const struct route *router_match(struct exchange *x, const struct route *routes, size_t n_routes)
{
    for (size_t i = 0; i < n_routes; i++) {
        const struct route *r = &routes[i];
        if ((r->method == NULL || strcmp(r->method, x->head.method) == 0) && match(x, r->pattern))
            return r;
        clear_args(x);
    }
    return NULL;
}
