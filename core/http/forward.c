#include "core/http/forward.h"

#include <string.h>

static void add_field(struct str *out, const char *name, size_t name_len, const char *value, size_t value_len)
{
    str_reserve(out, name_len + value_len + 4);
    memcpy(out->ptr + out->len, name, name_len);
    out->len += name_len;
    memcpy(out->ptr + out->len, ": ", 2);
    out->len += 2;
    if (value_len > 0)
        memcpy(out->ptr + out->len, value, value_len);
    out->len += value_len;
    memcpy(out->ptr + out->len, "\r\n", 3);
    out->len += 2;
}

/* One X-Forwarded-For: what came, in order, and the peer. */
static void add_forwarded_for(struct str *out, const struct head *head, const char *peer)
{
    const char *between = "";

    if (peer[0] == '\0' && head_find(head, HEAD_FORWARDED_FOR) == NULL)
        return;
    str_add(out, "X-Forwarded-For: ");
    for (size_t i = 0; i < head->n; i++) {
        if (head->name[i] != HEAD_FORWARDED_FOR || head->is_dropped[i] || head->field[i].value_len == 0)
            continue;
        str_add(out, between);
        str_add_mem(out, head->field[i].value, head->field[i].value_len);
        between = ", ";
    }
    if (peer[0] != '\0') {
        str_add(out, between);
        str_add(out, peer);
    }
    str_add(out, "\r\n");
}

static void add_upgrade(struct str *out, const struct head *head)
{
    const struct phr_header *field = head_find(head, HEAD_UPGRADE);

    str_add(out, "Connection: Upgrade\r\n");
    if (field != NULL)
        add_field(out, field->name, field->name_len, field->value, field->value_len);
}

static bool stays_here(const struct head *head, size_t i, const struct forward_request *how)
{
    switch (head->name[i]) {
    case HEAD_RUNNER_AUTHORIZATION:
    case HEAD_FORWARDED_FOR:
        return true;
    case HEAD_AUTHORIZATION:
        return how->used == AUTH_AUTHORIZATION;
    case HEAD_HOST:
        return how->host != NULL;
    default:
        return head->is_dropped[i];
    }
}

void forward_add_request(struct str *out, const struct head *head, const struct forward_request *how)
{
    str_add_mem(out, head->method, head->method_len);
    str_add_char(out, ' ');
    str_add(out, how->prefix);
    if (how->target_len == 0 || how->target[0] == '?')
        str_add_char(out, '/');
    str_add_mem(out, how->target, how->target_len);
    str_add(out, head->minor >= 1 ? " HTTP/1.1\r\n" : " HTTP/1.0\r\n");
    if (how->host != NULL)
        add_field(out, "Host", 4, how->host, strlen(how->host));
    for (size_t i = 0; i < head->n; i++)
        if (!stays_here(head, i, how))
            add_field(out, head->field[i].name, head->field[i].name_len, head->field[i].value,
                      head->field[i].value_len);
    add_forwarded_for(out, head, how->peer);
    if (how->is_upgrade)
        add_upgrade(out, head);
    str_add(out, "\r\n");
}

void forward_add_response(struct str *out, const struct head *head, bool is_closing, bool is_upgrade)
{
    str_addf(out, "HTTP/1.1 %d ", head->status);
    str_add_mem(out, head->reason, head->reason_len);
    str_add(out, "\r\n");
    for (size_t i = 0; i < head->n; i++)
        if (!head->is_dropped[i])
            add_field(out, head->field[i].name, head->field[i].name_len, head->field[i].value,
                      head->field[i].value_len);
    if (is_upgrade)
        add_upgrade(out, head);
    else if (is_closing)
        str_add(out, "Connection: close\r\n");
    str_add(out, "\r\n");
}
