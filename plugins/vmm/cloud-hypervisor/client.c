#include "plugins/vmm/cloud-hypervisor/client.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util/error.h"
#include "core/util/fd.h"
#include "core/util/num.h"
#include "plugins/vmm/cloud-hypervisor/http.h"
#include "plugins/vmm/common/ending.h"

#define READ_CHUNK 16384

void client_reply_done(struct client_reply *reply)
{
    str_done(&reply->body);
    reply->status = 0;
}

/* ---- connections kept ---- */

/* At most one a machine. Two calls at once have two connections, of which one is kept. */
struct client_idle {
    struct client_idle *next; /* in its bucket */
    int fd;
    char id[]; /* of the machine */
};

static void idle_free(struct client_idle *idle)
{
    close(idle->fd);
    free(idle);
}

static struct client_idle **bucket_of(struct ch *self, const char *id)
{
    uint32_t hash = 2166136261u;

    for (; *id != '\0'; id++)
        hash = (hash ^ (unsigned char)*id) * 16777619u;
    return &self->idle[hash % CH_BUCKETS];
}

/* Out of the table; NULL: none. */
static struct client_idle *idle_take(struct ch *self, const char *id)
{
    struct client_idle **link = bucket_of(self, id), *found;

    pthread_mutex_lock(&self->lock);
    while (*link != NULL && strcmp((*link)->id, id) != 0)
        link = &(*link)->next;
    found = *link;
    if (found != NULL) {
        *link = found->next;
        self->n_idle--;
    }
    pthread_mutex_unlock(&self->lock);
    return found;
}

static void idle_keep(struct ch *self, const char *id, int fd)
{
    struct client_idle *idle = mem_alloc(sizeof *idle + strlen(id) + 1), *other = idle_take(self, id);
    struct client_idle **bucket = bucket_of(self, id);

    idle->fd = fd_park(fd);
    memcpy(idle->id, id, strlen(id) + 1);
    pthread_mutex_lock(&self->lock);
    idle->next = *bucket;
    *bucket = idle;
    self->n_idle++;
    pthread_mutex_unlock(&self->lock);
    if (other != NULL)
        idle_free(other);
}

void client_forget(struct ch *self, const char *id)
{
    struct client_idle *idle;

    while ((idle = idle_take(self, id)) != NULL)
        idle_free(idle);
}

void client_forget_all(struct ch *self) /* at the end: nobody else is there */
{
    struct client_idle *idle;

    for (size_t i = 0; i < CH_BUCKETS; i++)
        while ((idle = self->idle[i]) != NULL) {
            self->idle[i] = idle->next;
            idle_free(idle);
        }
    self->n_idle = 0;
}

/* A connection that was kept, or -1. One that the peer closed, or talks on unasked, is of no use. */
static int idle_reuse(struct ch *self, const char *id)
{
    struct client_idle *idle = idle_take(self, id);
    char byte;
    int fd;

    if (idle == NULL)
        return -1;
    fd = idle->fd;
    free(idle);
    if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN)
        return fd;
    close(fd);
    return -1;
}

/* ---- calls on a connection ---- */

struct talk {
    struct ch *self;
    struct runner_call *call;
    const struct client_request *requests;
    size_t n, at;        /* at: the one whose answer is due */
    int64_t deadline_ms; /* of that, by num_now_ms() */
    int fd;
    bool is_heard; /* something came over this connection */
    struct str in;
};

static const char *action_of(const struct talk *talk)
{
    return talk->requests[talk->at].action;
}

/* Until the connection is ready for events, the call's time is over, or the operation's. */
static int await(struct talk *talk, short events, struct runner_error *err)
{
    const struct runner_host *host = talk->self->host;
    int64_t left = talk->deadline_ms - num_now_ms();
    int seen = host->wait(talk->call, talk->fd, events, left > 0 ? left : 0);

    if (seen < 0 && host->cancelled(talk->call) == RUNNER_E_CANCELLED)
        return fail(err, RUNNER_E_CANCELLED, 0, "%s: cancelled", action_of(talk));
    if (seen <= 0)
        return fail(err, RUNNER_E_TIMEOUT, 0, CH_NAME " does not answer %s in time", action_of(talk));
    return 0;
}

