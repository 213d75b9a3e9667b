/* System calls by every door, bad numbers, forged frames, odd segment bases: the machine goes on.
 * Each attack is made by a child; the parent looks at how it ended and that the machine still works. */
#include "../test.h"
#include <sys/ucontext.h>
#include <ucontext.h>

/* Runs an attack in a child; anything may happen to it but success in doing harm (exit code 99). */
static int attack(void (*body)(void))
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		alarm(5);
		body();
		_exit(0);
	}
	int status;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 99)
		test_fail(__FILE__, __LINE__, "the attack had its way");
	/* The machine goes on: fork, exec, pipe, file. */
	int ends[2];
	CHECK_OK(pipe(ends));
	pid = CHECK_OK(fork());
	if (pid == 0) {
		dup2(ends[1], 1);
		execl("/bin/sh", "sh", "-c", "echo alive", NULL);
		_exit(1);
	}
	CHECK_EXIT(pid, 0);
	char text[10] = "";
	CHECK_EQ(read(ends[0], text, 9), 6);
	CHECK_STR(text, "alive\n");
	close(ends[0]);
	close(ends[1]);
	return status;
}

static long raw(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long answer;
	__asm__ volatile("syscall"
			 : "=a"(answer)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return answer;
}

static void x32(void)
{
	/* Where the x32 ABI is off, as on most hosts, every number is unknown. */
	for (long nr = 0; nr < 600; nr++) {
		if (nr == SYS_exit || nr == SYS_exit_group || nr == SYS_pause || nr == SYS_rt_sigreturn ||
		    nr == SYS_fork || nr == SYS_vfork || nr == SYS_clone || nr == SYS_close)
			continue;
		long answer = raw(nr | 0x40000000, 0, 0, 0, 0, 0, 0);
		if (answer >= 0 && nr != SYS_getpid && nr < 335 && answer != 0)
			_exit(answer > 100000 ? 99 : 0);
	}
	raw(SYS_getpid | 0x40000000, 0, 0, 0, 0, 0, 0);
	raw(SYS_kill | 0x40000000, 1, 9, 0, 0, 0, 0);
}

TEST(x32_numbers)
{
	attack(x32);
}

static void strange_numbers(void)
{
	static const long numbers[] = {-1, -2, 0x7fffffff, 0x80000000L, 0xffffffffL, 0x4000000000000000L, 1L << 32,
				       (1L << 32) | SYS_getpid, 0xffffffff00000027L, 500, 511, 512, 547, 1023};
	for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
		raw(numbers[i], -1, -1, -1, -1, -1, -1);
}

TEST(strange_call_numbers)
{
	int status = attack(strange_numbers);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void int80(void)
{
	/* getpid, exit, open, kill, mmap and fork of the 32-bit table. */
	static const int numbers[] = {20, 5, 37, 90, 192, 120, 11, 1000000, -1, 119, 173};
	for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		long answer = numbers[i];
		__asm__ volatile("int $0x80"
				 : "+a"(answer)
				 : "b"(-1L), "c"(0L), "d"(0L), "S"(0L), "D"(0L)
				 : "r8", "r9", "r10", "r11", "memory");
	}
}

TEST(int80)
{
	attack(int80);
}

static void kill_by_int80(void)
{
	long answer = 37;
	__asm__ volatile("int $0x80" : "+a"(answer) : "b"(1L), "c"(9L), "d"(0L) : "r8", "r9", "r10", "r11", "memory");
	answer = 1;
	__asm__ volatile("int $0x80" : "+a"(answer) : "b"(7L), "c"(0L), "d"(0L) : "r8", "r9", "r10", "r11", "memory");
	_exit(0);
}

TEST(int80_kill_and_exit)
{
	int status = attack(kill_by_int80);
	CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 99);
}

static void sysenter(void)
{
	/* Comes back to an address of the kernel's choice, if at all. */
	__asm__ volatile("mov $20, %%eax; mov %%rsp, %%rbp; sysenter" ::: "rax", "rcx", "rdx", "memory");
}

TEST(sysenter)
{
	attack(sysenter);
}

