/* What the parts of check-transport share. One thread, but for check_threads(). */
#ifndef CHECK_TRANSPORT_H
#define CHECK_TRANSPORT_H

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"
#include "t/run/plugin-host.h"

extern const struct runner_plugin *plugin;
extern const struct runner_transport_ops *ops;
extern void *self;
extern char dir[64];                /* of this run; gone afterwards */
extern struct runner_result result; /* of the last step */
extern struct runner_error err;

#define PATIENCE_MS 60000 /* for what must come, on the slowest machine */
#define PROMPT_MS   25000 /* less than the 30 s which nobody may wait for */

char *keep(char *text);     /* lives as long as the program */
char *at(const char *name); /* a path in the directory */

/* One step; sets result and err. */
int run_in(struct runner_call *call, struct runner_step step);
int run(struct runner_step step);
#define RUN(...) run((struct runner_step){__VA_ARGS__})
#define ARGV(...)                                                                                                      \
    .argv = (const char *const[])                                                                                      \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }
/* A batch of at most STEPS_MAX; result is that of the last step. */
int run_all(const struct runner_step *steps, size_t n);
#define STEPS_MAX 8
#define STEP(...) ((struct runner_step){RUNNER_STEP_INIT, __VA_ARGS__})
int watch(const char *pid_path); /* the descriptor, or -1 */

bool is_there(const char *path);
unsigned mode_of(const char *path);
bool says(int code, const char *text); /* err has this code, and the text in its message */
size_t count_in(const char *path);
bool await_count(const char *path, size_t n); /* threads of the plugin let go of theirs a moment later */
bool has_text(const char *path, const char *text);
bool await_text(const char *path, const char *text);
bool has_ended(int fd);                 /* waits for what a watch descriptor tells */
bool await_ended(const char *pid_path); /* and reaps it; what a process wrote last is there before it has ended */
int dial(const char *scheme, const char *rest);

void check_files(void);
void check_own(void);
void check_wait(void);
void check_processes(void);
void check_threads(void);
void check_adopt(void);
void check_confined(void);
void check_dial(void);
void check_fifo(void);
void check_taps(void);  /* changes the network namespace: last */
void check_netns(void); /* these are called by it */
void check_full_bridge(void);
void check_port(void);
void check_netlink(void);

#endif
