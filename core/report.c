#include "core/report.h"

void place_add(struct str *out, const struct place *place)
{
    str_add(out, place->source);
    if (place->line > 0)
        str_addf(out, ":%d:%d", place->line, place->column);
}

void report_add(struct report *report, const struct place *place, const char *key, const char *format, ...)
{
    size_t start = report->text.len;
    va_list args;

    if (++report->count > REPORT_MAX)
        return;
    place_add(&report->text, place);
    str_add(&report->text, ": ");
    if (key[0] != '\0')
        str_addf(&report->text, "%s: ", key);
    va_start(args, format);
    str_addv(&report->text, format, args);
    va_end(args);
    for (size_t i = start; i < report->text.len; i++)
        if ((unsigned char)report->text.ptr[i] < 0x20 || report->text.ptr[i] == 0x7f)
            report->text.ptr[i] = ' ';
    str_add_char(&report->text, '\n');
}
