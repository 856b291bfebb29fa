#include "core/config.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/yaml.h"
#include "t/unit/plugin-dir.h"

static struct runner_host services = {.size = sizeof services};
static const char *dir;

static void setup(void)
{
    dir = plugin_dir_make();
    plugin_dir_add("chameleon.so", "transport", "local");
    plugin_dir_add("chameleon.so", "vmm", "qemu");
    plugin_dir_add("chameleon.so", "vmm", "alpha");
    plugin_dir_add("chameleon.so", "disk", "qcow2");
    plugin_dir_add("chameleon.so", "disk", "reflink");
    plugin_dir_add("chameleon.so", "network", "bridge");
    plugin_dir_add("chameleon.so", "network", "user");
    plugin_dir_add("chameleon.so", "ipam", "static-pool");
}

static void teardown(void)
{
    plugin_dir_remove();
}

TestSuite(config, .init = setup, .fini = teardown);

static const char *const no_env[] = {NULL};

/* The configuration of a text, or NULL and its messages, in which the folder's name became DIR. The file is FILE. */
static struct config *load(const char *text, const char *const *env, struct str *ret_messages)
{
    auto_free char *path = text != NULL ? plugin_dir_write("r.yaml", text, 0644) : NULL;
    auto_str struct str messages = STR_INIT;
    struct config_options options = {.path = path, .plugin_dir = dir, .env = env, .services = &services};
    struct config *config = NULL;
    int result = config_load(&options, &config, &messages);
    const char *p = str_text(&messages), *hit;

    cr_assert_eq(result == 0, config != NULL);
    cr_assert_eq(result == 0, messages.len == 0, "%s", str_text(&messages));
    for (; (hit = strstr(p, dir)) != NULL; p = hit + strlen(dir)) {
        str_add_mem(ret_messages, p, (size_t)(hit - p));
        str_add(ret_messages, "DIR");
    }
    str_add(ret_messages, p);
    if (path != NULL)
        cr_assert_eq(unlink(path), 0);
    return config;
}

static struct config *load_good(const char *text, const char *const *env)
{
    auto_str struct str messages = STR_INIT;
    struct config *config = load(text, env, &messages);

    cr_assert_not_null(config, "%s", str_text(&messages));
    return config;
}

static void refused(const char *text, const char *const *env, const char *expected)
{
    auto_str struct str messages = STR_INIT;
    auto_config struct config *config = load(text, env, &messages);

    cr_expect_null(config, "accepted: %s", text);
    cr_expect_str_eq(str_text(&messages), expected, "\nfound:    %s\nexpected: %s", str_text(&messages), expected);
}

static const struct runner_value *value(const struct config *config, uint32_t kind, const char *name)
{
    const struct config_section *section = &config->hosts[0].sections[kind];

    for (size_t i = 0; i < section->n_values; i++)
        if (strcmp(section->values[i].name, name) == 0)
            return &section->values[i];
    return NULL;
}

Test(config, no_file)
{
    auto_config struct config *config = load_good(NULL, no_env);
    const struct config_host *host = &config->hosts[0];

    cr_expect_null(config->path);
    cr_assert_eq(config->n_listen, 1, "without a token nobody may come by TCP");
    cr_expect_str_eq(config->listen[0].path, "/run/runner-ch/api.sock");
    cr_expect_eq(config->workers, 64);
    cr_expect_eq(config->log.level, RUNNER_LOG_INFO);
    cr_expect_eq(config->timeouts.stop_grace_ms, 10000);
    cr_expect_eq(config->timeouts.ready_ms, 60000);
    cr_expect_eq(config->n_hosts, 1);
    cr_expect_str_eq(host->name, "local");
    cr_expect_str_eq(host->root, "/var/lib/cloud-hypervisor");
    cr_expect_str_eq(host->run_dir, "/var/run/cloud-hypervisor");
    cr_expect_eq(host->min_memory_mb, 1024);
    cr_expect_eq(host->memory_step_mb, 128);
    cr_expect_eq(host->capacity.cpu_overcommit, 8000);
    cr_expect_eq(host->capacity.memory_overcommit, 1000);
    cr_expect_eq(host->capacity.memory_reserve, 512 << 20);
    cr_expect_eq(host->capacity.disk_overcommit, 5000);
    cr_expect_eq(host->capacity.disk_reserve, 1 << 30);
    cr_expect_eq(host->capacity.sandboxes, 0);
    cr_expect_str_eq(host->sections[RUNNER_VMM].plugin->desc.name, "qemu");
    cr_expect_str_eq(host->sections[RUNNER_NETWORK].plugin->desc.name, "bridge");
    cr_expect_str_eq(host->sections[RUNNER_DISK].where, "default: hosts[0].disk");
    cr_expect_str_eq(value(config, RUNNER_IPAM, "range")->text, "10.0.0.2-10.0.0.254");
    cr_expect_str_eq(value(config, RUNNER_IPAM, "gateway")->text, "10.0.0.1/24");
}

