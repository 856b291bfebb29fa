/* What happens to a call: counting, tracing, the decision. The calls themselves are in calls.c. */
#include "t/fault/fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
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

long (*fault_syscall)(long, ...);
static struct fault_control *control;
static pid_t runner;                   /* a child that is being started shares our memory, and is another process */
static _Thread_local int is_inside;    /* what is called from here is nobody's call */
static _Thread_local int is_looked_at; /* a thread keeps the name by which it was known once */
static _Thread_local int is_at_it;     /* at the sandbox that control names */

/* A child may have become another user, and not be allowed to signal the runner: a thread of the runner does it. */
static void *kill_when_told(void *arg)
{
    (void)arg;
    while (atomic_load(&control->is_to_die) == 0)
        (void)fault_syscall(SYS_futex, &control->is_to_die, FUTEX_WAIT, 0, NULL, NULL, 0);
    (void)fault_syscall(SYS_kill, runner, SIGKILL);
    return NULL;
}

/* Before the runner has blocked its signals: this thread takes none. */
static void start_killer(void)
{
    sigset_t all, before;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    is_inside = 1;
    if (pthread_create(&thread, NULL, kill_when_told, NULL) == 0)
        (void)pthread_setname_np(thread, "fault");
    is_inside = 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
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
    atomic_store(&control->is_to_die, 0);
    start_killer();
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
    if (!((control->kinds | control->traced) & kind) || (control->id[0] != '\0' && !is_at_it))
        return 0;
    p->name = name;
    p->kind = kind;
    p->mode = FAULT_OFF;
    p->entry = NULL;
    p->where[0] = '\0';
    return 1;
}

void fault_said(const char *line, uint64_t len)
{
    char word[80];

    if (control->id[0] == '\0')
        return;
    (void)snprintf(word, sizeof word, " id=%.63s", control->id);
    if (memmem(line, len, word, strlen(word)) == NULL)
        return;
    if (memmem(line, len, "event=op.phase ", strlen("event=op.phase ")) != NULL)
        is_at_it = 1;
    else if (memmem(line, len, " event=op.done ", 15) != NULL || memmem(line, len, " event=op.failed ", 17) != NULL)
        is_at_it = 0;
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
    long n;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = fault_syscall(SYS_readlinkat, AT_FDCWD, link, p->where, sizeof p->where - 1);
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
    uint32_t i;

    if (control->is_untraced || (i = atomic_fetch_add(&control->n_trace, 1)) >= FAULT_TRACE_MAX)
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

static void rest(uint32_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    while (fault_syscall(SYS_nanosleep, &left, &left) < 0 && errno == EINTR)
        ;
}

/* A child goes on when the runner is gone, as it would. */
static void crash(void)
{
    int is_child = fault_syscall(SYS_getpid) != runner;

    atomic_store(&control->mode, FAULT_OFF);
    atomic_store(&control->is_to_die, 1);
    (void)fault_syscall(SYS_futex, &control->is_to_die, FUTEX_WAKE, 1, NULL, NULL, 0);
    while (!is_child || fault_syscall(SYS_getppid) == runner)
        rest(1);
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
        rest(control->stall_ms);
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
