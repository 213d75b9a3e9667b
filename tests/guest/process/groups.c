/* Process groups, sessions, credentials, priorities, limits. */
#include "../test.h"
#include <sys/resource.h>
#include <sys/utsname.h>

static pid_t sleeper(void)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

TEST(own_group)
{
	CHECK_EQ(getpgid(0), getpid());
	pid_t a = sleeper(), b = sleeper();
	CHECK_EQ(getpgid(a), getpid());
	CHECK_OK(setpgid(a, a));
	CHECK_EQ(getpgid(a), a);
	CHECK_OK(setpgid(b, a));
	CHECK_EQ(getpgid(b), a);
	CHECK_OK(kill(-a, SIGTERM));
	CHECK_KILLED(a, SIGTERM);
	CHECK_KILLED(b, SIGTERM);
	CHECK_ERR(kill(-a, 0), ESRCH);
}

TEST(group_errors)
{
	CHECK_ERR(setpgid(0, -1), EINVAL);
	CHECK_ERR(setpgid(getppid(), 0), ESRCH);
	CHECK_ERR(getpgid(999999), ESRCH);
	CHECK_ERR(getsid(999999), ESRCH);
	pid_t child = sleeper();
	CHECK_ERR(setpgid(child, 999999), EPERM);
	kill(child, SIGKILL);
	CHECK_KILLED(child, SIGKILL);
	/* A session leader keeps its group; a child that has called exec is left alone. */
	child = CHECK_OK(fork());
	if (child == 0) {
		CHECK_OK(setsid());
		CHECK_ERR(setpgid(0, 0), EPERM);
		CHECK_ERR(setsid(), EPERM);
		_exit(0);
	}
	CHECK_EXIT(child, 0);
	int gate[2];
	CHECK_OK(pipe2(gate, O_CLOEXEC));
	child = CHECK_OK(fork());
	if (child == 0) {
		execl("/bin/sleep", "sleep", "100", NULL);
		_exit(1);
	}
	close(gate[1]);
	char c;
	CHECK_EQ(read(gate[0], &c, 1), 0);
	CHECK_ERR(setpgid(child, child), EACCES);
	kill(child, SIGKILL);
	CHECK_KILLED(child, SIGKILL);
}

TEST(sessions)
{
	CHECK_ERR(setsid(), EPERM);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		CHECK_EQ(setsid(), getpid());
		CHECK_EQ(getsid(0), getpid());
		CHECK_EQ(getpgid(0), getpid());
		CHECK_ERR(open("/dev/tty", O_RDWR), ENXIO);
		pid_t inner = fork();
		if (inner == 0)
			_exit(getsid(0) == getppid() ? 4 : 5);
		CHECK_EXIT(inner, 4);
		_exit(6);
	}
	CHECK_EXIT(pid, 6);
}

TEST(kill_rules)
{
	CHECK_ERR(kill(999999, 0), ESRCH);
	CHECK_ERR(kill(getpid(), 65), EINVAL);
	CHECK_ERR(kill(getpid(), -1), EINVAL);
	CHECK_OK(kill(0, 0));
	CHECK_ERR(syscall(SYS_tgkill, 0, getpid(), 0), EINVAL);
	CHECK_ERR(syscall(SYS_tgkill, getpid(), 999999, 0), ESRCH);
	CHECK_ERR(syscall(SYS_tgkill, getppid(), getpid(), 0), ESRCH);
	CHECK_ERR(syscall(SYS_tkill, -1, 0), EINVAL);
	if (geteuid() == 0) {
		pid_t roots = sleeper();
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			become_user();
			CHECK_ERR(kill(roots, SIGTERM), EPERM);
			CHECK_ERR(kill(roots, 0), EPERM);
			_exit(0);
		}
		CHECK_EXIT(pid, 0);
		kill(roots, SIGKILL);
		CHECK_KILLED(roots, SIGKILL);
	}
}

