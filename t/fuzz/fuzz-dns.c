/* What runner-dns reads: a guest's question, an answer from above, a guest's list. */
#include <string.h>

#include "plugins/network/bridge/dns/allow.h"
#include "plugins/network/bridge/dns/message.h"
#include "t/fuzz/fuzz.h"

static bool is_odd(uint32_t address, void *ctx)
{
    (void)ctx;
    return address & 1;
}

static void check_answer(const struct question *q, const struct answer *a, bool is_bounded)
{
    need(a->data != NULL && a->len >= 12 + 5 && a->len <= MESSAGE_MAX && a->n <= MESSAGE_ADDRESSES);
    need(a->data[0] == q->id >> 8 && a->data[1] == (q->id & 255) && (a->data[2] & 0x80) != 0);
    need(is_bounded || a->n == 0);
    for (size_t i = 0; i < a->n; i++)
        need(a->addresses[i] & 1);
    need(a->n == 0 || a->ttl_s <= 3600);
}

static void read_answer(const struct question *q, const uint8_t *data, size_t len)
{
    for (int is_bounded = 0; is_bounded < 2; is_bounded++) {
        struct answer a = {.data = NULL};

        if (message_read_answer(q, data, len, is_bounded ? is_odd : NULL, NULL, &a) < 0)
            continue;
        check_answer(q, &a, is_bounded);
        if (a.len > 512)
            message_cut(&a, q);
        need(a.len <= 512 || a.len == 12 + q->wire_len);
        answer_done(&a);
    }
}

/* The answer to the question that is in it. */
static void read_own_answer(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len);
    struct question q;
    bool is_cut;

    need(copy != NULL || len == 0);
    if (len >= 12) {
        memcpy(copy, data, len);
        memset(copy + 2, 0, 2);
        memset(copy + 6, 0, 6);
        (void)message_read_query(copy, len, &q);
        if (q.wire_len > 0 && message_is_answer(&q, (uint16_t)(data[0] << 8 | data[1]), data, len, &is_cut))
            read_answer(&q, data, len);
    }
    free(copy);
}

static void read_query(const uint8_t *data, size_t len)
{
    uint8_t out[512];
    struct question q;
    int rcode = message_read_query(data, len, &q);
    size_t n;

    need(rcode >= -1 && rcode <= RCODE_REFUSED);
    if (rcode < 0)
        return;
    n = message_refuse(data, len, &q, rcode, out, sizeof out);
    need(n == 12 + q.wire_len);
    if (rcode != RCODE_OK)
        return;
    need(strlen(q.name) > 0 && strlen(q.name) < sizeof q.name && q.size >= 512 && q.size <= MESSAGE_UDP_MAX);
    n = message_write_query(&q, 7, out, sizeof out);
    need(n > 12 + q.wire_len && message_read_query(out, n, &q) == RCODE_OK);
}

static void read_list(const uint8_t *data, size_t len)
{
    struct allow allow;

    if (len > ALLOW_FILE_MAX)
        return;
    if (len > 0)
        memcpy(allow.text, data, len);
    allow_parse(&allow, len);
    need(allow.n <= ALLOW_NAMES && (!allow.is_broken || !allow_has(&allow, "a.example")));
    need(!allow.is_listed || allow.is_broken || !allow_has(&allow, "a\\.example"));
    need(allow_equal(&allow, &allow));
    for (size_t i = 0; i < allow.n && !allow.is_broken; i++)
        need(strchr(allow.names[i], '\\') != NULL || allow_has(&allow, allow.names[i]) || allow.names[i][0] == '*');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_query(data, size);
    read_own_answer(data, size);
    read_list(data, size);
    return 0;
}