/* A VMM is one plugin, or a list of candidates; by default the better one and the one that runs everywhere. */
Test(config, vmm_candidates)
{
    auto_config struct config *config = load_good("hosts: [{name: a, vmm: [{plugin: alpha}, {plugin: qemu, count: 3}]}]",
                                                  no_env);
    const struct config_section *first = &config->hosts[0].sections[RUNNER_VMM];
    auto_str struct str text = STR_INIT;

    cr_expect_str_eq(first->plugin->desc.name, "alpha");
    cr_assert_not_null(first->next);
    cr_expect_str_eq(first->next->plugin->desc.name, "qemu");
    cr_expect_null(first->next->next);
    config_print(config, &text);
    cr_expect_not_null(strstr(str_text(&text), "    vmm:\n    - plugin: alpha"), "%s", str_text(&text));
    refused("hosts: [{name: a, vmm: []}]", no_env,
            "DIR/r.yaml:1:24: hosts[0].vmm: expected a mapping or a list of mappings, found an empty list\n");
    refused("hosts: [{name: a, vmm: [qemu]}]", no_env,
            "DIR/r.yaml:1:25: hosts[0].vmm[0]: expected a mapping (plugin: ...), found 'qemu'\n");
    refused("hosts: [{name: a, vmm: [{plugin: qemu}, {plugin: qemu}]}]", no_env,
            "DIR/r.yaml:1:41: hosts[0].vmm[1]: expected each plugin once, found 'qemu' again\n");
    refused("hosts: [{name: a, disk: [{plugin: qcow2}]}]", no_env,
            "DIR/r.yaml:1:25: hosts[0].disk: expected a mapping (key: value), found a list\n");
}

Test(config, uids)
{
    auto_config struct config *config = load_good("hosts: [{name: a, uids: 5000-5009}, {name: b, uids: none}]", no_env);

    cr_expect_eq(config->hosts[0].first_uid, 5000);
    cr_expect_eq(config->hosts[0].n_uids, 10);
    cr_expect_eq(config->hosts[1].n_uids, 0);
    for (const char *const *bad = (const char *const[]){"0-9", "9-5", "5", "5-", "1-1000001", "1-4294967295", "x", NULL};
         *bad != NULL; bad++) {
        auto_free char *text = mem_printf("hosts: [{name: a, uids: %s}]", *bad);
        auto_free char *message =
            mem_printf("DIR/r.yaml:1:25: hosts[0].uids: expected none, or a range of at most 1000000 user ids such as "
                       "1900000000-1900065535, found '%s'\n", *bad);
        refused(text, no_env, message);
    }
}

Test(config, capacity)
{
    auto_config struct config *config =
        load_good("limits: {sandboxes: 7}\n"
                  "hosts: [{name: a, capacity: {cpu_overcommit: 1.25, memory_overcommit: 0, disk_reserve: 20G}},\n"
                  "        {name: b}]",
                  no_env);
    auto_str struct str text = STR_INIT;

    cr_expect_eq(config->hosts[0].capacity.cpu_overcommit, 1250);
    cr_expect_eq(config->hosts[0].capacity.memory_overcommit, 0);
    cr_expect_eq(config->hosts[0].capacity.disk_reserve, INT64_C(20) << 30);
    cr_expect_eq(config->hosts[0].capacity.sandboxes, 7);
    cr_expect_eq(config->hosts[1].capacity.cpu_overcommit, 8000);
    config_print(config, &text);
    cr_expect_not_null(strstr(str_text(&text), "    capacity:\n      cpu_overcommit: 1.25 # "), "%s", str_text(&text));
    refused("hosts: [{name: a, capacity: {cpu_overcommit: -1}}]", no_env,
            "DIR/r.yaml:1:46: hosts[0].capacity.cpu_overcommit: expected a number such as 2 or 1.5, from 0 to 1000, found "
            "'-1'\n");
    refused("hosts: [{name: a, capacity: {cpu_overcomit: 2}}]", no_env,
            "DIR/r.yaml:1:30: hosts[0].capacity.cpu_overcomit: unknown key 'cpu_overcomit'; did you mean "
            "'cpu_overcommit'?\n");
    refused("hosts: [{name: a, capacity: none}]", no_env,
            "DIR/r.yaml:1:29: hosts[0].capacity: expected a mapping (key: value), found 'none'\n");
}

