/* runner-plugin-check: takes a plugin through the checklist of its kind, and prints TAP. */
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util/num.h"
#include "kit/fake/tap.h"
#include "kit/general.h"
#include "kit/kind.h"

enum { EXIT_USAGE = 2, LIMIT_MS = 30000 };

static const char usage[] =
    "Usage: runner-plugin-check [OPTION]... PLUGIN.so [KEY=VALUE]...\n"
    "Checks a plugin of runner-ch against what runner-plugin.h promises, on a host that is made up. Prints TAP.\n\n"
    "  KEY=VALUE                  a parameter, as in runner.yaml; those left out have their defaults\n"
    "  -k, --kind KIND            transport, vmm, disk, network, ipam or storage: refuse one of another kind\n"
    "  -l, --list                 print the checklist of the plugin, or of --kind, and check nothing\n"
    "  -o, --only PATTERN         only the points whose names match, e.g. 'clone.*'\n"
    "  -t, --limit TIME           a point that takes longer has failed (default 30s)\n"
    "  -a, --answer STEP:MATCH=TEXT  what a RUN, READ, STAT or LIST on that host prints, when the step's line has\n"
    "                             MATCH in it, e.g. 'RUN:[--version]=QEMU emulator version 7.2.22'\n"
    "      --live                 vmm: start the machine for real, by transport/local, and run through its life\n"
    "      --kernel FILE          the kernel of that machine; default: a file that only a fake takes for one\n"
    "      --plugin-dir DIR       where transport/local is, for --live\n"
    "  -h, --help                 this text\n"
    "  -V, --version              version\n\n"
    "Exit status: 0 all points passed or do not apply, 1 some failed, 2 wrong usage.\n";

enum { OPT_LIVE = 256, OPT_KERNEL, OPT_PLUGIN_DIR };

struct command {
    struct options options;
    bool is_list;
    char *path, *plugin_dir; /* absolute */
    struct plugin plugin;
};

