#include "config.h"

#include "guest/daemon/routes.h"

#include <string.h>

char *routes_need_query(struct exchange *x, const char *name)
{
    char *value = head_query(&x->head, name);

    if (value != NULL && *value != '\0')
        return value;
    free(value);
    x->on_data = NULL;
    reply_error(x, 400, "BAD_REQUEST", "bad request: query parameter '%s' is required", name);
    return NULL;
}

char *routes_expand(const char *path)
{
    const char *home = getenv("HOME");

    if (path[0] == '~' && (path[1] == '/' || path[1] == '\0') && home != NULL)
        return mem_printf("%s%s", home, path + 1);
    return mem_dup(path);
}

char *routes_need_path(struct exchange *x, const char *name)
{
    auto_free char *value = routes_need_query(x, name);

    return value == NULL ? NULL : routes_expand(value);
}

void routes_add_output(struct str *json, const char *key, const char *data, size_t len)
{
    auto_str struct str text = STR_INIT;

    while (len > 0) {
        const char *nul = memchr(data, '\0', len);
        size_t n = nul == NULL ? len : (size_t)(nul - data);
        str_add_mem(&text, data, n);
        if (nul != NULL) {
            str_add(&text, "\xef\xbf\xbd");
            n++;
        }
        data += n;
        len -= n;
    }
    json_add_text(json, key, str_text(&text));
}

static void reply_one(struct exchange *x, const char *key, const char *value)
{
    auto_str struct str json = STR_INIT;

    json_open(&json, NULL, '{');
    json_add_text(&json, key, value);
    json_close(&json, '}');
    reply_json(x, 200, &json);
}

static void get_version(struct exchange *x)
{
    reply_one(x, "version", PACKAGE_VERSION);
}

/* The token is for the telemetry of Daytona's daemon; this one has none to authenticate. */
static void post_init(struct exchange *x)
{
    auto_json struct json *body = exchange_json(x);

    if (body != NULL)
        reply_one(x, "message", "initialized");
}

static void get_home(struct exchange *x)
{
    const char *home = getenv("HOME");

    reply_one(x, "dir", home == NULL ? "/" : home);
}

static void get_work_dir(struct exchange *x)
{
    auto_free char *cwd = getcwd(NULL, 0);

    if (cwd == NULL)
        reply_error(x, 500, "INTERNAL_SERVER_ERROR", "the work directory is gone");
    else
        reply_one(x, "dir", cwd);
}

static void not_implemented(struct exchange *x)
{
    x->head.is_keep_alive = x->head.is_keep_alive && x->intake.is_done;
    reply_error(x, 501, "NOT_IMPLEMENTED", "not implemented: this guest daemon does not have '%s'", x->route->pattern);
}

const struct route routes_table[] = {
    {"GET", "/version", INTAKE_COLLECT, get_version},
    {"POST", "/init", INTAKE_COLLECT, post_init},
    {"GET", "/user-home-dir", INTAKE_COLLECT, get_home},
    {"GET", "/work-dir", INTAKE_COLLECT, get_work_dir},

    {"GET", "/files", INTAKE_COLLECT, file_list},
    {"DELETE", "/files", INTAKE_COLLECT, file_delete},
    {"GET", "/files/info", INTAKE_COLLECT, file_info},
    {"POST", "/files/folder", INTAKE_COLLECT, file_folder},
    {"POST", "/files/move", INTAKE_COLLECT, file_move},
    {"POST", "/files/permissions", INTAKE_COLLECT, file_permissions},
    {"GET", "/files/search", INTAKE_COLLECT, search_names},
    {"GET", "/files/find", INTAKE_COLLECT, search_text},
    {"POST", "/files/replace", INTAKE_COLLECT, search_replace},
    {"GET", "/files/download", INTAKE_COLLECT, download_get},
    {"POST", "/files/bulk-download", INTAKE_COLLECT, download_bulk},
    {"POST", "/files/upload", INTAKE_STREAM, upload_post},
    {"POST", "/files/bulk-upload", INTAKE_STREAM, upload_bulk},

    {"POST", "/process/execute", INTAKE_COLLECT, execute_post},
    {"GET", "/process/session", INTAKE_COLLECT, session_list},
    {"POST", "/process/session", INTAKE_COLLECT, session_create},
    {"GET", "/process/session/entrypoint", INTAKE_COLLECT, session_entrypoint},
    {"GET", "/process/session/entrypoint/logs", INTAKE_COLLECT, session_entrypoint_logs},
    {"GET", "/process/session/{id}", INTAKE_COLLECT, session_get},
    {"DELETE", "/process/session/{id}", INTAKE_COLLECT, session_delete},
    {"POST", "/process/session/{id}/exec", INTAKE_COLLECT, session_exec},
    {"GET", "/process/session/{id}/command/{command}", INTAKE_COLLECT, session_command},
    {"POST", "/process/session/{id}/command/{command}/input", INTAKE_COLLECT, session_input},
    {"GET", "/process/session/{id}/command/{command}/logs", INTAKE_COLLECT, session_logs},
    {"GET", "/port", INTAKE_COLLECT, port_list},
    {"GET", "/port/{port}/in-use", INTAKE_COLLECT, port_in_use},
    {NULL, "/proxy/{port}*", INTAKE_STREAM, proxy_any},

    {NULL, "/process/pty*", INTAKE_STREAM, not_implemented},
    {NULL, "/process/interpreter*", INTAKE_STREAM, not_implemented},
    {NULL, "/process/code-run", INTAKE_STREAM, not_implemented},
    {NULL, "/git*", INTAKE_STREAM, not_implemented},
    {NULL, "/lsp*", INTAKE_STREAM, not_implemented},
    {NULL, "/computeruse*", INTAKE_STREAM, not_implemented},
};
const size_t routes_count = ARRAY_LEN(routes_table);