Test(config, all_types)
{
    auto_config struct config *config = load_good("hosts:\n"
                                                  "  - name: a\n"
                                                  "    root: /r\n"
                                                  "    disk:\n"
                                                  "      plugin: reflink\n"
                                                  "      label: \"two words\"\n"
                                                  "      mode: slow\n"
                                                  "      count: 7\n"
                                                  "      enabled: yes\n"
                                                  "      cache: 20GiB\n"
                                                  "      timeout: 5m\n"
                                                  "      dir: sub/x\n"
                                                  "      secret_key: hush\n"
                                                  "      range: [a, b]\n",
                                                  no_env);
    const struct config_section *section = &config->hosts[0].sections[RUNNER_DISK];

    cr_expect_eq(section->n_values, 10);
    cr_expect_str_eq(value(config, RUNNER_DISK, "label")->text, "two words");
    cr_expect_str_eq(value(config, RUNNER_DISK, "mode")->text, "slow");
    cr_expect_eq(value(config, RUNNER_DISK, "count")->number, 7);
    cr_expect_eq(value(config, RUNNER_DISK, "enabled")->number, 1);
    cr_expect_eq(value(config, RUNNER_DISK, "cache")->number, INT64_C(20) << 30);
    cr_expect_eq(value(config, RUNNER_DISK, "timeout")->number, 300000);
    cr_expect_str_eq(value(config, RUNNER_DISK, "dir")->text, "/r/sub/x");
    cr_expect_str_eq(value(config, RUNNER_DISK, "secret_key")->text, "hush");
    cr_expect_str_eq(section->values[8].text, "a");
    cr_expect_str_eq(section->values[9].text, "b");
    cr_expect_null(value(config, RUNNER_DISK, "gateway"), "no value and no default: absent");
    cr_expect_str_eq(value(config, RUNNER_VMM, "dir")->text, "/r/images", "a default path is below the root too");
}

Test(config, network_with_addresses_of_its_own)
{
    auto_config struct config *config = load_good("hosts: [{name: a, network: {plugin: user}}]", no_env);

    cr_expect_null(config->hosts[0].sections[RUNNER_IPAM].plugin);
}

Test(config, s07_listen)
{
    auto_config struct config *config =
        load_good("listen: ['127.0.0.1:0', '[::1]:80', ':3005', 'unix:/x/y']\napi: {token: t}\n", no_env);

    cr_assert_eq(config->n_listen, 4);
    cr_expect_str_eq(config->listen[0].host, "127.0.0.1");
    cr_expect_eq(config->listen[0].port, 0);
    cr_expect_str_eq(config->listen[1].host, "::1");
    cr_expect_eq(config->listen[1].port, 80);
    cr_expect_str_eq(config->listen[2].host, "0.0.0.0");
    cr_expect_null(config->listen[2].path);
    cr_expect_str_eq(config->listen[3].path, "/x/y");
    cr_expect_null(config->listen[3].host);
}

Test(config, environment)
{
    static const char *const env[] = {"SERVER_URL=http://x/api/",
                                      "API_TOKEN=old",
                                      "DAYTONA_RUNNER_TOKEN=new",
                                      "API_PORT=8080",
                                      "LOG_LEVEL=debug",
                                      "CH_DEFAULT_CPUS=3",
                                      "CH_DEFAULT_MEMORY_MB=2048",
                                      "CH_DEFAULT_DISK_GB=5",
                                      "RUNNER_DOMAIN=r1.example",
                                      "LOG_FORMAT=",
                                      NULL};
    auto_config struct config *config =
        load_good("listen: ['unix:/s', '127.0.0.1:3005']\nlog: {level: warn}\nworkers: 3\n", env);

    cr_expect_str_eq(config->api.url, "http://x/api");
    cr_expect_str_eq(config->api.token, "new");
    cr_expect_str_eq(config->listen[1].host, "127.0.0.1");
    cr_expect_eq(config->listen[1].port, 8080);
    cr_expect_eq(config->log.level, RUNNER_LOG_DEBUG);
    cr_expect_eq(config->log.format, CONFIG_LOG_TEXT, "an empty variable counts as unset");
    cr_expect_eq(config->workers, 3);
    cr_expect_str_eq(config->domain, "r1.example");
    cr_expect_eq(config->hosts[0].cpus, 3);
    cr_expect_eq(config->hosts[0].memory_mb, 2048);
    cr_expect_eq(config->hosts[0].disk_gb, 5);
}

