#include "guest/daemon/follow.h"

#include "guest/daemon/websocket.h"

struct follow {
    struct exchange *x;
    struct log *log;
    struct log_follower *follower;
    int64_t offset;
    bool with_marks, is_websocket, is_over;
};

static void on_done(struct exchange *x)
{
    struct follow *f = x->state;

    log_unfollow(f->follower);
    log_unref(f->log);
    free(f);
}

static void finish(struct follow *f)
{
    static const unsigned char normal[] = {0x03, 0xe8}; /* 1000 */

    if (f->is_over)
        return;
    f->is_over = true;
    if (f->is_websocket)
        websocket_send(f->x, WEBSOCKET_CLOSE, normal, sizeof normal);
    reply_close(f->x);
}

static void send_piece(struct follow *f, enum log_stream stream, const struct str *piece)
{
    auto_str struct str message = STR_INIT;

    if (f->with_marks)
        log_add_mark(&message, stream);
    str_add_mem(&message, piece->ptr, piece->len);
    if (f->is_websocket)
        websocket_send(f->x, WEBSOCKET_BINARY, message.ptr, message.len);
    else
        reply_data(f->x, message.ptr, message.len);
}

/* A client that reads slowly is given the rest when its connection drains. */
static void pump(void *arg)
{
    struct follow *f = arg;
    auto_str struct str piece = STR_INIT;
    enum log_stream stream;

    while (!f->is_over && reply_pending(f->x) < SERVER_OUTPUT_HIGH) {
        if (log_next(f->log, &f->offset, &stream, &piece)) {
            send_piece(f, stream, &piece);
        } else {
            if (log_is_ended(f->log))
                finish(f);
            return;
        }
    }
}

static void on_drain(struct exchange *x)
{
    pump(x->state);
}

static void on_frames(struct exchange *x)
{
    if (websocket_take(x))
        finish(x->state);
}

void follow_log(struct exchange *x, struct log *log, bool with_marks)
{
    bool is_websocket = websocket_is_wanted(x);
    struct follow *f;

    if (is_websocket && !websocket_accept(x))
        return;
    if (!is_websocket)
        reply_open(x, 200, "text/plain; charset=utf-8", -1, NULL);
    f = mem_alloc(sizeof *f);
    *f = (struct follow){
        .x = x, .log = log_ref(log), .with_marks = with_marks || is_websocket, .is_websocket = is_websocket};
    f->follower = log_follow(log, pump, f);
    x->state = f;
    x->on_done = on_done;
    x->on_drain = on_drain;
    if (is_websocket)
        x->on_data = on_frames;
    pump(f);
}
