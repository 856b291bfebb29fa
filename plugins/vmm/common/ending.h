/* The end of a VMM process, in words: by which status or signal, and the last lines of what it printed. */
#ifndef VMM_COMMON_ENDING_H
#define VMM_COMMON_ENDING_H

#include "include/runner-plugin.h"

/*
 * err says that nobody answers (UNREACHABLE, NOTFOUND; any other is left alone): when that is because the process of vm
 * has ended, it says how instead: "QEMU ended with status 1: <lines of vm's log>". Blocks for some short batches, two
 * seconds at most. Returns -1.
 */
int ending_explain(const struct runner_host *host, struct runner_call *call, const struct runner_vm *vm,
                   const char *program, struct runner_error *err);

/* The code of what a VMM says when it cannot go on; IO unless the words are known. */
int ending_code(const char *text);

#endif
