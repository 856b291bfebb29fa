/* For tests whose results other programs judge. */
#ifndef UNIT_PROGRAM_H
#define UNIT_PROGRAM_H

/* Runs argv with these files as standard input and output, errors too; its exit status, or 127 when it is not there. */
int program_run(const char *const argv[], const char *in, const char *out);

#endif
