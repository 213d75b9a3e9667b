/* seccomp(2): strict mode, filters and their actions, inheritance, threads, tracers. */
#include "seccomp.h"
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/utsname.h>

static void status_line(const char *key, char *into)
{
	char text[8192];
	get_file("/proc/self/status", text, sizeof text);
	char *at = strstr(text, key);
	CHECK(at != NULL);
	CHECK_EQ(sscanf(at + strlen(key), "%31s", into), 1);
}

TEST(errors)
{
	CHECK_ERR(seccomp(99, 0, NULL), EINVAL);
	CHECK_ERR(seccomp(SECCOMP_SET_MODE_STRICT, 1, NULL), EINVAL);
	CHECK_ERR(seccomp(SECCOMP_SET_MODE_STRICT, 0, (void *)8), EINVAL);
	CHECK_ERR(seccomp(SECCOMP_SET_MODE_FILTER, 0x8000, NULL), EINVAL);
	CHECK_ERR(seccomp(SECCOMP_SET_MODE_FILTER, 0, NULL), EFAULT);
	CHECK_ERR(prctl(PR_SET_SECCOMP, 7, 0), EINVAL);
	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	struct sock_filter good[] = ONE(SYS_getpid, SECCOMP_RET_ERRNO);
	CHECK_ERR(filter_with(0, good, 0), EINVAL);
	CHECK_ERR(filter_with(0, good, 4097), EINVAL);
	CHECK_ERR(filter_with(0, good, 3), EINVAL); /* jumps past its end */
	CHECK_ERR(filter_with(0, (void *)8, 4), EFAULT);
	struct sock_filter no_end[] = {LOAD(nr)};
	CHECK_ERR(filter_with(0, no_end, 1), EINVAL);
	struct sock_filter outside[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), RET(0)};
	CHECK_ERR(filter_with(0, outside, 2), EINVAL);
	struct sock_filter odd[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), RET(0)};
	CHECK_ERR(filter_with(0, odd, 2), EINVAL);
	struct sock_filter byte[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), RET(0)};
	CHECK_ERR(filter_with(0, byte, 2), EINVAL);
	struct sock_filter scratch[] = {BPF_STMT(BPF_LD | BPF_MEM, 0), RET(0)};
	CHECK_ERR(filter_with(0, scratch, 2), EINVAL);
	struct sock_filter by_zero[] = {BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), RET(0)};
	CHECK_ERR(filter_with(0, by_zero, 2), EINVAL);
	char word[32];
	status_line("\nSeccomp:", word);
	CHECK_STR(word, "0");
}

TEST(actions_available)
{
	unsigned known[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
			    SECCOMP_RET_TRACE,	      SECCOMP_RET_LOG,	       SECCOMP_RET_ALLOW,    SECCOMP_RET_USER_NOTIF};
	for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
		CHECK_EQ(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &known[i]), 0);
	unsigned odd = 0x12340000;
	CHECK_ERR(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &odd), EOPNOTSUPP);
	CHECK_ERR(seccomp(SECCOMP_GET_ACTION_AVAIL, 1, &odd), EINVAL);
	CHECK_ERR(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, NULL), EFAULT);
}

TEST(a_plain_user_needs_no_new_privs)
{
	become_user();
	struct sock_filter code[] = ONE(SYS_getppid, SECCOMP_RET_ERRNO | 7);
	CHECK_ERR(filter_with(0, code, 4), EACCES);
	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK_EQ(filter_with(0, code, 4), 0);
	CHECK_ERR(syscall(SYS_getppid), 7);
}

