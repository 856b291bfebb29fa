/*
 * Snapshots on a host: <root>/snapshots/<ref>/manifest.json and the files it names.
 *   {"schema":1, "disk":{"file":"disk.raw","format":"raw","sizeBytes":N}, "kernel":"vmlinux", "initramfs":"initramfs.img",
 *    "cmdline":"console=ttyS0 ...", "daemon":true}
 * File names are names within the directory. Unknown members are ignored; initramfs and daemon may be left out or null.
 * "firmware":"CLOUDHV.fd" stands in place of kernel, initramfs and cmdline: a file of the directory, or where it has none
 * of that name, of <root>/firmware. "ready":"serial" says that no daemon will answer: the machine is ready when it has
 * written something to its serial console ("daemon", the default: when its daemon answers).
 *
 * What was pulled has a base, which several refs may share: "base":"<key>" says that its disk is a file of
 * <root>/bases/<key>. "image" says how it wants to be run (struct runner_base), "digest", "contentBytes", "storedBytes" are
 * of the object it was made from. Where such a manifest names no kernel it boots that of <root>/boot/manifest.json, whose
 * kernel, initramfs and cmdline are as above, of files in that directory.
 */
#ifndef CORE_SNAPSHOT_H
#define CORE_SNAPSHOT_H

#include <stdbool.h>

#include "core/util/cleanup.h"
#include "core/util/json.h"
#include "core/util/str.h"
#include "include/runner-plugin.h"

struct snapshot {
    char *ref;
    char *kernel, *initramfs, *cmdline; /* absolute paths; initramfs may be NULL; all are with firmware */
    char *firmware;                     /* absolute path or NULL */
    char *disk_path, *disk_format;
    struct runner_image image; /* the base; its strings are those above */
    bool has_daemon;           /* the image brings its guest daemon */
    bool is_ready_by_log;      /* "ready":"serial" */
    char *base, *digest;       /* NULL: none */
    struct json *config;       /* "image", or NULL */
    int64_t content_bytes, stored_bytes; /* 0: not said */
};

/* Reads one through the call's host, but for what it boots where that is not its own. NOTFOUND: there is none, or its base
 * has gone; INVALID: the ref is none, or what is wrong with its manifest. Worker thread, as all that take a call. */
int snapshot_find(struct runner_call *call, const char *root, const char *ref, struct snapshot **ret,
                  struct runner_error *err);
/* NOTFOUND, with the refs there are as far as a line holds them; -1. */
int snapshot_fail_absent(struct runner_call *call, const char *root, const char *ref, struct runner_error *err);
/* Fills in what it boots. */
int snapshot_complete(struct runner_call *call, const char *root, struct snapshot *snapshot, struct runner_error *err);
/* Whether there is what images of a storage boot; IO says what makes it. */
int snapshot_check_boot(struct runner_call *call, const char *root, struct runner_error *err);
/* Both; NOTFOUND names what there is as well. */
int snapshot_open(struct runner_call *call, const char *root, const char *ref, struct snapshot **ret,
                  struct runner_error *err);
void snapshot_free(struct snapshot *snapshot); /* takes NULL */
CLEANUP_DEFINE(cleanup_snapshot, struct snapshot, snapshot_free)
#define auto_snapshot CLEANUP(cleanup_snapshot)

/* From the manifest's text alone; root: the host's. The kernel is NULL when it is that of <root>/boot. */
int snapshot_parse(const char *text, size_t len, const char *root, const char *ref, struct snapshot **ret,
                   struct runner_error *err);
/* The kernel from the text of <root>/boot/manifest.json. */
int snapshot_parse_boot(struct snapshot *snapshot, const char *text, size_t len, const char *root,
                        struct runner_error *err);
/* A base's key: [a-z0-9][a-z0-9.-]{0,127}. */
bool snapshot_is_base_key(const char *text);

/* The refs of the host's snapshots (directories with a manifest.json, which is not read), a line each, in no order. At
 * most some thousand directories are looked at. Worker thread. */
int snapshot_list(struct runner_call *call, const char *root, struct str *ret_refs, struct runner_error *err);

#endif
