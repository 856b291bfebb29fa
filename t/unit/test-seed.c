/* The documents of the seed volume, and what PyYAML makes of them where installed. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/seed.h"
#include "core/util/cleanup.h"
#include "core/util/json.h"
#include "t/unit/program.h"
#include "t/unit/scratch.h"
#include "t/unit/volume.h"

static const struct runner_nic nic = {.size = sizeof nic,
                                      .kind = RUNNER_NIC_TAP,
                                      .name = "tap-x",
                                      .mac = "02:ba:78:16:bf:8f",
                                      .address = "10.0.0.5",
                                      .gateway = "10.0.0.1",
                                      .dns = "192.0.2.1 192.0.2.2",
                                      .prefix_len = 24};

static struct seed sample(void)
{
    return (struct seed){.id = "123e4567-e89b-12d3-a456-426614174000",
                         .hostname = "123e4567-e89",
                         .user = "daytona",
                         .snapshot = "org/tiny:1",
                         .nic = &nic,
                         .daemon_port = 2280};
}

static char *read_text(const struct str *iso, const char *name)
{
    size_t len;
    char *text = volume_read(iso, name, &len);

    cr_assert_not_null(text, "%s", name);
    cr_assert_eq(strlen(text), len);
    return text;
}

static void build(const struct seed *seed, struct str *ret)
{
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(seed_build(seed, ret, &err), 0, "%s", err.message);
    cr_assert_eq(ret->len % SECTOR, 0);
}

static struct json *parse(const char *text)
{
    struct runner_error err = ERROR_INIT;
    struct json *json = NULL;

    if (strncmp(text, "#cloud-config\n", 14) == 0)
        text += 14;
    cr_assert_eq(json_parse(text, strlen(text), &json, &err), 0, "%s in %s", err.message, text);
    return json;
}

static const struct json *item(const struct json *j, int index)
{
    cr_assert_not_null(j);
    for (j = j->first; j != NULL && index > 0; index--)
        j = j->next;
    cr_assert_not_null(j);
    return j;
}

static const char *content_of(const struct json *user_data, const char *path)
{
    for (const struct json *f = json_get(user_data, "write_files")->first; f != NULL; f = f->next)
        if (strcmp(json_text(f, "path", ""), path) == 0)
            return json_text(f, "content", NULL);
    return NULL;
}

/* ---- content ---- */

Test(seed, d10_meta_data_and_network)
{
    struct seed seed = sample();
    auto_str struct str iso = STR_INIT;
    auto_free char *meta_text = NULL, *network_text = NULL;
    auto_json struct json *meta = NULL, *network = NULL;
    const struct json *eth0;

    build(&seed, &iso);
    meta = parse(meta_text = read_text(&iso, "meta-data"));
    cr_assert_str_eq(json_text(meta, "instance-id", ""), seed.id);
    cr_assert_str_eq(json_text(meta, "local-hostname", ""), "123e4567-e89");
    network = parse(network_text = read_text(&iso, "network-config"));
    cr_assert_eq(json_int(network, "version", 0), 2);
    eth0 = json_get(json_get(network, "ethernets"), "eth0");
    cr_assert_str_eq(json_text(json_get(eth0, "match"), "macaddress", ""), nic.mac);
    cr_assert_str_eq(json_text(eth0, "set-name", ""), "eth0");
    cr_assert_str_eq(item(json_get(eth0, "addresses"), 0)->text, "10.0.0.5/24");
    cr_assert_str_eq(json_text(eth0, "gateway4", ""), "10.0.0.1");
    cr_assert_str_eq(item(json_get(json_get(eth0, "nameservers"), "addresses"), 1)->text, "192.0.2.2");
    cr_assert_null(json_get(eth0, "mtu"));
}

