/* runnerctl: the command line client of runner-ch. */
#include "config.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/ctl/ctl.h"
#include "core/ctl/interrupt.h"
#include "core/util/text.h"

static const struct command commands[] = {
    {"create", "[OPTION...] [ID]", "Creates a sandbox, starts it and prints its id",
     "Without an ID one is made up; with --json it is printed on standard error.\n", create_command},
    {"ls", "[OPTION...]", "Lists the sandboxes", NULL, list_command},
    {"info", "[OPTION...] [ID...]", "Shows what is known of sandboxes, or without an ID of the runner", NULL,
     info_command},
    {"start", "[OPTION...] ID...", "Starts stopped sandboxes", NULL, start_command},
    {"stop", "[OPTION...] ID...|--all", "Shuts sandboxes down; their disks stay", NULL, stop_command},
    {"pause", "[OPTION...] ID...", "Freezes running sandboxes in memory", NULL, pause_command},
    {"resume", "[OPTION...] ID...", "Lets paused sandboxes go on", NULL, resume_command},
    {"resize", "[OPTION...] ID...", "Gives sandboxes other CPUs, memory, or a larger disk",
     "Of one that runs only more CPUs and memory are possible, where its VMM can do that.\n", resize_command},
    {"recover", "[OPTION...] ID...", "Makes sandboxes in error stopped ones, which can be started", NULL,
     recover_command},
    {"network", "[OPTION...] ID", "Shows what a sandbox may reach, or changes it",
     "Without an option it shows; with any, what these say takes the place of all that was.\n", network_command},
    {"rm", "[OPTION...] ID...|--all", "Removes sandboxes with their disks",
     "Without --force a sandbox that runs or is not there is an error.\n", remove_command},
    {"exec", "[OPTION...] ID [--] COMMAND [ARG...]", "Runs a command in a sandbox",
     "Prints its output and exits with its exit code, or with 125 when it could not be run. The words reach the\n"
     "command as they are; for pipes and variables run a shell: runnerctl exec ID -- sh -c 'ls | wc -l'\n",
     exec_command},
    {"put", "[OPTION...] ID FILE PATH", "Copies a file into a sandbox",
     "FILE '-' is standard input. A PATH that ends in '/' gets the file's name added.\n", put_command},
    {"get", "[OPTION...] ID PATH [FILE]", "Copies a file out of a sandbox",
     "FILE is the name in the current folder by default, a folder, or '-' for standard output.\n", get_command},
    {"log", "[OPTION...] ID", "Prints what a sandbox wrote to its serial console", NULL, log_command},
    {"top", "[OPTION...]", "Shows the CPU and memory that sandboxes use, again and again", NULL, top_command},
    {"pull", "[OPTION...] REF", "Fetches an image from a registry and makes a disk of it", NULL, pull_command},
    {"images", "[OPTION...]", "Lists what sandboxes can be made of", NULL, images_command},
    {"rmi", "[OPTION...] REF...", "Removes images; sandboxes that were made of them stay", NULL, rmi_command},
    {"version", "[OPTION...]", "Prints the versions of runnerctl and of the runner", NULL, version_command},
};

static int print_help(struct ctl *ctl, const struct options *options)
{
    auto_str struct str help = STR_INIT;

    str_add(&help, "usage: runnerctl [OPTION...] COMMAND ...\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        str_addf(&help, "  %-9s%s\n", commands[i].name, commands[i].summary);
    str_add_char(&help, '\n');
    options_add_help(options, &help);
    str_add(&help, "\nrunnerctl COMMAND --help tells more; so does runnerctl(1).\n");
    return ctl_print(ctl, &help);
}

static const struct command *find_command(struct ctl *ctl, const char *name)
{
    const char *names[ARRAY_LEN(commands)];
    const char *nearest;

    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
        names[i] = commands[i].name;
    }
    nearest = text_nearest(name, names, ARRAY_LEN(commands));
    if (nearest != NULL)
        (void)ctl_fail(ctl, CTL_USAGE, "unknown command '%s' (did you mean %s?)", name, nearest);
    else
        (void)ctl_fail(ctl, CTL_USAGE, "unknown command '%s' (see runnerctl --help)", name);
    return NULL;
}

/* `runnerctl help COMMAND` is `runnerctl COMMAND --help`. */
static int run_help(struct ctl *ctl, const struct options *options, const struct words *rest)
{
    char *argv[] = {(char[]){"--help"}};

    if (rest->n == 0)
        return print_help(ctl, options);
    ctl->command = find_command(ctl, rest->ptr[0]);
    return ctl->command == NULL ? CTL_USAGE : ctl->command->run(ctl, 1, argv);
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words none = {NULL, 0}, rest = {NULL, 0};
    struct option_spec version = {0, "version", NULL, "print runnerctl's version", OPTION_FLAG, &ctl->is_version, 0, 0};
    struct ctl_common common;
    struct options options = {.own = &version, .n_own = 1, .has_rest = true, .rest_after = 0};
    struct runner_error err = ERROR_INIT;

    ctl_common_init(&common, ctl);
    options.common = common.specs;
    options.n_common = ARRAY_LEN(common.specs);
    if (options_parse(&options, argc, argv, &none, &rest, &err) < 0)
        return ctl_fail(ctl, CTL_USAGE, "%s (see runnerctl --help)", err.message);
    if (ctl->is_version)
        return printf("runnerctl %s\n", PACKAGE_VERSION) < 0 || fflush(stdout) != 0 ? CTL_FAILED : CTL_OK;
    if (ctl->is_help)
        return print_help(ctl, &options);
    if (rest.n == 0)
        return ctl_fail(ctl, CTL_USAGE, "a command is needed (see runnerctl --help)");
    if (strcmp(rest.ptr[0], "help") == 0)
        return run_help(ctl, &options, &(struct words){rest.ptr + 1, rest.n - 1});
    ctl->command = find_command(ctl, rest.ptr[0]);
    if (ctl->command == NULL)
        return CTL_USAGE;
    return ctl->command->run(ctl, (int)rest.n - 1, argv + (argc - (int)rest.n) + 1);
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.client = NULL};
    int code;

    (void)setlocale(LC_CTYPE, "C.UTF-8"); /* for widths: what is printed is UTF-8 everywhere */
    if (interrupt_init() < 0) {
        perror("runnerctl");
        return CTL_FAILED;
    }
    code = run(&ctl, argc - 1, argv + 1);
    client_free(ctl.client);
    client_free(ctl.other);
    return code;
}
