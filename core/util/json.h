/* JSON: a bounded reader into a tree (json-read.c, the one place that includes yajl), and a writer into a str
 * (json-write.c). */
#ifndef UTIL_JSON_H
#define UTIL_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/str.h"

#define JSON_DEPTH_MAX 32
#define JSON_NODES_MAX 100000

enum json_type { JSON_NULL, JSON_BOOL, JSON_INT, JSON_DOUBLE, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_type type;
    char *key;                 /* member name when the parent is an object */
    int64_t number;            /* INT, BOOL */
    double real;               /* DOUBLE, INT too */
    char *text;                /* STRING; free of NUL bytes (they are refused) */
    struct json *first, *next; /* children in order; sibling */
    struct json *last;
};

/* Parses one value. INVALID, with the offset and the cause, when it is not JSON or deeper or larger than the bounds, has
 * a repeated key, a NUL or bad UTF-8 in a string, or an integer beyond 64 bits. */
int json_parse(const char *text, size_t len, struct json **ret, struct runner_error *err);
void json_free(struct json *j); /* and its siblings behind it; takes NULL */
CLEANUP_DEFINE(cleanup_json, struct json, json_free)
#define auto_json CLEANUP(cleanup_json)

/*
 * A long array, read as it comes: no more than one of its elements is in memory. item() gets each in its order, for the
 * time of the call; -1, with err filled, ends it. The bounds of json_parse hold for each element; each has at most
 * JSON_ITEM_MAX bytes of text.
 */
struct json_stream;
#define JSON_ITEM_MAX (4 << 20)
struct json_stream *json_stream_new(int (*item)(void *ctx, const struct json *item, struct runner_error *err), void *ctx);
/* -1: INVALID, with the cause, or what item() said; and again on each further call. */
int json_stream_feed(struct json_stream *stream, const char *text, size_t len, struct runner_error *err);
/* -1 when that was not all of an array, too. */
int json_stream_end(struct json_stream *stream, struct runner_error *err);
void json_stream_free(struct json_stream *stream); /* takes NULL */

/* Member of an object, NULL when absent or j is NULL or no object. */
const struct json *json_get(const struct json *j, const char *key);
/* Member text or dflt, when absent, null or of another type. */
const char *json_text(const struct json *j, const char *key, const char *dflt);
int64_t json_int(const struct json *j, const char *key, int64_t dflt);
bool json_bool(const struct json *j, const char *key, bool dflt);
/* A deep copy, without its key. */
struct json *json_copy(const struct json *j);
/* A new last child; the parent owns it from then on, and a key that it has. */
void json_append(struct json *parent, struct json *child);
/* Takes a member out of an object: the caller's now, or NULL. */
struct json *json_take(struct json *object, const char *key);
const char *json_type_name(enum json_type type);

/* Writing: commas are put by the functions. key is NULL within arrays and at the top. */
void json_open(struct str *s, const char *key, char bracket);         /* '{' or '[' */
void json_close(struct str *s, char bracket);                         /* '}' or ']' */
void json_add_text(struct str *s, const char *key, const char *text); /* NULL: null; bad UTF-8 becomes U+FFFD */
void json_add_int(struct str *s, const char *key, int64_t value);
void json_add_thousandths(struct str *s, const char *key, uint64_t value); /* 1500: 1.5 */
void json_add_real(struct str *s, const char *key, double value);
void json_add_bool(struct str *s, const char *key, bool value);
void json_add_null(struct str *s, const char *key);
void json_add_tree(struct str *s, const char *key, const struct json *j);

#endif
