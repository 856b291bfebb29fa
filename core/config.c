/* runner.yaml into struct config: the order of things. The parts are in config-*.c. */
#include "core/config.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "core/config-build.h"

#define TOKEN_FILE_MAX 4096

/* The content of a regular file of at most max bytes; NULL with *ret_problem set. The caller wipes and frees. */
static char *file_read(const char *path, size_t max, bool is_private, size_t *ret_len, char **ret_problem)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    auto_free char *text = NULL;
    char *result;
    struct stat status;
    size_t len = 0;
    ssize_t n = -1;

    if (fd < 0 || fstat(fd, &status) < 0) {
        *ret_problem = mem_dup(strerrordesc_np(errno));
        return NULL;
    }
    if (!S_ISREG(status.st_mode)) {
        *ret_problem = mem_dup("no regular file");
        return NULL;
    }
    if (is_private && status.st_mode & S_IRWXO) {
        *ret_problem = mem_printf("mode %04o, which lets everybody in", (unsigned)status.st_mode & 07777);
        return NULL;
    }
    text = mem_alloc(max + 2);
    while (len <= max && (n = read(fd, text + len, max + 1 - len)) > 0)
        len += (size_t)n;
    if (n < 0 || len > max) {
        *ret_problem = n < 0 ? mem_dup(strerrordesc_np(errno)) : mem_printf("more than %zu bytes", max);
        explicit_bzero(text, len);
        return NULL;
    }
    *ret_len = len;
    result = text;
    text = NULL;
    return result;
}

static int tree_read(struct build *b)
{
    const char *path = b->options->path;
    char *problem = NULL, *text;
    size_t len = 0;
    int result;

    if (path == NULL)
        return 0;
    text = file_read(path, CONFIG_FILE_MAX, false, &len, &problem);
    if (text == NULL) {
        report_add(&b->report, &(struct place){path, 0, 0}, "",
                   "expected a readable file of at most %d bytes, found: %s", CONFIG_FILE_MAX, problem);
        free(problem);
        return -1;
    }
    result = yaml_parse(path, text, len, &b->root, &b->report);
    explicit_bzero(text, len);
    free(text);
    return result;
}

/* The top of the tree as a map: an empty one when there is no file, or nothing in it. */
static int root_check(struct build *b)
{
    char found[80];

    if (b->root == NULL)
        b->root = yaml_new(YAML_MAP, &config_default_place, NULL);
    if (b->root->type == YAML_MAP)
        return 0;
    report_add(&b->report, &b->root->at, "", "expected a mapping (key: value), found %s",
               yaml_found(b->root, found, sizeof found));
    return -1;
}

static void groups_read(struct build *b)
{
    static const char *const more[] = {"listen", "api", "log", "otlp", "limits", "timeouts", "hosts"};

    for (const struct setting_group *group = config_groups; group->n > 0; group++) {
        bool is_top = group->key == NULL;
        struct yaml *map = is_top ? b->root : build_map(b, b->root, group->key);
        if (map != NULL)
            settings_read(b, map, group, (char *)b->config + group->offset, more, is_top ? ARRAY_LEN(more) : 0);
    }
}

static void url_trim(char *url)
{
    for (size_t len = url != NULL ? strlen(url) : 0; len > 0 && url[len - 1] == '/'; len--)
        url[len - 1] = '\0';
}

/* token_file: read here, so that what is wrong with it is found before anything starts. */
static void token_read(struct build *b)
{
    struct yaml *api = yaml_get(b->root, "api"), *node = yaml_get(api, "token_file");
    struct config *config = b->config;
    char *problem = NULL, *text;
    size_t len = 0;

    if (node == NULL || config->api.token_file == NULL)
        return;
    if (yaml_get(api, "token") != NULL) {
        build_refuse(b, node, "expected either token or token_file, found both");
        return;
    }
    text = file_read(config->api.token_file, TOKEN_FILE_MAX, true, &len, &problem);
    if (text == NULL) {
        build_refuse(b, node, "expected a file that holds the token and is not open to others, found '%s': %s",
                     config->api.token_file, problem);
        free(problem);
        return;
    }
    while (len > 0 && strchr("\r\n", text[len - 1]) != NULL)
        text[--len] = '\0';
    if (strlen(text) != len || !config_token_is_good(text))
        build_refuse(b, node,
                     "expected one line of 1 to 1024 printable ASCII characters without blanks in '%s', found "
                     "something else",
                     config->api.token_file);
    else
        config->api.token = mem_dup(text);
    explicit_bzero(text, len);
    free(text);
}

static void api_check(struct build *b)
{
    const struct config_api *api = &b->config->api;
    const struct yaml *node = yaml_get(yaml_get(b->root, "api"), "url");

    if (b->report.count == 0 && node != NULL && api->version == 2 && api->token == NULL)
        build_refuse(b, node, "expected a token for it too (api.token, api.token_file or API_TOKEN), found none");
}

static void read_all(struct build *b)
{
    struct config *config = b->config;

    env_overlay(b);
    groups_read(b);
    url_trim(config->api.url);
    url_trim(config->otlp.endpoint);
    token_read(b);
    listen_read(b);
    api_check(b);
    if (config->plugin_dir != NULL)
        config->loader = loader_new(config->plugin_dir, b->options->services);
    hosts_read(b);
}

static void build_done(struct build *b)
{
    yaml_free(b->root);
    str_done(&b->report.text);
    for (size_t i = 0; i < b->n_sources; i++)
        free(b->sources[i]);
    free(b->sources);
    config_free(b->config);
}

int config_load(const struct config_options *options, struct config **ret, struct str *ret_messages)
{
    struct build b = {.options = options, .report = REPORT_INIT};
    int result = -1;

    b.config = mem_alloc(sizeof *b.config);
    b.config->path = mem_dup(options->path);
    if (tree_read(&b) == 0 && root_check(&b) == 0)
        read_all(&b);
    if (b.report.count == 0) {
        *ret = b.config;
        b.config = NULL;
        result = 0;
    } else {
        str_add(ret_messages, str_text(&b.report.text));
        if (b.report.count > REPORT_MAX)
            str_addf(ret_messages, "%s: %zu more faults\n", options->path != NULL ? options->path : "environment",
                     b.report.count - REPORT_MAX);
    }
    build_done(&b);
    return result;
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    hosts_free(config);
    for (const struct setting_group *group = config_groups; group->n > 0; group++)
        settings_free(group, (char *)config + group->offset);
    for (size_t i = 0; i < config->n_listen; i++) {
        free(config->listen[i].text);
        free(config->listen[i].path);
        free(config->listen[i].host);
    }
    free(config->listen);
    for (size_t i = 0; i < config->n_origins; i++) {
        free(config->origins[i].key);
        free(config->origins[i].text);
    }
    free(config->origins);
    free(config->path);
    loader_free(config->loader);
    free(config);
}
