#include "core/ctl/output.h"

#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/ctl/interrupt.h"
#include "core/util/utf8.h"

/* Length of the UTF-8 sequence at p that may be shown, 0 when the byte has to be escaped. */
static size_t shown_len(const unsigned char *p)
{
    bool is_control = p[0] < 0x20 || p[0] == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0); /* C0, DEL, C1 */

    return is_control ? 0 : utf8_len(p, UTF8_MAX);
}

void output_add_clean(struct str *out, const char *text, bool keep_lines)
{
    const unsigned char *p = (const unsigned char *)text;

    while (*p != '\0') {
        size_t n = shown_len(p);
        if (n > 0) {
            str_add_mem(out, p, n);
        } else {
            n = 1;
            if (keep_lines && (*p == '\n' || *p == '\t'))
                str_add_char(out, (char)*p);
            else
                str_addf(out, "\\x%02x", *p);
        }
        p += n;
    }
}

void output_add_size(struct str *out, int64_t size_bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)size_bytes / 1024;
    size_t unit = 0;

    if (size_bytes < 1024) {
        str_addf(out, "%lld B", (long long)size_bytes);
        return;
    }
    while (value >= 1024 && unit + 1 < ARRAY_LEN(units)) {
        value /= 1024;
        unit++;
    }
    str_addf(out, "%.1f %s", value, units[unit]);
}

void output_add_age(struct str *out, const char *time, int64_t now_s)
{
    struct tm tm = {0};
    const char *rest = time != NULL ? strptime(time, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    int64_t age_s;

    if (rest != NULL && *rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (rest == NULL || strcmp(rest, "Z") != 0) {
        str_add_char(out, '-');
        return;
    }
    age_s = now_s - (int64_t)timegm(&tm);
    if (age_s < -60)
        str_add_char(out, '-');
    else if (age_s < 100)
        str_addf(out, "%llds", (long long)(age_s < 0 ? 0 : age_s));
    else if (age_s < 100 * 60)
        str_addf(out, "%lldm", (long long)(age_s / 60));
    else if (age_s < 48 * 3600)
        str_addf(out, "%lldh", (long long)(age_s / 3600));
    else
        str_addf(out, "%lldd", (long long)(age_s / 86400));
}

bool output_is_colour(void)
{
    const char *term = getenv("TERM"), *none = getenv("NO_COLOR");

    return isatty(STDOUT_FILENO) && (none == NULL || *none == '\0') && term != NULL && strcmp(term, "dumb") != 0;
}

int output_write(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            (void)poll(&ready, 1, -1);
        } else if (n < 0 && (errno != EINTR || interrupt_signal() != 0)) {
            return -1;
        }
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
    return 0;
}
