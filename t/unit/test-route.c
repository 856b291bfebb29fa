/* core/http/route: which path means what. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/http/route.h"

Test(route, proxied)
{
    const struct {
        const char *target;
        enum route_kind kind;
        int port;
        const char *rest;
    } cases[] = {
        {"/sandboxes/a/toolbox", ROUTE_PROXY, 2280, ""},
        {"/sandboxes/a/toolbox?x", ROUTE_PROXY, 2280, "?x"},
        {"/sandboxes/a/toolbox//a/../%2F", ROUTE_PROXY, 2280, "//a/../%2F"},
        {"/sandboxes/a/proxy/80", ROUTE_PROXY, 80, ""},
        {"/sandboxes/a/proxy/65535/x", ROUTE_PROXY, 65535, "/x"},
        {"/sandboxes/a/proxy/65536/x", ROUTE_BAD_PORT, 0, NULL},
        {"/sandboxes/a/proxy/0", ROUTE_BAD_PORT, 0, NULL},
        {"/sandboxes/a/proxy/80x", ROUTE_BAD_PORT, 0, NULL},
        {"/sandboxes/a/proxy/", ROUTE_BAD_PORT, 0, NULL},
        {"/sandboxes/a/proxy/4294967376/", ROUTE_BAD_PORT, 0, NULL},
        {"/sandboxes/A/toolbox", ROUTE_BAD_ID, 0, NULL},
        {"/sandboxes//toolbox", ROUTE_BAD_ID, 0, NULL},
        {"/sandboxes/../toolbox", ROUTE_BAD_ID, 0, NULL},
        {"/sandboxes/a/toolboxx", ROUTE_REST, 0, NULL},
        {"/sandboxes/a/proxy", ROUTE_REST, 0, NULL},
        {"/sandboxes/a", ROUTE_REST, 0, NULL},
        {"/sandboxes?/a/toolbox", ROUTE_REST, 0, NULL},
        {"/", ROUTE_REST, 0, NULL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct route_target target = {.port = 0};
        cr_expect_eq(route_proxy(cases[i].target, strlen(cases[i].target), &target), cases[i].kind, "%s",
                     cases[i].target);
        if (cases[i].kind == ROUTE_PROXY)
            cr_expect(target.port == cases[i].port && target.rest_len == strlen(cases[i].rest) &&
                          memcmp(target.rest, cases[i].rest, target.rest_len) == 0 && strcmp(target.id, "a") == 0,
                      "%s", cases[i].target);
    }
}

Test(route, s01_an_id_of_64_is_too_long)
{
    char target[128] = "/sandboxes/";
    struct route_target got;

    memset(target + 11, 'a', 64);
    memcpy(target + 75, "/toolbox", 9);
    cr_assert_eq(route_proxy(target, strlen(target), &got), ROUTE_BAD_ID);
    cr_assert_eq(route_proxy(target + 1, strlen(target) - 1, &got), ROUTE_REST);
    memmove(target + 74, target + 75, 9);
    cr_assert_eq(route_proxy(target, strlen(target), &got), ROUTE_PROXY);
}

static const struct route *find(const char *method, const char *path, char id[256])
{
    return route_find(method, strlen(method), path, strlen(path), id);
}

Test(route, rest)
{
    char id[256];

    cr_assert_eq(find("GET", "/", id)->route, HTTP_INDEX);
    cr_assert_eq(find("GET", "/sandboxes", id)->route, HTTP_SANDBOX_LIST);
    cr_assert_eq(find("POST", "/sandboxes", id)->route, HTTP_SANDBOX_CREATE);
    cr_assert_eq(find("DELETE", "/sandboxes/x-1", id)->route, HTTP_SANDBOX_DESTROY);
    cr_assert_str_eq(id, "x-1");
    cr_assert_eq(find("POST", "/sandboxes/x/stop", id)->body, ROUTE_BODY_OPTIONAL);
    cr_assert_eq(find("POST", "/sandboxes/x/backup", id)->is_built, false);
    cr_assert_null(find("PUT", "/sandboxes", id));
    cr_assert_null(find("GET", "/sandboxes/", id));
    cr_assert_null(find("GET", "/sandboxes/a/", id));
    cr_assert_null(find("GET", "/sandboxes/a/b/log", id));
    cr_assert_null(find("POST", "/sandboxes/a/stopp", id));
    cr_assert_null(find("POST", "/sandboxes/a/sto", id));
    cr_assert_str_eq(id, "");
}
