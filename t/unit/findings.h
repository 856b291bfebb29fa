/* For tests of diagnose(): findings as lines, "level topic: text [fix]". */
#ifndef FINDINGS_H
#define FINDINGS_H

#include "core/util/finding.h"
#include "core/util/str.h"

static inline void findings_say(void *ctx, const struct runner_finding *f)
{
    str_addf(ctx, "%s %s: %s [%s]\n", finding_level_name(f->level), f->topic, f->text, f->fix != NULL ? f->fix : "");
}

#endif
