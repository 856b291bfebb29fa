#include "kit/guard.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/util/str.h"

enum { GUARDS_MAX = 16, FUTURE_BYTES = 64, POISON = 0xe5 };

static struct {
    char *map;
    size_t map_size;
    char *at;
    enum layout layout;
    size_t size;
    char *verdict; /* on who touches what is behind it */
} guards[GUARDS_MAX];
static size_t n_guards;
static struct sigaction before_us;

static char *map_before_guard(size_t size, size_t *ret_map_size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
    char *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (map == MAP_FAILED || mprotect(map + room, page, PROT_NONE) < 0)
        stop_point("mmap: %m");
    *ret_map_size = room + page;
    memset(map, POISON, room);
    return map + room;
}

/* The access is tried again, and ends the process as it would have without us. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
    const char *address = info->si_addr;

    (void)signal, (void)context;
    for (size_t i = 0; i < n_guards; i++) {
        const char *end = guards[i].at + guards[i].size;

        if (address >= end && address < guards[i].map + guards[i].map_size)
            (void)!write(STDOUT_FILENO, guards[i].verdict, strlen(guards[i].verdict));
    }
    (void)sigaction(SIGSEGV, &before_us, NULL);
}

static void listen_for_faults(void)
{
    static bool is_listening;

    if (!is_listening)
        (void)sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, &before_us);
    is_listening = true;
}

void *guard_put(enum layout layout, const void *data, size_t today, size_t oldest)
{
    size_t size = layout == TODAY ? today : layout == OLDEST ? oldest : today + FUTURE_BYTES, map_size;
    char *end;

    if (n_guards == GUARDS_MAX)
        stop_point("more than %d structures", GUARDS_MAX);
    end = map_before_guard(size, &map_size);
    guards[n_guards].map = end + sysconf(_SC_PAGESIZE) - map_size;
    guards[n_guards].map_size = map_size;
    guards[n_guards].at = end - size;
    guards[n_guards].layout = layout;
    guards[n_guards].size = size;
    guards[n_guards].verdict = mem_printf(
        "it touches what is behind a structure of %zu bytes%s: later members are read where RUNNER_HAS says so\n", size,
        layout == OLDEST ? ", as API 1.0 has it" : "");
    listen_for_faults();
    memcpy(guards[n_guards].at, data, size < today ? size : today);
    memcpy(guards[n_guards].at, &(uint32_t){(uint32_t)size}, sizeof(uint32_t));
    return guards[n_guards++].at;
}

bool guard_take(const void *kept, void *ret_data, size_t today)
{
    for (size_t i = 0; i < n_guards; i++) {
        if (guards[i].at != kept)
            continue;
        memcpy(ret_data, kept, guards[i].size < today ? guards[i].size : today);
        memcpy(ret_data, &(uint32_t){(uint32_t)today}, sizeof(uint32_t));
        for (size_t at = today; at < guards[i].size; at++)
            if ((unsigned char)guards[i].at[at] != POISON)
                return false;
    }
    return true;
}

void guard_reset(void)
{
    while (n_guards > 0) {
        n_guards--;
        free(guards[n_guards].verdict);
        (void)munmap(guards[n_guards].map, guards[n_guards].map_size);
    }
}
