/* A table for people: columns as wide as their widest cell, two blanks between, no blanks at line ends. */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/util/str.h"

#define TABLE_COLUMNS_MAX 16

struct table_column {
    const char *title;
    bool is_right; /* numbers are aligned right */
};

struct table_cell {
    char *text;
    const char *colour; /* an SGR parameter like "32", or NULL */
};

struct table {
    const struct table_column *columns;
    size_t n_columns, n_cells;
    struct table_cell *cells; /* row by row */
};

/* columns (at most TABLE_COLUMNS_MAX) must outlive the table. */
void table_init(struct table *t, const struct table_column *columns, size_t n_columns);
void table_done(struct table *t);
#define auto_table CLEANUP(table_done)

/* Appends the next cell; NULL and "" show as "-". Control characters and broken UTF-8 are escaped. */
void table_add(struct table *t, const char *text);
void table_addf(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A cell in the colour of a sandbox state. */
void table_add_state(struct table *t, const char *state);

/* Appends the heading and the rows; colours only with is_colour. A last row that lacks cells is filled with "-". */
void table_print(const struct table *t, bool is_colour, struct str *out);

/* SGR parameter for a sandbox state, or NULL. */
const char *table_state_colour(const char *state);

/* Columns that valid UTF-8 text takes on a terminal. */
size_t table_width(const char *text);

#endif
