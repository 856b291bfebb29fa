/* storage/oci: what references, challenges, manifests and requests say. */
#include <criterion/criterion.h>
#include <string.h>

#include "plugins/storage/oci/program/challenge.h"
#include "plugins/storage/oci/program/http.h"
#include "plugins/storage/oci/program/request.h"
#include "plugins/storage/oci/program/url.h"

#define HEX   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

Test(oci, references)
{
    static const struct {
        const char *text, *server, *path, *reference;
    } cases[] = {
        {"debian", "docker.io", "library/debian", "latest"},
        {"debian:12", "docker.io", "library/debian", "12"},
        {"docker.io/ubuntu:22.04", "docker.io", "library/ubuntu", "22.04"},
        {"index.docker.io/a/b", "docker.io", "a/b", "latest"},
        {"a/b:1", "docker.io", "a/b", "1"},
        {"localhost/a:1", "localhost", "a", "1"},
        {"localhost:55000/library/sandbox:1.0", "localhost:55000", "library/sandbox", "1.0"},
        {"registry:6000/daytona/daytona-" HEX ":daytona", "registry:6000", "daytona/daytona-" HEX, "daytona"},
        {"Registry.Example.ORG/a/b:X", "registry.example.org", "a/b", "X"},
        {"h:1//daytona-x:daytona", "h:1", "daytona/daytona-x", "daytona"},
        {"[::1]:5000/a__b/c-d.e:1", "[::1]:5000", "a__b/c-d.e", "1"},
        {"a/b@sha256:" HEX, "docker.io", "a/b", "sha256:" HEX},
        {"h:1/a:tag@sha256:" HEX, "h:1", "a", "sha256:" HEX},
        {"docker.io/ubuntu:sha256:" HEX, "docker.io", "library/ubuntu", "sha256:" HEX},
        {"h:1/a/b:2026-01-02T03-04-05-678Z", "h:1", "a/b", "2026-01-02T03-04-05-678Z"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct runner_error err = ERROR_INIT;
        struct ref ref = {.server = NULL};

        cr_assert_eq(ref_parse(cases[i].text, &ref, &err), 0, "%s: %s", cases[i].text, err.message);
        cr_expect_str_eq(ref.server, cases[i].server, "%s", cases[i].text);
        cr_expect_str_eq(ref.path, cases[i].path, "%s", cases[i].text);
        cr_expect_str_eq(ref_reference(&ref), cases[i].reference, "%s", cases[i].text);
        ref_done(&ref);
    }
}

Test(oci, no_references)
{
    static const char *const texts[] = {"",
                                        "/",
                                        "A",
                                        "a/",
                                        "a//b",
                                        "h:1/",
                                        "h:1/..",
                                        "h:1/a/../b",
                                        "h:0/a",
                                        "h:99999/a",
                                        "a:b:c",
                                        "a:",
                                        "a:-x",
                                        "a@sha256:" HEX "0",
                                        "a@sha512:" HEX,
                                        "a@",
                                        "a b",
                                        "h:1/a?x",
                                        "h:1/a#x",
                                        "h:1/a%2e",
                                        "h:1/a---",
                                        "h:1/a..b",
                                        "h:1/a___b",
                                        "http://h/a",
                                        "user@h.x/a"};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct runner_error err = ERROR_INIT;
        struct ref ref = {.server = NULL};

        cr_expect_eq(ref_parse(texts[i], &ref, &err), -1, "'%s' is taken", texts[i]);
        cr_expect_eq(err.code, RUNNER_E_INVALID);
        cr_expect_null(ref.server);
    }
}

