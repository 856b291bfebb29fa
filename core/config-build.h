/* Private to core/config*.c: what the parts of config_load() share. */
#ifndef CONFIG_BUILD_H
#define CONFIG_BUILD_H

#include "core/config.h"
#include "core/value.h"
#include "core/yaml.h"

#define CONFIG_TCP_DEFAULT  "0.0.0.0:3005"
#define CONFIG_UNIX_DEFAULT "unix:/run/runner-ch/api.sock"

struct config_origin { /* where the value of a key came from */
    char *key, *text;
};

/* Everything that was not in the file is put into the tree under a place of its own ("env API_PORT", "default"), so
 * that one piece of code checks it and remembers where it came from. */
struct build {
    const struct config_options *options;
    struct config *config;
    struct report report;
    struct yaml *root; /* a map, never NULL once reading begins */
    char **sources;    /* names of places: "env API_PORT" */
    size_t n_sources;
};

extern const struct place config_default_place; /* source "default" */

/* ---- config-settings.c: keys that core itself knows ---- */

bool config_token_is_good(const char *text);

struct setting {
    struct runner_param param;
    size_t offset;                 /* of a char * (STRING, PATH) or int64_t (others, and STRING with choices) */
    int64_t base;                  /* choices: the first one's number */
    bool (*is_good)(const char *); /* further check of a text, or NULL */
    const char *expected;          /* what is_good wants */
};

struct setting_group {
    const char *key; /* NULL: the top level */
    const struct setting *settings;
    size_t n, offset; /* of the group's struct in struct config, or of a host's group in struct config_host */
};

extern const struct setting_group config_groups[]; /* ends with n = 0; the first one is the top level */
extern const struct setting_group config_host_group, config_host_defaults, config_host_capacity;

/* Reads the group's keys from a map into base; `more`: further keys that are known there. */
void settings_read(struct build *b, const struct yaml *map, const struct setting_group *group, void *base,
                   const char *const *more, size_t n_more);
void settings_free(const struct setting_group *group, void *base);
/* The member as a map, an empty one when it is absent; NULL when it is something else, which is reported. */
struct yaml *build_map(struct build *b, struct yaml *parent, const char *key);
/* Reports a key that is none of the known words, with the nearest one. */
void build_unknown_key(struct build *b, const struct yaml *node, const char *const *words, size_t n);
/* "; did you mean 'x'?" or "": the nearest of a parameter's choices. The caller frees. */
char *build_nearest_choice(const struct runner_param *param, const struct yaml *node);
void build_refuse(struct build *b, const struct yaml *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Remembers where the value at `key` came from. node: NULL for a default. */
void build_origin(struct build *b, const char *key, const struct yaml *node);

/* ---- config-listen.c ---- */
void listen_read(struct build *b);

/* ---- config-section.c: a plugin and its parameters ---- */
void section_read(struct build *b, struct yaml *host_node, struct config_host *host, uint32_t kind);
void section_free(struct config_section *section);

/* ---- config-env.c ---- */
/* Puts environment and options into the tree. */
void env_overlay(struct build *b);

/* ---- config-hosts.c ---- */
void hosts_read(struct build *b);
void hosts_free(struct config *config);

#endif
