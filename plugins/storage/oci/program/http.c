#include "plugins/storage/oci/program/http.h"

#include <curl/curl.h>
#include <poll.h>
#include <string.h>
#include <strings.h>

#include "core/util/num.h"
#include "core/util/text.h"
#include "plugins/storage/oci/program/report.h"

#define CONNECT_MS     15000
#define ERROR_BODY_MAX (64 << 10)
#define HEADER_MAX     8192
#define BUFFER_BYTES   (256 << 10)
#define STEP_MS        1000 /* a cancel wakes it; this is for the deadline */

struct http {
    CURLM *multi;
    const struct http_settings *settings;
};

int http_new(const struct http_settings *settings, struct http **ret, struct runner_error *err)
{
    struct http *http;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return fail(err, RUNNER_E_NOMEM, 0, "libcurl");
    http = mem_alloc(sizeof *http);
    http->settings = settings;
    http->multi = curl_multi_init();
    if (http->multi == NULL)
        mem_die();
    *ret = http;
    return 0;
}

void http_free(struct http *http)
{
    if (http == NULL)
        return;
    curl_multi_cleanup(http->multi);
    free(http);
    curl_global_cleanup();
}

/* ---- what comes ---- */

static int status_of(const struct exchange *x)
{
    long status = 0;

    (void)curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    int status = status_of(x);
    size_t len = size * n;

    if (status >= 200 && status < 300 && x->sink != NULL) {
        x->is_refused = !x->sink(x->arg, status, data, len);
        return x->is_refused ? 0 : len;
    }
    if (status >= 200 && status < 300) {
        x->is_refused = len > x->body_max - x->body.len;
        if (x->is_refused)
            return 0;
        str_add_mem(&x->body, data, len);
    } else if (x->body.len < ERROR_BODY_MAX) {
        str_add_mem(&x->body, data, len < ERROR_BODY_MAX - x->body.len ? len : ERROR_BODY_MAX - x->body.len);
    }
    return len;
}

static bool take_header(const char *line, size_t len, const char *name, char **ret)
{
    size_t name_len = strlen(name);

    if (len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
        return false;
    line += name_len + 1;
    len -= name_len + 1;
    while (len > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    free(*ret);
    *ret = mem_dup_n(line, len);
    return true;
}

/* Seconds, or a date. */
static int64_t retry_after(const char *text)
{
    int64_t seconds;
    time_t when, now = time(NULL);

    if (num_int(text, 0, 86400, &seconds))
        return seconds * 1000;
    when = curl_getdate(text, NULL);
    return when == -1 ? -1 : when > now ? (int64_t)(when - now) * 1000 : 0;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    size_t whole = size * n, len = whole;
    auto_free char *value = NULL;

    while (len > 0 && strchr("\r\n \t", line[len - 1]) != NULL)
        len--;
    if (len > HEADER_MAX || memchr(line, '\0', len) != NULL)
        return whole; /* none that is needed is that long */
    if (take_header(line, len, "WWW-Authenticate", &value)) {
        if (x->challenge.len < HEADER_MAX)
            str_addf(&x->challenge, "%s\n", value);
    } else if (take_header(line, len, "Retry-After", &value)) {
        x->retry_after_ms = retry_after(value);
    } else {
        (void)(take_header(line, len, "Location", &x->location) ||
               take_header(line, len, "Content-Type", &x->answer_type) ||
               take_header(line, len, "Docker-Content-Digest", &x->digest) ||
               take_header(line, len, "Content-Range", &x->range) || take_header(line, len, "Range", &x->range));
    }
    return whole;
}

static size_t on_send(char *data, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    int64_t left = x->source_bytes - x->sent;
    size_t room = size * n;
    ssize_t got = left > 0 ? x->source(x->arg, x->sent, data, (int64_t)room < left ? room : (size_t)left) : 0;

    if (got < 0)
        return CURL_READFUNC_ABORT;
    x->sent += got;
    return (size_t)got;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct exchange *x = arg;

    if (origin != SEEK_SET || offset < 0 || offset > x->source_bytes)
        return CURL_SEEKFUNC_CANTSEEK;
    x->sent = offset;
    return CURL_SEEKFUNC_OK;
}

/* curl's own limit of speed is that of an average, which takes its time. Called once a second or more. */
static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    struct exchange *x = arg;
    int64_t now = num_now_ms();

    (void)down_total, (void)up_total;
    if (down + up != x->moved) {
        x->moved = down + up;
        x->moved_ms = now;
    }
    x->is_stalled = now - x->moved_ms > x->stall_ms;
    return x->is_stalled;
}

/* ---- beginning ---- */

static void add_header(struct exchange *x, const char *name, const char *value)
{
    auto_free char *line = mem_printf("%s:%s%s", name, value != NULL ? " " : "", value != NULL ? value : "");
    struct curl_slist *list = curl_slist_append(x->headers, line);

    if (list == NULL)
        mem_die();
    x->headers = list;
    explicit_bzero(line, strlen(line));
}

static void set_method(struct exchange *x)
{
    CURL *easy = x->easy;

    if (x->source != NULL) {
        (void)curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)x->source_bytes);
        (void)curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
        (void)curl_easy_setopt(easy, CURLOPT_READDATA, x);
        (void)curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
        (void)curl_easy_setopt(easy, CURLOPT_SEEKDATA, x);
        add_header(x, "Expect", NULL);
    } else if (strcmp(x->method, "POST") == 0 || strcmp(x->method, "PUT") == 0) {
        (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, 0L);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
    } else if (strcmp(x->method, "HEAD") == 0) {
        (void)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, x->method);
}

