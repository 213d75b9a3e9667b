/* ptrace(2): how tracers and tracees end, vfork, set-id programs, vector state. */
#include "../test.h"
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

static int stop_of(pid_t tid)
{
	int st;
	CHECK_EQ(waitpid(tid, &st, __WALL), tid);
	CHECK(WIFSTOPPED(st));
	return st >> 8;
}

static pid_t sleeper(void)
{
	pid_t p = CHECK_OK(fork());
	if (p == 0) {
		prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
		for (;;)
			pause();
	}
	return p;
}

/* A tracer of `p` that ends when it has done its part. */
static pid_t tracer(pid_t p, int options, int how, int ends_by)
{
	pid_t t = CHECK_OK(fork());
	if (t == 0) {
		CHECK_EQ(ptrace(PTRACE_SEIZE, p, 0, options), 0);
		if (how) {
			CHECK_EQ(ptrace(PTRACE_INTERRUPT, p, 0, 0), 0);
			CHECK_EQ(stop_of(p), SIGTRAP | PTRACE_EVENT_STOP << 8);
		}
		if (ends_by)
			raise(ends_by);
		_exit(0);
	}
	return t;
}

TEST(exitkill)
{
	for (int how = 0; how < 2; how++) {
		pid_t p = sleeper();
		CHECK_EXIT(tracer(p, PTRACE_O_EXITKILL, how, 0), 0);
		CHECK_KILLED(p, SIGKILL);
		p = sleeper();
		CHECK_KILLED(tracer(p, PTRACE_O_EXITKILL, how, SIGKILL), SIGKILL);
		CHECK_KILLED(p, SIGKILL);
	}
}

TEST(tracees_survive_their_tracer)
{
	for (int how = 0; how < 2; how++) {
		pid_t p = sleeper();
		CHECK_KILLED(tracer(p, 0, how, SIGKILL), SIGKILL);
		/* It is nobody's, runs, and can be had again. */
		int st;
		EVENTUALLY(process_state(p) == 'S');
		CHECK_EQ(waitpid(p, &st, WNOHANG), 0);
		CHECK_EXIT(tracer(p, 0, 1, 0), 0);
		EVENTUALLY(process_state(p) == 'S');
		CHECK_OK(kill(p, SIGTERM));
		CHECK_KILLED(p, SIGTERM);
	}
}

TEST(a_stopped_process_stays_so)
{
	pid_t p = sleeper();
	int st;
	CHECK_OK(kill(p, SIGSTOP));
	CHECK_EQ(waitpid(p, &st, WUNTRACED), p);
	pid_t t = CHECK_OK(fork());
	if (t == 0) {
		CHECK_EQ(ptrace(PTRACE_SEIZE, p, 0, 0), 0);
		CHECK_EQ(stop_of(p), SIGSTOP | PTRACE_EVENT_STOP << 8);
		_exit(0);
	}
	CHECK_EXIT(t, 0);
	EVENTUALLY(process_state(p) == 'T');
	CHECK_OK(kill(p, SIGCONT));
	EVENTUALLY(process_state(p) == 'S');
	CHECK_OK(kill(p, SIGKILL));
	CHECK_KILLED(p, SIGKILL);
}

/* The tracer is not the parent: it learns of the end first, and then the parent does. */
TEST(the_tracer_first)
{
	int ends[2];
	CHECK_OK(pipe(ends));
	pid_t p = sleeper();
	pid_t t = CHECK_OK(fork());
	if (t == 0) {
		int st;
		CHECK_EQ(ptrace(PTRACE_SEIZE, p, 0, 0), 0);
		CHECK_OK(kill(p, SIGKILL));
		siginfo_t info;
		CHECK_OK(waitid(P_PID, p, &info, WEXITED | WNOWAIT));
		CHECK_EQ(write(ends[1], "x", 1), 1);
		msleep(50);
		CHECK_EQ(waitpid(p, &st, 0), p);
		CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
		_exit(0);
	}
	char c;
	int st;
	CHECK_EQ(read(ends[0], &c, 1), 1);
	CHECK_EQ(waitpid(p, &st, WNOHANG), 0);
	CHECK_KILLED(p, SIGKILL);
	CHECK_EXIT(t, 0);
}