Test(seed, runner_json)
{
    static const struct seed_env env[] = {{"A", "1"}, {"DAYTONA_SANDBOX_USER", "mine"}, {"odd-name", "x"}};
    static const char *const entrypoint[] = {"sh", "-c", "exit 0"}, *const keys[] = {"ssh-ed25519 AAAA a@b"};
    struct seed seed = sample();
    auto_str struct str iso = STR_INIT;
    auto_free char *text = NULL;
    auto_json struct json *j = NULL;
    const struct json *network, *variables;

    seed.env = env;
    seed.n_env = ARRAY_LEN(env);
    seed.entrypoint = entrypoint;
    seed.n_entrypoint = ARRAY_LEN(entrypoint);
    seed.ssh_keys = keys;
    seed.n_ssh_keys = 1;
    seed.run_as = "app:staff";
    seed.workdir = "/work";
    build(&seed, &iso);
    j = parse(text = read_text(&iso, "runner.json"));
    cr_assert_eq(json_int(j, "schema", 0), 1);
    cr_assert_str_eq(json_text(j, "runAs", ""), "app:staff");
    cr_assert_str_eq(json_text(j, "workdir", ""), "/work");
    cr_assert_str_eq(json_text(j, "id", ""), seed.id);
    cr_assert_str_eq(json_text(j, "hostname", ""), seed.hostname);
    cr_assert_str_eq(json_text(j, "user", ""), "daytona");
    cr_assert_str_eq(json_text(j, "snapshot", ""), "org/tiny:1");
    cr_assert_eq(json_int(j, "daemonPort", 0), 2280);
    cr_assert_str_eq(item(json_get(j, "entrypoint"), 2)->text, "exit 0");
    cr_assert_str_eq(item(json_get(j, "sshKeys"), 0)->text, keys[0]);
    variables = json_get(j, "env");
    cr_assert_str_eq(json_text(variables, "A", ""), "1");
    cr_assert_str_eq(json_text(variables, "odd-name", ""), "x");
    cr_assert_str_eq(json_text(variables, "DAYTONA_SANDBOX_ID", ""), seed.id);
    cr_assert_str_eq(json_text(variables, "DAYTONA_SANDBOX_SNAPSHOT", ""), "org/tiny:1");
    cr_assert_str_eq(json_text(variables, "DAYTONA_SANDBOX_USER", ""), "mine");
    network = json_get(j, "network");
    cr_assert_str_eq(json_text(network, "mac", ""), nic.mac);
    cr_assert_str_eq(json_text(network, "address", ""), "10.0.0.5");
    cr_assert_eq(json_int(network, "prefix", 0), 24);
    cr_assert_str_eq(item(json_get(network, "dns"), 0)->text, "192.0.2.1");
}

Test(seed, without_network_or_entrypoint)
{
    struct seed seed = sample();
    auto_str struct str iso = STR_INIT;
    auto_free char *text = NULL;
    auto_json struct json *j = NULL;
    size_t len;

    seed.nic = NULL;
    seed.snapshot = NULL;
    build(&seed, &iso);
    cr_assert_null(volume_read(&iso, "network-config", &len));
    j = parse(text = read_text(&iso, "runner.json"));
    cr_assert_null(json_get(j, "network"));
    cr_assert_eq(json_get(j, "entrypoint")->type, JSON_NULL);
    cr_assert_eq(json_get(j, "snapshot")->type, JSON_NULL);
    cr_assert_null(json_get(json_get(j, "env"), "DAYTONA_SANDBOX_SNAPSHOT"));
}

Test(seed, environment_files_are_quoted)
{
    static const struct seed_env env[] = {
        {"PLAIN", "a b"}, {"EVIL", "x\"; $(reboot) `id` \\ $HOME"}, {"LINES", "one\ntwo"}, {"odd.name", "no"}};
    struct seed seed = sample();
    auto_str struct str iso = STR_INIT;
    auto_free char *text = NULL;
    auto_json struct json *j = NULL;

    seed.env = env;
    seed.n_env = ARRAY_LEN(env);
    build(&seed, &iso);
    j = parse(text = read_text(&iso, "user-data"));
    cr_assert_str_eq(content_of(j, "/etc/runner-ch/environment"),
                     "DAYTONA_SANDBOX_ID=\"123e4567-e89b-12d3-a456-426614174000\"\n"
                     "DAYTONA_SANDBOX_SNAPSHOT=\"org/tiny:1\"\n"
                     "DAYTONA_SANDBOX_USER=\"daytona\"\n"
                     "PLAIN=\"a b\"\n"
                     "EVIL=\"x\\\"; \\$(reboot) \\`id\\` \\\\ \\$HOME\"\n"
                     "LINES=\"one\ntwo\"\n");
    cr_assert_str_eq(content_of(j, "/etc/environment"), "DAYTONA_SANDBOX_ID=\"123e4567-e89b-12d3-a456-426614174000\"\n"
                                                        "DAYTONA_SANDBOX_SNAPSHOT=\"org/tiny:1\"\n"
                                                        "DAYTONA_SANDBOX_USER=\"daytona\"\n"
                                                        "PLAIN=\"a b\"\n"
                                                        "EVIL=\"x\"; $(reboot) `id` \\ $HOME\"\n");
}

