/* How doctor shows its findings: lines, on a terminal coloured and wrapped to its width, or JSON. */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "core/doctor.h"
#include "core/util/json.h"
#include "core/util/str.h"

#define TEXT_AT     24 /* column where the text begins: level (4), two blanks, topic (16), two blanks */
#define COLUMNS_MIN 60 /* a terminal narrower than this wraps by itself */

/* ---- terminal --------------------------------------------------------------------------------------------------- */

static unsigned terminal_columns(void)
{
    struct winsize size;

    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        return 0;
    return size.ws_col >= COLUMNS_MIN ? size.ws_col : COLUMNS_MIN;
}

static const char *level_colour(const struct doctor *d, uint32_t level)
{
    static const char *const colours[] = {"", "\033[32m", "\033[33m", "\033[1;31m", "\033[2m"};

    return d->columns > 0 && getenv("NO_COLOR") == NULL ? colours[level] : "";
}

void doctor_progress(struct doctor *d)
{
    if (d->options->as_json || !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r\033[K...   %s: %s", d->host != NULL ? d->host : "runner", d->part);
    fflush(stderr);
    d->has_progress = true;
}

static void progress_clear(struct doctor *d)
{
    if (d->has_progress)
        fputs("\r\033[K", stderr);
    d->has_progress = false;
}

/* ---- lines ------------------------------------------------------------------------------------------------------ */

/* As many of the words as fit, at least one; how many bytes. */
static size_t fitting(const char *text, size_t room)
{
    size_t fits = 0, len = strlen(text);

    if (room == 0 || len <= room)
        return len;
    for (size_t i = 0; i <= room && text[i] != '\0'; i++)
        if (text[i] == ' ')
            fits = i;
    return fits > 0 ? fits : strcspn(text, " ");
}

/* The rest of a line that began with TEXT_AT columns. */
static void print_wrapped(const struct doctor *d, const char *text)
{
    size_t room = d->columns > TEXT_AT ? d->columns - TEXT_AT - 1 : 0;

    for (;;) {
        size_t n = fitting(text, room);

        printf("%.*s\n", (int)n, text);
        text += n + (text[n] == ' ');
        if (*text == '\0')
            return;
        printf("%*s", TEXT_AT, "");
    }
}

static void print_note(const struct doctor *d, const struct doctor_note *note)
{
    const char *colour = level_colour(d, note->level);

    printf("%s%-4s%s  %-*s  ", colour, finding_level_name(note->level), colour[0] != '\0' ? "\033[0m" : "", TEXT_AT - 8,
           note->topic);
    print_wrapped(d, note->text);
    if (note->fix != NULL) /* never wrapped: it is to be copied */
        printf("%*sfix: %s\n", TEXT_AT, "", note->fix);
}

void doctor_print_begin(struct doctor *d)
{
    d->columns = d->options->as_json ? 0 : terminal_columns();
    doctor_print_head(d, "runner-ch " VERSION_TEXT);
}

void doctor_print_head(struct doctor *d, const char *title)
{
    if (d->options->as_json)
        return;
    progress_clear(d);
    printf("%s%s\n", d->n > 0 ? "\n" : "", title);
    fflush(stdout);
}

void doctor_print_new(struct doctor *d)
{
    progress_clear(d);
    for (; d->n_printed < d->n; d->n_printed++) {
        const struct doctor_note *note = &d->notes[d->n_printed];

        d->n_levels[note->level]++;
        if (!d->options->as_json)
            print_note(d, note);
    }
    fflush(stdout);
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

static void print_json(const struct doctor *d)
{
    static const char *const levels[] = {NULL, "ok", "warn", "fail", "skip"};
    auto_str struct str s = STR_INIT;

    json_open(&s, NULL, '[');
    for (size_t i = 0; i < d->n; i++) {
        const struct doctor_note *note = &d->notes[i];

        json_open(&s, NULL, '{');
        json_add_text(&s, "host", note->host);
        json_add_text(&s, "part", note->part);
        json_add_text(&s, "topic", note->topic);
        json_add_text(&s, "level", levels[note->level]);
        json_add_text(&s, "text", note->text);
        json_add_text(&s, "fix", note->fix);
        json_close(&s, '}');
    }
    json_close(&s, ']');
    puts(str_text(&s));
}

void doctor_print_end(struct doctor *d)
{
    if (d->options->as_json)
        print_json(d);
    else
        printf("\n%zu ok, %zu warn, %zu FAIL, %zu skip\n", d->n_levels[RUNNER_FINDING_OK],
               d->n_levels[RUNNER_FINDING_WARN], d->n_levels[RUNNER_FINDING_FAIL], d->n_levels[RUNNER_FINDING_SKIP]);
    fflush(stdout);
}
