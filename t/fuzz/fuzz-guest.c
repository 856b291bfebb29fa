/* What the guest daemon reads from outside: a request's head and body, a multipart body, a seed. */
#include <string.h>

#include "guest/daemon/body.h"
#include "guest/daemon/multipart.h"
#include "guest/daemon/seed.h"
#include "t/fuzz/fuzz.h"

static int part_begin(void *arg, const char *name, const char *file_name, struct runner_error *err)
{
    (void)err;
    *(size_t *)arg += strlen(name) + (file_name == NULL ? 0 : strlen(file_name));
    return 0;
}

static int part_data(void *arg, struct evbuffer *data, size_t n, struct runner_error *err)
{
    (void)err;
    *(size_t *)arg += n;
    return evbuffer_drain(data, n);
}

static int part_end(void *arg, struct runner_error *err)
{
    (void)arg;
    (void)err;
    return 0;
}

static void push_parts(const char *type, struct evbuffer *body)
{
    static const struct multipart_handler handler = {part_begin, part_data, part_end};
    struct runner_error err = ERROR_INIT;
    struct multipart m;
    size_t seen = 0, all = evbuffer_get_length(body);

    if (multipart_init(&m, type, &handler, &seen, &err) < 0) {
        need_reason(&err);
        return;
    }
    if (multipart_push(&m, body, &err) < 0)
        need_reason(&err);
    need(seen <= all); /* parts are made of the body alone */
    multipart_done(&m);
}

static void read_body(const struct head *h, const char *rest, size_t len)
{
    struct evbuffer *in = evbuffer_new(), *out = evbuffer_new();
    struct runner_error err = ERROR_INIT;
    struct body b;

    (void)evbuffer_add(in, rest, len);
    body_init_request(&b, h);
    if (body_take(&b, in, out, SIZE_MAX, &err) < 0)
        need_reason(&err);
    need(evbuffer_get_length(in) + evbuffer_get_length(out) <= len);
    push_parts(head_get(h, "Content-Type"), out);
    evbuffer_free(in);
    evbuffer_free(out);
}

static void read_request(const char *text, size_t len)
{
    struct runner_error err = ERROR_INIT;
    size_t head_len = head_find(text, len);
    struct head h;

    if (head_len == 0)
        return;
    if (head_parse_request(text, head_len, &h, &err) < 0) {
        need_reason(&err);
        return;
    }
    free(head_query(&h, "path"));
    (void)head_is_hop(&h, "X");
    read_body(&h, text + head_len, len - head_len);
    head_done(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct runner_error err = ERROR_INIT;
    struct seed s;

    read_request((const char *)data, size);
    if (seed_parse((const char *)data, size, &s, &err) < 0)
        need_reason(&err);
    else
        seed_done(&s);
    return 0;
}
