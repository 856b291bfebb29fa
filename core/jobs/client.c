#include "core/jobs/client.h"

#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "core/util/num.h"
#include "core/util/str.h"
#include "core/util/text.h"

#define IDLE_MAX_S  4           /* the API closes connections that were idle for 5 s (contract 2.1) */
#define BODY_KEPT   (64 * 1024) /* bytes of a buffer that is kept */
#define KEPT_MAX    16          /* handles, and connections, that are kept for later */
#define WAIT_MAX_MS 60000

struct transfer {
    CURL *easy;
    struct curl_slist *headers;
    struct str body; /* of the reply */
    size_t reply_max, taken; /* bytes */
    bool is_too_long;
    void (*take)(void *ctx, const char *data, size_t len);
    char problem[CURL_ERROR_SIZE];
    void (*done)(void *ctx, const struct client_reply *reply);
    void *ctx;
    struct transfer *next, **link; /* under way, or kept */
};

struct client {
    struct client_config config;
    char *authorization; /* a header line, or NULL */
    CURLM *multi;
    struct transfer *running, *kept;
    size_t n_kept;
};

static void transfer_free(struct transfer *transfer)
{
    curl_easy_cleanup(transfer->easy);
    curl_slist_free_all(transfer->headers);
    str_done(&transfer->body);
    free(transfer);
}

static bool is_json(CURL *easy)
{
    const char *type = NULL;

    (void)curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type);
    return type != NULL && strncasecmp(type, "application/json", strlen("application/json")) == 0;
}

static bool is_for_taker(const struct transfer *transfer)
{
    long status = 0;

    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    return transfer->take != NULL && status == 200 && is_json(transfer->easy);
}

static size_t take_body(char *data, size_t size, size_t n, void *ctx)
{
    struct transfer *transfer = ctx;
    size_t len = size * n;

    if (transfer->taken + len > transfer->reply_max) {
        transfer->is_too_long = true;
        return 0;
    }
    transfer->taken += len;
    if (is_for_taker(transfer))
        transfer->take(transfer->ctx, data, len);
    else
        str_add_mem(&transfer->body, data, len);
    return len;
}

int client_new(const struct client_config *config, struct client **ret, struct runner_error *err)
{
    struct client *client;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return fail(err, RUNNER_E_IO, 0, "libcurl does not start");
    client = mem_alloc(sizeof *client);
    client->config = *config;
    client->multi = curl_multi_init();
    if (client->multi == NULL) {
        free(client);
        return fail(err, RUNNER_E_IO, 0, "libcurl does not start");
    }
    if (config->token != NULL)
        client->authorization = mem_printf("Authorization: Bearer %s", config->token);
    (void)curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)KEPT_MAX);
    *ret = client;
    return 0;
}

static void keep(struct client *client, struct transfer *transfer)
{
    if (client->n_kept == KEPT_MAX) {
        transfer_free(transfer);
        return;
    }
    curl_slist_free_all(transfer->headers);
    transfer->headers = NULL;
    if (transfer->body.cap > BODY_KEPT)
        str_done(&transfer->body);
    transfer->next = client->kept;
    client->kept = transfer;
    client->n_kept++;
}

static struct transfer *take_kept(struct client *client)
{
    struct transfer *transfer = client->kept;

    if (transfer == NULL) {
        transfer = mem_alloc(sizeof *transfer);
        transfer->easy = curl_easy_init();
        if (transfer->easy == NULL)
            mem_die();
        return transfer;
    }
    client->kept = transfer->next;
    client->n_kept--;
    curl_easy_reset(transfer->easy);
    str_clear(&transfer->body);
    transfer->is_too_long = false;
    transfer->taken = 0;
    return transfer;
}

static void add_header(struct transfer *transfer, const char *line)
{
    struct curl_slist *longer = line != NULL ? curl_slist_append(transfer->headers, line) : transfer->headers;

    if (line != NULL && longer == NULL)
        mem_die();
    transfer->headers = longer;
}

static void set_headers(const struct client *client, struct transfer *transfer, const struct client_request *request)
{
    auto_free char *trace = request->traceparent != NULL ? mem_printf("traceparent: %s", request->traceparent) : NULL;

    if (request->url == NULL) {
        add_header(transfer, client->authorization);
        add_header(transfer, "X-Daytona-Source: runner");
    }
    for (const char *const *header = request->headers; header != NULL && *header != NULL; header++)
        add_header(transfer, *header);
    add_header(transfer, "Accept: application/json");
    add_header(transfer, "Expect:");
    add_header(transfer, request->body != NULL ? "Content-Type: application/json" : NULL);
    add_header(transfer, trace);
    (void)curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
}

