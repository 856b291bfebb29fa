/*
 * Frames of volumes. Volumes whose files have the same names and lengths differ in the content of the files only, so one
 * is built of marks instead of content, and kept: the next ones are copies of it with their content put in. That takes a
 * tenth of the time that libisofs takes, and no thread. A volume's time stamps are those of its frame. Any thread.
 */
#ifndef CORE_ISO_FRAME_H
#define CORE_ISO_FRAME_H

#include <stdbool.h>

#include "core/iso.h"

#define FRAME_FILES_MAX 8

/* Whether volumes of such files are worth a frame: few and small files, each long enough for a mark or empty. */
bool frame_fits(const struct iso_file *files, size_t n);

/* A volume of these files by a frame that is known; false: none is. */
bool frame_take(const char *label, const struct iso_file *files, size_t n, struct str *ret_iso);

/* The files to build a frame of: names and lengths as given; the content is in marks, which must outlive them. */
void frame_marks(const struct iso_file *files, size_t n, struct iso_file *ret_marked, struct str *marks);

/* iso is a volume of frame_marks(files): keeps it as a frame, then puts the files' content into it. False: it cannot be
 * a frame; iso is as it was. */
bool frame_keep(const char *label, const struct iso_file *files, size_t n, struct str *iso);

#endif