Test(config, environment_alone)
{
    static const char *const env[] = {"API_TOKEN=t", "API_PORT=9", NULL};
    static const char *const token_only[] = {"API_TOKEN=t", NULL};
    auto_config struct config *config = load_good(NULL, env), *without_port = load_good(NULL, token_only);

    cr_assert_eq(config->n_listen, 2);
    cr_expect_str_eq(config->listen[0].path, "/run/runner-ch/api.sock");
    cr_expect_str_eq(config->listen[1].text, "0.0.0.0:9");
    cr_assert_eq(without_port->n_listen, 2);
    cr_expect_str_eq(without_port->listen[0].text, "0.0.0.0:3005");
}

Test(config, ssh_host)
{
    static const char *const env[] = {"CH_SSH_HOST=root@h", "CH_SSH_KEY_PATH=/k", NULL};

    refused(NULL, env,
            "env CH_SSH_HOST: hosts[0].transport.plugin: expected a transport plugin (local), found 'ssh': no file "
            "'DIR/transport/ssh.so'\n");
}

Test(config, bad_environment)
{
    static const char *const env[] = {"LOG_LEVEL=inof", "CH_DEFAULT_CPUS=many", "API_PORT=x", "SERVER_URL=ftp://x",
                                      NULL};

    refused(NULL, env,
            "env SERVER_URL: api.url: expected a URL such as https://host/api, found 'ftp://x'\n"
            "env LOG_LEVEL: log.level: expected one of error, warn, info, debug, found 'inof'; did you mean 'info'?\n"
            "env API_PORT: listen[1]: expected IP:PORT, [IPv6]:PORT or unix:/PATH, found '0.0.0.0:x'\n"
            "env CH_DEFAULT_CPUS: hosts[0].defaults.cpus: expected a whole number from 1 to 1024, found 'many'\n");
}

Test(config, token_file)
{
    auto_free char *good = plugin_dir_write("token", "s3cret\n", 0600);
    auto_free char *open_to_all = plugin_dir_write("open", "s3cret\n", 0644);
    auto_free char *lines = plugin_dir_write("lines", "a\nb\n", 0600);
    auto_free char *text = mem_printf("api: {token_file: %s}", good);
    auto_free char *text_open = mem_printf("api: {token_file: %s}", open_to_all);
    auto_free char *text_lines = mem_printf("api: {token_file: %s}", lines);
    auto_free char *text_absent = mem_printf("api: {token_file: %s/absent}", dir);
    auto_free char *text_both = mem_printf("api: {token_file: %s, token: x}", good);
    static const char *const env[] = {"API_TOKEN=other", NULL};
    auto_config struct config *config = load_good(text, no_env), *by_env = load_good(text_open, env);

    cr_expect_str_eq(config->api.token, "s3cret");
    cr_expect_str_eq(by_env->api.token, "other");
    refused(text_open, no_env,
            "DIR/r.yaml:1:19: api.token_file: expected a file that holds the token and is not open to others, found "
            "'DIR/open': mode 0644, which lets everybody in\n");
    refused(
        text_lines, no_env,
        "DIR/r.yaml:1:19: api.token_file: expected one line of 1 to 1024 printable ASCII characters without blanks in "
        "'DIR/lines', found something else\n");
    refused(text_absent, no_env,
            "DIR/r.yaml:1:19: api.token_file: expected a file that holds the token and is not open to others, found "
            "'DIR/absent': No such file or directory\n");
    refused(text_both, no_env, "DIR/r.yaml:1:19: api.token_file: expected either token or token_file, found both\n");
}

Test(config, s08_secrets_stay_secret)
{
    static const char text[] = "api: {token: 'with blank hush'}\n"
                               "hosts: [{name: a, disk: {plugin: qcow2, secret_key: \"hush\\n\"}}]\n";

    refused(text, no_env,
            "DIR/r.yaml:1:14: api.token: expected 1 to 1024 printable ASCII characters without blanks, found something "
            "else\n"
            "DIR/r.yaml:2:53: hosts[0].disk.secret_key: expected text in one line, found something else\n");
}

