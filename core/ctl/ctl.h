/* What the commands share: exit codes, the settings of a run, requests with their messages. */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <stdbool.h>

#include "core/ctl/client.h"
#include "core/ctl/options.h"
#include "core/ctl/progress.h"
#include "core/util/json.h"

enum {
    CTL_OK = 0,
    CTL_FAILED = 1, /* the request failed, or a local file */
    CTL_USAGE = 2,
    CTL_UNREACHABLE = 3,
    CTL_EXEC_FAILED = 125, /* exec: anything but the command's own code */
    CTL_SIGNAL = 128,      /* plus the signal's number */
    CTL_GO_ON = -1,        /* of ctl_begin(): no exit yet */
};

struct ctl;
struct command {
    const char *name, *synopsis, *summary;
    const char *more;                                   /* --help: text behind the options, or NULL */
    int (*run)(struct ctl *ctl, int argc, char **argv); /* argv behind the command's name; an exit code */
};

struct ctl {
    const struct command *command; /* NULL before it is known */
    struct client *client;         /* from ctl_begin() on */
    struct client *other;          /* of ctl_peek(), or NULL */
    const char *socket, *url, *token_file;
    bool is_json, is_help, is_version;
    const char *subject;       /* the id or path in work, for the progress line; NULL: none */
    bool is_many;              /* several subjects: messages name theirs */
    struct progress *progress; /* on the screen now, or NULL */
    void (*look)(struct ctl *ctl); /* told twice a second that ctl_request() waits on a terminal; it may change what the
                                      progress says. NULL: nothing is looked at */
    int64_t look_ms;               /* when it was told last */
    char doing[128];               /* what it has the progress say */
};

/* One per command. */
int create_command(struct ctl *ctl, int argc, char **argv);
int list_command(struct ctl *ctl, int argc, char **argv);
int info_command(struct ctl *ctl, int argc, char **argv);
int start_command(struct ctl *ctl, int argc, char **argv);
int stop_command(struct ctl *ctl, int argc, char **argv);
int pause_command(struct ctl *ctl, int argc, char **argv);
int resume_command(struct ctl *ctl, int argc, char **argv);
int network_command(struct ctl *ctl, int argc, char **argv);
int remove_command(struct ctl *ctl, int argc, char **argv);
int exec_command(struct ctl *ctl, int argc, char **argv);
int put_command(struct ctl *ctl, int argc, char **argv);
int get_command(struct ctl *ctl, int argc, char **argv);
int log_command(struct ctl *ctl, int argc, char **argv);
int top_command(struct ctl *ctl, int argc, char **argv);
int pull_command(struct ctl *ctl, int argc, char **argv);
int images_command(struct ctl *ctl, int argc, char **argv);
int rmi_command(struct ctl *ctl, int argc, char **argv);
int resize_command(struct ctl *ctl, int argc, char **argv);
int recover_command(struct ctl *ctl, int argc, char **argv);
int version_command(struct ctl *ctl, int argc, char **argv);

/* The options of every command, which write to ctl. */
struct ctl_common {
    struct option_spec specs[5];
};
void ctl_common_init(struct ctl_common *common, struct ctl *ctl);

/* Appends "usage: runnerctl COMMAND ..." with its options. */
void ctl_add_help(const struct command *command, const struct options *options, struct str *out);

/*
 * Starts a command: parses its options and operands (at least min, at most max of them), answers --help, makes the
 * client. own: the command's own options. rest: NULL, or where the words behind the first operand go. CTL_GO_ON or an
 * exit code.
 */
int ctl_begin(struct ctl *ctl, int argc, char **argv, const struct option_spec *own, size_t n_own, size_t min,
              size_t max, struct words *operands, struct words *rest);

/* Prints "runnerctl: COMMAND: message" on standard error, in place of a progress line, and returns code. Control
 * characters are escaped, lines kept. */
int ctl_fail(const struct ctl *ctl, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same with err's message and the exit code that belongs to err's code. */
int ctl_fail_err(const struct ctl *ctl, const struct runner_error *err);

/* CTL_USAGE with a message unless id is a sandbox id. */
int ctl_check_id(const struct ctl *ctl, const char *id);
int ctl_check_ids(const struct ctl *ctl, const struct words *ids);

/* Does it for each subject. Goes on after one that failed, unless the runner is gone or a signal came. The worst code. */
int ctl_each(struct ctl *ctl, const struct words *subjects,
             int (*one)(struct ctl *, const char *subject, const void *arg), const void *arg);

/* Runs a request. A status other than 2xx is a failure, its message that of the reply. CTL_OK or an exit code, with the
 * message printed. */
int ctl_run(struct ctl *ctl, const struct client_request *request, struct client_reply *ret);

/* As ctl_run(), with a progress line, for a reply that has to be JSON. json: body or NULL. */
int ctl_request(struct ctl *ctl, const char *method, const char *path, const char *json, struct client_reply *ret,
                struct json **ret_tree);

/* GET on a connection of its own, for who waits on the first one; false: there is no answer, or none that is JSON. */
bool ctl_peek(struct ctl *ctl, const char *path, struct json **ret_tree);

/* Writes text to standard output; CTL_OK, or CTL_FAILED with a message. */
int ctl_print(struct ctl *ctl, const struct str *text);
/* The reply's JSON as it came, on a line of its own. */
int ctl_print_json(struct ctl *ctl, const struct client_reply *reply);

/* An error reply's text: "message" of the body (its errorReason, when that is JSON), else the status and the first
 * line. */
void ctl_add_reason(struct str *out, long status, const struct str *body);

#endif
