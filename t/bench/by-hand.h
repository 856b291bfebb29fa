/* What the references of the bench share: a VMM started by hand, with no more care than it takes. */
#ifndef BENCH_BY_HAND_H
#define BENCH_BY_HAND_H

#include <stdint.h>
#include <sys/types.h>

int64_t hand_now_us(void);
void hand_die(const char *what) __attribute__((noreturn)); /* says errno */
int hand_listen(const char *path);
int hand_open_log(const char *path);
/* argv as a process in a session of its own, with third and fourth as descriptors 3 and 4; output: 1 and 2. */
pid_t hand_start(char **argv, int third, int fourth, int output);
/* One line: the process id, and in microseconds the time since begin_us and this process's processor time. */
void hand_report(pid_t pid, int64_t begin_us);

#endif
