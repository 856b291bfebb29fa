#include "plugins/network/bridge/dns/message.h"

#include <ctype.h>
#include <ldns/ldns.h>
#include <stdlib.h>
#include <string.h>

#define HEADER  12
#define CHAIN   16   /* names that one may be another name of */
#define TTL_MAX 3600 /* seconds: what guests and rules remember */
#define QR      0x80 /* of the header's third byte */
#define OPCODE  0x78
#define TC      0x02
#define RD      0x01
#define RA      0x80 /* of its fourth */

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* ---- questions ---- */

/* The length of the name, the type and the class at data: no pointers there. 0: it is none. */
static size_t question_length(const uint8_t *data, size_t len)
{
    size_t at = 0;

    while (at < len && data[at] != 0) {
        if (data[at] > 63)
            return 0;
        at += data[at] + 1u;
    }
    at += 5;
    return at <= len && at <= 255 + 4 ? at : 0;
}

static bool take_name(ldns_rdf *from, char *ret, size_t size)
{
    ldns_rdf *name = from != NULL ? ldns_rdf_clone(from) : NULL;
    char *text;
    size_t len;
    bool fits;

    if (name == NULL)
        return false;
    ldns_dname2canonical(name);
    text = ldns_rdf2str(name);
    ldns_rdf_deep_free(name);
    len = text != NULL ? strlen(text) : 0;
    if (len > 1 && text[len - 1] == '.' && text[len - 2] != '\\')
        text[--len] = '\0';
    fits = len > 0 && len < size;
    if (fits)
        memcpy(ret, text, len + 1);
    free(text);
    return fits;
}

static int read_question(const ldns_pkt *packet, struct question *ret)
{
    const ldns_rr *rr;

    if (ldns_pkt_qdcount(packet) != 1 || ldns_pkt_ancount(packet) != 0)
        return RCODE_FORMERR;
    rr = ldns_rr_list_rr(ldns_pkt_question(packet), 0);
    ret->type = (uint16_t)ldns_rr_get_type(rr);
    if (ldns_rr_get_class(rr) != LDNS_RR_CLASS_IN || ret->type == TYPE_AXFR || ret->type == TYPE_IXFR ||
        ret->type == TYPE_ANY || ret->type == 0)
        return RCODE_REFUSED;
    ret->has_edns = ldns_pkt_edns(packet);
    ret->size = 512;
    if (ret->has_edns && ldns_pkt_edns_udp_size(packet) > ret->size)
        ret->size = ldns_pkt_edns_udp_size(packet) < MESSAGE_UDP_MAX ? ldns_pkt_edns_udp_size(packet) : MESSAGE_UDP_MAX;
    return take_name(ldns_rr_owner(rr), ret->name, sizeof ret->name) ? RCODE_OK : RCODE_FORMERR;
}

int message_read_query(const uint8_t *data, size_t len, struct question *ret)
{
    ldns_pkt *packet = NULL;
    int rcode;

    memset(ret, 0, sizeof *ret);
    if (len < HEADER || data[2] & QR)
        return -1;
    ret->id = get16(data);
    ret->wants_recursion = data[2] & RD;
    if (data[2] & OPCODE)
        return RCODE_NOTIMP;
    ret->wire_len = get16(data + 4) == 1 ? question_length(data + HEADER, len - HEADER) : 0;
    if (ret->wire_len == 0)
        return RCODE_FORMERR;
    memcpy(ret->wire, data + HEADER, ret->wire_len);
    if (ldns_wire2pkt(&packet, data, len) != LDNS_STATUS_OK)
        return RCODE_FORMERR;
    rcode = read_question(packet, ret);
    ldns_pkt_free(packet);
    return rcode;
}

size_t message_write_query(const struct question *q, uint16_t id, uint8_t *out, size_t size)
{
    static const uint8_t edns[] = {0, 0, 41, MESSAGE_UDP_MAX >> 8, MESSAGE_UDP_MAX & 255, 0, 0, 0, 0, 0, 0};

    if (size < HEADER + q->wire_len + sizeof edns)
        return 0;
    memset(out, 0, HEADER);
    put16(out, id);
    out[2] = RD;
    put16(out + 4, 1);
    put16(out + 10, 1);
    memcpy(out + HEADER, q->wire, q->wire_len);
    memcpy(out + HEADER + q->wire_len, edns, sizeof edns);
    return HEADER + q->wire_len + sizeof edns;
}