/* Calls that may be answered without the kernel must not slip past. */
TEST(errno_of_every_kind_of_call)
{
	int calls[] = {SYS_getpid, SYS_gettid,	SYS_getppid, SYS_getuid, SYS_geteuid,
		       SYS_getgid, SYS_getegid, SYS_uname,   SYS_close,	 SYS_sched_yield};
	for (int i = 0; i < 10; i++)
		for (int k = 0; k < 40; k++)
			if (calls[i] != SYS_uname && calls[i] != SYS_close)
				CHECK(syscall(calls[i]) >= 0);
	/* Sites that are hot already. */
	pid_t me = 0;
	for (int k = 0; k < 100; k++)
		me = getppid();
	CHECK(me > 0);
	for (int i = 0; i < 10; i++)
		FILTER(ONE((unsigned)calls[i], SECCOMP_RET_ERRNO | (100 + i)));
	for (int i = 0; i < 10; i++)
		for (int k = 0; k < 20; k++)
			CHECK_ERR(syscall(calls[i], 0, 0, 0), 100 + i);
	/* These of the library's know no errors. */
	CHECK_EQ(getppid(), -102);
	CHECK_EQ((int)getuid(), -103);
	char word[32];
	status_line("\nSeccomp:", word);
	CHECK_STR(word, "2");
	status_line("Seccomp_filters:", word);
	CHECK_STR(word, "10");
	CHECK_EQ(prctl(PR_GET_SECCOMP), 2);
	CHECK_ERR(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT), EINVAL);
}

TEST(errno_is_limited_and_zero_is_success)
{
	FILTER(ONE(SYS_getsid, SECCOMP_RET_ERRNO | 0xffff));
	CHECK_ERR(syscall(SYS_getsid, 0), 4095);
	FILTER(ONE(SYS_getpgid, SECCOMP_RET_ERRNO));
	CHECK_EQ(syscall(SYS_getpgid, 0), 0);
}

TEST(the_strictest_counts)
{
	FILTER(ONE(SYS_getsid, SECCOMP_RET_ERRNO | 5));
	FILTER(ONE(SYS_getsid, SECCOMP_RET_ALLOW));
	FILTER(ONE(SYS_getsid, SECCOMP_RET_LOG));
	CHECK_ERR(getsid(0), 5);
	/* Of two equal actions the newest filter's. */
	FILTER(ONE(SYS_getsid, SECCOMP_RET_ERRNO | 6));
	CHECK_ERR(getsid(0), 6);
	FILTER(ONE(SYS_getsid, SECCOMP_RET_KILL_PROCESS));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		getsid(0);
		_exit(1);
	}
	CHECK_KILLED(pid, SIGSYS);
}

TEST(arguments_and_addresses)
{
	struct sock_filter code[] = {LOAD(arch),
				     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 7),
				     LOAD(nr),
				     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_lseek, 0, 4),
				     LOAD(args[1]),
				     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x89abcdef, 0, 2),
				     BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]) + 4),
				     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x01234567, 1, 0),
				     RET(SECCOMP_RET_ALLOW),
				     RET(SECCOMP_RET_ERRNO | 33)};
	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK_EQ(filter_with(0, code, 10), 0);
	CHECK_ERR(syscall(SYS_lseek, -1, 0x0123456789abcdef, 0), 33);
	CHECK_ERR(syscall(SYS_lseek, -1, 0x0123456789abcdee, 0), EBADF);
	CHECK_ERR(syscall(SYS_lseek, -1, 0x89abcdef, 0), EBADF);
}

static volatile siginfo_t trapped;
static volatile long trapped_rax, trapped_rip;

static void on_sys(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	ucontext_t *uc = context;
	trapped = *info;
	trapped_rax = uc->uc_mcontext.gregs[REG_RAX];
	trapped_rip = uc->uc_mcontext.gregs[REG_RIP];
	/* The handler answers the call. */
	uc->uc_mcontext.gregs[REG_RAX] = 4711;
}

TEST(trap)
{
	struct sigaction sa = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
	CHECK_OK(sigaction(SIGSYS, &sa, NULL));
	FILTER(ONE(SYS_getsid, SECCOMP_RET_TRAP | 99));
	CHECK_EQ(syscall(SYS_getsid, 1, 2, 3), 4711);
	CHECK_EQ(trapped.si_signo, SIGSYS);
	CHECK_EQ(trapped.si_code, 1);
	CHECK_EQ(trapped.si_errno, 99);
	CHECK_EQ(trapped.si_syscall, SYS_getsid);
	CHECK_EQ(trapped.si_arch, AUDIT_ARCH_X86_64);
	CHECK_EQ((long)trapped.si_call_addr, trapped_rip);
	CHECK_EQ(trapped_rax, SYS_getsid);
	/* Blocked, it kills. */
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		sigprocmask(SIG_BLOCK, &set, NULL);
		getsid(0);
		_exit(1);
	}
	CHECK_KILLED(pid, SIGSYS);
}