TEST(user_ids)
{
	if (geteuid() != 0)
		SKIP("needs root");
	gid_t groups[] = {5, 6, 70000}, got[8];
	CHECK_OK(setgroups(3, groups));
	CHECK_EQ(getgroups(0, NULL), 3);
	CHECK_ERR(getgroups(2, got), EINVAL);
	CHECK_EQ(getgroups(8, got), 3);
	CHECK_EQ(got[2], 70000);
	CHECK_OK(setresgid(10, 11, 12));
	CHECK_OK(setresuid(20, 21, 0));
	uid_t r, e, s;
	CHECK_OK(getresuid(&r, &e, &s));
	CHECK(r == 20 && e == 21 && s == 0);
	CHECK_OK(getresgid(&r, &e, &s));
	CHECK(r == 10 && e == 11 && s == 12);
	CHECK_ERR(setresgid(99, -1, -1), EPERM);
	CHECK_ERR(setresuid(99, -1, -1), EPERM);
	CHECK_ERR(setgroups(0, NULL), EPERM);
	CHECK_OK(setresuid(-1, 0, -1));
	CHECK_OK(setuid(30));
	CHECK_OK(getresuid(&r, &e, &s));
	CHECK(r == 30 && e == 30 && s == 30);
	CHECK_ERR(setuid(0), EPERM);
	CHECK_ERR(setreuid(0, -1), EPERM);
	CHECK_EQ(syscall(SYS_setfsuid, 0), 30);
	CHECK_EQ(syscall(SYS_setfsuid, -1), 30);
}

TEST(user_cannot_become_root)
{
	become_user();
	CHECK_ERR(setuid(0), EPERM);
	CHECK_ERR(setgid(0), EPERM);
	CHECK_ERR(setresuid(0, 0, 0), EPERM);
	CHECK_OK(setuid(getuid()));
	CHECK_ERR(chroot("/"), EPERM);
	CHECK_ERR(sethostname("x", 1), EPERM);
}

TEST(priorities)
{
	errno = 0;
	CHECK_EQ(getpriority(PRIO_PROCESS, 0), 0);
	CHECK_OK(setpriority(PRIO_PROCESS, 0, 5));
	CHECK_EQ(getpriority(PRIO_PROCESS, 0), 5);
	CHECK_EQ(nice(3), 8);
	CHECK_OK(setpriority(PRIO_PROCESS, 0, 100));
	CHECK_EQ(getpriority(PRIO_PROCESS, 0), 19);
	become_user();
	CHECK_ERR(setpriority(PRIO_PROCESS, 0, -5), EACCES);
	CHECK_ERR(getpriority(7, 0), EINVAL);
	CHECK_ERR(getpriority(PRIO_PROCESS, 999999), ESRCH);
}

TEST(limits)
{
	struct rlimit limit, again;
	CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
	CHECK(limit.rlim_cur >= 64 && limit.rlim_cur <= limit.rlim_max);
	limit.rlim_cur = 30;
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
	CHECK_OK(getrlimit(RLIMIT_NOFILE, &again));
	CHECK_EQ(again.rlim_cur, 30);
	int fd = -1, last = -1;
	while ((fd = dup(0)) >= 0)
		last = fd;
	CHECK_EQ(errno, EMFILE);
	CHECK_EQ(last, 29);
	CHECK_ERR(open("/dev/null", O_RDONLY), EMFILE);
	int ends[2];
	CHECK_ERR(pipe(ends), EMFILE);
	CHECK_ERR(dup2(0, 30), EBADF);
	CHECK_ERR(fcntl(0, F_DUPFD, 30), EINVAL);
	limit.rlim_cur = 10;
	limit.rlim_max = 5;
	CHECK_ERR(setrlimit(RLIMIT_NOFILE, &limit), EINVAL);
	CHECK_ERR(getrlimit(99, &limit), EINVAL);
	become_user();
	CHECK_OK(getrlimit(RLIMIT_CORE, &limit));
	limit.rlim_cur = limit.rlim_max = 0;
	CHECK_OK(setrlimit(RLIMIT_CORE, &limit));
	limit.rlim_max = 1;
	CHECK_ERR(setrlimit(RLIMIT_CORE, &limit), EPERM);
	struct rlimit old;
	CHECK_OK(prlimit(0, RLIMIT_STACK, NULL, &old));
	CHECK_ERR(prlimit(999999, RLIMIT_STACK, NULL, &old), ESRCH);
}

TEST(file_size_limit)
{
	signal(SIGXFSZ, SIG_IGN);
	struct rlimit limit = {1000, 1000};
	CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	char text[1500] = {0};
	CHECK_EQ(write(fd, text, 1500), 1000);
	CHECK_ERR(write(fd, text, 1), EFBIG);
	CHECK_ERR(ftruncate(fd, 1001), EFBIG);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		signal(SIGXFSZ, SIG_DFL);
		CHECK_OK(prctl(PR_SET_DUMPABLE, 0));
		_exit(write(fd, text, 1) == -1 ? 1 : 2);
	}
	CHECK_KILLED(pid, SIGXFSZ);
}

