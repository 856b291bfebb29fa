#include "plugins/vmm/cloud-hypervisor/event.h"

#include <string.h>

#include "core/util/error.h"
#include "core/util/fd.h"
#include "core/util/json.h"

#define READ_CHUNK 4096
#define TURN_BYTES 65536 /* what a pipe holds: who never stops writing keeps the others waiting no longer */

/* ---- the stream ---- */

void event_parser_done(struct event_parser *parser)
{
    str_done(&parser->in);
    parser->start = 0;
}

void event_parser_feed(struct event_parser *parser, const char *data, size_t len)
{
    size_t rest = parser->in.len - parser->start;

    if (parser->start > 0) {
        memmove(parser->in.ptr, parser->in.ptr + parser->start, rest);
        parser->in.len = rest;
        parser->start = 0;
    }
    str_add_mem(&parser->in, data, len);
}

static uint32_t kind_of(const char *source, const char *event)
{
    static const struct {
        const char *source, *event;
        uint32_t kind;
    } kinds[] = {
        {"guest", "panic", RUNNER_VM_EVENT_PANIC},    {"vm", "paused", RUNNER_VM_EVENT_PAUSED},
        {"vm", "resumed", RUNNER_VM_EVENT_RESUMED},   {"vm", "rebooted", RUNNER_VM_EVENT_REBOOTED},
        {"vm", "shutdown", RUNNER_VM_EVENT_SHUTDOWN},
    };

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(source, kinds[i].source) == 0 && strcmp(event, kinds[i].event) == 0)
            return kinds[i].kind;
    return RUNNER_VM_EVENT_OTHER;
}

static bool read_event(const char *text, size_t len, struct runner_vm_event *ret)
{
    auto_json struct json *tree = NULL;
    const char *source, *event;

    if (json_parse(text, len, &tree, NULL) < 0)
        return false;
    source = json_text(tree, "source", NULL);
    event = json_text(tree, "event", NULL);
    if (source == NULL || event == NULL)
        return false;
    ret->kind = kind_of(source, event);
    (void)snprintf(ret->text, sizeof ret->text, "%.100s/%.100s", source, event);
    return true;
}

/* A block that is no event may be the torn beginning of one with a whole one behind: events begin with a line "{". */
static bool read_block(const char *text, size_t len, struct runner_vm_event *ret)
{
    const char *end = text + len, *start = text;

    while (start != NULL) {
        const char *next;

        if (read_event(start, (size_t)(end - start), ret))
            return true;
        next = memmem(start, (size_t)(end - start), "\n{\n", 3);
        start = next != NULL ? next + 1 : NULL;
    }
    return false;
}

/* The end of the block that begins at start, or NULL: then what is too long is dropped. */
static const char *block_end(struct event_parser *parser)
{
    const char *start = str_text(&parser->in) + parser->start;
    size_t len = parser->in.len - parser->start;
    const char *end = memmem(start, len, "\n\n", 2);

    if (end == NULL && len > EVENT_MAX) {
        parser->start = parser->in.len - 1; /* half of the blank line may be there */
        parser->is_skipping = true;
    }
    return end;
}

int event_parser_next(struct event_parser *parser, struct runner_vm_event *ret)
{
    const char *end;

    while ((end = block_end(parser)) != NULL) {
        const char *start = parser->in.ptr + parser->start;
        size_t len = (size_t)(end - start);
        bool is_whole = !parser->is_skipping && len <= EVENT_MAX;

        parser->start += len + 2;
        parser->is_skipping = false;
        if (is_whole && read_block(start, len, ret))
            return 1;
    }
    return 0;
}

/* ---- operations ---- */

struct stream {
    int fd;
    size_t taken; /* since there was nothing the last time */
    struct event_parser parser;
};

int event_listen(void *self, struct runner_call *call, const struct runner_vm *vm, void **ret_stream, int *ret_fd,
                 struct runner_error *err)
{
    struct ch *ch = self;
    auto_free char *path = ch_events_path(vm);
    auto_free char *address = mem_printf("fifo:%s", path);
    struct stream *stream;
    int fd;

    if (ch->host->dial(call, address, &fd, err) < 0)
        return error_wrap(err, "events of '%s'", vm->id);
    fd = fd_park(fd);
    stream = mem_alloc(sizeof *stream);
    *stream = (struct stream){.fd = fd, .parser = EVENT_PARSER_INIT};
    *ret_stream = stream;
    *ret_fd = fd;
    return 0;
}

/* 1: some bytes were added, 0: there are none now, -1: there will be none. */
static int receive(struct stream *stream, struct runner_error *err)
{
    char chunk[READ_CHUNK];

    for (;;) {
        ssize_t n = read(stream->fd, chunk, sizeof chunk);

        if (n > 0) {
            event_parser_feed(&stream->parser, chunk, (size_t)n);
            stream->taken += (size_t)n;
            return 1;
        }
        if (n == 0)
            return fail(err, RUNNER_E_UNREACHABLE, 0, "the events ended: nobody has them open to write");
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR)
            return fail(err, RUNNER_E_IO, errno, "read of events");
    }
}

int event_next(void *self, void *stream_, struct runner_vm_event *ret, struct runner_error *err)
{
    struct stream *stream = stream_;
    int got = 1;

    (void)self;
    while (got > 0) {
        if (event_parser_next(&stream->parser, ret) == 1)
            return 1;
        got = stream->taken < TURN_BYTES ? receive(stream, err) : 0; /* its descriptor is readable still */
    }
    stream->taken = 0;
    return got;
}

void event_unlisten(void *self, void *stream_)
{
    struct stream *stream = stream_;

    (void)self;
    if (stream == NULL)
        return;
    close(stream->fd);
    event_parser_done(&stream->parser);
    free(stream);
}
