#include "core/ctl/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "core/util/num.h"

static volatile sig_atomic_t came;
static int pipe_fds[2] = {-1, -1};

static void on_signal(int number)
{
    int saved_errno = errno;

    if (came != 0) /* the second one means it */
        _exit(128 + number);
    came = number;
    (void)!write(pipe_fds[1], "!", 1);
    errno = saved_errno;
}

int interrupt_init(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a blocking read or write ends too */

    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -1;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGINT, &action, NULL) < 0 || sigaction(SIGTERM, &action, NULL) < 0)
        return -1;
    return 0;
}

int interrupt_fd(void)
{
    return pipe_fds[0];
}

int interrupt_signal(void)
{
    return came;
}

bool interrupt_wait(int64_t ms)
{
    int64_t until_ms = num_now_ms() + ms;

    while (came == 0 && ms > 0) {
        struct pollfd woken = {.fd = pipe_fds[0], .events = POLLIN};
        (void)poll(&woken, 1, ms > 60000 ? 60000 : (int)ms);
        ms = until_ms - num_now_ms();
    }
    return came == 0;
}
