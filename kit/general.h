/* Points that every kind has. */
#ifndef KIT_GENERAL_H
#define KIT_GENERAL_H

#include "kit/op.h"

/* Operations that plugins of all kinds have: an instance made and ended; check(), diagnose(). */
#define GENERAL_OPS                                                                                                    \
    {.name = "create", .flags = OP_ALONE, .call = general_create, .is_there = general_always},                         \
        {.name = "check", .flags = OP_MAY_FAIL, .call = general_check, .is_there = general_has_check},                 \
    {                                                                                                                  \
        .name = "diagnose", .flags = OP_MAY_FAIL | OP_TELLS, .call = general_diagnose,                                 \
        .is_there = general_has_diagnose                                                                               \
    }
void general_create(struct subject *s, struct trial *t);
void general_check(struct subject *s, struct trial *t);
void general_diagnose(struct subject *s, struct trial *t);
bool general_always(const struct plugin *plugin);
bool general_has_check(const struct plugin *plugin);
bool general_has_diagnose(const struct plugin *plugin);

/* Descriptor and parameters; before the operations. */
void general_add_first(struct checklist *list);
/* Errors, secrets, what is left behind; after them. */
void general_add_last(struct checklist *list, uint32_t kind);

/* create() with values that are odd, but such as core lets pass; look is told of each that was refused, with t->err. */
void general_try_values(struct subject *s, look_fn *look, void *arg);
/* Stands for that: the point that it kills says so, and others leave it. */
extern const struct op general_values;

/* leftover.c */
void point_memory(struct subject *s, const struct point *point);
int64_t open_descriptors(void); /* of this process, and one more */
int64_t open_descriptors(void); /* of this process, and the count's own */
void point_descriptors(struct subject *s, const struct point *point);
void point_threads(struct subject *s, const struct point *point);
void point_hands_off(struct subject *s, const struct point *point);

#endif
