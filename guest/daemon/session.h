/* Sessions: a shell that lives on between the commands that are given to it, which it runs one after the other. */
#ifndef GUEST_SESSION_H
#define GUEST_SESSION_H

#include <event2/event.h>

#include "core/util/json.h"
#include "guest/daemon/command.h"

#define SESSION_ENTRYPOINT         "entrypoint"
#define SESSION_ENTRYPOINT_COMMAND "entrypoint_command"

struct session {
    char *id;
    struct command *commands; /* oldest first */
    size_t n_commands;
    struct session *next;
    /* session.c's: */
    struct command *running;
    struct process *shell; /* NULL: the next command starts one */
    char *dir;             /* of the commands' files */
    int script, report;    /* to the shell's standard input; from its descriptor 3 */
    struct event *readable;
    struct str line; /* of the report, incomplete */
};

/* entrypoint: argv of the sandbox's own program, run in session "entrypoint", or NULL. */
void session_init(struct event_base *base, const struct json *entrypoint);
void session_done(void);

struct session *session_first(void);
struct session *session_find(const char *id);              /* NULL when there is none */
int session_add(const char *id, struct runner_error *err); /* EXISTS, INVALID */
/* Kills what runs in it. */
void session_remove(struct session *s);

struct command *session_find_command(const struct session *s, const char *id);
/* Queues a command, which starts at once when the shell is free. on_end may be NULL; it is called later, never from
 * here. id NULL: a new one. */
int session_run(struct session *s, const char *id, const char *text, bool is_echo_off, struct command **ret,
                struct runner_error *err);

#endif
