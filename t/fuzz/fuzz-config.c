/* runner.yaml: refused with a line for each fault, or a configuration that printed is one again, and the same; the
 * plugins that it names take their values or say why not. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "core/config.h"
#include "core/instance.h"
#include "kit/fake/host.h"
#include "t/fuzz/fuzz.h"

/* The plugins of this build: beside the program's own folder, t/fuzz. */
static const char *plugin_dir(void)
{
    static char path[4096];
    ssize_t n;

    if (path[0] == '\0') {
        n = readlink("/proc/self/exe", path, sizeof path - 32);
        for (int i = 0; n > 0 && i < 3; i++)
            while (n > 0 && path[--n] != '/')
                ;
        need(n > 0);
        memcpy(path + n, "/plugins", sizeof "/plugins");
    }
    return path;
}

static struct config *load(const char *text, size_t len, struct str *ret_messages)
{
    static const char *const no_env[] = {NULL};
    auto_close int fd = memfd_create("runner.yaml", MFD_CLOEXEC);
    char path[32];
    struct config_options options = {.path = path, .plugin_dir = plugin_dir(), .env = no_env, .services = fake_host()};
    struct config *config = NULL;
    int result;

    need(fd >= 0 && write(fd, text, len) == (ssize_t)len);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    result = config_load(&options, &config, ret_messages);
    need((result == 0) == (config != NULL) && (result == 0) == (ret_messages->len == 0));
    return config;
}

static void make_instances(const struct config_host *host)
{
    for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++) {
        struct instance *instance = NULL;
        struct runner_error err = ERROR_INIT;

        if (instances_new(&host->sections[kind], &instance, &err) < 0)
            need_reason(&err);
        instances_free(instance);
    }
}

/* Without the comments, which say where a value came from. */
static void cut_comments(struct str *text)
{
    char *to = text->ptr;

    for (const char *p = text->ptr; p != NULL && *p != '\0';) {
        size_t len = strcspn(p, "\n"), keep = len;
        const char *hash = memmem(p, len, " # ", 3);
        if (hash != NULL)
            keep = (size_t)(hash - p);
        memmove(to, p, keep);
        to += keep;
        *to++ = '\n';
        p += len + (p[len] == '\n');
    }
    if (to != NULL)
        *to = '\0';
}

static void need_same(const struct config *config)
{
    auto_str struct str text = STR_INIT, again = STR_INIT, messages = STR_INIT;
    auto_config struct config *second = NULL;

    config_print(config, &text);
    if (strstr(str_text(&text), "***") != NULL)
        return;
    second = load(text.ptr, text.len, &messages);
    need(second != NULL);
    config_print(second, &again);
    cut_comments(&text);
    cut_comments(&again);
    need(strcmp(text.ptr, again.ptr) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_str struct str messages = STR_INIT;
    auto_config struct config *config = load((const char *)data, size, &messages);

    if (config == NULL)
        return 0;
    for (size_t i = 0; i < config->n_hosts; i++)
        make_instances(&config->hosts[i]);
    need_same(config);
    return 0;
}
