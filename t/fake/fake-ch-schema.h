/* How the tables of fake-ch-table.c are written. */
#ifndef FAKE_CH_SCHEMA_H
#define FAKE_CH_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

enum value_type { V_BOOL, V_INT, V_TEXT, V_PATH, V_WORD, V_OBJECT, V_MAC, V_FDS };

struct member {
    const char *name;
    enum value_type type;
    unsigned flags;
    const char *dflt;            /* JSON; NULL: optional, left out when unset */
    int64_t max;                 /* INT: from 0 to this */
    const char *const *words;    /* WORD: NULL-terminated */
    const struct object *object; /* OBJECT */
    const char *alias;
};
enum {
    M_REQUIRED = 1,
    M_LIST = 2,      /* an array of them */
    M_FLAT = 4,      /* of a flattened part: its faults are told at the end of the object */
    M_NOT_FALSE = 8, /* written only when true */
    M_NULL = 16,     /* written as null when unset */
    M_NOT_ZERO = 32, /* 0 is refused */
};

struct object {
    const char *name;             /* as errors call it */
    const struct member *members; /* the last one has no name */
    bool denies_unknown;
};

#endif