static void set_headers(struct exchange *x)
{
    if (x->accept != NULL)
        add_header(x, "Accept", x->accept);
    add_header(x, "Content-Type", x->content_type); /* without one: none, and not curl's own */
    if (x->content_range != NULL)
        add_header(x, "Content-Range", x->content_range);
    if (x->authorization != NULL)
        add_header(x, "Authorization", x->authorization);
    (void)curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers);
}

int http_start(struct http *http, struct exchange *x, struct runner_error *err)
{
    CURL *easy = curl_easy_init();
    auto_free char *range = mem_printf("%lld-", (long long)x->from);

    if (easy == NULL)
        mem_die();
    x->easy = easy;
    x->retry_after_ms = -1;
    x->stall_ms = http->settings->stall_ms;
    x->moved = 0;
    x->moved_ms = num_now_ms();
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, x);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, x->failure);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*"); /* nothing of an environment */
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "runner-ch/" VERSION_TEXT);
    (void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(easy, CURLOPT_XFERINFODATA, x);
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)x->limit_ms);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, x);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, x);
    if (x->from > 0)
        (void)curl_easy_setopt(easy, CURLOPT_RANGE, range); /* copied */
    if (http->settings->ca_file != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, http->settings->ca_file);
    set_method(x);
    set_headers(x);
    if (curl_easy_setopt(easy, CURLOPT_URL, x->url) != CURLE_OK ||
        curl_multi_add_handle(http->multi, easy) != CURLM_OK) {
        http_reset(http, x);
        return fail(err, RUNNER_E_NOMEM, 0, "libcurl");
    }
    return 0;
}

void http_reset(struct http *http, struct exchange *x)
{
    if (x->easy != NULL) {
        (void)curl_multi_remove_handle(http->multi, x->easy);
        curl_easy_cleanup(x->easy);
    }
    for (struct curl_slist *line = x->headers; line != NULL; line = line->next)
        explicit_bzero(line->data, strlen(line->data));
    curl_slist_free_all(x->headers);
    x->easy = x->headers = NULL;
    x->sent = 0;
    x->status = 0;
    x->is_done = x->is_refused = x->is_transient = x->is_tls_failure = x->is_cut = x->is_stalled = false;
    x->failure[0] = '\0';
    str_done(&x->body);
    str_done(&x->challenge);
    free(x->location);
    free(x->answer_type);
    free(x->digest);
    free(x->range);
    x->location = x->answer_type = x->digest = x->range = NULL;
}

/* ---- ends ---- */

static bool is_transient(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_WEIRD_SERVER_REPLY:
        return true;
    default:
        return false;
    }
}

/* The words that the API knows as trouble that passes. */
static const char *words_of(CURLcode code, const struct exchange *x)
{
    long sys_errno = 0;

    (void)curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &sys_errno);
    if (code == CURLE_COULDNT_CONNECT && sys_errno == ECONNREFUSED)
        return "connect ECONNREFUSED: ";
    if (code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING || code == CURLE_PARTIAL_FILE)
        return "read: connection reset by peer: ";
    return "";
}

static void finish(struct exchange *x, CURLcode code)
{
    x->is_done = true;
    x->status = status_of(x);
    if (code == CURLE_OK)
        return;
    {
        auto_free char *detail = x->is_stalled ? mem_printf("nothing moved for %lld ms", (long long)x->stall_ms)
                                               : mem_dup(x->failure[0] != '\0' ? x->failure : curl_easy_strerror(code));

        (void)snprintf(x->failure, sizeof x->failure, "%s%.200s", words_of(code, x), detail);
    }
    x->is_cut = x->status != 0;
    x->status = 0;
    x->is_transient = x->is_stalled || is_transient(code);
    x->is_tls_failure = code == CURLE_SSL_CONNECT_ERROR;
}

static int take_ended(struct http *http)
{
    CURLMsg *message;
    int left, n = 0;

    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        struct exchange *x = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&x);
        finish(x, message->data.result);
        n++;
    }
    return n;
}

int http_step(struct http *http, int64_t ms, struct runner_error *err)
{
    struct curl_waitfd caller = {.fd = report_fd(), .events = CURL_WAIT_POLLIN};
    int running;

    if (report_check(err) < 0)
        return -1;
    if (curl_multi_perform(http->multi, &running) != CURLM_OK)
        return fail(err, RUNNER_E_IO, 0, "libcurl");
    if (take_ended(http) == 0 && ms > 0 &&
        curl_multi_poll(http->multi, &caller, caller.fd >= 0 ? 1 : 0, (int)(ms < STEP_MS ? ms : STEP_MS), NULL) !=
            CURLM_OK)
        return fail(err, RUNNER_E_IO, 0, "libcurl");
    return report_check(err);
}

int http_run(struct http *http, struct exchange *x, struct runner_error *err)
{
    if (http_start(http, x, err) < 0)
        return -1;
    while (!x->is_done)
        if (http_step(http, STEP_MS, err) < 0)
            return -1;
    return 0;
}

int http_sleep(struct http *http, int64_t ms, struct runner_error *err)
{
    int64_t end = num_now_ms() + ms, left;

    while ((left = end - num_now_ms()) > 0)
        if (http_step(http, left, err) < 0)
            return -1;
    return report_check(err);
}