Test(oci, loopback)
{
    static const char *const good[] = {"localhost", "localhost:1", "127.0.0.1", "127.9.8.7:5000", "[::1]", "[::1]:1"};
    static const char *const bad[] = {"localhost.example.org",
                                      "127.0.0.1.example.org",
                                      "127.example.org",
                                      "128.0.0.1",
                                      "127.0.0:1",
                                      "127.0.0.256",
                                      "xlocalhost",
                                      "[::2]",
                                      "127.0.0.1.1"};

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        cr_expect(ref_is_loopback(good[i]), "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_expect_not(ref_is_loopback(bad[i]), "%s", bad[i]);
}

Test(oci, challenges)
{
    static const struct {
        const char *text;
        bool is_basic, is_bearer;
        const char *realm, *service, *scope;
    } cases[] = {
        {"Basic realm=\"x\"\n", true, false, NULL, NULL, NULL},
        {"Bearer realm=\"https://a/t\",service=\"s.x\",scope=\"repository:a/b:pull,push\"\n", false, true,
         "https://a/t", "s.x", "repository:a/b:pull,push"},
        {"bearer realm=https://a/t , Service = s", false, true, "https://a/t", "s", NULL},
        {"Negotiate\nBasic realm=\"b\"\nBearer realm=\"r\"\n", true, true, "r", NULL, NULL},
        {"Basic realm=\"b\", Bearer realm=\"r\\\"q\", error=\"x\"", true, true, "r\"q", NULL, NULL},
        {"Digest realm=\"Bearer realm=x\"", false, false, NULL, NULL, NULL},
        {"Bearer service=\"s\"", false, false, NULL, "s", NULL},
        {"Bearer realm=\"never ended", false, false, NULL, NULL, NULL},
        {"", false, false, NULL, NULL, NULL},
        {",,,=\x01;", false, false, NULL, NULL, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct challenge c;

        challenge_parse(cases[i].text, &c);
        cr_expect_eq(c.is_basic, cases[i].is_basic, "%s", cases[i].text);
        cr_expect_eq(c.is_bearer, cases[i].is_bearer, "%s", cases[i].text);
        cr_expect_str_eq(c.realm != NULL ? c.realm : "-", cases[i].realm != NULL ? cases[i].realm : "-");
        cr_expect_str_eq(c.service != NULL ? c.service : "-", cases[i].service != NULL ? cases[i].service : "-");
        cr_expect_str_eq(c.scope != NULL ? c.scope : "-", cases[i].scope != NULL ? cases[i].scope : "-");
        challenge_done(&c);
    }
}

#define ENTRY(arch, variant, hex)                                                                                      \
    "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"size\":7,\"digest\":\"sha256:" hex "\","          \
    "\"platform\":{\"os\":\"linux\",\"architecture\":\"" arch "\"" variant "}}"

static void expect_chosen(const char *entries, const char *wanted)
{
    auto_free char *text = mem_printf("{\"schemaVersion\":2,\"manifests\":[%s]}", entries);
    const struct manifest_limits limits = {.bytes = 1000, .blobs = 10};
    struct runner_error err = ERROR_INIT;
    struct manifest m = {.n_layers = 0};
    int status = manifest_parse(text, strlen(text), "application/vnd.oci.image.index.v1+json", &limits, &m, &err);

    if (wanted == NULL) {
        cr_expect_eq(status, -1);
        cr_expect_eq(err.code, RUNNER_E_NOTSUP, "%s", err.message);
        return;
    }
    cr_assert_eq(status, 0, "%s", err.message);
    cr_expect(m.is_index);
    cr_expect_str_eq(REF_HEX(m.chosen.digest), wanted);
    manifest_done(&m);
}

Test(oci, index_choice)
{
    expect_chosen(ENTRY("arm64", "", OTHER) "," ENTRY("amd64", "", HEX), HEX);
    expect_chosen(ENTRY("amd64", ",\"variant\":\"v3\"", OTHER) "," ENTRY("amd64", "", HEX), HEX);
    expect_chosen(ENTRY("amd64", "", HEX) "," ENTRY("amd64", ",\"variant\":\"v3\"", OTHER), HEX);
    expect_chosen(ENTRY("amd64", ",\"variant\":\"v3\"", HEX), HEX);
    expect_chosen(ENTRY("arm64", "", OTHER) "," ENTRY("unknown", "", HEX), NULL);
    expect_chosen("", NULL);
}

static int parse_request(const char *text, struct request *ret)
{
    struct runner_error err = ERROR_INIT;

    return request_parse(text, strlen(text), ret, &err);
}

Test(oci, credentials_are_for_their_server)
{
    static const struct {
        const char *server;
        bool are_told;
    } cases[] = {
        {"\"h:1\"", true}, {"\"https://H:1/v2/\"", true}, {"\"h\"", false}, {"\"h:2\"", false}, {"\"\"", false}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_free char *text = mem_printf("{\"operation\":\"inspect\",\"store\":\"/s\",\"from\":{\"ref\":\"h:1/a:1\","
                                          "\"server\":%s,\"username\":\"u\",\"password\":\"p\"}}",
                                          cases[i].server);
        struct request r = {.tree = NULL};

        cr_assert_eq(parse_request(text, &r), 0);
        cr_expect_eq(r.from.password != NULL, cases[i].are_told, "%s", cases[i].server);
        request_done(&r);
    }
}

Test(oci, plain_text)
{
    struct request r = {.tree = NULL};

    cr_assert_eq(parse_request("{\"operation\":\"inspect\",\"store\":\"/s\",\"from\":{\"ref\":\"a\"},"
                               "\"insecure\":[\"registry:6000\",\"any\"]}",
                               &r),
                 0);
    cr_expect(request_may_be_plain(&r, "registry:6000"));
    cr_expect(request_may_be_plain(&r, "any:1"));
    cr_expect(request_may_be_plain(&r, "any"));
    cr_expect(request_may_be_plain(&r, "localhost:1"));
    cr_expect_not(request_may_be_plain(&r, "registry"));
    cr_expect_not(request_may_be_plain(&r, "registry:60001"));
    cr_expect_not(request_may_be_plain(&r, "anything"));
    cr_expect_not(request_may_be_plain(&r, "docker.io"));
    request_done(&r);
}

Test(oci, origins)
{
    static const struct {
        const char *url, *origin;
    } cases[] = {{"https://H.example/x?y", "https://h.example:443"},
                 {"http://h:80/", "http://h:80"},
                 {"http://u:p@h/", "http://h:80"},
                 {"https://h:5000", "https://h:5000"},
                 {"file:///etc/passwd", NULL},
                 {"", NULL}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_free char *origin = url_origin(cases[i].url);
        cr_expect_str_eq(origin != NULL ? origin : "-", cases[i].origin != NULL ? cases[i].origin : "-");
    }
}

Test(oci, locations)
{
    static const struct {
        const char *location, *url;
    } cases[] = {{"/v2/x?a=b", "https://h:1/v2/x?a=b"},
                 {"https://o/x#f", "https://o/x"},
                 {"//o:2/x", "https://o:2/x"},
                 {"https://u:p@o/x", "https://o/x"},
                 {"y", "https://h:1/a/y"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_free char *url = url_resolve("https://h:1/a/b", cases[i].location);
        cr_expect_str_eq(url != NULL ? url : "-", cases[i].url);
    }
}
