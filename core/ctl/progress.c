#include "core/ctl/progress.h"

#include <unistd.h>

#include "core/ctl/output.h"
#include "core/util/num.h"

#define PATIENCE_MS 300 /* what is quicker leaves no flicker */
#define REDRAW_MS   100

void progress_start(struct progress *p, const char *what)
{
    *p = (struct progress){.what = what, .is_on = isatty(STDERR_FILENO), .start_ms = num_now_ms()};
}

void progress_add_line(struct str *out, const char *what, int64_t elapsed_ms, int64_t done_bytes, int64_t total_bytes)
{
    output_add_clean(out, what, false);
    str_addf(out, "  %.1f s", (double)elapsed_ms / 1000);
    if (done_bytes <= 0 && total_bytes <= 0)
        return;
    str_add(out, "  ");
    output_add_size(out, done_bytes);
    if (total_bytes > 0) {
        str_add(out, " of ");
        output_add_size(out, total_bytes);
        str_addf(out, " (%lld%%)", (long long)((double)done_bytes * 100 / (double)total_bytes));
    }
    if (elapsed_ms > 0) {
        str_add(out, "  ");
        output_add_size(out, (int64_t)((double)done_bytes * 1000 / (double)elapsed_ms));
        str_add(out, "/s");
    }
}

void progress_tick(struct progress *p, int64_t done_bytes, int64_t total_bytes)
{
    int64_t now_ms = num_now_ms();
    auto_str struct str line = STR_INIT;

    if (!p->is_on || (!p->is_shown && now_ms - p->start_ms < PATIENCE_MS) || now_ms - p->last_ms < REDRAW_MS)
        return;
    p->last_ms = now_ms;
    p->is_shown = true;
    str_add(&line, "\r\033[K");
    progress_add_line(&line, p->what, now_ms - p->start_ms, done_bytes, total_bytes);
    (void)output_write(STDERR_FILENO, str_text(&line), line.len);
}

void progress_next(struct progress *p, const char *what)
{
    auto_str struct str line = STR_INIT;

    p->what = what;
    p->start_ms = num_now_ms();
    if (p->is_on)
        return;
    output_add_clean(&line, what, false);
    str_add_char(&line, '\n');
    (void)output_write(STDERR_FILENO, str_text(&line), line.len);
}

void progress_end(struct progress *p)
{
    if (p->is_shown)
        (void)output_write(STDERR_FILENO, "\r\033[K", 4);
    p->is_shown = false;
}
