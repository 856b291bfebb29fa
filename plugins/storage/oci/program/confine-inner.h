/* The parts of confine(). Each returns 0, 1 when the host cannot do it (err says why), or -1. */
#ifndef OCI_CONFINE_INNER_H
#define OCI_CONFINE_INNER_H

#include "plugins/storage/oci/program/confine.h"

/* The sanitizers map terabytes, and start threads and processes of their own at the end. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONFINE_IS_SANITIZED 1
#else
#define CONFINE_IS_SANITIZED 0
#endif

/* What the system has that the program needs: names of servers, certificates, the libraries that read them. NULL ends it. */
extern const char *const confine_system[];

/* Root's: gives each writable directory to a user, with what is in it when it was root's alone. */
int confine_give(const struct confine *what, uint32_t uid, struct runner_error *err);
/* Root's: a mount namespace in which there is nothing but what it needs, all but `writable` read-only, under its names. */
int confine_view(const struct confine *what, struct runner_error *err);
/* Whether the user reaches the writable directories without that. */
int confine_reach(const struct confine *what, struct runner_error *err);

/* By landlock: the same again, where there is no namespace, and for whoever gets out of it. */
int confine_files(const struct confine *what, struct runner_error *err);
/* By seccomp: the system calls that it needs. */
int confine_calls(struct runner_error *err);

#endif