TEST(strict)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
		char c = 'x';
		if (write(ends[1], &c, 1) == 1 && read(ends[0], &c, 1) == 1)
			syscall(SYS_exit, 42);
		syscall(SYS_exit, 1);
	}
	CHECK_EXIT(pid, 42);
	int calls[] = {SYS_getpid, SYS_getppid, SYS_getuid, SYS_exit_group, SYS_mmap};
	for (int i = 0; i < 5; i++) {
		pid = CHECK_OK(fork());
		if (pid == 0) {
			/* A handler does not help. */
			signal(SIGSYS, SIG_IGN);
			for (int k = 0; k < 20; k++)
				getppid();
			seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL);
			syscall(calls[i], 3);
			syscall(SYS_exit, 1);
		}
		CHECK_KILLED(pid, SIGKILL);
	}
}

static void *victim(void *arg)
{
	getsid(0);
	return arg;
}

TEST(kill_thread_and_process)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		FILTER(ONE(SYS_getsid, SECCOMP_RET_KILL_THREAD));
		pthread_t t;
		CHECK_EQ(pthread_create(&t, NULL, victim, NULL), 0);
		CHECK_EQ(pthread_join(t, NULL), 0); /* it is gone, we are not */
		_exit(9);
	}
	CHECK_EXIT(pid, 9);
	pid = CHECK_OK(fork());
	if (pid == 0) {
		FILTER(ONE(SYS_getsid, SECCOMP_RET_KILL_PROCESS));
		pthread_t t;
		CHECK_EQ(pthread_create(&t, NULL, victim, NULL), 0);
		pthread_join(t, NULL);
		_exit(9);
	}
	CHECK_KILLED(pid, SIGSYS);
	/* The last thread takes the process along. */
	pid = CHECK_OK(fork());
	if (pid == 0) {
		signal(SIGSYS, SIG_IGN);
		FILTER(ONE(SYS_getsid, SECCOMP_RET_KILL_THREAD));
		getsid(0);
		_exit(9);
	}
	CHECK_KILLED(pid, SIGSYS);
}

TEST(fork_and_exec_inherit)
{
	FILTER(ONE(SYS_uname, SECCOMP_RET_ERRNO | 88));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		struct utsname u;
		CHECK_ERR(uname(&u), 88);
		execl(test_self, test_self, "-1", "after_exec", NULL);
		_exit(1);
	}
	CHECK_EXIT(pid, 0);
}

TEST(after_exec)
{
	char word[32];
	status_line("Seccomp_filters:", word);
	if (strcmp(word, "1") != 0)
		SKIP("runs as part of another");
	struct utsname u;
	CHECK_ERR(uname(&u), 88);
}

static int gate[2], answer[2];

static void *waits(void *arg)
{
	char c;
	long r = 0;
	if (arg) {
		FILTER(ONE(SYS_getpgid, SECCOMP_RET_ERRNO | 1));
	}
	if (write(answer[1], "r", 1) != 1 || read(gate[0], &c, 1) != 1)
		return (void *)-1L;
	r = syscall(SYS_getppid) < 0 ? errno : 0;
	return (void *)r;
}

TEST(all_threads_follow)
{
	pthread_t t;
	char c;
	void *r;
	CHECK_OK(pipe(gate));
	CHECK_OK(pipe(answer));
	struct sock_filter code[] = ONE(SYS_getppid, SECCOMP_RET_ERRNO | 77);
	CHECK_EQ(pthread_create(&t, NULL, waits, NULL), 0);
	CHECK_EQ(read(answer[0], &c, 1), 1);
	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK_EQ(filter_with(SECCOMP_FILTER_FLAG_TSYNC, code, 4), 0);
	CHECK_ERR(syscall(SYS_getppid), 77);
	CHECK_EQ(write(gate[1], "g", 1), 1);
	CHECK_EQ(pthread_join(t, &r), 0);
	CHECK_EQ((long)r, 77);
	/* One that has a filter of its own cannot. */
	CHECK_EQ(pthread_create(&t, NULL, waits, (void *)1), 0);
	CHECK_EQ(read(answer[0], &c, 1), 1);
	CHECK(filter_with(SECCOMP_FILTER_FLAG_TSYNC, code, 4) > 0);
	CHECK_ERR(filter_with(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, code, 4), ESRCH);
	CHECK_EQ(write(gate[1], "g", 1), 1);
	CHECK_EQ(pthread_join(t, &r), 0);
}

