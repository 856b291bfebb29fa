/* YAML: a bounded reader into a tree that knows where each value stands. The one place that includes libyaml. */
#ifndef YAML_TREE_H
#define YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/report.h"

#define YAML_DEPTH_MAX 16
#define YAML_NODES_MAX 10000
#define YAML_TEXT_MAX  16384 /* bytes of one scalar */

enum yaml_type { YAML_NULL, YAML_TEXT, YAML_LIST, YAML_MAP };

struct yaml {
    enum yaml_type type;
    struct place at;     /* of the value */
    struct place key_at; /* of the key, when the parent is a map */
    char *key;           /* when the parent is a map */
    char *text;          /* TEXT; free of NUL bytes */
    struct yaml *parent, *first, *last, *next;
};

/*
 * Parses one document. source: its name for messages; must outlive the tree. Returns 0 and the tree (NULL when the
 * document is empty), or -1 when no tree can be made; each fault is a line in the report. Refused: bad syntax or UTF-8,
 * anything beyond the bounds, aliases, tags, several documents, keys that are not plain text, NUL. A key that appears
 * twice is reported too, but the tree is still made (with the first one), so that further faults can be found.
 */
int yaml_parse(const char *source, const char *text, size_t len, struct yaml **ret, struct report *report);
void yaml_free(struct yaml *node); /* with its children; wipes text; takes NULL */
CLEANUP_DEFINE(cleanup_yaml, struct yaml, yaml_free)
#define auto_yaml CLEANUP(cleanup_yaml)

/* Member of a map; NULL when absent, null, or node is NULL or no map. */
struct yaml *yaml_get(const struct yaml *node, const char *key);
/* A new node, not yet in a tree; text for TEXT only. */
struct yaml *yaml_new(enum yaml_type type, const struct place *at, const char *text);
/* Puts child at the end of a list, or into a map under key, in place of an older one. The child is the tree's then. */
void yaml_put(struct yaml *parent, const char *key, struct yaml *child);
void yaml_remove(struct yaml *parent, const char *key); /* absent: fine */

/* "hosts[0].disk.cache", "" for the root; with a key: that of its (possibly absent) member. The caller frees. */
char *yaml_path(const struct yaml *node, const char *key);
/* "a list", "a mapping", "nothing", or the text in quotes (shortened). Into a buffer of the caller, which is returned.
 */
const char *yaml_found(const struct yaml *node, char *buffer, size_t size);

#endif
