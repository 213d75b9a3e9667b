/* Signals: delivery, masks, restart, queues, frames. */
#include "../test.h"
#include <setjmp.h>
#include <sys/time.h>
#include <ucontext.h>

static volatile sig_atomic_t seen, order[100], codes[100], values[100], senders[100];

static void record(int signo, siginfo_t *info, void *context)
{
	(void)context;
	int n = seen++;
	order[n] = signo;
	codes[n] = info->si_code;
	values[n] = info->si_value.sival_int;
	senders[n] = info->si_pid;
}

static void on(int signo, int flags)
{
	struct sigaction action = {.sa_sigaction = record, .sa_flags = SA_SIGINFO | flags};
	CHECK_OK(sigaction(signo, &action, NULL));
}

static void block(int signo)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, signo);
	CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
}

static void unblock(int signo)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, signo);
	CHECK_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
}

TEST(handler_runs)
{
	on(SIGUSR1, 0);
	CHECK_OK(kill(getpid(), SIGUSR1));
	CHECK_EQ(seen, 1);
	CHECK_EQ(order[0], SIGUSR1);
	CHECK_EQ(codes[0], SI_USER);
	CHECK_EQ(senders[0], getpid());
	CHECK_OK(raise(SIGUSR1));
	CHECK_EQ(seen, 2);
	CHECK_EQ(codes[1], SI_TKILL);
}

TEST(blocked_stays_pending)
{
	on(SIGUSR1, 0);
	block(SIGUSR1);
	raise(SIGUSR1);
	raise(SIGUSR1);
	CHECK_EQ(seen, 0);
	sigset_t pending;
	CHECK_OK(sigpending(&pending));
	CHECK(sigismember(&pending, SIGUSR1) == 1 && sigismember(&pending, SIGUSR2) == 0);
	unblock(SIGUSR1);
	CHECK_EQ(seen, 1);
	CHECK_OK(sigpending(&pending));
	CHECK_EQ(sigismember(&pending, SIGUSR1), 0);
	/* Ignoring drops what is pending. */
	block(SIGUSR1);
	raise(SIGUSR1);
	signal(SIGUSR1, SIG_IGN);
	on(SIGUSR1, 0);
	unblock(SIGUSR1);
	CHECK_EQ(seen, 1);
}

TEST(real_time_signals_queue)
{
	on(SIGRTMIN + 1, 0);
	on(SIGRTMIN + 2, 0);
	on(SIGUSR1, 0);
	block(SIGRTMIN + 1);
	block(SIGRTMIN + 2);
	block(SIGUSR1);
	for (int i = 0; i < 5; i++)
		CHECK_OK(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = 20 + i}));
	for (int i = 0; i < 5; i++)
		CHECK_OK(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 10 + i}));
	CHECK_OK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 1}));
	sigset_t none, got;
	sigemptyset(&none);
	sigset_t all;
	sigfillset(&all);
	/* Taken one by one: lowest number first, first in first out. */
	siginfo_t info;
	CHECK_EQ(sigwaitinfo(&all, &info), SIGUSR1);
	CHECK_EQ(info.si_code, SI_QUEUE);
	CHECK_EQ(info.si_value.sival_int, 1);
	CHECK_EQ(info.si_pid, getpid());
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(sigwaitinfo(&all, &info), SIGRTMIN + 1);
		CHECK_EQ(info.si_value.sival_int, 10 + i);
	}
	CHECK_OK(sigprocmask(SIG_SETMASK, &none, &got));
	CHECK_EQ(seen, 5);
	struct timespec zero = {0, 0};
	CHECK_ERR(sigtimedwait(&all, &info, &zero), EAGAIN);
	struct timespec bad = {0, 2000000000};
	CHECK_ERR(sigtimedwait(&all, &info, &bad), EINVAL);
}

