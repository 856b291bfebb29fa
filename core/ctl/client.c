#include "config.h"

#include "core/ctl/client.h"

#include <curl/curl.h>
#include <string.h>
#include <sys/un.h>

#include "core/ctl/interrupt.h"

#define CONNECT_MS 10000
#define TICK_MS    100

struct client {
    CURLM *multi;
    CURL *easy;
    char *socket, *base, *authorization;
};

struct exchange { /* one request in flight */
    struct client *client;
    const struct client_request *request;
    struct client_reply *reply;
    struct runner_error *err;
    bool has_err; /* a callback filled err */
    char message[CURL_ERROR_SIZE];
};

static int check_url(const char *url, struct runner_error *err)
{
    CURLU *parts = curl_url();
    char *text = NULL;
    int status = 0;

    if (parts == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "url");
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        status = fail(err, RUNNER_E_INVALID, 0, "--url: '%s' does not start with http:// or https://", url);
    else if (curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK)
        status = fail(err, RUNNER_E_INVALID, 0, "--url: '%s' is not http://HOST[:PORT]", url);
    else if (curl_url_get(parts, CURLUPART_USER, &text, 0) == CURLUE_OK ||
             curl_url_get(parts, CURLUPART_PASSWORD, &text, 0) == CURLUE_OK)
        status = fail(err, RUNNER_E_INVALID, 0, "--url: takes no user or password; see --token-file");
    else if (curl_url_get(parts, CURLUPART_QUERY, &text, 0) == CURLUE_OK ||
             curl_url_get(parts, CURLUPART_FRAGMENT, &text, 0) == CURLUE_OK)
        status = fail(err, RUNNER_E_INVALID, 0, "--url: '%s' has a query or fragment", url);
    curl_free(text);
    curl_url_cleanup(parts);
    return status;
}

static int check_token(const char *token, struct runner_error *err)
{
    if (*token == '\0')
        return fail(err, RUNNER_E_INVALID, 0, "the token is empty");
    for (; *token != '\0'; token++)
        if (*token <= ' ' || *token > '~')
            return fail(err, RUNNER_E_INVALID, 0, "the token holds blanks or other characters that no token has");
    return 0;
}

int client_new(const char *socket, const char *url, const char *token, struct client **ret, struct runner_error *err)
{
    struct client *c;

    if (socket != NULL && (*socket == '\0' || strlen(socket) >= sizeof((struct sockaddr_un *)0)->sun_path))
        return fail(err, RUNNER_E_INVALID, 0, "socket '%s': a path of 1 to 107 bytes is needed", socket);
    if (socket == NULL && check_url(url, err) < 0)
        return -1;
    if (token != NULL && check_token(token, err) < 0)
        return -1;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return fail(err, RUNNER_E_NOMEM, 0, "libcurl");
    c = mem_alloc(sizeof *c);
    c->socket = mem_dup(socket);
    c->base = mem_dup(socket != NULL ? "http://localhost" : url);
    while (c->base[strlen(c->base) - 1] == '/')
        c->base[strlen(c->base) - 1] = '\0';
    c->authorization = token != NULL ? mem_printf("Authorization: Bearer %s", token) : NULL;
    c->multi = curl_multi_init();
    c->easy = curl_easy_init();
    if (c->multi == NULL || c->easy == NULL) {
        client_free(c);
        return fail(err, RUNNER_E_NOMEM, 0, "libcurl");
    }
    *ret = c;
    return 0;
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    curl_easy_cleanup(c->easy);
    curl_multi_cleanup(c->multi);
    curl_global_cleanup();
    if (c->authorization != NULL)
        explicit_bzero(c->authorization, strlen(c->authorization));
    free(c->authorization);
    free(c->socket);
    free(c->base);
    free(c);
}

const char *client_address(const struct client *c)
{
    return c->socket != NULL ? c->socket : c->base;
}

void client_reply_done(struct client_reply *r)
{
    str_done(&r->body);
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct exchange *x = ctx;
    long status = 0;

    n *= size;
    curl_easy_getinfo(x->client->easy, CURLINFO_RESPONSE_CODE, &status);
    if (x->request->sink != NULL && status >= 200 && status < 300) {
        x->has_err = x->request->sink(x->request->ctx, data, n, x->err) < 0;
    } else if (x->reply->body.len + n > CLIENT_REPLY_MAX) {
        x->has_err = true;
        (void)fail(x->err, RUNNER_E_IO, 0, "the reply is larger than %d MiB", CLIENT_REPLY_MAX >> 20);
    } else {
        str_add_mem(&x->reply->body, data, n);
    }
    return x->has_err ? 0 : n;
}

static size_t on_upload(char *buffer, size_t size, size_t n, void *ctx)
{
    struct exchange *x = ctx;
    ssize_t got;

    do
        got = read(x->request->upload->fd, buffer, size * n);
    while (got < 0 && errno == EINTR && interrupt_signal() == 0);
    if (got >= 0)
        return (size_t)got;
    x->has_err = true;
    (void)fail_errno(x->err, errno, "read '%s'", x->request->upload->name);
    return CURL_READFUNC_ABORT;
}