TEST(names)
{
	char name[32] = "";
	CHECK_OK(prctl(PR_SET_NAME, "a name longer than fifteen"));
	CHECK_OK(prctl(PR_GET_NAME, name));
	CHECK_STR(name, "a name longer t");
	char text[64];
	CHECK_STR(get_file("/proc/self/comm", text, sizeof text), "a name longer t\n");
	struct utsname uts;
	CHECK_OK(uname(&uts));
	CHECK_STR(uts.sysname, "Linux");
	CHECK_STR(uts.machine, "x86_64");
	int major, minor;
	CHECK_EQ(sscanf(uts.release, "%d.%d", &major, &minor), 2);
	CHECK(major >= 5);
	CHECK_ERR(uname((struct utsname *)8), EFAULT);
	char host[65];
	CHECK_OK(gethostname(host, sizeof host));
	CHECK_STR(host, uts.nodename);
}

TEST(prctl_answers)
{
	CHECK_ERR(prctl(0x7fffffff), EINVAL);
	CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	CHECK_ERR(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
	CHECK_ERR(prctl(PR_SET_PDEATHSIG, 100), EINVAL);
}

TEST(affinity)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CHECK_OK(sched_getaffinity(0, sizeof set, &set));
	int count = CPU_COUNT(&set);
	CHECK(count >= 1);
	CHECK_EQ(sysconf(_SC_NPROCESSORS_ONLN) >= count, 1);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &set))
			continue;
		cpu_set_t one;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		CHECK_OK(sched_setaffinity(0, sizeof one, &one));
		CHECK_OK(sched_getaffinity(0, sizeof one, &one));
		CHECK(CPU_COUNT(&one) == 1 && CPU_ISSET(cpu, &one));
	}
	CPU_ZERO(&set);
	CHECK_ERR(sched_setaffinity(0, sizeof set, &set), EINVAL);
	CHECK_ERR(sched_getaffinity(999999, sizeof set, &set), ESRCH);
	CHECK_OK(sched_yield());
	CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
}

/* A group that nobody outside could continue anyway: its members come and go without a word. */
TEST(ends_in_an_orphaned_group)
{
	pid_t leader = CHECK_OK(fork());
	if (leader == 0) {
		CHECK_OK(setsid());
		pid_t stopped = sleeper();
		CHECK_OK(kill(stopped, SIGSTOP));
		EVENTUALLY(process_state(stopped) == 'T');
		for (int i = 0; i < 5; i++) {
			pid_t other = CHECK_OK(fork());
			if (other == 0)
				_exit(i);
			CHECK_EXIT(other, i);
		}
		msleep(50);
		CHECK_EQ(process_state(stopped), 'T');
		CHECK_OK(kill(stopped, SIGKILL));
		CHECK_KILLED(stopped, SIGKILL);
		_exit(7);
	}
	CHECK_EXIT(leader, 7);
}

/* The last parent outside that could continue a stopped member goes: SIGHUP and SIGCONT. */
TEST(group_becomes_orphaned)
{
	for (int outer = 0; outer < 2; outer++) {
		int gone[2];
		char c;
		CHECK_OK(pipe(gone));
		pid_t leader = CHECK_OK(fork());
		if (leader == 0) {
			CHECK_OK(setsid());
			pid_t member = CHECK_OK(fork());
			if (member == 0) {
				CHECK_OK(setpgid(0, 0));
				pid_t stopped = sleeper();
				CHECK_OK(kill(stopped, SIGSTOP));
				EVENTUALLY(process_state(stopped) == 'T');
				if (!outer)
					_exit(3);
				close(gone[1]);
				CHECK_OK(kill(getppid(), SIGKILL));
				for (;;)
					pause();
			}
			close(gone[1]);
			/* Either the member itself was the link, or its parent is. */
			CHECK_EXIT(member, 3);
			_exit(7);
		}
		close(gone[1]);
		if (outer)
			CHECK_KILLED(leader, SIGKILL);
		else
			CHECK_EXIT(leader, 7);
		struct pollfd end = {.fd = gone[0], .events = POLLIN};
		CHECK_EQ(poll(&end, 1, 10000), 1);
		CHECK_EQ(read(gone[0], &c, 1), 0);
		close(gone[0]);
	}
}

TEST(unknown_calls)
{
	CHECK_ERR(syscall(1000), ENOSYS);
	CHECK_ERR(syscall(100000), ENOSYS);
	CHECK_ERR(syscall(-1L), ENOSYS);
	CHECK_ERR(syscall(0x7fffffff), ENOSYS);
}

TEST_MAIN