TEST(sigwait_timeout)
{
	block(SIGUSR1);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	int64_t start = now_ns();
	struct timespec wait = {0, 30000000};
	CHECK_ERR(sigtimedwait(&set, NULL, &wait), EAGAIN);
	CHECK(now_ns() - start >= 30000000);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		msleep(20);
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	siginfo_t info;
	CHECK_EQ(sigwaitinfo(&set, &info), SIGUSR1);
	CHECK_EQ(info.si_pid, pid);
	CHECK_EQ(info.si_uid, getuid());
	CHECK_EXIT(pid, 0);
}

static sigset_t mask_inside;
static volatile int nested_depth;

static void nesting(int signo)
{
	sigprocmask(0, NULL, &mask_inside);
	nested_depth++;
	if (signo == SIGUSR1 && nested_depth == 1) {
		raise(SIGUSR1);
		raise(SIGUSR2);
		raise(SIGHUP);
		CHECK_EQ(nested_depth, 2);
	}
}

TEST(mask_while_handling)
{
	struct sigaction action = {.sa_handler = nesting};
	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGHUP);
	CHECK_OK(sigaction(SIGUSR1, &action, NULL));
	sigemptyset(&action.sa_mask);
	CHECK_OK(sigaction(SIGUSR2, &action, NULL));
	CHECK_OK(sigaction(SIGHUP, &action, NULL));
	raise(SIGUSR1);
	CHECK_EQ(nested_depth, 4);
	sigset_t now;
	CHECK_OK(sigprocmask(0, NULL, &now));
	CHECK(sigismember(&now, SIGUSR1) == 0 && sigismember(&now, SIGHUP) == 0);
}

TEST(action_flags)
{
	on(SIGUSR1, SA_RESETHAND);
	raise(SIGUSR1);
	struct sigaction old;
	CHECK_OK(sigaction(SIGUSR1, NULL, &old));
	CHECK(old.sa_handler == SIG_DFL);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		raise(SIGUSR1);
		_exit(0);
	}
	CHECK_KILLED(pid, SIGUSR1);
	CHECK_ERR(sigaction(SIGKILL, &old, NULL), EINVAL);
	CHECK_ERR(sigaction(SIGSTOP, &old, NULL), EINVAL);
	CHECK_ERR(sigaction(65, NULL, &old), EINVAL);
	CHECK_ERR(sigaction(0, NULL, &old), EINVAL);
	CHECK_ERR(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &old, 4), EINVAL);
	CHECK_ERR(syscall(SYS_rt_sigprocmask, 99, &old, NULL, 8), EINVAL);
	sigset_t all, now;
	sigfillset(&all);
	CHECK_OK(sigprocmask(SIG_BLOCK, &all, NULL));
	CHECK_OK(sigprocmask(0, NULL, &now));
	CHECK(sigismember(&now, SIGKILL) == 0 && sigismember(&now, SIGSTOP) == 0 && sigismember(&now, SIGTERM) == 1);
}

TEST(default_actions)
{
	static const int kills[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGILL, SIGTRAP, SIGABRT,   SIGBUS, SIGFPE,  SIGKILL,
				    SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM,  SIGXCPU, SIGXFSZ, SIGVTALRM,
				    SIGPROF, SIGIO,   SIGSYS,  SIGPWR,  SIGSTKFLT, 40,     64};
	for (unsigned i = 0; i < sizeof kills / sizeof *kills; i++) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			prctl(PR_SET_DUMPABLE, 0);
			kill(getpid(), kills[i]);
			_exit(0);
		}
		CHECK_KILLED(pid, kills[i]);
	}
	static const int passes[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
	for (unsigned i = 0; i < sizeof passes / sizeof *passes; i++)
		CHECK_OK(kill(getpid(), passes[i]));
}

/* Lets a child send us SIGUSR1 a little later. */
static pid_t poke_soon(int signo)
{
	pid_t parent = getpid(), pid = CHECK_OK(fork());
	if (pid == 0) {
		msleep(30);
		kill(parent, signo);
		msleep(30);
		kill(parent, SIGUSR2);
		_exit(0);
	}
	return pid;
}

