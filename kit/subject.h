/* The plugin under check, and what a point of the checklist finds when it begins. */
#ifndef KIT_SUBJECT_H
#define KIT_SUBJECT_H

#include <stdbool.h>

#include "core/loader.h"
#include "kit/fake/world.h"

/* What secret parameters hold that the command line leaves out: it must not be seen anywhere. */
#define SUBJECT_SECRET "kit-5ecret-0f-a-plugin"

struct options { /* of the command line */
    const char *path;
    uint32_t kind; /* 0: as the plugin says */
    char *const *pairs;
    size_t n_pairs; /* key=value */
    const char *only;
    char **answers; /* KIND:MATCH:STATUS:TEXT */
    size_t n_answers;
    int64_t limit_ms; /* of a point */
    bool is_live;
    const char *plugin_dir, *kernel;
};

struct subject {
    const struct options *options;
    const struct plugin *plugin;
    struct runner_value *values; /* of the instance: given, else default */
    size_t n_values;
    void *self; /* the instance, or NULL */
    const char *dir;     /* a real directory of the point's own; the working directory too */
    struct world *world; /* what the fake host carries steps out on; below dir, as far as names go */
    char *sandbox_dir, *base_path; /* below dir; the base is a file of the world */
};

/* The checked copy of what the object at path describes; calls nothing of it but for the descriptor. ret is freed by
 * nobody: objects stay mapped until the process ends. */
int subject_open(const struct options *options, struct plugin *ret, struct runner_error *err);

/* Everything for a point, in its process: host, world, load() called, values, but no instance. Ends the process when it
 * cannot be had. */
void subject_begin(struct subject *s, const struct options *options, const struct plugin *plugin, const char *dir);
/* An instance; 0 or -1. */
int subject_create(struct subject *s, struct runner_error *err);
void subject_destroy(struct subject *s); /* takes one without an instance */
/* A new instance in a world as it was at first. Ends the process when there is none to be had. */
void subject_renew(struct subject *s);

/* Values from pairs and defaults, to be freed; -1 when a pair or a default is no value. */
int subject_values(const struct plugin *plugin, char *const *pairs, size_t n_pairs, const char *root,
                   struct runner_value **ret, size_t *ret_n, struct runner_error *err);
void subject_values_free(struct runner_value *values, size_t n);

/* ---- what a point says ---- */

/* The point fails, and why; it goes on. */
void flaw(const char *format, ...) __attribute__((format(printf, 1, 2)));
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The point does not apply, and why; ends the process. */
void skip_point(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* The point cannot go on. */
void stop_point(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Ends the process with what was said. */
void end_point(void) __attribute__((noreturn));
int flaws_so_far(void);

#endif
