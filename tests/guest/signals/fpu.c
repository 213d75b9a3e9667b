/* Floating point and vector state over signals, switches and fork. */
#include "../test.h"
#include <cpuid.h>
#include <sys/time.h>
#include <ucontext.h>

static int have_avx512(void)
{
	unsigned a, b, c, d;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & (1 << 16)))
		return 0;
	unsigned low, high;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (low & 0xe6) == 0xe6;
}

static int have_avx(void)
{
	unsigned a, b, c, d;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1 << 28)) || !(c & (1 << 27)))
		return 0;
	unsigned low, high;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (low & 6) == 6;
}

struct vectors {
	unsigned char bytes[32][64];
	uint64_t masks[8];
	uint32_t control;
	uint16_t x87_control;
};

static void pattern(struct vectors *v, unsigned seed)
{
	unsigned char *p = (void *)v->bytes;
	for (size_t i = 0; i < sizeof v->bytes; i++)
		p[i] = (unsigned char)((seed = seed * 1103515245 + 12345) >> 16);
	for (int i = 0; i < 8; i++)
		v->masks[i] = 0x9e3779b97f4a7c15ULL * (seed + i);
	v->control = 0x1f80 | ((seed & 3) << 13);
	v->x87_control = 0x37f;
}

#define EACH_16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define EACH_HIGH(X)                                                                                                   \
	X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define EACH_MASK(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define LOAD_XMM(n) "movdqu " #n "*64(%0), %%xmm" #n "\n"
#define SAVE_XMM(n) "movdqu %%xmm" #n ", " #n "*64(%0)\n"
#define LOAD_YMM(n) "vmovdqu " #n "*64(%0), %%ymm" #n "\n"
#define SAVE_YMM(n) "vmovdqu %%ymm" #n ", " #n "*64(%0)\n"
#define LOAD_ZMM(n) "vmovdqu64 " #n "*64(%0), %%zmm" #n "\n"
#define SAVE_ZMM(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%0)\n"
#define LOAD_K(n) "kmovq " #n "*8(%1), %%k" #n "\n"
#define SAVE_K(n) "kmovq %%k" #n ", " #n "*8(%1)\n"

/* Loads everything, makes one system call (or none, for nr < 0) with two arguments, spins, and saves everything. */
#define AROUND(LOAD, SAVE)                                                                                             \
	__asm__ volatile(LOAD "ldmxcsr %2\n"                                                                           \
			      "mov %3, %%rax\n mov %4, %%rdi\n mov %5, %%rsi\n"                                        \
			      "test %%rax, %%rax\n js 1f\n syscall\n"                                                  \
			      "1: mov %6, %%rcx\n 2: dec %%rcx\n jns 2b\n"                                             \
			      "mov %%rax, %7\n"                                                                        \
			      "stmxcsr %8\n" SAVE                                                                      \
			 :                                                                                             \
			 : "r"(v), "r"(v->masks), "m"(v->control), "m"(nr), "m"(a), "m"(b), "m"(spins), "m"(answer),   \
			   "m"(v->control)                                                                             \
			 : "memory", "rax", "rcx", "rdi", "rsi", "r11", "cc")

static long around(struct vectors *v, long nr, long a, long b, long spins)
{
	volatile long answer = 0;
	if (have_avx512())
		AROUND(EACH_16(LOAD_ZMM) EACH_HIGH(LOAD_ZMM) EACH_MASK(LOAD_K),
		       EACH_16(SAVE_ZMM) EACH_HIGH(SAVE_ZMM) EACH_MASK(SAVE_K));
	else if (have_avx())
		AROUND(EACH_16(LOAD_YMM), EACH_16(SAVE_YMM));
	else
		AROUND(EACH_16(LOAD_XMM), EACH_16(SAVE_XMM));
	unsigned normal = 0x1f80;
	__asm__ volatile("ldmxcsr %0" : : "m"(normal));
	if (have_avx())
		__asm__ volatile("vzeroupper");
	return answer;
}

static void same(const struct vectors *now, unsigned seed, int line)
{
	struct vectors want;
	memset(&want, 0, sizeof want);
	pattern(&want, seed);
	want.control |= now->control & 0x3f;
	size_t width = have_avx512() ? 64 : have_avx() ? 32 : 16;
	for (int i = 0; i < (have_avx512() ? 32 : 16); i++)
		if (memcmp(now->bytes[i], want.bytes[i], width) != 0)
			test_fail(__FILE__, line, "vector register %d changed", i);
	if (have_avx512() && memcmp(now->masks, want.masks, sizeof want.masks) != 0)
		test_fail(__FILE__, line, "a mask register changed");
	if (now->control != want.control)
		test_fail(__FILE__, line, "mxcsr is %#x, was %#x", now->control, want.control);
}

static void clobber(void)
{
	struct vectors v;
	memset(&v, 0, sizeof v);
	pattern(&v, 999);
	around(&v, -1, 0, 0, 0);
}

static volatile int handled;
static void on_signal(int signo)
{
	(void)signo;
	clobber();
	handled++;
}

TEST(over_system_calls)
{
	static const long calls[] = {SYS_getppid, SYS_gettid, SYS_sched_yield, SYS_getuid, SYS_close, SYS_brk, SYS_dup};
	for (int round = 0; round < 200; round++) {
		struct vectors v;
		pattern(&v, round);
		around(&v, calls[round % 7], calls[round % 7] == SYS_brk ? 0 : -1, 0, 0);
		same(&v, round, __LINE__);
	}
}

TEST(over_a_signal_to_oneself)
{
	signal(SIGUSR1, on_signal);
	for (int round = 0; round < 300; round++) {
		struct vectors v;
		pattern(&v, round);
		CHECK_EQ(around(&v, SYS_kill, getpid(), SIGUSR1, 0), 0);
		same(&v, round, __LINE__);
	}
	CHECK_EQ(handled, 300);
}

TEST(over_timer_signals)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	CHECK_OK(sigaction(SIGALRM, &action, NULL));
	struct itimerval every = {{0, 1000}, {0, 1000}};
	CHECK_OK(setitimer(ITIMER_REAL, &every, NULL));
	for (int round = 0; handled < 100; round++) {
		struct vectors v;
		pattern(&v, round);
		around(&v, round % 2 ? SYS_getppid : -1, 0, 0, 300000);
		same(&v, round, __LINE__);
	}
}