static int on_progress(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    struct exchange *x = ctx;

    if (x->request->tick != NULL && x->request->upload != NULL)
        x->request->tick(x->request->ctx, up, up_total);
    else if (x->request->tick != NULL)
        x->request->tick(x->request->ctx, down, down_total);
    return interrupt_signal() != 0;
}

static void set_basics(struct exchange *x, const char *url)
{
    CURL *easy = x->client->easy;

    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, x->client->socket);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "runnerctl/" PACKAGE_VERSION);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, x->message);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, x);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, x->request->method);
}

static struct curl_slist *headers_new(const struct exchange *x)
{
    struct curl_slist *list = curl_slist_append(NULL, "Accept: application/json, */*");

    list = curl_slist_append(list, "Expect:"); /* no round trip before a body */
    if (x->request->json != NULL)
        list = curl_slist_append(list, "Content-Type: application/json");
    else if (x->request->upload == NULL)
        list = curl_slist_append(list, "Content-Type:"); /* an empty POST has none */
    if (x->client->authorization != NULL)
        list = curl_slist_append(list, x->client->authorization);
    return list;
}

static void set_body(struct exchange *x, curl_mime **ret_mime)
{
    const struct client_request *request = x->request;
    curl_mimepart *part;

    if (request->json != NULL || (request->upload == NULL && strcmp(request->method, "POST") == 0)) {
        const char *body = request->json != NULL ? request->json : "";
        curl_easy_setopt(x->client->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
        curl_easy_setopt(x->client->easy, CURLOPT_POSTFIELDS, body);
    } else if (request->upload != NULL) {
        *ret_mime = curl_mime_init(x->client->easy);
        part = curl_mime_addpart(*ret_mime);
        curl_mime_name(part, "file");
        curl_mime_filename(part, request->upload->name);
        curl_mime_type(part, "application/octet-stream");
        curl_mime_data_cb(part, request->upload->size_bytes, on_upload, NULL, NULL, x);
        curl_easy_setopt(x->client->easy, CURLOPT_MIMEPOST, *ret_mime);
    }
}

static bool is_finished(struct client *c, CURLcode *ret_code)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(c->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            *ret_code = message->data.result;
            return true;
        }
    }
    return false;
}

static CURLcode drive(struct client *c)
{
    CURLcode code = CURLE_OK;
    int running;

    if (curl_multi_add_handle(c->multi, c->easy) != CURLM_OK)
        return CURLE_FAILED_INIT;
    for (;;) {
        struct curl_waitfd signal = {.fd = interrupt_fd(), .events = CURL_WAIT_POLLIN};
        if (curl_multi_perform(c->multi, &running) != CURLM_OK)
            code = CURLE_FAILED_INIT;
        if (code != CURLE_OK || is_finished(c, &code))
            break;
        if (interrupt_signal() != 0) {
            code = CURLE_ABORTED_BY_CALLBACK;
            break;
        }
        (void)curl_multi_poll(c->multi, &signal, interrupt_fd() >= 0, TICK_MS, NULL);
    }
    curl_multi_remove_handle(c->multi, c->easy);
    return code;
}

static int describe(struct exchange *x, CURLcode code)
{
    const char *text = x->message[0] != '\0' ? x->message : curl_easy_strerror(code);
    long sys_errno = 0;

    if (interrupt_signal() != 0)
        return fail(x->err, RUNNER_E_CANCELLED, 0, "interrupted");
    if (x->has_err)
        return -1;
    switch (code) {
    case CURLE_COULDNT_CONNECT:
        curl_easy_getinfo(x->client->easy, CURLINFO_OS_ERRNO, &sys_errno);
        return fail(x->err, RUNNER_E_UNREACHABLE, (int)sys_errno, "cannot reach the runner at %s",
                    client_address(x->client));
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
        return fail(x->err, RUNNER_E_UNREACHABLE, 0, "cannot reach the runner at %s: %s", client_address(x->client),
                    text);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        return fail(x->err, RUNNER_E_IO, 0, "what answers at %s does not speak HTTP", client_address(x->client));
    case CURLE_GOT_NOTHING:
        return fail(x->err, RUNNER_E_IO, 0, "the runner closed the connection without a reply");
    case CURLE_PARTIAL_FILE:
        return fail(x->err, RUNNER_E_IO, 0, "the reply is cut short: %s", text);
    default:
        return fail(x->err, RUNNER_E_IO, 0, "%s", text);
    }
}

int client_run(struct client *c, const struct client_request *request, struct client_reply *ret,
               struct runner_error *err)
{
    struct exchange x = {.client = c, .request = request, .reply = ret, .err = err};
    auto_free char *url = mem_printf("%s%s", c->base, request->path);
    struct curl_slist *headers = headers_new(&x);
    curl_mime *mime = NULL;
    CURLcode code;

    set_basics(&x, url);
    set_body(&x, &mime);
    curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, headers);
    code = drive(c);
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &ret->status);
    curl_mime_free(mime);
    curl_slist_free_all(headers);
    return code == CURLE_OK ? 0 : describe(&x, code);
}
