#include "core/http/rest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include <h2o.h>
#include <h2o/http1.h>

#include "core/http/reply.h"
#include "core/util/num.h"
#include "core/util/recoverable.h"
#include "core/util/text.h"

#ifdef __SANITIZE_ADDRESS__
/* What libh2o 2.2 itself never frees: lists of recycled buffers that die with their thread, and a context's queue. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void)
{
    return "leak:h2o_mem_alloc_recycle\nleak:h2o_multithread_create_queue\n";
}

__attribute__((visibility("default"))) const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}
#endif

struct rest_config {
    h2o_globalconf_t h2o;
};

struct rest {
    struct front *front;
    h2o_context_t ctx;
    h2o_accept_ctx_t accept;
    h2o_socket_t *epoll; /* the front's set, as a socket that h2o watches */
};

/* Two hold it: the h2o socket until it closes, the upstream at the other end until it is dropped. Loop thread. */
struct pair {
    struct front *front;
    struct request *request; /* the one under way */
    bool is_open;            /* h2o has not closed its end */
    int users;
};

/* In the h2o request's pool: tells when h2o gives the request up. */
struct pin {
    struct request *request;
};

struct request {
    struct http_request pub; /* first */
    struct message message;
    struct front *front;
    struct pair *pair; /* loop thread; NULL once the pair is gone */
    h2o_req_t *req;    /* loop thread; NULL once h2o gave it up */
    struct pin *pin;
    atomic_bool is_gone;
    struct json *body;
    char *path, *query, *method;
    char id[256];
    int status; /* the answer */
    const char *content_type;
    struct str text;
};

static void pair_release(struct pair *pair)
{
    if (--pair->users > 0)
        return;
    if (pair->request != NULL)
        pair->request->pair = NULL;
    free(pair);
}

static void pair_closed(void *data)
{
    struct pair *pair = data;

    pair->is_open = false;
    pair->front->n_pairs--;
    pair_release(pair);
}

int rest_pair_new(struct front *front, struct pair **ret, int *ret_fd)
{
    struct pair *pair;
    h2o_socket_t *sock;
    struct timeval now;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return -1;
    pair = mem_alloc(sizeof *pair);
    pair->front = front;
    pair->is_open = true;
    pair->users = 2;
    front->n_pairs++;
    sock = h2o_evloop_socket_create(front->rest->ctx.loop, fds[1], H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
    sock->on_close.cb = pair_closed;
    sock->on_close.data = pair;
    gettimeofday(&now, NULL);
    h2o_http1_accept(&front->rest->accept, sock, now);
    *ret = pair;
    *ret_fd = fds[0];
    return 0;
}

bool rest_pair_is_open(const struct pair *pair)
{
    return pair->is_open;
}

void rest_pair_drop(struct pair *pair)
{
    struct request *request = pair->request;
    const struct http_backend *backend = pair->front->backend;

    if (request != NULL && !atomic_exchange(&request->is_gone, true) && backend->gone != NULL)
        backend->gone(backend->ctx, &request->pub);
    pair_release(pair);
}

static void request_free(struct request *request)
{
    json_free(request->body);
    free(request->path);
    free(request->query);
    free(request->method);
    str_done(&request->text);
    free(request);
}

static void request_send(h2o_req_t *req, int status, const char *content_type, const char *body, size_t len)
{
    req->res.status = status;
    req->res.reason = reply_reason(status);
    req->res.content_length = len;
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, content_type, strlen(content_type));
    if (status == 503)
        h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_RETRY_AFTER, NULL, REPLY_RETRY_AFTER, strlen(REPLY_RETRY_AFTER));
    h2o_send_inline(req, len > 0 ? body : "", len);
}

/* Loop thread: the answer is there; h2o's request may be gone. */
static void request_deliver(struct front *front, struct message *message)
{
    struct request *request = LIST_OWNER(struct request, message, message);

    if (request->pair != NULL)
        request->pair->request = NULL;
    if (request->req != NULL) {
        request->pin->request = NULL; /* first: sending may end the request */
        request_send(request->req, request->status, request->content_type, request->text.ptr, request->text.len);
    }
    front->n_requests--;
    request_free(request);
}

/* Any thread. */
static void request_answer(struct request *request)
{
    if (pthread_equal(pthread_self(), request->front->thread))
        request_deliver(request->front, &request->message);
    else
        front_post(request->front, &request->message);
}

static void pin_dispose(void *p)
{
    struct request *request = ((struct pin *)p)->request;

    if (request != NULL)
        request->req = NULL;
}

