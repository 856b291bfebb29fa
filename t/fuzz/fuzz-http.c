/*
 * HTTP heads and chunked bodies. What the parser accepts is rebuilt, and the rebuilt head means the same: same framing,
 * same target, no hop-by-hop field, nothing of the client's that could be read as a second head. A chunked body ends at
 * the same byte however it is cut into pieces.
 */
#include <string.h>

#include "core/http/auth.h"
#include "core/http/forward.h"
#include "core/http/route.h"
#include "t/fuzz/fuzz.h"

static void need_same(const struct head *a, const struct head *b)
{
    need(a->body == b->body && (a->minor >= 1) == (b->minor >= 1));
    if (a->body == BODY_LENGTH)
        need(a->length == b->length);
    for (size_t i = 0; i < b->n; i++)
        need(b->name[i] != HEAD_HOP && b->name[i] != HEAD_RUNNER_AUTHORIZATION);
}

static void fuzz_request(const char *data, size_t size)
{
    static struct head head, again;
    auto_str struct str text = STR_INIT;
    struct forward_request how = {.prefix = "", .peer = "127.0.0.1", .used = AUTH_AUTHORIZATION};
    enum auth_header used;
    struct route_target target;
    const char *why = NULL;
    int result = head_parse_request(&head, data, size, 0, &why);

    if (result < 0) {
        need(result == HEAD_PARTIAL || why != NULL);
        return;
    }
    need(head.len <= size && head.target_len > 0 && head.target[0] == '/');
    (void)auth_check(&head, "secret", &used);
    if (route_proxy(head.target, head.target_len, &target) == ROUTE_PROXY)
        need(target.rest + target.rest_len == head.target + head.target_len);
    how.target = head.target;
    how.target_len = head.target_len;
    forward_add_request(&text, &head, &how);
    if (text.len > HEAD_MAX)
        return;
    result = head_parse_request(&again, text.ptr, text.len, 0, &why);
    need(result == 0 || result == HEAD_LARGE); /* one field more: X-Forwarded-For */
    if (result < 0)
        return;
    need(again.len == text.len);
    need(again.target_len == head.target_len && memcmp(again.target, head.target, head.target_len) == 0);
    need(again.method_len == head.method_len && memcmp(again.method, head.method, head.method_len) == 0);
    need_same(&head, &again);
}

static void fuzz_response(const char *data, size_t size)
{
    static struct head head, again;
    auto_str struct str text = STR_INIT;
    const char *why = NULL;

    if (head_parse_response(&head, data, size, 0, &why) < 0)
        return;
    forward_add_response(&text, &head, false, false);
    if (text.len > HEAD_MAX)
        return;
    need(head_parse_response(&again, text.ptr, text.len, 0, &why) == 0);
    need(again.len == text.len && again.status == head.status);
    need(again.body == head.body && (head.body != BODY_LENGTH || again.length == head.length));
}

/* Bytes of the body when it comes in pieces of that size; the error, or what there is when it does not end. */
static ssize_t chunked_end(const char *data, size_t size, size_t piece, bool *ret_is_done)
{
    struct body body;
    size_t at = 0;

    body_init(&body, BODY_CHUNKED, 0, 0);
    while (at < size && !body.is_done) {
        ssize_t n = body_take(&body, data + at, size - at < piece ? size - at : piece);
        if (n < 0)
            return n;
        at += (size_t)n;
    }
    *ret_is_done = body.is_done;
    return (ssize_t)at;
}

static void fuzz_chunked(const char *data, size_t size)
{
    bool is_done = false, is_done_too = false;
    ssize_t whole = chunked_end(data, size, size > 0 ? size : 1, &is_done);

    need(chunked_end(data, size, 1, &is_done_too) == whole && is_done == is_done_too);
    need(chunked_end(data, size, 7, &is_done_too) == whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1); /* its end is the allocation's: an overrun is seen */

    need(copy != NULL);
    memcpy(copy, data, size);
    fuzz_request(copy, size);
    fuzz_response(copy, size);
    fuzz_chunked(copy, size);
    free(copy);
    return 0;
}