TEST(the_path_is_limited)
{
	static struct sock_filter code[4096];
	for (int i = 0; i < 4095; i++)
		code[i] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, 0);
	code[4095] = (struct sock_filter)RET(SECCOMP_RET_ALLOW);
	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	int n = 0;
	while (filter_with(0, code, 4096) == 0)
		n++;
	CHECK_EQ(errno, ENOMEM);
	CHECK_EQ(n, 7);
}

TEST(user_notification_without_a_listener)
{
	FILTER(ONE(SYS_getsid, SECCOMP_RET_USER_NOTIF));
	CHECK_ERR(getsid(0), ENOSYS);
}

TEST(trace_without_a_tracer)
{
	FILTER(ONE(SYS_getsid, SECCOMP_RET_TRACE | 3));
	CHECK_ERR(getsid(0), ENOSYS);
}

TEST(trace)
{
	pid_t p = CHECK_OK(fork());
	int st;
	if (p == 0) {
		CHECK_EQ(ptrace(PTRACE_TRACEME, 0, 0, 0), 0);
		raise(SIGSTOP);
		FILTER(ONE(SYS_getsid, SECCOMP_RET_TRACE | 3));
		FILTER(ONE(SYS_getpgrp, SECCOMP_RET_ERRNO | 44));
		CHECK_EQ(syscall(SYS_getsid, 0), getpid()); /* another call in its place */
		CHECK_EQ(syscall(SYS_getsid, 0), 1234);	    /* skipped */
		CHECK_ERR(syscall(SYS_getsid, 0), 44);	    /* its new number is filtered, too */
		_exit(6);
	}
	CHECK_EQ(waitpid(p, &st, 0), p);
	CHECK_EQ(ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
		CHECK_EQ(waitpid(p, &st, 0), p);
		CHECK_EQ(st >> 8, SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
		unsigned long value;
		CHECK_EQ(ptrace(PTRACE_GETEVENTMSG, p, 0, &value), 0);
		CHECK_EQ(value, 3);
		struct user_regs_struct r;
		CHECK_EQ(ptrace(PTRACE_GETREGS, p, 0, &r), 0);
		CHECK_EQ(r.orig_rax, SYS_getsid);
		CHECK_EQ((long)r.rax, -ENOSYS);
		struct __ptrace_syscall_info info;
		CHECK(ptrace(PTRACE_GET_SYSCALL_INFO, p, sizeof info, &info) > 0);
		CHECK_EQ(info.op, PTRACE_SYSCALL_INFO_SECCOMP);
		CHECK_EQ(info.seccomp.nr, SYS_getsid);
		CHECK_EQ(info.seccomp.ret_data, 3);
		if (i == 0)
			r.orig_rax = SYS_getpid;
		if (i == 1) {
			r.orig_rax = -1;
			r.rax = 1234;
		}
		if (i == 2)
			r.orig_rax = SYS_getpgrp;
		CHECK_EQ(ptrace(PTRACE_SETREGS, p, 0, &r), 0);
	}
	CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
	CHECK_EQ(waitpid(p, &st, 0), p);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 6);
}

/* Calls that wait are filtered once, and again when a handler made them begin again. */
static void nothing(int signo)
{
	(void)signo;
}

TEST(restarted_calls)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	struct sigaction sa = {.sa_handler = nothing, .sa_flags = SA_RESTART};
	CHECK_OK(sigaction(SIGUSR1, &sa, NULL));
	FILTER(ONE(SYS_getsid, SECCOMP_RET_ERRNO | 1));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		msleep(30);
		kill(getppid(), SIGUSR1);
		msleep(30);
		_exit(write(ends[1], "x", 1) != 1);
	}
	char c;
	CHECK_EQ(read(ends[0], &c, 1), 1);
	CHECK_EXIT(pid, 0);
}

TEST_MAIN