void http_reply(struct http_request *pub, int status, const char *content_type, const char *body, size_t len)
{
    struct request *request = (struct request *)(void *)pub;

    request->status = status;
    request->content_type = content_type;
    str_clear(&request->text);
    str_add_mem(&request->text, body, len);
    request_answer(request);
}

void http_reply_json(struct http_request *pub, int status, struct str *body)
{
    struct request *request = (struct request *)(void *)pub;

    request->status = status;
    request->content_type = "application/json";
    str_done(&request->text);
    request->text = *body;
    *body = (struct str)STR_INIT;
    request_answer(request);
}

static void reply_failure(struct http_request *pub, int status, const char *code, const char *message)
{
    struct reply_error error = {.status = status,
                                .code = code,
                                .message = message,
                                .path = pub->path,
                                .path_len = strlen(pub->path),
                                .method = pub->method,
                                .method_len = strlen(pub->method)};
    auto_str struct str body = STR_INIT;

    reply_add_error(&body, &error, &status);
    http_reply_json(pub, status, &body);
}

void http_reply_status(struct http_request *pub, int status, const char *format, ...)
{
    auto_str struct str message = STR_INIT;
    va_list args;

    str_add(&message, reply_prefix(status));
    va_start(args, format);
    str_addv(&message, format, args);
    va_end(args);
    reply_failure(pub, status, reply_code(status), str_text(&message));
}

void http_reply_error(struct http_request *pub, const struct runner_error *err)
{
    /* What can be recovered from has an answer of its own, whatever kind of error it is. */
    int status = recoverable_is(err->message) ? 500 : reply_status(err->code);

    http_reply_status(pub, status, "%s", err->message);
}

void http_reply_field(struct http_request *pub, const char *field, const char *format, ...)
{
    auto_str struct str message = STR_INIT;
    va_list args;

    str_addf(&message, "invalid body request: %s: ", field);
    va_start(args, format);
    str_addv(&message, format, args);
    va_end(args);
    reply_failure(pub, 400, "INVALID_REQUEST_BODY", str_text(&message));
}

bool http_request_gone(const struct http_request *pub)
{
    return atomic_load(&((const struct request *)(const void *)pub)->is_gone);
}

/* The request's body as its route wants it: 0, or -1 with err. */
static int body_read(const struct route *route, h2o_iovec_t entity, struct json **ret, struct runner_error *err)
{
    auto_json struct json *body = NULL;
    bool is_optional = route->body == ROUTE_BODY_OPTIONAL;

    if (route->body == ROUTE_NO_BODY)
        return 0;
    if (entity.len == 0)
        return is_optional ? 0 : fail(err, RUNNER_E_INVALID, 0, "the body is empty, a JSON object is needed");
    if (json_parse(entity.base, entity.len, &body, err) < 0)
        return is_optional ? 0 : -1;
    if (body->type != JSON_OBJECT)
        return is_optional
                   ? 0
                   : fail(err, RUNNER_E_INVALID, 0, "a JSON object is needed, not %s", json_type_name(body->type));
    *ret = body;
    body = NULL;
    return 0;
}

static struct request *request_new(struct pair *pair, h2o_req_t *req, size_t path_len)
{
    struct request *request = mem_alloc(sizeof *request);
    size_t query_at = path_len < req->input.path.len ? path_len + 1 : path_len;

    request->front = pair->front;
    request->message.run = request_deliver;
    request->pair = pair;
    request->req = req;
    request->pin = h2o_mem_alloc_shared(&req->pool, sizeof *request->pin, pin_dispose);
    request->pin->request = request;
    request->method = mem_dup_n(req->input.method.base, req->input.method.len);
    request->path = mem_dup_n(req->input.path.base, path_len);
    request->query = mem_dup_n(req->input.path.base + query_at, req->input.path.len - query_at);
    request->pub.method = request->method;
    request->pub.path = request->path;
    request->pub.query = request->query;
    request->pub.id = request->id;
    pair->request = request;
    pair->front->n_requests++;
    return request;
}

static void request_handle(struct request *request, const struct route *route, h2o_iovec_t entity)
{
    const struct http_backend *backend = request->front->backend;
    struct runner_error err = ERROR_INIT;
    auto_free char *message = NULL;

    if (request->id[0] != '\0' && !text_is_id(request->id)) {
        http_reply_status(&request->pub, 400, "the sandbox id is not valid");
        return;
    }
    if (!route->is_built) {
        http_reply_status(&request->pub, 501, "%s %s is not built yet", route->method, route->path);
        return;
    }
    if (body_read(route, entity, &request->body, &err) < 0) {
        message = mem_printf("invalid body request: %s", err.message);
        reply_failure(&request->pub, 400, "INVALID_REQUEST_BODY", message);
        return;
    }
    request->pub.route = route->route;
    request->pub.body = request->body;
    backend->handle(backend->ctx, &request->pub);
}

