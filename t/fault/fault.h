/*
 * Faults on order, for tests: a shared object that is preloaded into the runner stands between it and libc, and makes
 * the n-th call that is counted fail, come late, or be the runner's last. It is told so, and tells what it saw, in a
 * file that both sides map (t/rig/fault.py is the other). Nothing of this is in the runner.
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define FAULT_ENV       "FAULT_CONTROL" /* names the file */
#define FAULT_MAGIC     0x464c5431u
#define FAULT_TRACE_MAX 8192

enum fault_mode {
    FAULT_OFF,
    FAULT_TRACE,        /* nothing goes wrong; in the other modes calls are traced as well */
    FAULT_FAIL,         /* it fails with sys_errno and does nothing */
    FAULT_LOSE,         /* it does its work, and fails with sys_errno all the same */
    FAULT_SHORT,        /* it transfers half of the bytes, one at least */
    FAULT_STALL,        /* it begins stall_ms later */
    FAULT_CRASH_BEFORE, /* SIGKILL to the runner, wherever the call is made: a child of its own lives on */
    FAULT_CRASH_AFTER
};

/* What a call is to the host; bits. */
enum fault_kind {
    FAULT_CHANGE = 1, /* it changes it: a file, a process, an interface; or says something to a VMM */
    FAULT_ASK = 2,    /* it needs something of it, and leaves nothing behind when the runner dies */
    FAULT_WAIT = 4,   /* it lets others go on */
    FAULT_MEMORY = 8,
    FAULT_MARK = 16, /* the log says that a phase begins */
    FAULT_LOG = 32   /* any other line of the log */
};

struct fault_call {
    uint64_t number; /* among those counted, from 1; 0: not counted */
    uint32_t kind;
    int32_t result; /* errno, 0: success, -1: it has not returned */
    char name[24];
    char where[216]; /* the path, or what was said; cut */
};

struct fault_control {
    uint32_t magic;
    _Atomic uint32_t mode;  /* written last */
    uint32_t kinds, traced; /* which calls are counted, and which others are traced */
    uint32_t sys_errno, stall_ms;
    uint64_t at, times; /* the first one that is hit; and how many, 0: all that follow */
    char thread[16];    /* how the names of the threads begin whose calls are looked at */
    char name[24];      /* only calls of this function are counted, "": of all */
    char where[216];    /* only those with this in their where */
    char id[64];        /* only those for this sandbox: of the thread that says, in the log, that it is at it */
    _Atomic uint64_t count;
    _Atomic uint32_t n_trace; /* may exceed the room */
    _Atomic uint32_t n_hits;
    _Atomic uint32_t is_to_die; /* a futex */
    uint32_t is_untraced;    /* calls are counted and hit, not kept */
    struct fault_call hit; /* the first one */
    struct fault_call trace[FAULT_TRACE_MAX];
};

_Static_assert(sizeof(struct fault_call) == 256 && offsetof(struct fault_control, hit) == 384,
               "t/rig/fault.py has it so");

/* A call under way. */
struct fault_point {
    const char *name;
    uint32_t kind;
    uint32_t mode; /* what happens to it, or FAULT_OFF */
    char where[216];
    struct fault_call *entry; /* in the trace, or NULL */
};

extern long (*fault_syscall)(long, ...); /* libc's: the one of that name is wrapped, like all that could be used here */

/* Whether calls of this thread are looked at. */
int fault_is_on(void);
/* And those of this kind: then its where is filled in and fault_begin called. */
int fault_wants(struct fault_point *p, const char *name, uint32_t kind);
/* 0: the call is not to be made, errno is set. */
int fault_begin(struct fault_point *p);
/* After it, unless fault_begin said no. True: it is to be told as failed, errno is set. */
int fault_end(struct fault_point *p, int has_failed);
/* How much of len is to be transferred. */
uint64_t fault_length(const struct fault_point *p, uint64_t len);

/* A line of the log: from here, or from here on no more, this thread works for a sandbox. */
void fault_said(const char *line, uint64_t len);

void fault_at(struct fault_point *p, int dir, const char *path);
void fault_fd(struct fault_point *p, int fd);
void fault_text(struct fault_point *p, const char *text, uint64_t len); /* its first line */

#endif
