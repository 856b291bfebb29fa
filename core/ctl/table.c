#include "core/ctl/table.h"

#include <string.h>
#include <wchar.h>

#include "core/ctl/output.h"

void table_init(struct table *t, const struct table_column *columns, size_t n_columns)
{
    *t = (struct table){.columns = columns, .n_columns = n_columns};
}

void table_done(struct table *t)
{
    int saved_errno = errno;

    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i].text);
    free(t->cells);
    t->cells = NULL;
    t->n_cells = 0;
    errno = saved_errno;
}

static void add_cell(struct table *t, const char *text, const char *colour)
{
    auto_str struct str clean = STR_INIT;

    output_add_clean(&clean, text != NULL && text[0] != '\0' ? text : "-", false);
    t->cells = mem_grow(t->cells, t->n_cells + 1, sizeof *t->cells);
    t->cells[t->n_cells++] = (struct table_cell){.text = str_steal(&clean), .colour = colour};
}

void table_add(struct table *t, const char *text)
{
    add_cell(t, text, NULL);
}

void table_addf(struct table *t, const char *format, ...)
{
    auto_str struct str text = STR_INIT;
    va_list args;

    va_start(args, format);
    str_addv(&text, format, args);
    va_end(args);
    add_cell(t, str_text(&text), NULL);
}

const char *table_state_colour(const char *state)
{
    static const struct {
        const char *state, *colour;
    } known[] = {{"started", "32"}, {"stopped", "2"}, {"destroyed", "2"}, {"error", "31"}, {"unknown", "31"}};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(state, known[i].state) == 0)
            return known[i].colour;
    return "33"; /* paused, and everything on its way */
}

void table_add_state(struct table *t, const char *state)
{
    add_cell(t, state, state != NULL && state[0] != '\0' ? table_state_colour(state) : NULL);
}

/* Decodes one character of valid UTF-8. */
static wchar_t next_char(const char **p)
{
    unsigned char c = (unsigned char)*(*p)++;
    int more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    wchar_t value = more == 0 ? c : c & (0x3f >> more);

    while (more-- > 0 && **p != '\0')
        value = (value << 6) | ((unsigned char)*(*p)++ & 0x3f);
    return value;
}

size_t table_width(const char *text)
{
    size_t width = 0;

    while (*text != '\0') {
        int columns = wcwidth(next_char(&text));
        width += columns < 0 ? 1 : (size_t)columns;
    }
    return width;
}

static const struct table_cell *cell_at(const struct table *t, size_t row, size_t column)
{
    static const struct table_cell missing = {.text = (char *)(uintptr_t) "-"};
    size_t i = row * t->n_columns + column;

    return i < t->n_cells ? &t->cells[i] : &missing;
}

static void add_blanks(struct str *out, size_t n)
{
    while (n-- > 0)
        str_add_char(out, ' ');
}

static void print_cell(const struct table *t, size_t column, size_t width, const struct table_cell *cell,
                       bool is_colour, struct str *out)
{
    size_t pad = width - table_width(cell->text);
    bool is_last = column + 1 == t->n_columns;

    if (column > 0)
        str_add(out, "  ");
    if (t->columns[column].is_right)
        add_blanks(out, pad);
    if (is_colour && cell->colour != NULL)
        str_addf(out, "\033[%sm%s\033[0m", cell->colour, cell->text);
    else
        str_add(out, cell->text);
    if (!t->columns[column].is_right && !is_last)
        add_blanks(out, pad);
}

void table_print(const struct table *t, bool is_colour, struct str *out)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    size_t rows = (t->n_cells + t->n_columns - 1) / t->n_columns;

    for (size_t c = 0; c < t->n_columns; c++) {
        widths[c] = table_width(t->columns[c].title);
        for (size_t r = 0; r < rows; r++) {
            size_t width = table_width(cell_at(t, r, c)->text);
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    for (size_t c = 0; c < t->n_columns; c++) {
        const struct table_cell title = {.text = (char *)(uintptr_t)t->columns[c].title};
        print_cell(t, c, widths[c], &title, false, out);
    }
    str_add_char(out, '\n');
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < t->n_columns; c++)
            print_cell(t, c, widths[c], cell_at(t, r, c), is_colour, out);
        str_add_char(out, '\n');
    }
}