Test(seed, users)
{
    static const char *const keys[] = {"ssh-ed25519 AAAA a@b", "ssh-rsa BBBB"};
    struct seed seed = sample();
    auto_str struct str iso = STR_INIT, root_iso = STR_INIT;
    auto_free char *text = NULL, *root_text = NULL;
    auto_json struct json *j = NULL, *root = NULL;
    const struct json *user;

    seed.ssh_keys = keys;
    seed.n_ssh_keys = 2;
    build(&seed, &iso);
    j = parse(text = read_text(&iso, "user-data"));
    cr_assert_eq(strncmp(text, "#cloud-config\n", 14), 0);
    user = item(json_get(j, "users"), 0);
    cr_assert_str_eq(json_text(user, "name", ""), "daytona");
    cr_assert_str_eq(json_text(user, "sudo", ""), "ALL=(ALL) NOPASSWD:ALL");
    cr_assert_str_eq(item(json_get(user, "ssh_authorized_keys"), 1)->text, keys[1]);
    cr_assert(json_bool(j, "disable_root", false));
    cr_assert_not(json_bool(j, "ssh_pwauth", true));
    cr_assert_null(json_get(j, "runcmd"));
    seed.user = "root";
    build(&seed, &root_iso);
    root = parse(root_text = read_text(&root_iso, "user-data"));
    cr_assert_not(json_bool(root, "disable_root", true));
    cr_assert_null(json_get(item(json_get(root, "users"), 0), "sudo"));
}

Test(seed, brings_the_daemon)
{
    struct seed seed = sample();
    auto_str struct str iso = STR_INIT;
    auto_free char *text = NULL, *program = mem_alloc(1500001), *found = NULL;
    auto_json struct json *j = NULL;
    size_t len = 0;

    for (size_t i = 0; i < 1500001; i++)
        program[i] = (char)(i * 7 % 251);
    seed.daemon = program;
    seed.daemon_len = 1500001;
    build(&seed, &iso);
    found = volume_read(&iso, "runner-guestd", &len);
    cr_assert_not_null(found);
    cr_assert_eq(len, 1500001);
    cr_assert_eq(memcmp(found, program, len), 0);
    j = parse(text = read_text(&iso, "user-data"));
    cr_assert_not_null(
        strstr(content_of(j, "/etc/systemd/system/runner-guestd.service"), "ExecStart=/usr/local/bin/runner-guestd\n"));
    cr_assert_str_eq(item(item(json_get(j, "runcmd"), 5), 4)->text, "runner-guestd.service");
}

/* The image's own runs it: no second unit. */
Test(seed, brings_the_daemon_to_an_image_with_its_own)
{
    struct seed seed = sample();
    auto_str struct str iso = STR_INIT;
    auto_free char *text = NULL, *found = NULL;
    auto_json struct json *j = NULL;
    size_t len = 0;

    seed.daemon = "program";
    seed.daemon_len = 7;
    seed.has_own_daemon = true;
    build(&seed, &iso);
    found = volume_read(&iso, "runner-guestd", &len);
    cr_assert_not_null(found);
    cr_assert_eq(len, 7);
    j = parse(text = read_text(&iso, "user-data"));
    cr_assert_null(strstr(text, "runner-guestd.service"));
    cr_assert_null(json_get(j, "runcmd"));
}

/* ---- refusals ---- */