TEST(exit_event_and_a_dying_tracer)
{
	pid_t p = sleeper();
	pid_t t = CHECK_OK(fork());
	if (t == 0) {
		CHECK_EQ(ptrace(PTRACE_SEIZE, p, 0, PTRACE_O_TRACEEXIT), 0);
		CHECK_OK(kill(p, SIGTERM));
		CHECK_EQ(stop_of(p), SIGTERM);
		CHECK_EQ(ptrace(PTRACE_CONT, p, 0, SIGTERM), 0);
		CHECK_EQ(stop_of(p), SIGTRAP | PTRACE_EVENT_EXIT << 8);
		unsigned long status;
		CHECK_EQ(ptrace(PTRACE_GETEVENTMSG, p, 0, &status), 0);
		CHECK_EQ(status, SIGTERM);
		_exit(0);
	}
	CHECK_EXIT(t, 0);
	CHECK_KILLED(p, SIGTERM);
}

TEST(vfork_events)
{
	pid_t p = CHECK_OK(fork());
	if (p == 0) {
		CHECK_EQ(ptrace(PTRACE_TRACEME, 0, 0, 0), 0);
		raise(SIGSTOP);
		pid_t q = vfork();
		if (q == 0)
			_exit(3);
		CHECK_EXIT(q, 3);
		_exit(4);
	}
	CHECK_EQ(stop_of(p), SIGSTOP);
	CHECK_EQ(ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE | PTRACE_O_EXITKILL),
		 0);
	CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
	CHECK_EQ(stop_of(p), SIGTRAP | PTRACE_EVENT_VFORK << 8);
	unsigned long q, done;
	int st;
	CHECK_EQ(ptrace(PTRACE_GETEVENTMSG, p, 0, &q), 0);
	CHECK_EQ(stop_of(q), SIGSTOP);
	CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
	/* The parent waits as long as the child has its memory. */
	msleep(20);
	CHECK_EQ(waitpid(p, &st, WNOHANG), 0);
	CHECK_EQ(ptrace(PTRACE_CONT, q, 0, 0), 0);
	CHECK_EQ(waitpid(q, &st, __WALL), (pid_t)q);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 3);
	CHECK_EQ(stop_of(p), SIGTRAP | PTRACE_EVENT_VFORK_DONE << 8);
	CHECK_EQ(ptrace(PTRACE_GETEVENTMSG, p, 0, &done), 0);
	CHECK_EQ(done, q);
	for (;;) {
		CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
		CHECK_EQ(waitpid(p, &st, 0), p);
		if (!WIFSTOPPED(st))
			break;
		CHECK_EQ(WSTOPSIG(st), SIGCHLD);
	}
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 4);
}

/* Without the option the parent tells nothing. */
TEST(vfork_done_alone)
{
	pid_t p = CHECK_OK(fork());
	if (p == 0) {
		CHECK_EQ(ptrace(PTRACE_TRACEME, 0, 0, 0), 0);
		raise(SIGSTOP);
		signal(SIGCHLD, SIG_IGN);
		if (vfork() == 0)
			_exit(3);
		_exit(4);
	}
	CHECK_EQ(stop_of(p), SIGSTOP);
	CHECK_EQ(ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACEVFORKDONE | PTRACE_O_EXITKILL), 0);
	CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
	CHECK_EQ(stop_of(p), SIGTRAP | PTRACE_EVENT_VFORK_DONE << 8);
	CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
	CHECK_EXIT(p, 4);
}

static int may_trace_all(void)
{
	char text[8192];
	get_file("/proc/self/status", text, sizeof text);
	char *at = strstr(text, "CapEff:");
	CHECK(at != NULL);
	return strtoull(at + 7, NULL, 16) >> 19 & 1; /* CAP_SYS_PTRACE */
}

