/* Random system calls with random arguments: whatever a program asks, the machine goes on. `UMLAUT_FUZZ_SECONDS` says
 * how long (default 8); the seed is printed, and `UMLAUT_FUZZ_SEED` repeats it. */
#define TEST_SECONDS 900
#include "../test.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/inotify.h>
#include <sys/time.h>
#include <sys/timerfd.h>

static uint64_t state;

static uint64_t next(void)
{
	/* xorshift64*: enough to reach everywhere, and repeatable. */
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dULL;
}

static char *area;

/* A value of the kind that arguments are made of. */
static uint64_t argument(void)
{
	static const uint64_t edges[] = {0, 1, 2, 7, 8, 16, 63, 64, 255, 256, 4095, 4096, 4097, 65535, 65536, 0x7fffffff,
					 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffff, 0x800000000000,
					 0x6fe000000000, 0x6fe000020000, 0x6fe080000000, 0x7fffffffffffffff,
					 0x8000000000000000, -1ULL, -2ULL, -100ULL, -4096ULL, 0xffffffffff600000};
	switch (next() % 10) {
	case 0:
	case 1:
		return next() % 24; /* a descriptor, a signal, a small number */
	case 2:
		return edges[next() % (sizeof edges / sizeof *edges)];
	case 3:
		return 1ULL << (next() % 64);
	case 4:
		return (1ULL << (next() % 32)) | (1ULL << (next() % 32));
	case 5:
		return next() >> (next() % 64);
	case 6:
		return (uint64_t)getpid() + next() % 4;
	default: /* memory, aligned or not, up to the edge of what is mapped */
		return (uint64_t)area + (next() % 3 == 0 ? next() % 32768 : (next() % 4096) * 8);
	}
}

/* Fills the area with what structures might hold: names, pointers into the area, small numbers. */
static void prepare(void)
{
	static const char *const names[] = {"/tmp",	 "f",	   "d/x",      "/proc/self/mem", "/dev/ptmx", "/proc/self/fd/3",
					    "../..",	 "",	   "/dev/null", "/proc/self/maps", "l",	      "/dev/zero",
					    "/bin/true", "/dev/tty"};
	for (int i = 0; i < 4; i++) {
		char *at = area + (next() % 4000) * 8;
		switch (next() % 3) {
		case 0:
			strcpy(at, names[next() % (sizeof names / sizeof *names)]);
			break;
		case 1:
			for (int k = 0; k < 8; k++)
				((uint64_t *)at)[k] = next() % 2 ? argument() : next() % 8;
			break;
		default:
			for (int k = 0; k < 16; k++)
				((uint32_t *)at)[k] = argument();
		}
	}
}

static int is_left_out(long nr)
{
	switch (nr) {
	case SYS_exit:
	case SYS_exit_group:
	case SYS_reboot: /* ends the machine, as it should */
	case SYS_rt_sigreturn: /* has a case of its own */
	case SYS_pause:
	case SYS_setsid: /* out of reach of who clears up */
	case SYS_setpgid:
	case SYS_vhangup:
	case SYS_sync:
		return 1;
	case SYS_kill:
	case SYS_tkill:
	case SYS_tgkill:
	case SYS_rt_sigqueueinfo:
	case SYS_rt_tgsigqueueinfo:
		return next() % 16 != 0; /* mostly ends the caller */
	default:
		return 0;
	}
}

/* Who watches, or waits for who watches: as a plain user all have the same id, so that a victim may do to them what it
 * likes (limit the shell's processor time, kill everybody). That proves nothing about the machine. */
static pid_t last_watcher;

static int reaches_a_watcher(long nr, const uint64_t *args)
{
	int who;
	switch (nr) {
	case SYS_kill:
	case SYS_tkill:
	case SYS_tgkill:
	case SYS_rt_sigqueueinfo:
	case SYS_rt_tgsigqueueinfo:
	case SYS_pidfd_open:
	case SYS_prlimit64:
	case SYS_process_vm_writev:
	case SYS_sched_setaffinity:
	case SYS_sched_setscheduler:
	case SYS_sched_setparam:
	case SYS_sched_setattr:
		who = args[0];
		break;
	case SYS_ptrace:
	case SYS_setpriority:
	case SYS_ioprio_set:
		who = args[1];
		break;
	case SYS_fcntl:
		if ((int)args[1] != F_SETOWN && (int)args[1] != F_SETOWN_EX)
			return 0;
		who = args[2];
		break;
	default:
		return 0;
	}
	return who != 0 && abs(who) <= last_watcher;
}