static void expect_refusal(const struct seed *seed, const char *words)
{
    struct runner_error err = ERROR_INIT;
    auto_str struct str iso = STR_INIT;

    cr_assert_eq(seed_build(seed, &iso, &err), -1, "%s", words);
    cr_assert_eq(err.code, RUNNER_E_INVALID);
    cr_assert_not_null(strstr(err.message, words), "%s", err.message);
    cr_assert_null(iso.ptr);
}

Test(seed, refuses_names)
{
    static const char *const users[] = {
        "", "a b", "Root", "-x", "0a", "a:b", "../x", "a\nb", "abcdefghijklmnopqrstuvwxyzabcdefg"};
    struct seed seed = sample();

    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        seed.user = users[i];
        expect_refusal(&seed, "osUser");
    }
    seed = sample();
    seed.id = "../x";
    expect_refusal(&seed, "id: '../x'");
    seed = sample();
    seed.hostname = "a.b";
    expect_refusal(&seed, "hostname: 'a.b'");
}

Test(seed, refuses_what_an_image_wants)
{
    static const char *const users[] = {"", ":", "a:", ":b", "a:b:c", "a b", "../x", "a\nb"};
    static const char *const dirs[] = {"", "work", "/a\nb"};
    struct seed seed = sample();

    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        seed.run_as = users[i];
        expect_refusal(&seed, "is not a user");
    }
    seed.run_as = "1000:wheel";
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        seed.workdir = dirs[i];
        expect_refusal(&seed, "is not a working directory");
    }
}

Test(seed, refuses_environment)
{
    static const char *const names[] = {"", "A=B", "A\nB", "\x7f"};
    auto_free char *huge = mem_alloc(SEED_ENV_VALUE_MAX + 2);
    struct seed_env env = {.value = "secret-value"};
    struct seed_env many[SEED_ENV_MAX + 1];
    struct seed seed = sample();

    seed.env = &env;
    seed.n_env = 1;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        env.name = names[i];
        expect_refusal(&seed, "env: ");
    }
    memset(huge, 'x', SEED_ENV_VALUE_MAX + 1);
    env = (struct seed_env){"BIG", huge};
    expect_refusal(&seed, "'BIG' has 131073 bytes");
    env = (struct seed_env){huge, ""};
    expect_refusal(&seed, "more than 255 bytes");
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct seed_env){"A", "1"};
    seed.env = many;
    seed.n_env = ARRAY_LEN(many);
    expect_refusal(&seed, "1001 entries");
    huge[SEED_ENV_VALUE_MAX] = '\0';
    for (size_t i = 0; i < 5; i++)
        many[i] = (struct seed_env){"A", huge};
    seed.n_env = 5;
    expect_refusal(&seed, "524288 bytes in all");
    memset(huge, 1, SEED_ENV_VALUE_MAX); /* each becomes six bytes of JSON */
    seed.n_env = 3;
    expect_refusal(&seed, "as JSON");
}

Test(seed, refuses_keys_entrypoint_daemon)
{
    const char *keys[SEED_KEYS_MAX + 1], *words[SEED_ENTRYPOINT_MAX + 1];
    struct seed seed = sample();

    keys[0] = "ssh-rsa A\nssh-rsa B";
    seed.ssh_keys = keys;
    seed.n_ssh_keys = 1;
    expect_refusal(&seed, "sshKeys[0]");
    keys[0] = "";
    expect_refusal(&seed, "sshKeys[0]");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        keys[i] = "ssh-rsa A";
    seed.n_ssh_keys = ARRAY_LEN(keys);
    expect_refusal(&seed, "65 keys");
    seed = sample();
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        words[i] = "a";
    seed.entrypoint = words;
    seed.n_entrypoint = ARRAY_LEN(words);
    expect_refusal(&seed, "257 words");
    seed = sample();
    seed.daemon = "";
    expect_refusal(&seed, "0 bytes");
}