static int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int complain(const char *format, ...)
{
    va_list args;

    fputs("runner-plugin-check: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("; see --help\n", stderr);
    return -1;
}

static int take_option(struct command *command, int c)
{
    struct options *options = &command->options;

    switch (c) {
    case 'k':
        options->kind = loader_kind(optarg);
        return options->kind != 0 ? 0 : complain("--kind: there is no kind '%s'", optarg);
    case 'l':
        command->is_list = true;
        return 0;
    case 'o':
        options->only = optarg;
        return 0;
    case 't':
        return num_msec(optarg, &options->limit_ms) && options->limit_ms > 0
                   ? 0
                   : complain("--limit: expected a time such as 10s, found '%s'", optarg);
    case 'a':
        options->answers = mem_grow(options->answers, options->n_answers + 1, sizeof *options->answers);
        options->answers[options->n_answers++] = optarg;
        return strchr(optarg, ':') != NULL && strchr(optarg, '=') != NULL
                   ? 0
                   : complain("--answer: expected STEP:MATCH=TEXT, found '%s'", optarg);
    case OPT_LIVE:
        options->is_live = true;
        return 0;
    case OPT_KERNEL:
        options->kernel = optarg;
        return optarg[0] == '/' ? 0 : complain("--kernel: expected an absolute path, found '%s'", optarg);
    case OPT_PLUGIN_DIR:
        options->plugin_dir = optarg;
        return 0;
    case 'h':
        fputs(usage, stdout);
        exit(0);
    case 'V':
        puts("runner-plugin-check " VERSION_TEXT);
        exit(0);
    default:
        return -1;
    }
}

static int take_options(struct command *command, int argc, char **argv)
{
    static const struct option longs[] = {{"kind", required_argument, NULL, 'k'},
                                          {"list", no_argument, NULL, 'l'},
                                          {"only", required_argument, NULL, 'o'},
                                          {"limit", required_argument, NULL, 't'},
                                          {"answer", required_argument, NULL, 'a'},
                                          {"live", no_argument, NULL, OPT_LIVE},
                                          {"kernel", required_argument, NULL, OPT_KERNEL},
                                          {"plugin-dir", required_argument, NULL, OPT_PLUGIN_DIR},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {NULL, 0, NULL, 0}};
    int c;

    command->options.limit_ms = LIMIT_MS;
    command->options.plugin_dir = PLUGIN_DIR;
    while ((c = getopt_long(argc, argv, "k:lo:t:a:hV", longs, NULL)) != -1)
        if (take_option(command, c) < 0)
            return -1;
    if (optind < argc) {
        command->options.path = argv[optind];
        command->options.pairs = argv + optind + 1;
        command->options.n_pairs = (size_t)(argc - optind - 1);
    } else if (!command->is_list || command->options.kind == 0) {
        return complain("no plugin is named");
    }
    return 0;
}

/* ---- the checklist ---- */

const struct kind *kind_of(uint32_t kind)
{
    static const struct kind *const kinds[] = {[RUNNER_TRANSPORT] = &kind_transport,
                                               [RUNNER_VMM] = &kind_vmm,
                                               [RUNNER_DISK] = &kind_disk,
                                               [RUNNER_NETWORK] = &kind_network,
                                               [RUNNER_IPAM] = &kind_ipam,
                                               [RUNNER_STORAGE] = &kind_storage};

    return kinds[kind];
}

static void checklist_fill(struct checklist *list, uint32_t number, const struct plugin *plugin)
{
    const struct kind *kind = kind_of(number);

    general_add_first(list);
    for (size_t i = 0; i < kind->n_ops; i++)
        if (op_is_there(&kind->ops[i], plugin))
            op_add_points(list, &kind->ops[i]);
    kind->add_points(list, plugin);
    general_add_last(list, number);
}

static void print_list(const struct checklist *list)
{
    printf("%-26s %s\n", "descriptor", "the object is a plugin that this runner can load");
    for (size_t i = 0; i < list->n; i++)
        printf("%-26s %s\n", list->points[i].id, list->points[i].title);
}

/* ---- the first point ---- */

/* In a process of its own, since even runner_plugin_1() may crash; when it passes, this process opens it too. */
static void point_opens(struct subject *s, const struct point *point)
{
    struct plugin plugin = {.next = NULL};
    struct runner_error err = ERROR_INIT;

    (void)point;
    if (subject_open(s->options, &plugin, &err) < 0)
        stop_point("%s", err.message);
}

static void open_plugin(const struct options *options, struct plugin *ret)
{
    const struct point opens = {.id = (char[]){"descriptor"},
                                .title = "the object is a plugin that this runner can load",
                                .run = point_opens};
    struct runner_error err = ERROR_INIT;

    if (!point_run(&opens, options, NULL))
        tap_bail_out("without a descriptor there is nothing to check");
    if (subject_open(options, ret, &err) < 0)
        tap_bail_out("%s", err.message);
}

static int check_pairs(const struct options *options, const struct plugin *plugin)
{
    struct runner_error err = ERROR_INIT;
    struct runner_value *values;
    size_t n;

    if (subject_values(plugin, options->pairs, options->n_pairs, "/", &values, &n, &err) < 0)
        return complain("%s", err.message);
    subject_values_free(values, n);
    return 0;
}

static void run_list(const struct checklist *list, const struct options *options, const struct plugin *plugin)
{
    for (size_t i = 0; i < list->n; i++)
        if (options->only == NULL || fnmatch(options->only, list->points[i].id, 0) == 0)
            (void)point_run(&list->points[i], options, plugin);
}

/* Points run in directories of their own. */
static int make_absolute(struct command *command)
{
    struct options *options = &command->options;

    if (options->path != NULL && (command->path = realpath(options->path, NULL)) == NULL)
        return complain("plugin '%s': %s", options->path, strerror(errno));
    if (options->is_live && (command->plugin_dir = realpath(options->plugin_dir, NULL)) == NULL)
        return complain("--plugin-dir '%s': %s", options->plugin_dir, strerror(errno));
    options->path = command->path;
    options->plugin_dir = command->plugin_dir;
    return 0;
}

/* The plugin, when one is named. For a list it is trusted to say what it is. */
static int open_if_named(struct command *command)
{
    struct runner_error err = ERROR_INIT;

    if (command->path == NULL)
        return 0;
    if (command->is_list)
        return subject_open(&command->options, &command->plugin, &err) < 0 ? complain("%s", err.message) : 0;
    open_plugin(&command->options, &command->plugin);
    return check_pairs(&command->options, &command->plugin);
}

static int command_run(struct command *command)
{
    const struct plugin *plugin;
    struct checklist list = {.n = 0};
    int status = 0;

    if (make_absolute(command) < 0 || open_if_named(command) < 0)
        return EXIT_USAGE;
    plugin = command->path != NULL ? &command->plugin : NULL;
    checklist_fill(&list, plugin != NULL ? plugin->desc.kind : command->options.kind, plugin);
    if (command->is_list) {
        print_list(&list);
    } else {
        run_list(&list, &command->options, plugin);
        status = tap_done();
    }
    checklist_free(&list);
    return status;
}

int main(int argc, char **argv)
{
    struct command command = {.is_list = false};
    int status = take_options(&command, argc, argv) < 0 ? EXIT_USAGE : command_run(&command);

    free(command.options.answers);
    free(command.plugin.params);
    free(command.plugin.path);
    free(command.path);
    free(command.plugin_dir);
    return status;
}