TEST(interrupted_without_restart)
{
	on(SIGUSR1, 0);
	signal(SIGUSR2, SIG_IGN);
	int ends[2];
	char c;
	CHECK_OK(pipe(ends));
	pid_t pid = poke_soon(SIGUSR1);
	CHECK_ERR(read(ends[0], &c, 1), EINTR);
	CHECK_EXIT(pid, 0);
	pid = poke_soon(SIGUSR1);
	CHECK_ERR(poll(NULL, 0, -1), EINTR);
	CHECK_EXIT(pid, 0);
	pid = poke_soon(SIGUSR1);
	CHECK_ERR(pause(), EINTR);
	CHECK_EXIT(pid, 0);
	pid = poke_soon(SIGUSR1);
	int status;
	CHECK_ERR(waitpid(-1, &status, 0), EINTR);
	CHECK_EXIT(pid, 0);
	pid = poke_soon(SIGUSR1);
	struct timespec wait = {10, 0}, left = {0, 0};
	CHECK_ERR(nanosleep(&wait, &left), EINTR);
	CHECK(left.tv_sec == 9 && left.tv_nsec > 0);
	CHECK_EXIT(pid, 0);
	pid = poke_soon(SIGUSR1);
	int word = 0;
	CHECK_ERR(syscall(SYS_futex, &word, 0, 0, NULL, NULL, 0), EINTR);
	CHECK_EXIT(pid, 0);
	pid = poke_soon(SIGUSR1);
	CHECK_ERR(syscall(SYS_futex, &word, 0, 0, &wait, NULL, 0), EINTR);
	CHECK_EXIT(pid, 0);
	static char block_of[1 << 20];
	pid = poke_soon(SIGUSR1);
	ssize_t part = CHECK_OK(write(ends[1], block_of, sizeof block_of));
	CHECK(part >= 4096 && part < (ssize_t)sizeof block_of);
	CHECK_EXIT(pid, 0);
	pid = poke_soon(SIGUSR1);
	CHECK_ERR(write(ends[1], block_of, sizeof block_of), EINTR);
	CHECK_EXIT(pid, 0);
	CHECK_EQ(seen, 9);
}

TEST(restarted)
{
	on(SIGUSR1, SA_RESTART);
	int ends[2];
	char c = 0;
	CHECK_OK(pipe(ends));
	pid_t parent = getpid(), pid = CHECK_OK(fork());
	if (pid == 0) {
		for (int i = 0; i < 5; i++) {
			msleep(10);
			kill(parent, SIGUSR1);
		}
		msleep(10);
		CHECK_EQ(write(ends[1], "z", 1), 1);
		msleep(20);
		kill(parent, SIGUSR1);
		msleep(20);
		_exit(5);
	}
	CHECK_EQ(read(ends[0], &c, 1), 1);
	CHECK_EQ(c, 'z');
	CHECK_EXIT(pid, 5);
	CHECK_EQ(seen, 6);
	/* poll and nanosleep never restart. */
	signal(SIGUSR2, SIG_IGN);
	pid = poke_soon(SIGUSR1);
	CHECK_ERR(poll(NULL, 0, 5000), EINTR);
	CHECK_EXIT(pid, 0);
	pid = poke_soon(SIGUSR1);
	struct timespec wait = {5, 0};
	CHECK_ERR(nanosleep(&wait, NULL), EINTR);
	CHECK_EXIT(pid, 0);
	/* A futex wait without a limit does. */
	static int word;
	pid = poke_soon(SIGUSR1);
	struct sigaction plain = {.sa_sigaction = record, .sa_flags = SA_SIGINFO};
	CHECK_OK(sigaction(SIGUSR2, &plain, NULL));
	int before = seen;
	CHECK_ERR(syscall(SYS_futex, &word, 0, 0, NULL, NULL, 0), EINTR);
	CHECK_EQ(seen, before + 2);
	CHECK_EXIT(pid, 0);
}