Test(config, all_faults_are_reported)
{
    refused(
        "worker: 3\n"
        "log: {level: 7}\n"
        "timeouts: {ready: 5}\n"
        "hosts:\n"
        "  - name: A\n"
        "    disk: {plugin: qcow3}\n"
        "    vmm: {plugin: qemu, count: 65, cout: 3}\n"
        "  - name: b\n"
        "  - nam: b\n"
        "  - name: b\n"
        "    ipam: {plugin: static-pool}\n",
        no_env,
        "DIR/r.yaml:1:1: worker: unknown key 'worker'; did you mean 'workers'?\n"
        "DIR/r.yaml:2:14: log.level: expected one of error, warn, info, debug, found '7'\n"
        "DIR/r.yaml:3:19: timeouts.ready: expected a time such as 250ms, 30s or 5m, from 100ms to 24h, found '5'\n"
        "DIR/r.yaml:5:11: hosts[0].name: expected 1 to 32 of a-z, 0-9 and '-', found 'A'\n"
        "DIR/r.yaml:7:36: hosts[0].vmm.cout: unknown key 'cout'; did you mean 'count'?\n"
        "DIR/r.yaml:7:32: hosts[0].vmm.count: expected a whole number from 1 to 64, found '65'\n"
        "DIR/r.yaml:6:20: hosts[0].disk.plugin: expected a disk plugin (qcow2, reflink), found 'qcow3': no file "
        "'DIR/disk/qcow3.so'; did you mean 'qcow2'?\n"
        "DIR/r.yaml:9:5: hosts[2].nam: unknown key 'nam'; did you mean 'name'?\n"
        "DIR/r.yaml:9:5: hosts[2].name: expected 1 to 32 of a-z, 0-9 and '-' (what the host is called), found nothing\n"
        "DIR/r.yaml:10:11: hosts[3].name: expected each host name once, found 'b' again\n"
        "DIR/r.yaml:11:11: hosts[3].ipam.range: expected a value (addresses, first-last), found nothing\n"
        "DIR/r.yaml:11:11: hosts[3].ipam.gateway: expected a value (gateway/prefix), found nothing\n");
}

Test(config, print)
{
    static const char *const env[] = {"API_TOKEN=hush-token", "CH_DEFAULT_CPUS=2", NULL};
    static const char text[] = "workers: 5\nhosts: [{name: h, disk: {plugin: qcow2, secret_key: hush, "
                               "range: ['a b', c], cache: 1G}}]\n";
    auto_config struct config *config = load_good(text, env);
    auto_str struct str out = STR_INIT;
    auto_yaml struct yaml *tree = NULL;
    struct report report = REPORT_INIT;
    static const char *const lines[] = {
        "\n  token: \"***\" # env API_TOKEN\n",
        "/r.yaml:1\nloops: 2 # default\n",
        "\n      cpus: 2 # env CH_DEFAULT_CPUS\n",
        "\n  # url: not set\n",
        "\n  - name: h # ",
        "\n      secret_key: \"***\" # ",
        "\n      range:\n        - \"a b\" # ",
        "\n      timeout: 30s # default\n",
        "\n      range:\n        - 10.0.0.2-10.0.0.254 # default\n",
        "# option --plugin-dir\n",
    };

    config_print(config, &out);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        cr_expect_not_null(strstr(str_text(&out), lines[i]), "no '%s' in\n%s", lines[i], str_text(&out));
    cr_expect_null(strstr(str_text(&out), "hush"));
    cr_assert_eq(yaml_parse("printed", str_text(&out), out.len, &tree, &report), 0, "%s", str_text(&report.text));
    cr_expect_eq(report.count, 0, "%s", str_text(&report.text));
}

/* What is printed is a configuration again, and the same one. */
Test(config, print_round_trip)
{
    auto_config struct config *config =
        load_good("hosts: [{name: h, disk: {plugin: qcow2, label: \"- #: 'x'\"}}]", no_env);
    auto_str struct str out = STR_INIT;
    auto_config struct config *again = NULL;

    config_print(config, &out);
    again = load_good(str_text(&out), no_env);
    cr_expect_str_eq(value(again, RUNNER_DISK, "label")->text, "- #: 'x'");
    cr_expect_eq(again->limits.body_bytes, config->limits.body_bytes);
    cr_expect_eq(again->timeouts.drain_ms, config->timeouts.drain_ms);
    cr_expect_eq(again->hosts[0].sections[RUNNER_VMM].n_values, config->hosts[0].sections[RUNNER_VMM].n_values);
}