size_t message_refuse(const uint8_t *data, size_t len, const struct question *q, int rcode, uint8_t *out, size_t size)
{
    size_t wire_len = q != NULL ? q->wire_len : 0;

    if (len < HEADER || size < HEADER + wire_len)
        return 0;
    memset(out, 0, HEADER);
    memcpy(out, data, 2);
    out[2] = (uint8_t)(QR | (data[2] & (OPCODE | RD)));
    out[3] = (uint8_t)(RA | rcode);
    if (wire_len == 0)
        return HEADER;
    put16(out + 4, 1);
    memcpy(out + HEADER, q->wire, wire_len);
    return HEADER + wire_len;
}

/* ---- answers ---- */

bool message_is_answer(const struct question *q, uint16_t id, const uint8_t *data, size_t len, bool *ret_is_cut)
{
    if (len < HEADER + q->wire_len || get16(data) != id || !(data[2] & QR) || data[2] & OPCODE || get16(data + 4) != 1)
        return false;
    for (size_t i = 0; i < q->wire_len; i++)
        if (tolower(data[HEADER + i]) != tolower(q->wire[i]))
            return false;
    *ret_is_cut = data[2] & TC;
    return true;
}

static ldns_pkt *begin_reply(const struct question *q, const ldns_pkt *from)
{
    ldns_pkt *reply = ldns_pkt_new();

    if (reply == NULL)
        return NULL;
    ldns_pkt_set_id(reply, q->id);
    ldns_pkt_set_qr(reply, true);
    ldns_pkt_set_rd(reply, q->wants_recursion);
    ldns_pkt_set_ra(reply, true);
    ldns_pkt_set_rcode(reply, ldns_pkt_get_rcode(from));
    if (q->has_edns)
        ldns_pkt_set_edns_udp_size(reply, MESSAGE_UDP_MAX);
    return reply;
}

static bool push(ldns_pkt *reply, ldns_pkt_section section, const ldns_rr *rr)
{
    ldns_rr *copy = ldns_rr_clone(rr);

    if (copy == NULL)
        return false;
    if (ldns_rr_ttl(copy) > TTL_MAX && section != LDNS_SECTION_QUESTION)
        ldns_rr_set_ttl(copy, TTL_MAX);
    if (ldns_pkt_push_rr(reply, section, copy))
        return true;
    ldns_rr_free(copy);
    return false;
}

static bool push_all(ldns_pkt *reply, ldns_pkt_section section, const ldns_rr_list *from)
{
    for (size_t i = 0; i < ldns_rr_list_rr_count(from); i++)
        if (!push(reply, section, ldns_rr_list_rr(from, i)))
            return false;
    return true;
}

static bool is_of(const ldns_rr *rr, ldns_rr_type type, const ldns_rdf *name)
{
    return ldns_rr_get_type(rr) == type && ldns_rr_get_class(rr) == LDNS_RR_CLASS_IN && ldns_rr_rd_count(rr) == 1 &&
           ldns_dname_compare(ldns_rr_owner(rr), name) == 0;
}

/* What the name is another name of, with the records that say so in the reply. NULL: no memory. */
static const ldns_rdf *follow(ldns_pkt *reply, const ldns_rr_list *from, const ldns_rdf *name)
{
    for (int i = 0; i < CHAIN; i++) {
        const ldns_rr *next = NULL;

        for (size_t r = 0; r < ldns_rr_list_rr_count(from) && next == NULL; r++)
            if (is_of(ldns_rr_list_rr(from, r), LDNS_RR_TYPE_CNAME, name))
                next = ldns_rr_list_rr(from, r);
        if (next == NULL)
            return name;
        if (!push(reply, LDNS_SECTION_ANSWER, next))
            return NULL;
        name = ldns_rr_rdf(next, 0);
    }
    return name;
}

