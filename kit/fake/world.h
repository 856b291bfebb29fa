/*
 * A host in memory, as a transport of the fake host: its files, TAPs and processes are names in a list. Steps do to it
 * what runner-plugin.h says that they do to a host; a program that is RUN succeeds and prints nothing. Scripted answers
 * (fake_host_answer) come first. Any thread may run batches.
 *
 * It is strict below the root: there a directory must have been made before a file is put into it. Elsewhere a
 * directory is there when it is needed, /proc and /sys have every file that is read, and /dev has net/tun.
 */
#ifndef KIT_FAKE_WORLD_H
#define KIT_FAKE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/util/str.h"
#include "include/runner-plugin.h"

struct world;

struct world *world_new(const char *root); /* copied; the root is there */
void world_free(struct world *world);      /* takes NULL */
/* For fake_host_transport(), with the world as its self. Dialling is for real. */
const struct runner_transport_ops *world_ops(void);

void world_add_dir(struct world *world, const char *path);
void world_add_file(struct world *world, const char *path, int64_t size_bytes);
/* The size of that file, or -1. */
int64_t world_file_size(struct world *world, const char *path);
/* All there is of these kinds (d: directories, f: files, s: sockets and FIFOs, t: TAPs in use, i: idle ones,
 * p: processes by their pid files), one line each, sorted. The caller frees. */
char *world_text(struct world *world, const char *kinds);

#endif
