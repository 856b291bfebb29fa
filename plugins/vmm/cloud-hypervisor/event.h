/* What a machine says of itself: the stream of --event-monitor, one JSON object after the other, a blank line behind
 * each. */
#ifndef CH_EVENT_H
#define CH_EVENT_H

#include "core/util/str.h"
#include "plugins/vmm/cloud-hypervisor/cloud-hypervisor.h"

#define EVENT_MAX 16384 /* bytes of one event; a longer one is passed over */

/* Bytes of the stream in, events out. */
struct event_parser {
    struct str in;
    size_t start;     /* where the next event begins */
    bool is_skipping; /* within an event that is too long */
};
#define EVENT_PARSER_INIT                                                                                              \
    {                                                                                                                  \
        STR_INIT, 0, false                                                                                             \
    }
void event_parser_done(struct event_parser *parser);
void event_parser_feed(struct event_parser *parser, const char *data, size_t len);
/* 1: *ret is the next event, 0: more bytes are needed. What is no event (the writer drops what a full pipe does not
 * take, in the middle of one) is passed over. */
int event_parser_next(struct event_parser *parser, struct runner_vm_event *ret);

/* Operations of struct runner_vmm_ops; self is struct ch. */
int event_listen(void *self, struct runner_call *call, const struct runner_vm *vm, void **ret_stream, int *ret_fd,
                 struct runner_error *err);
int event_next(void *self, void *stream, struct runner_vm_event *ret, struct runner_error *err);
void event_unlisten(void *self, void *stream);

#endif