TEST(no_handler_no_interruption)
{
	/* An ignored signal, and stop and continue, do not end a wait. */
	signal(SIGUSR1, SIG_IGN);
	int ends[2];
	CHECK_OK(pipe(ends));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		char c;
		_exit(read(ends[0], &c, 1) == 1 ? 8 : 9);
	}
	msleep(10);
	CHECK_OK(kill(pid, SIGUSR1));
	CHECK_OK(kill(pid, SIGSTOP));
	int status;
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK_OK(kill(pid, SIGCONT));
	CHECK_EQ(waitpid(pid, &status, WCONTINUED), pid);
	CHECK(WIFCONTINUED(status));
	msleep(10);
	CHECK_EQ(write(ends[1], "x", 1), 1);
	CHECK_EXIT(pid, 8);
}

TEST(sigsuspend_swaps_the_mask)
{
	on(SIGUSR1, 0);
	signal(SIGUSR2, SIG_IGN);
	block(SIGUSR1);
	raise(SIGUSR1);
	CHECK_EQ(seen, 0);
	sigset_t none, now;
	sigemptyset(&none);
	CHECK_ERR(sigsuspend(&none), EINTR);
	CHECK_EQ(seen, 1);
	CHECK_OK(sigprocmask(0, NULL, &now));
	CHECK_EQ(sigismember(&now, SIGUSR1), 1);
	raise(SIGUSR1);
	CHECK_ERR(ppoll(NULL, 0, NULL, &none), EINTR);
	CHECK_EQ(seen, 2);
	CHECK_OK(sigprocmask(0, NULL, &now));
	CHECK_EQ(sigismember(&now, SIGUSR1), 1);
}

static char *volatile stack_low, *volatile stack_high, *volatile was_at;
static volatile stack_t stack_inside;

static void on_stack(int signo)
{
	(void)signo;
	char here;
	was_at = &here;
	sigaltstack(NULL, (stack_t *)&stack_inside);
}

TEST(alternate_stack)
{
	stack_t stack = {malloc(65536), 0, 65536}, old;
	stack_low = stack.ss_sp;
	stack_high = stack_low + 65536;
	CHECK_OK(sigaltstack(&stack, &old));
	CHECK(old.ss_flags & SS_DISABLE);
	struct sigaction action = {.sa_handler = on_stack, .sa_flags = SA_ONSTACK};
	CHECK_OK(sigaction(SIGUSR1, &action, NULL));
	action.sa_flags = 0;
	CHECK_OK(sigaction(SIGUSR2, &action, NULL));
	raise(SIGUSR1);
	CHECK(was_at > stack_low && was_at < stack_high);
	CHECK_EQ(stack_inside.ss_flags, SS_ONSTACK);
	raise(SIGUSR2);
	CHECK(was_at < stack_low || was_at > stack_high);
	CHECK_OK(sigaltstack(NULL, &old));
	CHECK_EQ(old.ss_flags, 0);
	CHECK_EQ(old.ss_size, 65536);
	stack.ss_size = 100;
	CHECK_ERR(sigaltstack(&stack, NULL), ENOMEM);
	stack.ss_size = 65536;
	stack.ss_flags = 77;
	CHECK_ERR(sigaltstack(&stack, NULL), EINVAL);
	stack.ss_flags = SS_DISABLE;
	CHECK_OK(sigaltstack(&stack, NULL));
	raise(SIGUSR1);
	CHECK(was_at < stack_low || was_at > stack_high);
}

static sigjmp_buf jump;

static void jumping(int signo)
{
	siglongjmp(jump, signo);
}

TEST(jumping_out_of_a_handler)
{
	signal(SIGUSR1, jumping);
	for (volatile int i = 0; i < 100; i++) {
		if (sigsetjmp(jump, 1) == 0) {
			raise(SIGUSR1);
			test_fail(__FILE__, __LINE__, "came back");
		}
	}
	sigset_t now;
	CHECK_OK(sigprocmask(0, NULL, &now));
	CHECK_EQ(sigismember(&now, SIGUSR1), 0);
	if (sigsetjmp(jump, 0) == 0)
		raise(SIGUSR1);
	CHECK_OK(sigprocmask(0, NULL, &now));
	CHECK_EQ(sigismember(&now, SIGUSR1), 1);
}

