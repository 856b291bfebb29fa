/* One command of a session: its script and pipes, its output, its end. */
#ifndef GUEST_COMMAND_H
#define GUEST_COMMAND_H

#include <event2/buffer.h>
#include <event2/event.h>

#include "guest/daemon/log.h"

#define COMMAND_INPUT_MAX (1024 * 1024) /* bytes that wait for a command that does not read */

enum command_state { COMMAND_QUEUED, COMMAND_RUNNING, COMMAND_ENDED };

struct command {
    char *id, *text;
    enum command_state state;
    int exit_code;    /* when ENDED */
    bool is_echo_off; /* input is not repeated in the log */
    struct log *log;
    void (*on_end)(struct command *c,
                   void *arg); /* who waits for it; called once, or never when the command is freed first */
    void *arg;
    struct command *next;

    struct event_base *base;
    char *stem; /* path of its files without their endings */
    struct command_pipe {
        struct command *command;
        enum log_stream stream;
        int fd;
        struct event *readable;
    } pipes[2];
    int input; /* write end of its standard input, or -1 */
    struct evbuffer *pending;
    struct event *writable;
};

/* text is copied. NULL and err when the log cannot be made. */
struct command *command_new(struct event_base *base, const char *id, const char *text, struct runner_error *err);
void command_free(struct command *c); /* takes NULL */

/* Makes script and pipes in the directory and gives the line that a shell must read to run it: it reports "ID CODE" on
 * descriptor 3. */
int command_prepare(struct command *c, const char *dir, struct str *ret_line, struct runner_error *err);
/* Takes what is still in the pipes, and tells who waits. */
void command_finish(struct command *c, int exit_code);
/* BUSY when too much waits already; NOTFOUND when it has ended. */
int command_input(struct command *c, const char *data, size_t len, struct runner_error *err);

#endif
