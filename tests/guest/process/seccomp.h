/* Filters of system calls, for the tests of seccomp(2). */
#ifndef SECCOMP_H
#define SECCOMP_H
#include "../test.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RET(value) BPF_STMT(BPF_RET | BPF_K, value)
/* Calls number `nr` get `value`, all others pass. */
#define ONE(nr_, value)                                                                                                \
	{                                                                                                              \
		LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr_, 0, 1), RET(value), RET(SECCOMP_RET_ALLOW)           \
	}

static long seccomp(unsigned op, unsigned flags, void *args)
{
	return syscall(SYS_seccomp, op, flags, args);
}

static long filter_with(unsigned flags, struct sock_filter *code, unsigned short len)
{
	struct sock_fprog prog = {len, code};
	return seccomp(SECCOMP_SET_MODE_FILTER, flags, &prog);
}

#define FILTER(...)                                                                                                    \
	do {                                                                                                           \
		struct sock_filter code_[] = __VA_ARGS__;                                                              \
		CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));                                                      \
		CHECK_EQ(filter_with(0, code_, sizeof code_ / sizeof *code_), 0);                                      \
	} while (0)

#endif