static int hung_up(const struct talk *talk, struct runner_error *err)
{
    return fail(err, RUNNER_E_UNREACHABLE, 0, CH_NAME " closed the connection during %s", action_of(talk));
}

static ssize_t send_some(int fd, const char *data, size_t len, int passed)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {.iov_base = (char *)(uintptr_t)data, .iov_len = len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (passed >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        *CMSG_FIRSTHDR(&message) =
            (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &passed, sizeof passed);
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int send_all(struct talk *talk, const char *data, size_t len, int passed, struct runner_error *err)
{
    while (len > 0) {
        ssize_t n = send_some(talk->fd, data, len, passed);

        if (n >= 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return hung_up(talk, err);
        } else if (errno == EAGAIN) {
            if (await(talk, POLLOUT, err) < 0)
                return -1;
        } else if (errno != EINTR) {
            return fail(err, RUNNER_E_IO, errno, "%s: write to " CH_NAME, action_of(talk));
        }
    }
    return 0;
}

static int send_request(struct talk *talk, const struct client_request *request, struct runner_error *err)
{
    auto_str struct str out = STR_INIT;
    size_t before;

    http_add_request(&out, request->is_get ? "GET" : "PUT", request->action, request->body,
                     request->body != NULL ? strlen(request->body) : 0);
    before = request->fd >= 0 ? out.len - 1 : out.len;
    if (send_all(talk, out.ptr, before, -1, err) < 0)
        return -1;
    return send_all(talk, out.ptr + before, out.len - before, request->fd, err);
}

static int receive(struct talk *talk, struct runner_error *err)
{
    if (num_now_ms() >= talk->deadline_ms) /* it may be talking all the time */
        return fail(err, RUNNER_E_TIMEOUT, 0, CH_NAME " does not answer %s in time", action_of(talk));
    str_reserve(&talk->in, READ_CHUNK);
    for (;;) {
        ssize_t n;

        if (await(talk, POLLIN, err) < 0) /* it is hardly ever there already */
            return -1;
        n = recv(talk->fd, talk->in.ptr + talk->in.len, READ_CHUNK, MSG_DONTWAIT);
        if (n > 0) {
            talk->is_heard = true;
            talk->in.len += (size_t)n;
            talk->in.ptr[talk->in.len] = '\0';
            return 0;
        }
        if (n == 0 || errno == ECONNRESET)
            return hung_up(talk, err);
        if (errno != EAGAIN && errno != EINTR)
            return fail(err, RUNNER_E_IO, errno, "%s: read from " CH_NAME, action_of(talk));
    }
}

/* One reply, out of what was received. */
static int read_reply(struct talk *talk, struct client_reply *ret, struct runner_error *err)
{
    struct http_reply head = {0};
    size_t len;
    int seen = 0;

    client_reply_done(ret);
    while ((seen = http_read_head(str_text(&talk->in), talk->in.len, &head, err)) == 0)
        if (receive(talk, err) < 0)
            return -1;
    if (seen < 0)
        return error_wrap(err, "%s", action_of(talk));
    len = head.head_len + head.body_len;
    while (talk->in.len < len)
        if (receive(talk, err) < 0)
            return -1;
    ret->status = head.status;
    str_add_mem(&ret->body, talk->in.ptr + head.head_len, head.body_len);
    talk->in.len -= len;
    memmove(talk->in.ptr, talk->in.ptr + len, talk->in.len + 1);
    return 0;
}

static int code_of(int status, const char *causes)
{
    if (strstr(causes, "already locked") != NULL || status == 429 || status == 503)
        return RUNNER_E_BUSY;
    if (strstr(causes, "on a closed channel") != NULL) /* its VMM thread panicked, and the process ends of it */
        return RUNNER_E_UNREACHABLE;
    if (status >= 400 && status < 500)
        return status == 404 ? RUNNER_E_NOTFOUND : RUNNER_E_INVALID;
    if (strstr(causes, "Failed to validate config") != NULL)
        return RUNNER_E_INVALID;
    return ending_code(causes);
}

static int judge(const struct talk *talk, const struct client_reply *reply, struct runner_error *err)
{
    auto_str struct str causes = STR_INIT;

    if (reply->status >= 200 && reply->status < 300)
        return 0;
    http_add_causes(&causes, str_text(&reply->body), reply->body.len);
    return fail(err, code_of(reply->status, str_text(&causes)), 0, CH_NAME " refuses %s: %s", action_of(talk),
                str_text(&causes));
}

/* *ret_is_clean: all is answered and nothing else came, so the connection may be used again. */
static int exchange(struct talk *talk, struct client_reply *ret, bool *ret_is_clean, struct runner_error *err)
{
    int status;

    for (size_t i = 0; i < talk->n; i++)
        if (send_request(talk, &talk->requests[i], err) < 0)
            return -1;
    for (;;) {
        if (read_reply(talk, ret, err) < 0)
            return -1;
        *ret_is_clean = talk->at + 1 == talk->n && talk->in.len == 0 && ret->status != 503;
        status = judge(talk, ret, err);
        if (status < 0 || ++talk->at == talk->n)
            return status;
        talk->deadline_ms = num_now_ms() + talk->requests[talk->at].timeout_ms;
    }
}

/* ---- calls ---- */

static int dial(struct talk *talk, const struct runner_vm *vm, struct runner_error *err)
{
    auto_free char *address = mem_printf("unix:%s", vm->socket_path);

    return talk->self->host->dial(talk->call, address, &talk->fd, err) < 0 ? -1 : 0;
}

/*
 * Over the connection kept, if there is one. It may have been closed meanwhile, and then nothing was heard: the call is
 * made once more over a new one. Cloud Hypervisor itself closes none, so that it was carried out and the answer lost
 * can only be when its process ended, and then nobody is there to be asked again.
 */
static int talk_once(struct talk *talk, const struct runner_vm *vm, struct client_reply *ret, bool *ret_is_clean,
                     struct runner_error *err)
{
    talk->fd = idle_reuse(talk->self, vm->id);
    if (talk->fd >= 0) {
        struct runner_error cause = ERROR_INIT;

        if (exchange(talk, ret, ret_is_clean, &cause) == 0)
            return 0;
        if (cause.code != RUNNER_E_UNREACHABLE || talk->is_heard) {
            if (err != NULL)
                error_copy(err, &cause);
            return -1;
        }
        close(talk->fd);
        talk->fd = -1;
    }
    if (dial(talk, vm, err) < 0)
        return -1;
    return exchange(talk, ret, ret_is_clean, err);
}

static int check_size(const struct client_request *request, struct runner_error *err)
{
    if (request->body != NULL && strlen(request->body) > HTTP_REQUEST_BODY_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "%s: a body of %zu bytes: " CH_NAME " is safe with %d", request->action,
                    strlen(request->body), HTTP_REQUEST_BODY_MAX);
    return 0;
}

int client_calls(struct ch *self, struct runner_call *call, const struct runner_vm *vm,
                 const struct client_request *requests, size_t n, struct client_reply *ret, size_t *ret_done,
                 struct runner_error *err)
{
    struct talk talk = {.self = self,
                        .call = call,
                        .requests = requests,
                        .n = n,
                        .deadline_ms = num_now_ms() + requests->timeout_ms,
                        .fd = -1};
    bool is_clean = false;
    int status;

    client_reply_done(ret);
    *ret_done = 0;
    for (size_t i = 0; i < n; i++)
        if (check_size(&requests[i], err) < 0)
            return -1;
    status = talk_once(&talk, vm, ret, &is_clean, err);
    if (is_clean)
        idle_keep(self, vm->id, talk.fd);
    else if (talk.fd >= 0)
        close(talk.fd);
    str_done(&talk.in);
    *ret_done = talk.at;
    return status;
}

int client_call(struct ch *self, struct runner_call *call, const struct runner_vm *vm,
                const struct client_request *request, struct client_reply *ret, struct runner_error *err)
{
    size_t done;

    return client_calls(self, call, vm, request, 1, ret, &done, err);
}