static void wake(int signo)
{
	(void)signo;
}

/* One process that asks for whatever comes. */
static void victim(uint64_t seed, int calls)
{
	state = seed | 1;
	last_watcher = getppid();
	struct rlimit few = {64, 64}, small = {1 << 20, 1 << 20};
	setrlimit(RLIMIT_NPROC, &few);
	setrlimit(RLIMIT_FSIZE, &small);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Never as root: it may change the clock, the mounts, the tree. */
	if (geteuid() == 0) {
		setgroups(0, NULL);
		setresgid(54322, 54322, 54322);
		setresuid(54322, 54322, 54322);
	}
	for (int signo = 1; signo < 32; signo++)
		if (next() % 2)
			signal(signo, SIG_IGN);
	sigaction(SIGALRM, &(struct sigaction){.sa_handler = wake}, NULL);
	/* What it writes is nobody's business. */
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	area = mmap((void *)0x10000000, 32768, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	int ends[2];
	if (pipe(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) || epoll_create1(0) < 0 || eventfd(0, 0) < 0 ||
	    timerfd_create(CLOCK_MONOTONIC, 0) < 0 || inotify_init() < 0 || memfd_create("m", 0) < 0)
		_exit(0);
	open("f", O_RDWR | O_CREAT, 0600);
	open("/dev/ptmx", O_RDWR | O_NOCTTY);
	open(".", O_RDONLY);
	mkdir("d", 0700);
	for (int i = 0; i < calls; i++) {
		long nr = next() % 470;
		if (is_left_out(nr))
			continue;
		prepare();
		/* Nothing waits for ever. */
		setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, 20000}}, NULL);
		uint64_t args[6];
		for (int k = 0; k < 6; k++)
			args[k] = argument();
		if (nr == SYS_clone || nr == SYS_clone3 || nr == SYS_fork || nr == SYS_vfork) {
			if (next() % 8)
				continue;
			if (nr != SYS_fork && nr != SYS_vfork)
				args[0] &= ~0x100ULL; /* no second thread on this stack */
		}
		if (!reaches_a_watcher(nr, args))
			syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
	}
	_exit(0);
}

TEST(random_calls)
{
	if (!getenv("UMLAUT_INSIDE"))
		SKIP("not on a host");
	const char *seconds = getenv("UMLAUT_FUZZ_SECONDS"), *fixed = getenv("UMLAUT_FUZZ_SEED");
	uint64_t seed = fixed ? strtoull(fixed, NULL, 0) : (uint64_t)now_ns();
	CHECK_OK(chmod(".", 0777));
	CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	int64_t until = now_ns() + (seconds ? atoi(seconds) : 8) * 1000000000LL;
	fprintf(stderr, "seed %#llx\n", (unsigned long long)seed);
	int rounds = 0;
	do {
		pid_t pids[3];
		for (int i = 0; i < 3; i++) {
			pids[i] = CHECK_OK(fork());
			if (pids[i] == 0) {
				setpgid(0, 0);
				victim(seed + rounds * 3 + i, 400);
			}
			setpgid(pids[i], pids[i]);
		}
		int64_t limit = now_ns() + 5000000000LL;
		for (int i = 0; i < 3; i++) {
			int status;
			while (waitpid(pids[i], &status, WNOHANG) == 0) {
				if (now_ns() > limit)
					kill(pids[i], SIGKILL);
				msleep(1);
			}
			kill(-pids[i], SIGKILL);
		}
		while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
			;
		rounds++;
	} while (now_ns() < until);
	fprintf(stderr, "%d rounds\n", rounds);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", "exit $(echo 5 | cat)", NULL);
		_exit(1);
	}
	CHECK_EXIT(pid, 5);
}

TEST_MAIN