static void other_gates(void)
{
	static const unsigned char code[][8] = {
		{0xcd, 0x81, 0xc3}, {0xcd, 0x03, 0xc3}, {0xcd, 0x04, 0xc3}, {0xcd, 0x2e, 0xc3}, {0xcd, 0xff, 0xc3},
		{0xf1, 0xc3},	    {0x0f, 0x07, 0xc3}, {0x0f, 0x35, 0xc3}, {0x0f, 0x01, 0xc1, 0xc3},
		{0x0f, 0x01, 0xd9, 0xc3}, {0x0f, 0x32, 0xc3}, {0xf4, 0xc3}, {0xfa, 0xc3}, {0x0f, 0x22, 0xd8, 0xc3},
		{0x0f, 0x01, 0xf8, 0xc3}, {0xec, 0xc3}, {0x0f, 0x0b, 0xc3}, {0x0f, 0xff, 0xc3}, {0x62, 0xc3},
	};
	unsigned char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (unsigned i = 0; i < sizeof code / sizeof *code; i++) {
		memcpy(at, code[i], 8);
		if (fork() == 0) {
			prctl(PR_SET_DUMPABLE, 0);
			((void (*)(void))at)();
			_exit(0);
		}
		wait(NULL);
	}
}

TEST(privileged_and_odd_instructions)
{
	int status = attack(other_gates);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void vsyscall_page(void)
{
	static const uintptr_t entries[] = {0xffffffffff600000, 0xffffffffff600400, 0xffffffffff600800,
					    0xffffffffff600001, 0xffffffffff600c00, 0xffffffffff600ff0};
	for (int i = 0; i < 6; i++) {
		if (fork() == 0) {
			prctl(PR_SET_DUMPABLE, 0);
			struct timespec tv[2] = {{0, 0}, {0, 0}};
			long answer = ((long (*)(void *, void *))entries[i])(tv, NULL);
			_exit(answer == 0 || answer > 0 ? 0 : 1);
		}
		wait(NULL);
	}
}

TEST(vsyscall_page)
{
	attack(vsyscall_page);
}

TEST(vsyscall_time_is_right_if_there)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		long now = ((long (*)(long *))0xffffffffff600400)(NULL);
		_exit(labs(now - time(NULL)) <= 2 ? 0 : 1);
	}
	int status;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
}

static void far_jumps(void)
{
	/* Into 32-bit code, and there by int 0x80. */
	unsigned char *at = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (at == MAP_FAILED)
		return;
	memcpy(at, "\xb8\x14\x00\x00\x00\xcd\x80\xb8\x01\x00\x00\x00\xbb\x05\x00\x00\x00\xcd\x80\x0f\x0b", 21);
	struct {
		uint32_t offset;
		uint16_t selector;
	} __attribute__((packed)) to = {0x10000000, 0x23};
	__asm__ volatile("ljmp *%0" : : "m"(to) : "memory");
}

TEST(thirty_two_bit_code)
{
	attack(far_jumps);
}

static void bad_segments(void)
{
	static const unsigned short selectors[] = {0, 1, 3, 0x10, 0x18, 0x23, 0x2b, 0x33, 0x7b, 0xffff, 0x53, 0x87};
	for (unsigned i = 0; i < sizeof selectors / sizeof *selectors; i++) {
		for (int which = 0; which < 4; which++) {
			if (fork() == 0) {
				prctl(PR_SET_DUMPABLE, 0);
				if (which == 0)
					__asm__ volatile("mov %0, %%ds" : : "r"(selectors[i]));
				if (which == 1)
					__asm__ volatile("mov %0, %%es" : : "r"(selectors[i]));
				if (which == 2)
					__asm__ volatile("mov %0, %%fs" : : "r"(selectors[i]));
				if (which == 3)
					__asm__ volatile("mov %0, %%gs" : : "r"(selectors[i]));
				raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
				raw(SYS_getuid, 0, 0, 0, 0, 0, 0);
				raw(SYS_write, 99, 0, 0, 0, 0, 0);
				raw(SYS_exit_group, 0, 0, 0, 0, 0, 0);
			}
			wait(NULL);
		}
	}
}

TEST(segment_registers)
{
	attack(bad_segments);
}