static void change_registers(int signo, siginfo_t *info, void *context)
{
	(void)info;
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	if (signo == SIGILL)
		regs[REG_RIP] += 2;
	regs[REG_RAX] = 0x1234567890;
	regs[REG_R12] ^= 0xff;
}

TEST(frame_can_be_edited)
{
	struct sigaction action = {.sa_sigaction = change_registers, .sa_flags = SA_SIGINFO};
	CHECK_OK(sigaction(SIGILL, &action, NULL));
	uint64_t rax = 0, r12 = 0x5500;
	__asm__ volatile("mov %1, %%r12; ud2; mov %%r12, %1" : "=a"(rax), "+r"(r12) : : "r12", "memory");
	CHECK_EQ(rax, 0x1234567890);
	CHECK_EQ(r12, 0x55ff);
}

static volatile int fault_signo, fault_code;
static void *volatile fault_at;
static volatile uintptr_t fault_rip;

static void record_fault(int signo, siginfo_t *info, void *context)
{
	fault_signo = signo;
	fault_code = info->si_code;
	fault_at = info->si_addr;
	fault_rip = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	siglongjmp(jump, 1);
}

#define FAULT_OF(statement)                                                                                            \
	({                                                                                                             \
		fault_signo = 0;                                                                                       \
		if (sigsetjmp(jump, 1) == 0) {                                                                         \
			statement;                                                                                     \
		}                                                                                                      \
		fault_signo;                                                                                           \
	})

TEST(faults_and_their_codes)
{
	struct sigaction action = {.sa_sigaction = record_fault, .sa_flags = SA_SIGINFO};
	for (const int *s = (int[]){SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP, 0}; *s; s++)
		CHECK_OK(sigaction(*s, &action, NULL));
	CHECK_EQ(FAULT_OF(__asm__ volatile("ud2")), SIGILL);
	CHECK_EQ(fault_code, ILL_ILLOPN);
	CHECK(fault_at == (void *)fault_rip);
	CHECK_EQ(FAULT_OF(__asm__ volatile("xor %%edx, %%edx; mov $1, %%eax; xor %%ecx, %%ecx; div %%ecx" ::
						   : "rax", "rcx", "rdx", "cc")),
		 SIGFPE);
	CHECK_EQ(fault_code, FPE_INTDIV);
	CHECK(fault_at == (void *)fault_rip);
	CHECK_EQ(FAULT_OF(__asm__ volatile("int3")), SIGTRAP);
	CHECK_EQ(fault_code, SI_KERNEL);
	CHECK_EQ(FAULT_OF(__asm__ volatile("hlt")), SIGSEGV);
	CHECK_EQ(fault_code, SI_KERNEL);
	CHECK(fault_at == NULL);
	CHECK_EQ(FAULT_OF(__asm__ volatile("mov $0x10, %%eax; mov (%%rax), %%eax" ::: "rax")), SIGSEGV);
	CHECK_EQ(fault_code, SEGV_MAPERR);
	CHECK(fault_at == (void *)0x10);
	CHECK_EQ(FAULT_OF(__asm__ volatile("mov $0x20, %%eax; jmp *%%rax" ::: "rax")), SIGSEGV);
	CHECK(fault_at == (void *)0x20 && fault_rip == 0x20);
	CHECK_EQ(FAULT_OF(({
			 unsigned int csr = 0x1f80 & ~0x200;
			 volatile double zero = 0.0, one = 1.0;
			 __asm__ volatile("ldmxcsr %0" : : "m"(csr));
			 one /= zero;
		 })),
		 SIGFPE);
	CHECK_EQ(fault_code, FPE_FLTDIV);
}

TEST(blocked_fault_kills)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		on(SIGSEGV, 0);
		block(SIGSEGV);
		*(volatile int *)8 = 1;
		_exit(0);
	}
	CHECK_KILLED(pid, SIGSEGV);
	pid = CHECK_OK(fork());
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		signal(SIGSEGV, SIG_IGN);
		*(volatile int *)8 = 1;
		_exit(0);
	}
	CHECK_KILLED(pid, SIGSEGV);
}

