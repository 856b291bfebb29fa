#include "guest/daemon/multipart.h"

#include <string.h>
#include <strings.h>

#define PART_HEAD_MAX 8192
#define BOUNDARY_MAX  70 /* RFC 2046 */

enum { STAGE_PREAMBLE, STAGE_DELIMITER, STAGE_HEAD, STAGE_DATA, STAGE_EPILOGUE };

/* Value of a parameter of a header line: key=token or key="quoted". NULL when absent. The caller frees. */
static char *parameter(const char *line, const char *key)
{
    size_t len = strlen(key);

    while ((line = strchr(line, ';')) != NULL) {
        auto_str struct str value = STR_INIT;
        line += 1 + strspn(line + 1, " \t");
        if (strncasecmp(line, key, len) != 0 || line[len] != '=')
            continue;
        line += len + 1;
        if (*line != '"')
            return mem_dup_n(line, strcspn(line, "; \t"));
        for (line++; *line != '\0' && *line != '"'; line++) {
            if (*line == '\\' && (line[1] == '"' || line[1] == '\\'))
                line++;
            str_add_char(&value, *line);
        }
        return *line == '"' ? str_steal(&value) : NULL;
    }
    return NULL;
}

int multipart_init(struct multipart *m, const char *content_type, const struct multipart_handler *handler, void *arg,
                   struct runner_error *err)
{
    static const char wanted[] = "multipart/form-data";
    auto_free char *boundary = content_type == NULL ? NULL : parameter(content_type, "boundary");

    if (content_type == NULL || strncasecmp(content_type, wanted, sizeof wanted - 1) != 0 || boundary == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "Content-Type is not multipart/form-data with a boundary");
    if (*boundary == '\0' || strlen(boundary) > BOUNDARY_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "the boundary is not of 1 to %d characters", BOUNDARY_MAX);
    *m = (struct multipart){.handler = handler, .arg = arg};
    m->delimiter = mem_printf("\r\n--%s", boundary);
    m->delimiter_len = strlen(m->delimiter);
    m->held = evbuffer_new();
    (void)evbuffer_add(m->held, "\r\n", 2); /* so that the first delimiter looks like the others */
    return 0;
}

void multipart_done(struct multipart *m)
{
    free(m->delimiter);
    if (m->held != NULL)
        evbuffer_free(m->held);
}

static int emit(struct multipart *m, size_t n, struct runner_error *err)
{
    if (n == 0)
        return 0;
    if (m->stage == STAGE_DATA)
        return m->handler->data(m->arg, m->held, n, err);
    return evbuffer_drain(m->held, n);
}

/* 1: went on. 0: needs more bytes. */
static int take_data(struct multipart *m, struct runner_error *err)
{
    struct evbuffer_ptr at = evbuffer_search(m->held, m->delimiter, m->delimiter_len, NULL);
    size_t len = evbuffer_get_length(m->held);
    int stage = m->stage;

    if (at.pos < 0)
        return len < m->delimiter_len ? 0 : emit(m, len - m->delimiter_len + 1, err);
    if (emit(m, (size_t)at.pos, err) < 0)
        return -1;
    (void)evbuffer_drain(m->held, m->delimiter_len);
    m->stage = STAGE_DELIMITER;
    return stage == STAGE_DATA && m->handler->end(m->arg, err) < 0 ? -1 : 1;
}

static int take_delimiter(struct multipart *m, struct runner_error *err)
{
    char two[2];

    if (evbuffer_copyout(m->held, two, 2) < 2)
        return 0;
    (void)evbuffer_drain(m->held, 2);
    m->is_complete = memcmp(two, "--", 2) == 0;
    if (!m->is_complete && memcmp(two, "\r\n", 2) != 0)
        return fail(err, RUNNER_E_INVALID, 0, "multipart: malformed delimiter line");
    m->stage = m->is_complete ? STAGE_EPILOGUE : STAGE_HEAD;
    return 1;
}

static int take_head(struct multipart *m, struct runner_error *err)
{
    auto_free char *line = NULL;
    auto_free char *name = NULL;
    auto_free char *file_name = NULL;
    static const char wanted[] = "Content-Disposition:";

    if (evbuffer_search(m->held, "\r\n\r\n", 4, NULL).pos < 0) {
        if (evbuffer_get_length(m->held) > PART_HEAD_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "multipart: a part's header is larger than %d bytes", PART_HEAD_MAX);
        return 0;
    }
    while ((line = evbuffer_readln(m->held, NULL, EVBUFFER_EOL_CRLF_STRICT)) != NULL && *line != '\0') {
        if (strncasecmp(line, wanted, sizeof wanted - 1) == 0 && name == NULL) {
            name = parameter(line, "name");
            file_name = parameter(line, "filename");
        }
        free(line);
        line = NULL;
    }
    if (name == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "multipart: a part without a name");
    m->stage = STAGE_DATA;
    return m->handler->begin(m->arg, name, file_name, err) < 0 ? -1 : 1;
}

int multipart_push(struct multipart *m, struct evbuffer *data, struct runner_error *err)
{
    int more = 1;

    (void)evbuffer_add_buffer(m->held, data);
    while (more > 0) {
        switch (m->stage) {
        case STAGE_PREAMBLE:
        case STAGE_DATA:
            more = take_data(m, err);
            break;
        case STAGE_DELIMITER:
            more = take_delimiter(m, err);
            break;
        case STAGE_HEAD:
            more = take_head(m, err);
            break;
        default:
            (void)evbuffer_drain(m->held, evbuffer_get_length(m->held));
            more = 0;
            break;
        }
    }
    return more;
}