static int rest_handle(h2o_handler_t *self, h2o_req_t *req)
{
    struct pair *pair = req->conn->callbacks->get_socket(req->conn)->on_close.data;
    const char *query = memchr(req->input.path.base, '?', req->input.path.len);
    size_t path_len = query != NULL ? (size_t)(query - req->input.path.base) : req->input.path.len;
    const struct route *route;
    struct request *request;
    char id[256];

    (void)self;
    route = route_find(req->input.method.base, req->input.method.len, req->input.path.base, path_len, id);
    if (route == NULL) {
        request_send(req, 404, "text/plain", "404 page not found", strlen("404 page not found"));
        return 0;
    }
    request = request_new(pair, req, path_len);
    memcpy(request->id, id, sizeof id);
    request_handle(request, route, req->entity);
    return 0;
}

struct rest_config *rest_config_new(const struct http_config *config)
{
    struct rest_config *rest = mem_alloc(sizeof *rest);
    h2o_hostconf_t *host;
    h2o_handler_t *handler;

    h2o_config_init(&rest->h2o);
    rest->h2o.server_name = h2o_iovec_init(H2O_STRLIT("runner-ch"));
    rest->h2o.max_request_entity_size = config->body_max;
    rest->h2o.http1.upgrade_to_http2 = 0;
    rest->h2o.http1.req_timeout = 3600 * 1000; /* slow clients and idle pairs are the front's to end */
    host = h2o_config_register_host(&rest->h2o, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    handler = h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof *handler);
    handler->on_req = rest_handle;
    return rest;
}

void rest_config_free(struct rest_config *config)
{
    h2o_config_dispose(&config->h2o);
    free(config);
}

static void on_epoll(h2o_socket_t *sock, const char *err)
{
    (void)err;
    front_events(((struct rest *)sock->data)->front);
}

struct rest *rest_new(struct front *front, struct rest_config *config)
{
    struct rest *rest = mem_alloc(sizeof *rest);

    rest->front = front;
    h2o_context_init(&rest->ctx, h2o_evloop_create(), &config->h2o);
    rest->accept.ctx = &rest->ctx;
    rest->accept.hosts = config->h2o.hosts;
    /* A duplicate: h2o closes what it watches. */
    rest->epoll =
        h2o_evloop_socket_create(rest->ctx.loop, fcntl(front->epoll, F_DUPFD_CLOEXEC, 3), H2O_SOCKET_FLAG_DONT_READ);
    rest->epoll->data = rest;
    h2o_socket_read_start(rest->epoll, on_epoll);
    return rest;
}

void rest_free(struct rest *rest)
{
    h2o_loop_t *loop;

    if (rest == NULL)
        return;
    loop = rest->ctx.loop;
    h2o_socket_read_stop(rest->epoll);
    h2o_socket_close(rest->epoll);
    h2o_context_dispose(&rest->ctx);
    h2o_evloop_destroy(loop);
    free(rest);
}

void rest_run(struct rest *rest, int32_t wait_ms)
{
    h2o_evloop_run(rest->ctx.loop, wait_ms < 0 ? INT32_MAX : wait_ms);
}

/* Decodes a query value; false on a bad escape or a NUL. */
static bool query_decode(const char *text, size_t len, struct str *out)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";

    for (size_t i = 0; i < len; i++) {
        const char *high, *low;
        if (text[i] != '%') {
            str_add_char(out, text[i] == '+' ? ' ' : text[i]);
            continue;
        }
        if (len - i < 3 || (high = strchr(digits, text[i + 1])) == NULL || (low = strchr(digits, text[i + 2])) == NULL)
            return false;
        str_add_char(out, (char)(((high - digits) % 16) * 16 + (low - digits) % 16));
        i += 2;
    }
    return out->len > 0 ? memchr(out->ptr, '\0', out->len) == NULL : true;
}

char *http_query(const struct http_request *request, const char *name)
{
    const char *at = request->query;
    size_t name_len = strlen(name);

    while (*at != '\0') {
        size_t len = strcspn(at, "&");
        auto_str struct str value = STR_INIT;
        if (len > name_len && memcmp(at, name, name_len) == 0 && at[name_len] == '=')
            return query_decode(at + name_len + 1, len - name_len - 1, &value) ? str_steal(&value) : NULL;
        at += len + (at[len] == '&');
    }
    return NULL;
}
