#include "core/jobs-start.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "core/jobs/agent.h"
#include "core/log.h"
#include "core/util/error.h"
#include "core/view.h"

/* The address that packets to the outside would come from: that of the default route. No packet is sent. NULL: there is
 * none. The caller frees. */
static char *outbound_address(void)
{
    const struct sockaddr_in outside = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(0xC6336401)}}; /* 198.51.100.1, of no one */
    auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in own;
    socklen_t len = sizeof own;
    char text[INET_ADDRSTRLEN];

    if (fd < 0 || connect(fd, (const struct sockaddr *)&outside, sizeof outside) < 0 ||
        getsockname(fd, (struct sockaddr *)&own, &len) < 0 || own.sin_addr.s_addr == htonl(INADDR_ANY))
        return NULL;
    return mem_dup(inet_ntop(AF_INET, &own.sin_addr, text, sizeof text));
}

/* The URL of the first TCP listener under that name, or NULL. The caller frees. */
static char *rest_url(const struct config *config, const struct http_server *server, const char *domain)
{
    for (size_t i = 0; domain != NULL && i < config->n_listen; i++)
        if (config->listen[i].path == NULL)
            return mem_printf("http://%s:%d", domain, http_port(server, i));
    return NULL;
}

int jobs_start(struct engine *engine, const struct http_server *server, struct runner_error *err)
{
    const struct config *config = engine->config;
    auto_free char *domain = NULL, *url = NULL;
    struct agent_config agent = {.engine = engine, .add_health = view_add_health};

    if (config->api.version != 2 || config->api.url == NULL)
        return 0;
    domain = config->domain != NULL ? mem_dup(config->domain) : outbound_address();
    url = rest_url(config, server, domain);
    agent.domain = domain;
    agent.url = url;
    log_event(url != NULL ? RUNNER_LOG_INFO : RUNNER_LOG_WARN, "jobs.start", "api", config->api.url, "domain", domain,
              "url", url, "note",
              domain == NULL ? "no domain: the API's proxy will not find this runner"
              : url == NULL  ? "no TCP address in listen: the API's proxy cannot reach this runner"
                             : NULL,
              NULL);
    return agent_start(&agent, &engine->agent, err);
}