static bool push_addresses(ldns_pkt *reply, const ldns_rr_list *from, const ldns_rdf *name,
                           bool (*may_reach)(uint32_t, void *), void *ctx, struct answer *ret)
{
    for (size_t i = 0; i < ldns_rr_list_rr_count(from) && ret->n < MESSAGE_ADDRESSES; i++) {
        const ldns_rr *rr = ldns_rr_list_rr(from, i);
        uint32_t address;

        if (!is_of(rr, LDNS_RR_TYPE_A, name) || ldns_rdf_size(ldns_rr_rdf(rr, 0)) != sizeof address)
            continue;
        memcpy(&address, ldns_rdf_data(ldns_rr_rdf(rr, 0)), sizeof address);
        if (!may_reach(address, ctx))
            continue;
        if (!push(reply, LDNS_SECTION_ANSWER, rr))
            return false;
        if (ret->n == 0 || ldns_rr_ttl(rr) < ret->ttl_s)
            ret->ttl_s = ldns_rr_ttl(rr) < TTL_MAX ? ldns_rr_ttl(rr) : TTL_MAX;
        ret->addresses[ret->n++] = address;
    }
    return true;
}

static bool fill_addresses(ldns_pkt *reply, const ldns_pkt *from, bool (*may_reach)(uint32_t, void *), void *ctx,
                           struct answer *ret)
{
    const ldns_rr_list *records = ldns_pkt_answer(from);
    const ldns_rdf *name = follow(reply, records, ldns_rr_owner(ldns_rr_list_rr(ldns_pkt_question(from), 0)));

    return name != NULL && push_addresses(reply, records, name, may_reach, ctx, ret);
}

static bool fill(ldns_pkt *reply, const ldns_pkt *from, bool (*may_reach)(uint32_t, void *), void *ctx,
                 struct answer *ret)
{
    const ldns_rr *question = ldns_rr_list_rr(ldns_pkt_question(from), 0);

    if (ldns_pkt_qdcount(from) != 1 || !push(reply, LDNS_SECTION_QUESTION, question))
        return false;
    if (may_reach != NULL && ldns_rr_get_type(question) == LDNS_RR_TYPE_A)
        return fill_addresses(reply, from, may_reach, ctx, ret);
    return push_all(reply, LDNS_SECTION_ANSWER, ldns_pkt_answer(from)) &&
           push_all(reply, LDNS_SECTION_AUTHORITY, ldns_pkt_authority(from)) &&
           (may_reach != NULL || push_all(reply, LDNS_SECTION_ADDITIONAL, ldns_pkt_additional(from)));
}

int message_read_answer(const struct question *q, const uint8_t *data, size_t len, bool (*may_reach)(uint32_t, void *),
                        void *ctx, struct answer *ret)
{
    ldns_pkt *from = NULL, *reply = NULL;
    struct answer answer = {.data = NULL};
    int status = -1;

    if (ldns_wire2pkt(&from, data, len) != LDNS_STATUS_OK)
        return -1;
    reply = begin_reply(q, from);
    if (reply != NULL && fill(reply, from, may_reach, ctx, &answer) &&
        ldns_pkt2wire(&answer.data, reply, &answer.len) == LDNS_STATUS_OK && answer.len <= MESSAGE_MAX) {
        *ret = answer;
        answer.data = NULL;
        status = 0;
    }
    free(answer.data);
    ldns_pkt_free(reply);
    ldns_pkt_free(from);
    return status;
}

void message_cut(struct answer *answer, const struct question *q)
{
    memset(answer->data + 4, 0, HEADER - 4);
    put16(answer->data + 4, 1);
    answer->data[2] |= TC;
    memcpy(answer->data + HEADER, q->wire, q->wire_len); /* it was longer than 512 bytes, and is an answer to this */
    answer->len = HEADER + q->wire_len;
}

void answer_done(struct answer *answer)
{
    free(answer->data);
    *answer = (struct answer){.data = NULL};
}
