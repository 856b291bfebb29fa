/* The checklist: points, each in a process of its own, so that a plugin that crashes or hangs fails that one only. */
#ifndef KIT_POINT_H
#define KIT_POINT_H

#include "kit/subject.h"

/* Exit status of a point's process; another is none of ours: the plugin has ended it. */
enum { POINT_PASSED = 75, POINT_FAILED, POINT_SKIPPED };

struct op;

/* In which way an operation is called. */
enum aspect { AS_IS, FAULTS, NOMEM, CANCEL, DEADLINE, SIZES, ASPECTS };

struct point {
    char *id;          /* "clone.faults" */
    const char *title; /* what holds when it passes */
    void (*run)(struct subject *s, const struct point *point);
    const struct op *op; /* NULL: of no operation */
    enum aspect aspect;
};

struct checklist {
    struct point *points;
    size_t n;
};

void checklist_add(struct checklist *list, const char *id, const char *title,
                   void (*run)(struct subject *s, const struct point *point));
void checklist_add_op(struct checklist *list, const struct op *op, const char *word, const char *title,
                      void (*run)(struct subject *s, const struct point *point), enum aspect aspect);
/* When the last one kills the plugin, the operation is fatal as it is. */
void checklist_last_is_about(struct checklist *list, const struct op *op);
void checklist_free(struct checklist *list);

/* Runs one in a process of its own and prints its line of TAP. What it printed shows as comments. */
bool point_run(const struct point *point, const struct options *options, const struct plugin *plugin);
/* Whether the plugin's process died or hung when the operation was called in that way: it is not tried again. */
bool point_is_fatal(const struct op *op, enum aspect aspect);

#endif