TEST(no_room_for_the_frame)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		on(SIGUSR1, 0);
		__asm__ volatile("mov $0x1000, %%rsp; mov $39, %%eax; syscall; mov %%eax, %%edi; mov $10, %%esi;"
				 "mov $62, %%eax; syscall; ud2" ::
					 : "memory");
	}
	CHECK_KILLED(pid, SIGSEGV);
}

TEST(sigchld_information)
{
	on(SIGCHLD, 0);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		_exit(7);
	EVENTUALLY(seen == 1);
	CHECK_EQ(codes[0], CLD_EXITED);
	CHECK_EQ(senders[0], pid);
	CHECK_EXIT(pid, 7);
	seen = 0;
	pid = CHECK_OK(fork());
	if (pid == 0)
		for (;;)
			pause();
	CHECK_OK(kill(pid, SIGSTOP));
	EVENTUALLY(seen == 1);
	CHECK_EQ(codes[0], CLD_STOPPED);
	CHECK_OK(kill(pid, SIGCONT));
	EVENTUALLY(seen == 2);
	CHECK_EQ(codes[1], CLD_CONTINUED);
	CHECK_OK(kill(pid, SIGKILL));
	EVENTUALLY(seen == 3);
	CHECK_EQ(codes[2], CLD_KILLED);
	CHECK_KILLED(pid, SIGKILL);
	on(SIGCHLD, SA_NOCLDSTOP | SA_NOCLDWAIT);
	seen = 0;
	pid = CHECK_OK(fork());
	if (pid == 0)
		for (;;)
			pause();
	int status;
	CHECK_OK(kill(pid, SIGSTOP));
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK_EQ(seen, 0);
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_ERR(waitpid(pid, &status, 0), ECHILD);
	CHECK_EQ(seen, 1);
}

TEST(stop_and_continue)
{
	volatile int *counter =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		for (;;)
			++*counter;
	EVENTUALLY(*counter > 0);
	int status;
	for (int round = 0; round < 10; round++) {
		CHECK_OK(kill(pid, round % 2 ? SIGTSTP : SIGSTOP));
		CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
		CHECK(WIFSTOPPED(status));
		CHECK_EQ(WSTOPSIG(status), round % 2 ? SIGTSTP : SIGSTOP);
		CHECK_EQ(process_state(pid), 'T');
		int at = *counter;
		msleep(5);
		CHECK_EQ(*counter, at);
		CHECK_EQ(waitpid(pid, &status, WUNTRACED | WNOHANG), 0);
		CHECK_OK(kill(pid, SIGCONT));
		CHECK_EQ(waitpid(pid, &status, WCONTINUED), pid);
		CHECK(WIFCONTINUED(status));
		EVENTUALLY(*counter != at);
	}
	/* A kill reaches a stopped process; another signal waits. */
	CHECK_OK(kill(pid, SIGSTOP));
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK_OK(kill(pid, SIGTERM));
	msleep(5);
	CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_KILLED(pid, SIGKILL);
}

static volatile int stormed;

static void count_it(int signo)
{
	(void)signo;
	stormed++;
}

TEST(signal_storm)
{
	struct sigaction action = {.sa_handler = count_it, .sa_flags = SA_RESTART};
	CHECK_OK(sigaction(SIGUSR1, &action, NULL));
	pid_t parent = getpid(), pid = CHECK_OK(fork());
	if (pid == 0) {
		for (int i = 0; i < 5000; i++)
			kill(parent, SIGUSR1);
		_exit(0);
	}
	/* Work that the storm must not disturb. */
	int status = 0;
	while (waitpid(pid, &status, WNOHANG) == 0) {
		volatile uint64_t x = 0, y = 0;
		for (int i = 0; i < 1000; i++) {
			x = x * 6364136223846793005ULL + i;
			y = y * 6364136223846793005ULL + i;
		}
		CHECK_EQ(x, y);
		CHECK_EQ(getppid() > 0, 1);
	}
	CHECK_EQ(status, 0);
	CHECK(stormed > 0 && stormed <= 5000);
}

TEST_MAIN
