/*
 * Snapshots on a host: <root>/snapshots/<ref>/manifest.json and the files it names.
 *   {"schema":1, "disk":{"file":"disk.raw","format":"raw","sizeBytes":N}, "kernel":"vmlinux", "initramfs":"initramfs.img",
 *    "cmdline":"console=ttyS0 ...", "daemon":true}
 * File names are names within the directory. Unknown members are ignored; initramfs and daemon may be left out or null.
 * "firmware":"CLOUDHV.fd" stands in place of kernel, initramfs and cmdline: a file of the directory, or where it has none
 * of that name, of <root>/firmware. "ready":"serial" says that no daemon will answer: the machine is ready when it has
 * written something to its serial console ("daemon", the default: when its daemon answers).
 */
#ifndef CORE_SNAPSHOT_H
#define CORE_SNAPSHOT_H

#include <stdbool.h>

#include "core/util/cleanup.h"
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
};

/* Reads one through the call's host. NOTFOUND names the ref and what there is; INVALID: the ref is none, or what is wrong
 * with its manifest. Worker thread. */
int snapshot_open(struct runner_call *call, const char *root, const char *ref, struct snapshot **ret,
                  struct runner_error *err);
void snapshot_free(struct snapshot *snapshot); /* takes NULL */
CLEANUP_DEFINE(cleanup_snapshot, struct snapshot, snapshot_free)
#define auto_snapshot CLEANUP(cleanup_snapshot)

/* From the manifest's text alone; dir: the snapshot's directory. */
int snapshot_parse(const char *text, size_t len, const char *dir, const char *ref, struct snapshot **ret,
                   struct runner_error *err);

/* The refs of the host's snapshots (directories with a manifest.json, which is not read), a line each, in no order. At
 * most some thousand directories are looked at. Worker thread. */
int snapshot_list(struct runner_call *call, const char *root, struct str *ret_refs, struct runner_error *err);

#endif