/* Whoever traces a set-id program must have its rights, or it gets none. */
TEST(set_id_programs)
{
	if (geteuid() != 0)
		SKIP("only root makes such programs");
	char text[64];
	char command[300];
	snprintf(command, sizeof command, "cp %s ./tool && chmod 4755 ./tool && chmod 755 .", test_self);
	CHECK_EQ(system(command), 0);
	/* Untraced; traced by a plain user; by root, but asked for by the program itself; seized by root. */
	for (int traced = 0; traced < 3 + may_trace_all(); traced++) {
		int ends[2];
		CHECK_OK(pipe(ends));
		pid_t t = CHECK_OK(fork());
		if (t == 0) {
			if (traced < 2)
				become_user();
			pid_t p = CHECK_OK(fork());
			if (p == 0) {
				become_user();
				dup2(ends[1], 1);
				if (traced == 1 || traced == 2)
					CHECK_EQ(ptrace(PTRACE_TRACEME, 0, 0, 0), 0);
				if (traced)
					raise(SIGSTOP);
				execl("./tool", "./tool", "-1", "who", NULL);
				_exit(1);
			}
			int st;
			CHECK_EQ(waitpid(p, &st, WUNTRACED), p);
			if (traced == 3) {
				CHECK_EQ(ptrace(PTRACE_SEIZE, p, 0, 0), 0);
				CHECK_OK(kill(p, SIGCONT));
				CHECK_EQ(waitpid(p, &st, 0), p);
			}
			while (WIFSTOPPED(st)) {
				int signo = WSTOPSIG(st);
				CHECK_EQ(ptrace(PTRACE_CONT, p, 0, signo == SIGTRAP || signo == SIGSTOP ? 0 : signo), 0);
				CHECK_EQ(waitpid(p, &st, 0), p);
			}
			_exit(WEXITSTATUS(st));
		}
		CHECK_EXIT(t, 0);
		close(ends[1]);
		ssize_t n = CHECK_OK(read(ends[0], text, sizeof text - 1));
		text[n] = 0;
		if (traced == 0 && strncmp(text, "euid 0\n", 7) != 0)
			SKIP("set-id bits mean nothing here");
		int kept = traced == 0 || traced == 3;
		CHECK_EQ(strncmp(text, kept ? "euid 0\n" : "euid 65534\n", kept ? 7 : 11), 0);
		close(ends[0]);
	}
}

TEST(who)
{
	printf("euid %d\n", geteuid());
}

static volatile double seen[2] __attribute__((aligned(16)));

TEST(vector_state)
{
	pid_t p = CHECK_OK(fork());
	if (p == 0) {
		CHECK_EQ(ptrace(PTRACE_TRACEME, 0, 0, 0), 0);
		double mine[2] __attribute__((aligned(16))) = {1.5, 2.5};
		__asm__ volatile("movapd %1, %%xmm7\n\tint3\n\tmovapd %%xmm7, %0"
				 : "=m"(seen)
				 : "m"(mine)
				 : "xmm7", "memory");
		_exit(seen[0] == 7.25 && seen[1] == -1.0 ? 9 : 8);
	}
	CHECK_EQ(stop_of(p), SIGTRAP);
	static unsigned char set[16384];
	struct iovec v = {set, sizeof set};
	CHECK_EQ(ptrace(PTRACE_GETREGSET, p, NT_X86_XSTATE, &v), 0);
	CHECK(v.iov_len >= 576 && v.iov_len < sizeof set);
	double *xmm7 = (double *)(set + 160 + 7 * 16);
	CHECK_EQ(xmm7[0] == 1.5, 1);
	CHECK_EQ(xmm7[1] == 2.5, 1);
	xmm7[0] = 7.25;
	xmm7[1] = -1.0;
	/* The state of the vector registers counts as there. */
	set[512] |= 2;
	size_t full = v.iov_len;
	CHECK_EQ(ptrace(PTRACE_SETREGSET, p, NT_X86_XSTATE, &v), 0);
	memset(set, 0, 64);
	v.iov_len = full;
	CHECK_EQ(ptrace(PTRACE_GETREGSET, p, NT_X86_XSTATE, &v), 0);
	CHECK_EQ(xmm7[0] == 7.25, 1);
	/* Features that no processor has are refused, and other sizes. */
	set[519] = 0x40;
	v.iov_len = full;
	CHECK_ERR(ptrace(PTRACE_SETREGSET, p, NT_X86_XSTATE, &v), EINVAL);
	set[519] = 0;
	v.iov_len = 9;
	CHECK_ERR(ptrace(PTRACE_SETREGSET, p, NT_X86_XSTATE, &v), EINVAL);
	struct user_fpregs_struct fp;
	CHECK_EQ(ptrace(PTRACE_GETFPREGS, p, 0, &fp), 0);
	CHECK_EQ(memcmp(&fp.xmm_space[7 * 4], xmm7, 16), 0);
	CHECK_EQ(ptrace(PTRACE_CONT, p, 0, 0), 0);
	CHECK_EXIT(p, 9);
}

TEST_MAIN