static void set_tls(const struct client_config *config, CURL *easy)
{
    if (config->ca_file != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca_file);
    if (config->cert_file != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_SSLCERT, config->cert_file);
    if (config->key_file != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_SSLKEY, config->key_file);
}

void client_send(struct client *client, const struct client_request *request)
{
    auto_free char *url =
        request->url != NULL ? mem_dup(request->url) : mem_printf("%s%s", client->config.url, request->path);
    struct transfer *transfer = take_kept(client);
    CURL *easy = transfer->easy;

    transfer->done = request->done;
    transfer->take = request->take;
    transfer->ctx = request->ctx;
    transfer->reply_max = request->reply_max;
    transfer->problem[0] = '\0';
    (void)curl_easy_setopt(easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)IDLE_MAX_S);
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->problem);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    if (client->config.user_agent != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, client->config.user_agent);
    set_tls(&client->config, easy);
    set_headers(client, transfer, request);
    if (request->body != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->body);
    (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    transfer->next = client->running;
    if (transfer->next != NULL)
        transfer->next->link = &transfer->next;
    transfer->link = &client->running;
    client->running = transfer;
    (void)curl_multi_add_handle(client->multi, easy);
}

static void unlink_transfer(struct client *client, struct transfer *transfer)
{
    (void)curl_multi_remove_handle(client->multi, transfer->easy);
    *transfer->link = transfer->next;
    if (transfer->next != NULL)
        transfer->next->link = transfer->link;
}

static void fill_reply(struct transfer *transfer, CURLcode result, struct client_reply *reply)
{
    curl_off_t after_s = 0;
    long status = 0;

    reply->retry_after_ms = -1;
    reply->problem = "";
    reply->body = str_text(&transfer->body);
    if (result != CURLE_OK) {
        reply->problem = transfer->is_too_long          ? "the answer is too long"
                         : transfer->problem[0] != '\0' ? transfer->problem
                                                        : curl_easy_strerror(result);
        return;
    }
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &after_s);
    reply->status = (int)status;
    reply->len = transfer->body.len;
    reply->is_json = is_json(transfer->easy);
    if (after_s > 0)
        reply->retry_after_ms = after_s < 3600 ? (int64_t)after_s * 1000 : INT64_C(3600000);
}

/* done() may send again, which may take the handle that was kept. */
static void finish(struct client *client, struct transfer *transfer, CURLcode result)
{
    struct client_reply reply = {.status = 0};

    unlink_transfer(client, transfer);
    fill_reply(transfer, result, &reply);
    transfer->done(transfer->ctx, &reply);
    keep(client, transfer);
}

/* Hands over what has ended; whether there was any. */
static bool advance(struct client *client)
{
    bool any = false;
    CURLMsg *message;
    int n;

    (void)curl_multi_perform(client->multi, &n);
    while ((message = curl_multi_info_read(client->multi, &n)) != NULL) {
        struct transfer *transfer;
        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        finish(client, transfer, message->data.result);
        any = true;
    }
    return any;
}

void client_step(struct client *client, int64_t until_us)
{
    int64_t wait_ms;

    if (advance(client))
        return;
    wait_ms = (until_us - num_now_us() + 999) / 1000;
    if (wait_ms <= 0)
        return;
    (void)curl_multi_poll(client->multi, NULL, 0, wait_ms < WAIT_MAX_MS ? (int)wait_ms : WAIT_MAX_MS, NULL);
    (void)advance(client);
}

void client_wake(struct client *client)
{
    (void)curl_multi_wakeup(client->multi);
}

void client_free(struct client *client)
{
    if (client == NULL)
        return;
    while (client->running != NULL)
        finish(client, client->running, CURLE_ABORTED_BY_CALLBACK);
    while (client->kept != NULL) {
        struct transfer *next = client->kept->next;
        transfer_free(client->kept);
        client->kept = next;
    }
    (void)curl_multi_cleanup(client->multi);
    if (client->authorization != NULL)
        explicit_bzero(client->authorization, strlen(client->authorization));
    free(client->authorization);
    free(client);
}
