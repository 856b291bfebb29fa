#include "core/loader.h"

#include <criterion/criterion.h>
#include <string.h>

#include "t/unit/plugin-dir.h"

static struct runner_host services = {.size = sizeof services};
static struct loader *loader;
static const char *dir;

static void setup(void)
{
    dir = plugin_dir_make();
    loader = loader_new(dir, &services);
}

static void teardown(void)
{
    loader_free(loader);
    plugin_dir_remove();
}

TestSuite(loader, .init = setup, .fini = teardown);

Test(loader, good)
{
    struct runner_error err = ERROR_INIT;
    const struct plugin *plugin = NULL, *again = NULL;

    plugin_dir_add("chameleon.so", "disk", "sample");
    cr_assert_eq(loader_open(loader, RUNNER_DISK, "sample", &plugin, &err), 0, "%s", err.message);
    cr_expect_str_eq(plugin->desc.name, "sample");
    cr_expect_eq(plugin->desc.kind, RUNNER_DISK);
    cr_expect_eq(plugin->desc.n_params, 10);
    cr_expect_str_eq(plugin->params[2].name, "count");
    cr_expect_not_null(plugin->ops.disk.remove);
    cr_assert_eq(loader_open(loader, RUNNER_DISK, "sample", &again, &err), 0);
    cr_expect_eq(plugin, again);
}

Test(loader, each_kind)
{
    struct runner_error err = ERROR_INIT;
    const struct plugin *plugin;

    for (uint32_t kind = 1; kind <= LOADER_KINDS; kind++) {
        plugin_dir_add("chameleon.so", loader_kind_name(kind), "sample");
        cr_assert_eq(loader_open(loader, kind, "sample", &plugin, &err), 0, "%s", err.message);
        cr_expect_eq(plugin->desc.kind, kind);
        cr_expect_eq(loader_kind(loader_kind_name(kind)), kind);
    }
    cr_expect_eq(loader_kind("gpu"), 0);
    cr_expect_null(loader_kind_name(17));
}

/* A plugin of a later minor version has more of everything; what this runner does not know is left out. */
Test(loader, newer_minor)
{
    struct runner_error err = ERROR_INIT;
    auto_str struct str dump = STR_INIT;
    const struct plugin *plugin;

    plugin_dir_add("chameleon.so", "vmm", "newer");
    cr_assert_eq(loader_open(loader, RUNNER_VMM, "newer", &plugin, &err), 0, "%s", err.message);
    cr_expect_eq(plugin->desc.api_minor, 7);
    cr_expect_eq(plugin->desc.n_params, 2);
    cr_expect_str_eq(plugin->params[0].name, "label");
    cr_expect_str_eq(plugin->params[1].name, "count");
    loader_dump(plugin, &dump);
    cr_expect_not_null(strstr(str_text(&dump), "\napi=1.7\n"), "%s", str_text(&dump));
    cr_expect_not_null(strstr(str_text(&dump), "\ncaps=pause,bit40\n"), "%s", str_text(&dump));
}

static void refused(const char *name, int code, const char *message)
{
    struct runner_error err = ERROR_INIT;
    const struct plugin *plugin = NULL;
    auto_free char *path = mem_printf("plugin '%s/disk/%s.so': ", dir, name);
    const char *rest = err.message;

    cr_expect_eq(loader_open(loader, RUNNER_DISK, name, &plugin, &err), -1, "%s was loaded", name);
    cr_expect_null(plugin);
    cr_expect_eq(err.code, code, "%s: %s", name, error_name(err.code));
    cr_expect(strncmp(err.message, path, strlen(path)) == 0, "%s", err.message);
    rest = err.message + strlen(path);
    cr_expect_str_eq(rest, message, "%s: %s", name, rest);
}

