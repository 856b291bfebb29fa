/* The addresses that the runner listens on. */
#include "core/config-build.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

#include "core/util/num.h"
#include "core/util/text.h"

static bool unix_parse(const char *path, struct config_listen *ret)
{
    if (*path != '/' || strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        return false;
    ret->path = mem_dup(path);
    return true;
}

static bool is_address(const char *host, bool is_v6)
{
    struct in6_addr address;

    return inet_pton(is_v6 ? AF_INET6 : AF_INET, host, &address) == 1;
}

static bool tcp_parse(const char *text, struct config_listen *ret)
{
    const char *colon = strrchr(text, ':');
    auto_free char *host = NULL;
    bool is_v6 = text[0] == '[';
    int64_t port;

    if (colon == NULL || !num_int(colon + 1, 0, 65535, &port) || (is_v6 && (colon < text + 3 || colon[-1] != ']')))
        return false;
    if (colon == text)
        host = mem_dup("0.0.0.0");
    else
        host = mem_dup_n(text + is_v6, (size_t)(colon - text) - 2 * is_v6);
    if (!is_address(host, is_v6))
        return false;
    ret->host = host;
    host = NULL;
    ret->port = (uint16_t)port;
    return true;
}

static bool listen_parse(const char *text, struct config_listen *ret)
{
    struct config_listen listen = {NULL, NULL, NULL, 0};
    const char *rest;

    if (text_starts(text, "unix:", &rest) ? !unix_parse(rest, &listen) : !tcp_parse(text, &listen))
        return false;
    listen.text = mem_dup(text);
    *ret = listen;
    return true;
}

static bool is_known(const struct config *config, const char *text)
{
    for (size_t i = 0; i < config->n_listen; i++)
        if (strcmp(config->listen[i].text, text) == 0)
            return true;
    return false;
}

/* There is a token, which was complained about already. */
static bool is_token_refused(const struct build *b)
{
    const struct yaml *api = yaml_get(b->root, "api");

    return api != NULL &&
           (api->type != YAML_MAP || yaml_get(api, "token") != NULL || yaml_get(api, "token_file") != NULL);
}

static void entry_read(struct build *b, const struct yaml *node)
{
    struct config *config = b->config;
    auto_free char *key = yaml_path(node, NULL);
    char found[80];

    yaml_found(node, found, sizeof found);
    if (config->n_listen == CONFIG_LISTEN_MAX) {
        build_refuse(b, node, "expected at most %d addresses, found more", CONFIG_LISTEN_MAX);
        return;
    }
    if (node->type == YAML_TEXT && is_known(config, node->text)) {
        build_refuse(b, node, "expected each address once, found %s again", found);
        return;
    }
    config->listen = mem_grow(config->listen, config->n_listen + 1, sizeof *config->listen);
    if (node->type != YAML_TEXT || !listen_parse(node->text, &config->listen[config->n_listen])) {
        build_refuse(b, node, "expected IP:PORT, [IPv6]:PORT or unix:/PATH, found %s", found);
        return;
    }
    build_origin(b, key, node);
    if (config->listen[config->n_listen++].path == NULL && config->api.token == NULL && !is_token_refused(b))
        build_refuse(
            b, node,
            "expected a token (api.token, api.token_file or API_TOKEN), which a TCP address needs, found none");
}

/* Without a token nobody may come in by TCP, so the default is the unix socket alone. */
static struct yaml *default_list(struct build *b)
{
    struct yaml *list = yaml_new(YAML_LIST, &config_default_place, NULL);

    if (b->config->api.token != NULL)
        yaml_put(list, NULL, yaml_new(YAML_TEXT, &config_default_place, CONFIG_TCP_DEFAULT));
    yaml_put(list, NULL, yaml_new(YAML_TEXT, &config_default_place, CONFIG_UNIX_DEFAULT));
    yaml_put(b->root, "listen", list);
    return list;
}

void listen_read(struct build *b)
{
    const struct yaml *list = yaml_get(b->root, "listen");
    char found[80];

    if (list == NULL)
        list = default_list(b);
    if (list->type != YAML_LIST || list->first == NULL) {
        build_refuse(b, list, "expected a list of addresses, found %s",
                     list->type == YAML_LIST ? "an empty one" : yaml_found(list, found, sizeof found));
        return;
    }
    for (const struct yaml *node = list->first; node != NULL; node = node->next)
        entry_read(b, node);
}
