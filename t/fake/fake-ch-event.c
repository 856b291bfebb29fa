/* The event monitor: pretty JSON, an empty line after each, never blocking, dropped when there is no room. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/util/num.h"
#include "t/fake/fake-ch.h"

static struct timespec start;

static int open_target(const char *value)
{
    int64_t number;

    if (strncmp(value, "fd=", 3) == 0) {
        if (num_int(value + 3, 0, 1 << 20, &number) && fcntl((int)number, F_GETFD) >= 0)
            return (int)number;
        errno = EBADF;
        return -1;
    }
    if (strncmp(value, "path=", 5) == 0)
        value += 5;
    return open(value, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

void event_open(const char *value)
{
    clock_gettime(CLOCK_MONOTONIC, &start);
    if (value == NULL)
        return;
    ch.events = open_target(value);
    if (ch.events < 0 || fcntl(ch.events, F_SETFL, fcntl(ch.events, F_GETFL) | O_NONBLOCK) < 0) {
        (void)fprintf(stderr,
                      "Error: Cloud Hypervisor exited with the following chain of errors:\n"
                      "  0: Error opening event monitor\n  1: %s (os error %d)\n",
                      strerror(errno), errno);
        exit(1);
    }
}

void event_say2(const char *source, const char *event, const char *k1, const char *v1, const char *k2, const char *v2)
{
    auto_str struct str text = STR_INIT;
    struct timespec now;
    int64_t ns;

    if (ch.events < 0)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ns = (int64_t)(now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec - start.tv_nsec;
    str_addf(&text, "{\n  \"timestamp\": {\n    \"secs\": %lld,\n    \"nanos\": %lld\n  },\n",
             (long long)(ns / 1000000000), (long long)(ns % 1000000000));
    str_addf(&text, "  \"source\": \"%s\",\n  \"event\": \"%s\",\n  \"properties\": ", source, event);
    if (k1 == NULL)
        str_add(&text, "null");
    else
        str_addf(&text, "{\n    \"%s\": \"%s\"", k1, v1);
    if (k2 != NULL)
        str_addf(&text, ",\n    \"%s\": \"%s\"", k2, v2);
    str_add(&text, k1 != NULL ? "\n  }\n}\n\n" : "\n}\n\n");
    (void)!write(ch.events, text.ptr, text.len); /* what does not fit is lost, as with the real one */
}

void event_say(const char *source, const char *event, const char *key, const char *value)
{
    event_say2(source, event, key, value, NULL, NULL);
}