TEST(between_processes)
{
	pid_t pids[6];
	for (int child = 0; child < 6; child++) {
		pids[child] = CHECK_OK(fork());
		if (pids[child] == 0) {
			for (int round = 0; round < 300; round++) {
				struct vectors v;
				pattern(&v, child * 1000 + round);
				around(&v, SYS_sched_yield, 0, 0, 20000);
				same(&v, child * 1000 + round, __LINE__);
			}
			_exit(0);
		}
	}
	for (int child = 0; child < 6; child++)
		CHECK_EXIT(pids[child], 0);
}

static void *thread_body(void *arg)
{
	int id = (int)(intptr_t)arg;
	for (int round = 0; round < 300; round++) {
		struct vectors v;
		pattern(&v, id * 5000 + round);
		around(&v, round % 2 ? SYS_sched_yield : SYS_getppid, 0, 0, 10000);
		same(&v, id * 5000 + round, __LINE__);
	}
	return NULL;
}

TEST(between_threads)
{
	pthread_t threads[6];
	for (int i = 0; i < 6; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, thread_body, (void *)(intptr_t)i), 0);
	for (int i = 0; i < 6; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST(over_fork)
{
	for (int round = 0; round < 20; round++) {
		struct vectors v;
		pattern(&v, round);
		long pid = around(&v, SYS_fork, 0, 0, 0);
		same(&v, round, __LINE__);
		if (pid == 0)
			_exit(12);
		CHECK_EXIT((pid_t)pid, 12);
	}
}

static void *yield(void *unused)
{
	return unused;
}

TEST(clean_after_exec_and_in_threads)
{
	struct vectors v;
	pattern(&v, 5);
	around(&v, -1, 0, 0, 0);
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, yield, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	unsigned csr;
	unsigned short control;
	__asm__ volatile("stmxcsr %0" : "=m"(csr));
	__asm__ volatile("fnstcw %0" : "=m"(control));
	CHECK_EQ(csr & ~0x3f, 0x1f80);
	CHECK_EQ(control, 0x37f);
}

TEST(x87_stack_survives)
{
	signal(SIGUSR1, on_signal);
	double out[4] = {0};
	long pid = getpid();
	__asm__ volatile("fld1; fldpi; fldl2e; fldln2;"
			 "mov $62, %%eax; mov %1, %%rdi; mov $10, %%esi; syscall;"
			 "fstpl 0(%0); fstpl 8(%0); fstpl 16(%0); fstpl 24(%0)"
			 :
			 : "r"(out), "r"(pid)
			 : "rax", "rdi", "rsi", "rcx", "r11", "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)",
			   "st(5)", "st(6)", "st(7)");
	CHECK(out[3] == 1.0);
	CHECK(out[2] > 3.14159 && out[2] < 3.14160);
	CHECK(out[1] > 1.44269 && out[1] < 1.44270);
	CHECK(out[0] > 0.69314 && out[0] < 0.69315);
	CHECK_EQ(handled, 1);
}

static void edit_vector(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	ucontext_t *uc = context;
	CHECK(uc->uc_mcontext.fpregs != NULL);
	uc->uc_mcontext.fpregs->_xmm[3].element[0] = 0xabcd1234;
}

TEST(frame_vector_can_be_edited)
{
	struct sigaction action = {.sa_sigaction = edit_vector, .sa_flags = SA_SIGINFO};
	CHECK_OK(sigaction(SIGUSR1, &action, NULL));
	unsigned result[4] = {1, 2, 3, 4};
	long pid = getpid();
	__asm__ volatile("movdqu %0, %%xmm3; mov $62, %%eax; mov %1, %%rdi; mov $10, %%esi; syscall; movdqu %%xmm3, %0"
			 : "+m"(result)
			 : "r"(pid)
			 : "rax", "rdi", "rsi", "rcx", "r11", "memory", "xmm3");
	CHECK_EQ(result[0], 0xabcd1234);
	CHECK(result[1] == 2 && result[2] == 3 && result[3] == 4);
}

struct registers {
	uint64_t in[8], flags_in, out[8], flags_out, pid;
};

TEST(general_registers_survive)
{
	signal(SIGUSR1, on_signal);
	for (int round = 0; round < 100; round++) {
		/* Flags: carry, parity, zero, sign, overflow in turn; the direction flag as well. */
		static const uint64_t flags[] = {0x202, 0x203, 0x206, 0x242, 0x282, 0xa02, 0x602, 0xec7};
		struct registers r = {.flags_in = flags[round % 8], .pid = getpid()};
		for (int i = 0; i < 8; i++)
			r.in[i] = 0x0101010101010101ULL * (i + round + 1);
		__asm__ volatile("lea -128(%%rsp), %%rsp; push %%rbp; mov 0(%%rbx), %%r8; mov 8(%%rbx), %%r9;"
				 "mov 16(%%rbx), %%r10; mov 24(%%rbx), %%r12; mov 32(%%rbx), %%r13; mov 40(%%rbx), %%r14;"
				 "mov 48(%%rbx), %%r15; mov 56(%%rbx), %%rbp; mov 144(%%rbx), %%rdi; mov $10, %%esi;"
				 "mov $62, %%eax; push 64(%%rbx); popfq; syscall;"
				 "pushfq; cld; pop 136(%%rbx); mov %%r8, 72(%%rbx); mov %%r9, 80(%%rbx); mov %%r10, 88(%%rbx);"
				 "mov %%r12, 96(%%rbx); mov %%r13, 104(%%rbx); mov %%r14, 112(%%rbx);"
				 "mov %%r15, 120(%%rbx); mov %%rbp, 128(%%rbx); pop %%rbp; lea 128(%%rsp), %%rsp"
				 :
				 : "b"(&r)
				 : "rax", "rdi", "rsi", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
				   "memory", "cc");
		for (int i = 0; i < 8; i++)
			CHECK_EQ(r.out[i], r.in[i]);
		CHECK_EQ(r.flags_out, r.flags_in);
	}
	CHECK_EQ(handled, 100);
}

TEST_MAIN