static void bad_bases(void)
{
	static const unsigned long bases[] = {0,
					      8,
					      0x1000,
					      0x7fffffffffff,
					      0x6fff00000000,
					      0x6fff00100000,
					      0x6fff00021000,
					      0x123456789000};
	for (unsigned i = 0; i < sizeof bases / sizeof *bases; i++) {
		for (int which = 0; which < 2; which++) {
			if (fork() == 0) {
				prctl(PR_SET_DUMPABLE, 0);
				if (which == 0)
					__asm__ volatile("wrgsbase %0" : : "r"(bases[i]));
				else
					__asm__ volatile("wrfsbase %0" : : "r"(bases[i]));
				for (int call = 0; call < 50; call++) {
					raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
					raw(SYS_getpid, 0, 0, 0, 0, 0, 0);
					raw(SYS_getuid, 0, 0, 0, 0, 0, 0);
					raw(SYS_read, 99, 0, 0, 0, 0, 0);
					raw(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
				}
				long pid = raw(SYS_fork, 0, 0, 0, 0, 0, 0);
				if (pid > 0)
					raw(SYS_wait4, pid, 0, 0, 0, 0, 0);
				raw(SYS_exit_group, 0, 0, 0, 0, 0, 0);
			}
			wait(NULL);
		}
	}
}

TEST(bases_of_fs_and_gs)
{
	if (!(__builtin_cpu_init(), 1))
		SKIP("no processor");
	attack(bad_bases);
}

/* A frame for rt_sigreturn, made by a real signal and then changed by `change`. */
static void (*volatile change)(ucontext_t *uc);
static void in_handler(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	change(context);
}

static void forge(void (*how)(ucontext_t *))
{
	change = how;
	struct sigaction action = {.sa_sigaction = in_handler, .sa_flags = SA_SIGINFO};
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	for (int i = 0; i < 50; i++)
		raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
	if (getppid() <= 0)
		_exit(1);
}

static void all_masked(ucontext_t *uc)
{
	memset(&uc->uc_sigmask, 0xff, sizeof uc->uc_sigmask);
	memset((char *)&uc->uc_sigmask, 0xff, 8);
}
static void forge_mask(void)
{
	forge(all_masked);
}

TEST(frame_with_everything_masked)
{
	int status = attack(forge_mask);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void bad_cs(ucontext_t *uc)
{
	uc->uc_mcontext.gregs[REG_CSGSFS] = 0x10 | 0x18L << 48;
}
static void forge_cs(void)
{
	forge(bad_cs);
}
static void cs32(ucontext_t *uc)
{
	uc->uc_mcontext.gregs[REG_CSGSFS] = (uc->uc_mcontext.gregs[REG_CSGSFS] & ~0xffffL) | 0x23;
}
static void forge_cs32(void)
{
	forge(cs32);
}

TEST(frame_with_bad_segments)
{
	attack(forge_cs);
	attack(forge_cs32);
}

static void noncanonical(ucontext_t *uc)
{
	uc->uc_mcontext.gregs[REG_RIP] = 0x8000000000000000;
}
static void forge_rip(void)
{
	forge(noncanonical);
}
static void kernel_rip(ucontext_t *uc)
{
	uc->uc_mcontext.gregs[REG_RIP] = 0xffffffff81000000;
	uc->uc_mcontext.gregs[REG_RSP] = 0xffffffff81000000;
}
static void forge_kernel_rip(void)
{
	forge(kernel_rip);
}

TEST(frame_with_bad_addresses)
{
	int status = attack(forge_rip);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	status = attack(forge_kernel_rip);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void bad_flags(ucontext_t *uc)
{
	/* IOPL, NT, VM, RF, AC, ID and the unknown ones. */
	uc->uc_mcontext.gregs[REG_EFL] = 0xffffffffffffffffL & ~0x500L;
}
static void forge_flags(void)
{
	forge(bad_flags);
	__asm__ volatile("pushf; orl $0x3000, (%rsp); popf");
	__asm__ volatile("cli");
	_exit(99);
}

TEST(frame_with_bad_flags)
{
	int status = attack(forge_flags);
	CHECK(WIFSIGNALED(status));
}

static char *volatile fp_at;
static void misaligned_fp(ucontext_t *uc)
{
	uc->uc_mcontext.fpregs = (void *)((char *)uc->uc_mcontext.fpregs + 1);
}
static void no_fp(ucontext_t *uc)
{
	uc->uc_mcontext.fpregs = NULL;
}
static void far_fp(ucontext_t *uc)
{
	uc->uc_mcontext.fpregs = (void *)0xffffffff81000000;
}
static void unmapped_fp(ucontext_t *uc)
{
	uc->uc_mcontext.fpregs = (void *)0x12345000;
}
static void garbage_fp(ucontext_t *uc)
{
	memset(uc->uc_mcontext.fpregs, 0xff, sizeof *uc->uc_mcontext.fpregs);
}
static void garbage_header(ucontext_t *uc)
{
	/* The extended header behind the legacy area: all feature bits, then all bytes. */
	memset((char *)uc->uc_mcontext.fpregs + 512, 0xff, 64);
}
static void mxcsr(ucontext_t *uc)
{
	uc->uc_mcontext.fpregs->mxcsr = 0xffffffff;
}
static void stub_fp(ucontext_t *uc)
{
	uc->uc_mcontext.fpregs = (void *)0x6fff00100000;
}
static void (*const fp_changes[])(ucontext_t *) = {misaligned_fp,  no_fp, far_fp, unmapped_fp, garbage_fp,
						   garbage_header, mxcsr, stub_fp};
static int fp_change;
static void forge_fp(void)
{
	forge(fp_changes[fp_change]);
}

TEST(frame_with_bad_vectors)
{
	for (fp_change = 0; fp_change < 8; fp_change++)
		attack(forge_fp);
}

static void bare_sigreturn(void)
{
	/* With whatever lies on the stack as the frame. */
	for (int fill = 0; fill < 256; fill += 51) {
		if (fork() == 0) {
			prctl(PR_SET_DUMPABLE, 0);
			char frame[8192];
			memset(frame, fill, sizeof frame);
			__asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall; ud2" : : "r"(frame + 1024) : "memory");
		}
		wait(NULL);
	}
	if (fork() == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		__asm__ volatile("mov $8, %%esp; mov $15, %%eax; syscall; ud2" ::: "memory");
	}
	wait(NULL);
	if (fork() == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		__asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall; ud2" : : "r"(0x6fff00100800) : "memory");
	}
	wait(NULL);
}

TEST(sigreturn_out_of_nowhere)
{
	int status = attack(bare_sigreturn);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void stack_in_nowhere(void)
{
	/* System calls and faults with the stack pointer anywhere. */
	static const unsigned long stacks[] = {0, 8, 0x1001, 0x7fffffffe000, 0x6fff00000800, 0x6fff00100f00, 1UL << 63};
	for (unsigned i = 0; i < sizeof stacks / sizeof *stacks; i++) {
		if (fork() == 0) {
			prctl(PR_SET_DUMPABLE, 0);
			__asm__ volatile("mov %0, %%rsp; mov $110, %%eax; syscall; mov $39, %%eax; syscall;"
					 "mov $231, %%eax; xor %%edi, %%edi; syscall"
					 :
					 : "r"(stacks[i])
					 : "memory", "rax", "rcx", "r11");
		}
		int status;
		wait(&status);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			_exit(2);
	}
}

TEST(stack_pointer_anywhere)
{
	int status = attack(stack_in_nowhere);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void trap_flag(void)
{
	/* Single stepping into system calls without a tracer: SIGTRAP. */
	__asm__ volatile("pushf; orl $0x100, (%%rsp); popf; mov $110, %%eax; syscall; nop; nop" ::: "rax", "rcx", "r11",
			 "memory");
}

TEST(single_stepping)
{
	int status = attack(trap_flag);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTRAP);
}

static void alignment_flag(void)
{
	__asm__ volatile("pushf; orl $0x40000, (%%rsp); popf; mov $110, %%eax; syscall; mov $110, %%eax; syscall;"
			 "pushf; andl $~0x40000, (%%rsp); popf" ::
				 : "rax", "rcx", "r11", "memory");
}

TEST(alignment_checking)
{
	int status = attack(alignment_flag);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_MAIN
