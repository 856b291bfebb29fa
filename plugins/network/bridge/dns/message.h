/* Messages of the DNS (RFC 1035, 6891), as far as a forwarder looks into them. The one place that includes ldns. */
#ifndef DNS_MESSAGE_H
#define DNS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_MAX       65535
#define MESSAGE_UDP_MAX   1232 /* what passes any link in one piece */
#define MESSAGE_ADDRESSES 32   /* that are taken of one answer */
#define MESSAGE_NAME_MAX  1024 /* of a name as text, with its escapes and its NUL */

enum { TYPE_A = 1, TYPE_SVCB = 64, TYPE_HTTPS = 65, TYPE_AAAA = 28, TYPE_IXFR = 251, TYPE_AXFR = 252, TYPE_ANY = 255 };
enum { RCODE_OK = 0, RCODE_FORMERR = 1, RCODE_SERVFAIL = 2, RCODE_NOTIMP = 4, RCODE_REFUSED = 5 };

struct question {
    uint16_t id, type;
    uint16_t size; /* the longest answer by UDP */
    bool has_edns, wants_recursion;
    char name[MESSAGE_NAME_MAX]; /* in lower case, without the dot at its end; what is not plain is escaped by '\' */
    uint8_t wire[272];           /* the section of the question, as it came */
    size_t wire_len;
};

/* What a guest asks: RCODE_OK; another code: to be answered so (see message_refuse); -1: no query at all, not to be
 * answered. */
int message_read_query(const uint8_t *data, size_t len, struct question *ret);

/* What is asked of the server above. Its length; 0: does not fit. */
size_t message_write_query(const struct question *q, uint16_t id, uint8_t *out, size_t size);

/* An answer without records. data: the query that it answers, whose first bytes are a header; q may be NULL. Its length. */
size_t message_refuse(const uint8_t *data, size_t len, const struct question *q, int rcode, uint8_t *out, size_t size);

/* Whether that is an answer to this question with this id; ret_is_cut: it says that there is more by TCP. */
bool message_is_answer(const struct question *q, uint16_t id, const uint8_t *data, size_t len, bool *ret_is_cut);

struct answer {
    uint8_t *data; /* for the guest; malloc's; NULL: none */
    size_t len;
    uint32_t addresses[MESSAGE_ADDRESSES]; /* network order: what the name stands for, of the records in it */
    size_t n;
    uint32_t ttl_s; /* the smallest of these */
};
/* Makes the guest's answer of one for which message_is_answer() holds. With may_reach an answer of addresses holds only
 * these: of the name, or of what it is another name of, for which may_reach() says so; none is left: the answer is empty.
 * -1: it is not well-formed, or there is no memory. */
int message_read_answer(const struct question *q, const uint8_t *data, size_t len, bool (*may_reach)(uint32_t, void *),
                        void *ctx, struct answer *ret);
/* The same, cut to its question, with the word that there is more by TCP. */
void message_cut(struct answer *answer, const struct question *q);
void answer_done(struct answer *answer);

#endif
