/*
 * The stage of tests of a VMM's plugin: a folder, transport/local, the plugin's instance, and one machine. What fails
 * here fails the test. Criterion runs each test in a process of its own, so there is one of each.
 */
#ifndef UNIT_VMM_STAGE_H
#define UNIT_VMM_STAGE_H

#include <stdbool.h>

#include "core/util/error.h"
#include "core/util/str.h"
#include "kit/fake/host.h"

const struct runner_plugin *runner_plugin_1(void); /* the plugin that the test is linked with */

extern struct runner_error err;
extern const struct runner_transport_ops *transport;
extern void *transport_self, *self; /* instances of the transport and of the plugin */
extern const struct runner_vmm_ops *ops;
extern char dir[];
extern struct runner_vm vm; /* its paths lie in dir; the test gives it what it boots */

/* Makes all but what the machine boots. */
void stage_open(const struct runner_value *values, size_t n);
/* Ends the machine, removes the folder, frees the machine's texts: those of stage_open(), vmm_dir and kernel. */
void stage_close(void);

char *at(const char *name); /* a path in dir, the caller's to free */
bool exists(const char *path);
void write_text(const char *path, const char *text);

/* A step, and a program, on the transport. */
int run_step(const struct runner_step *step, struct runner_result *result);
void run_program(const char *const argv[]);
#define RUN(...) run_program((const char *const[]){__VA_ARGS__, NULL})

int spawn(void);
void start(void); /* spawn and boot */
uint32_t state(void);
void cleanup(void);
void kill_vm(int number); /* by that signal; none runs: fine */
void await_end(void);     /* of its process, by the transport's own word */

#endif