/* The guest's daemon takes IPv4 alone, and a record that was written by hand may hold anything. */
Test(seed, refuses_an_address_that_is_none)
{
    static const struct {
        const char *gateway, *dns, *mac, *address, *found;
        uint32_t prefix_len;
    } cases[] = {{"10*0.0.1", "", "02:ba:78:16:bf:8f", "10.0.0.5", "gateway: '10*0.0.1'", 24},
                 {"", "192.0.2.1, x", "02:ba:78:16:bf:8f", "10.0.0.5", "dns: '192.0.2.1, x'", 24},
                 {"", "", "02:ba:78:16:bf:8", "10.0.0.5", "mac: '02:ba:78:16:bf:8'", 24},
                 {"", "", "02:ba:78:16:bf:8f", "fd00::1", "address: 'fd00::1/24'", 24},
                 {"", "", "02:ba:78:16:bf:8f", "10.0.0.5", "address: '10.0.0.5/33'", 33}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct runner_nic wrong = {.size = sizeof wrong, .kind = RUNNER_NIC_TAP, .prefix_len = cases[i].prefix_len};
        struct seed seed = sample();

        (void)snprintf(wrong.gateway, sizeof wrong.gateway, "%s", cases[i].gateway);
        (void)snprintf(wrong.dns, sizeof wrong.dns, "%s", cases[i].dns);
        (void)snprintf(wrong.mac, sizeof wrong.mac, "%s", cases[i].mac);
        (void)snprintf(wrong.address, sizeof wrong.address, "%s", cases[i].address);
        seed.nic = &wrong;
        expect_refusal(&seed, cases[i].found);
    }
}

/* ---- another judge ---- */

/* Every character of Unicode's first plane and some beyond, in values that cloud-init reads as YAML. */
static void add_utf8(struct str *s, unsigned code)
{
    if (code < 0x80) {
        str_add_char(s, (char)code);
    } else if (code < 0x800) {
        str_add_char(s, (char)(0xc0 | code >> 6));
        str_add_char(s, (char)(0x80 | (code & 0x3f)));
    } else if (code < 0x10000) {
        str_add_char(s, (char)(0xe0 | code >> 12));
        str_add_char(s, (char)(0x80 | (code >> 6 & 0x3f)));
        str_add_char(s, (char)(0x80 | (code & 0x3f)));
    } else {
        str_add_char(s, (char)(0xf0 | code >> 18));
        str_add_char(s, (char)(0x80 | (code >> 12 & 0x3f)));
        str_add_char(s, (char)(0x80 | (code >> 6 & 0x3f)));
        str_add_char(s, (char)(0x80 | (code & 0x3f)));
    }
}

Test(seed, yaml_reads_what_json_reads)
{
    static const char script[] = "import sys,json\n"
                                 "try: import yaml\n"
                                 "except ImportError: sys.exit(77)\n"
                                 "t=sys.stdin.buffer.read().decode('utf-8')\n"
                                 "j=json.loads(t.split('\\n',1)[1])\n"
                                 "y=yaml.safe_load(t)\n"
                                 "assert j==y, 'differ'\n"
                                 "assert 'EVIL=' in y['write_files'][0]['content']\n";
    static const struct seed_env more[] = {{"EVIL", "- {a: b}\n#x\n...\n---\n!!python/object:os.system 'x' &a *a %"},
                                           {"BAD_UTF8", "\xff\xc0\x80\xed\xa0\x80"}};
    auto_str struct str all = STR_INIT, iso = STR_INIT;
    struct seed_env env[3] = {{"ALL", NULL}, more[0], more[1]};
    struct seed seed = sample();
    auto_free char *text = NULL;
    struct scratch s;
    char said[4096];
    int status;

    for (unsigned code = 1; code < 0xd800; code += code < 0x3000 ? 1 : 61)
        add_utf8(&all, code);
    for (unsigned code = 0xe000; code < 0x10000; code += code < 0xf000 ? 61 : 1)
        add_utf8(&all, code);
    add_utf8(&all, 0x1f600);
    add_utf8(&all, 0x10ffff);
    env[0].value = all.ptr;
    seed.env = env;
    seed.n_env = 3;
    build(&seed, &iso);
    text = read_text(&iso, "user-data");
    scratch_make(&s, text, strlen(text));
    status = program_run((const char *const[]){"python3", "-c", script, NULL}, s.in, s.out);
    scratch_read(&s, said, sizeof said);
    scratch_remove(&s);
    if (status == 77 || status == 127)
        cr_skip_test("python3 with PyYAML is not installed");
    cr_assert_eq(status, 0, "%s", said);
}
