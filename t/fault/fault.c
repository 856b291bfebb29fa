/* What happens to a call: counting, tracing, the decision. The calls themselves are in calls.c. */
#include "t/fault/fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TRIGGER_MIN 512

long (*fault_syscall)(long, ...);
static struct fault_control *control;
static pid_t runner;                   /* a child that is being started shares our memory, and is another process */
static int trigger = -1;               /* what is written here is SIGKILL to the runner */
static _Thread_local int is_inside;    /* what is called from here is nobody's call */
static _Thread_local int is_looked_at; /* a thread keeps the name by which it was known once */

/* A child that has become another user may not signal the runner; the kernel does it in the name of who asked for this.
 * The number is beyond those that a child is given. */
static void make_trigger(void)
{
    int fds[2];

    if (fault_syscall(SYS_pipe2, fds, O_CLOEXEC) == 0 && fault_syscall(SYS_fcntl, fds[0], F_SETOWN, runner) == 0 &&
        fault_syscall(SYS_fcntl, fds[0], F_SETSIG, SIGKILL) == 0 &&
        fault_syscall(SYS_fcntl, fds[0], F_SETFL, O_ASYNC) == 0)
        trigger = (int)fault_syscall(SYS_fcntl, fds[1], F_DUPFD_CLOEXEC, TRIGGER_MIN);
    (void)fault_syscall(SYS_close, fds[1]);
}

static __attribute__((constructor)) void map_control(void)
{
    const char *path = getenv(FAULT_ENV);
    long fd = -1;
    void *at;

    fault_syscall = (long (*)(long, ...))(uintptr_t)dlsym(RTLD_NEXT, "syscall");
    if (path != NULL)
        fd = fault_syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    runner = (pid_t)fault_syscall(SYS_getpid);
    if (fd < 0)
        return;
    at = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
    (void)fault_syscall(SYS_close, fd);
    if (at == MAP_FAILED || ((struct fault_control *)at)->magic != FAULT_MAGIC)
        return;
    control = at;
    make_trigger();
}

static int is_thread(void)
{
    char name[17] = "";

    if (!is_looked_at && fault_syscall(SYS_prctl, PR_GET_NAME, name, 0, 0, 0) == 0)
        is_looked_at = strncmp(name, control->thread, strnlen(control->thread, sizeof control->thread)) == 0;
    return is_looked_at;
}

int fault_is_on(void)
{
    return control != NULL && !is_inside && atomic_load(&control->mode) != FAULT_OFF && is_thread();
}

int fault_wants(struct fault_point *p, const char *name, uint32_t kind)
{
    if (!((control->kinds | control->traced) & kind))
        return 0;
    p->name = name;
    p->kind = kind;
    p->mode = FAULT_OFF;
    p->entry = NULL;
    p->where[0] = '\0';
    return 1;
}

/* ---- where ---- */

static void put(struct fault_point *p, size_t at, const char *text, size_t len)
{
    size_t room = sizeof p->where - 1 - at;

    len = len < room ? len : room;
    memcpy(p->where + at, text, len);
    p->where[at + len] = '\0';
}

void fault_fd(struct fault_point *p, int fd)
{
    char link[32];
    int saved = errno;
    ssize_t n;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, p->where, sizeof p->where - 1);
    p->where[n > 0 ? n : 0] = '\0';
    errno = saved;
}

void fault_at(struct fault_point *p, int dir, const char *path)
{
    size_t len = 0;

    if (path[0] != '/' && dir != AT_FDCWD) {
        fault_fd(p, dir);
        len = strlen(p->where);
        if (path[0] != '\0') {
            put(p, len, "/", 1);
            len = strlen(p->where);
        }
    }
    put(p, len, path, strlen(path));
}

void fault_text(struct fault_point *p, const char *text, uint64_t len)
{
    size_t n = 0;

    while (n < len && text[n] >= ' ' && text[n] <= '~')
        n++;
    put(p, 0, text, n);
}

/* ---- the decision ---- */

static int is_counted(const struct fault_point *p)
{
    return (control->kinds & p->kind) && (control->name[0] == '\0' || strcmp(control->name, p->name) == 0) &&
           (control->where[0] == '\0' || strstr(p->where, control->where) != NULL);
}

static void fill(struct fault_call *call, const struct fault_point *p, uint64_t number)
{
    call->number = number;
    call->kind = p->kind;
    call->result = -1;
    (void)snprintf(call->name, sizeof call->name, "%s", p->name);
    memcpy(call->where, p->where, sizeof call->where);
}

static void trace(struct fault_point *p, uint64_t number)
{
    uint32_t i = atomic_fetch_add(&control->n_trace, 1);

    if (i >= FAULT_TRACE_MAX)
        return;
    p->entry = &control->trace[i];
    fill(p->entry, p, number);
}

static void decide(struct fault_point *p)
{
    uint64_t number = is_counted(p) ? atomic_fetch_add(&control->count, 1) + 1 : 0;

    trace(p, number);
    if (number < control->at || (control->times != 0 && number - control->at >= control->times) || number == 0)
        return;
    p->mode = atomic_load(&control->mode);
    if (p->mode > FAULT_TRACE && atomic_fetch_add(&control->n_hits, 1) == 0)
        fill(&control->hit, p, number);
}

static void crash(void)
{
    atomic_store(&control->mode, FAULT_OFF);
    (void)fault_syscall(SYS_write, trigger, "", 1);
    while (fault_syscall(SYS_getpid) == runner) /* it is on its way */
        (void)fault_syscall(SYS_pause);
}

static void stall(void)
{
    struct timespec left = {.tv_sec = control->stall_ms / 1000, .tv_nsec = control->stall_ms % 1000 * 1000000L};

    while (fault_syscall(SYS_nanosleep, &left, &left) < 0 && errno == EINTR)
        ;
}

int fault_begin(struct fault_point *p)
{
    int saved = errno;

    is_inside = 1;
    decide(p);
    is_inside = 0;
    if (p->mode == FAULT_CRASH_BEFORE)
        crash();
    if (p->mode == FAULT_STALL)
        stall();
    errno = saved;
    if (p->mode != FAULT_FAIL)
        return 1;
    errno = (int)control->sys_errno;
    if (p->entry != NULL)
        p->entry->result = errno;
    return 0;
}

int fault_end(struct fault_point *p, int has_failed)
{
    if (p->mode == FAULT_LOSE) {
        errno = (int)control->sys_errno;
        has_failed = 1;
    }
    if (p->entry != NULL)
        p->entry->result = has_failed ? errno : 0;
    if (p->mode == FAULT_CRASH_AFTER)
        crash();
    return has_failed;
}

uint64_t fault_length(const struct fault_point *p, uint64_t len)
{
    return p->mode == FAULT_SHORT && len > 1 ? len / 2 : len;
}