Test(loader, refusals)
{
    static const struct {
        const char *name, *message;
    } cases[] = {
        {"wrong-magic", "wanted magic 0x524e5231, found 0x464c457f"},
        {"wrong-major", "wanted API major 1, found 2.0"},
        {"short-size", "wanted a descriptor of 112 to 65536 bytes, found 40"},
        {"huge-size", "wanted a descriptor of 112 to 65536 bytes, found 1048576"},
        {"short-ops", "wanted a table of operations of 16 to 65536 bytes, found 8"},
        {"null-ops", "wanted operations of kind disk, found NULL"},
        {"short-param", "wanted a parameter of 56 to 65536 bytes, found 16"},
        {"odd-param", "wanted a parameter size that is a multiple of 8, found 57"},
        {"many-params", "wanted at most 256 parameters, found 100000"},
        {"wrong-kind", "wanted kind disk (3), found vmm (2)"},
        {"unknown-kind", "wanted kind disk (3), found unknown (77)"},
        {"wrong-name", "wanted name 'wrong-name', the same as the file's, found 'other'"},
        {"wrong-threads", "wanted threads 1000, 2000 or 3000, found 5"},
        {"missing-op", "wanted the operation remove(), found NULL"},
        {"missing-create", "wanted the function create(), found NULL"},
        {"null-descriptor", "wanted a descriptor, found NULL"},
        {"bad-default", "parameter 'count': wanted as default a whole number from 1 to 64, found '65'"},
        {"bad-type", "parameter 'count': wanted type 1 to 6, found 99"},
        {"bad-param-name", "parameter 2: wanted a name like [a-z][a-z0-9_]* other than 'plugin', found 'plugin'"},
        {"twice-param", "parameter 'label': wanted each name once, found it again"},
        {"load-fails", "load: no such hardware"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        plugin_dir_add("chameleon.so", "disk", cases[i].name);
        refused(cases[i].name, RUNNER_E_NOTSUP, cases[i].message);
    }
    refused("load-fails", RUNNER_E_NOTSUP, "load: no such hardware"); /* remembered */
}

Test(loader, no_plugin_at_all)
{
    auto_free char *text = NULL;

    plugin_dir_add("other-major.so", "disk", "other");
    refused("other", RUNNER_E_NOTSUP, "wanted the symbol runner_plugin_1 (API major 1), found runner_plugin_2");
    refused("absent", RUNNER_E_NOTFOUND, "No such file or directory");
    text = plugin_dir_write("disk/text.so", "this is no object\n", 0644);
    refused("text", RUNNER_E_NOTSUP, "wanted a loadable shared object, found: file too short");
}

Test(loader, names)
{
    static const char *const names[] = {
        "", "../disk/x", "a/b", "UPPER", "a.so", "a b", "abcdefghijklmnopqrstuvwxyz0123456789"};
    struct runner_error err = ERROR_INIT;
    const struct plugin *plugin;

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        cr_expect_eq(loader_open(loader, RUNNER_DISK, names[i], &plugin, &err), -1);
        cr_expect_eq(err.code, RUNNER_E_INVALID, "%s", err.message);
    }
    cr_expect_eq(loader_open(loader, 99, "x", &plugin, &err), -1);
    cr_expect_str_eq(err.message, "plugin kind: wanted 1 to 6, found 99");
}

Test(loader, list)
{
    auto_str struct str names = STR_INIT, none = STR_INIT;
    auto_free char *other = NULL;

    plugin_dir_add("chameleon.so", "disk", "b");
    plugin_dir_add("chameleon.so", "disk", "a");
    other = plugin_dir_write("disk/README.md", "x", 0644);
    loader_list(loader, RUNNER_DISK, &names);
    cr_expect_str_eq(str_text(&names), "a\nb\n");
    loader_list(loader, RUNNER_VMM, &none);
    cr_expect_str_eq(str_text(&none), "");
}

Test(loader, dump)
{
    static const char expected[] =
        "kind=disk\nname=sample\nversion=1.2.3\nsummary=sample\napi=1.0\nsize=120\n"
        "threads=parallel\ncaps=\nparam_size=56\nn_params=10\nops_size=32\nload=no\ncheck=no\ndiagnose=no\n"
        "op.clone=yes\nop.remove=yes\nop.inspect=yes\nop.grow=yes\n"
        "param.label.type=string\nparam.label.flags=\nparam.label.doc=any text\n"
        "param.mode.type=string\nparam.mode.flags=\nparam.mode.default=fast\n"
        "param.mode.choices=fast,slow,secure\nparam.mode.doc=how it works\n"
        "param.count.type=int\nparam.count.flags=\nparam.count.default=4\nparam.count.min=1\n"
        "param.count.max=64\nparam.count.doc=how many\n";
    struct runner_error err = ERROR_INIT;
    auto_str struct str dump = STR_INIT;
    const struct plugin *plugin;
    const char *rest;

    plugin_dir_add("chameleon.so", "disk", "sample");
    cr_assert_eq(loader_open(loader, RUNNER_DISK, "sample", &plugin, &err), 0, "%s", err.message);
    loader_dump(plugin, &dump);
    rest = strchr(str_text(&dump), '\n') + 1;
    cr_expect(strncmp(str_text(&dump), "path=/", 6) == 0);
    cr_expect(strncmp(rest, expected, sizeof expected - 1) == 0, "%s", rest);
    cr_expect_not_null(strstr(rest, "param.secret_key.flags=secret\n"));
}
