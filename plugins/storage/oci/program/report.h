/* What runner-oci says of its work: JSON objects, a line each, to who dialled its socket. When he hangs up, it ends. */
#ifndef OCI_REPORT_H
#define OCI_REPORT_H

#include "core/util/error.h"
#include "core/util/str.h"

#define REPORT_LISTEN_FD 3 /* given by SPAWN */

/* Waits for who asks, and takes the socket's name away. -1: nobody came. */
int report_open(const char *socket_path, struct runner_error *err);
/* When nobody listens, nobody takes the pid file away either: it lies beside the socket, ".pid" in place of ".sock". */
void report_remove_pid(const char *socket_path);
int report_fd(void); /* readable: nobody listens any more */

/* 0, RUNNER_E_CANCELLED: nobody listens any more, or RUNNER_E_TIMEOUT: the request's time is over. */
int report_cancelled(void);
int report_check(struct runner_error *err); /* the same as an error */
void report_deadline(int64_t ms);           /* from now; 0: none */

/* Now and then: what comes too soon after the last one of the phase is not said, unless it is all. */
void report_progress(const char *phase, uint64_t done_bytes, uint64_t total_bytes);
/* {"warning": text}: what is not as it should be, and does not matter for the result. */
void report_warning(const char *text);
/* {"result": {members}} */
void report_result(const struct str *members);
void report_error(const struct runner_error *err);

#endif
