/* fork, exit and the wait family. */
#include "../test.h"
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>

TEST(exit_codes)
{
	for (int code = 0; code < 256; code += 17) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0)
			_exit(code);
		CHECK_EXIT(pid, code);
	}
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		_exit(0x1234);
	CHECK_EXIT(pid, 0x34);
}

TEST(ids_in_child)
{
	pid_t parent = getpid();
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		CHECK(getpid() != parent);
		CHECK_EQ(getppid(), parent);
		CHECK_EQ(syscall(SYS_gettid), getpid());
		CHECK_EQ(getpgid(0), getpgid(parent));
		CHECK_EQ(getsid(0), getsid(parent));
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
}

TEST(memory_is_copied)
{
	static volatile int data = 1;
	volatile int stack = 2;
	volatile int *heap = malloc(sizeof *heap);
	*heap = 3;
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		CHECK_EQ(data + stack + *heap, 6);
		data = stack = *heap = 99;
		_exit(7);
	}
	CHECK_EXIT(pid, 7);
	CHECK_EQ(data, 1);
	CHECK_EQ(stack, 2);
	CHECK_EQ(*heap, 3);
}

TEST(descriptors_share_offset)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT, 0600));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		CHECK_EQ(write(fd, "abc", 3), 3);
		close(fd);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 3);
	CHECK_EQ(write(fd, "def", 3), 3);
	char text[10];
	CHECK_STR(get_file("f", text, sizeof text), "abcdef");
}

TEST(wait_errors)
{
	int status;
	CHECK_ERR(wait(&status), ECHILD);
	CHECK_ERR(waitpid(getppid(), &status, 0), ECHILD);
	CHECK_ERR(waitpid(-1, &status, 0x1000), EINVAL);
	siginfo_t info;
	CHECK_ERR(waitid(P_ALL, 0, &info, 0), EINVAL);
	CHECK_ERR(waitid(P_ALL, 0, &info, WEXITED), ECHILD);
	CHECK_ERR(waitid(99, 0, &info, WEXITED), EINVAL);
}

TEST(wnohang)
{
	int gate[2];
	CHECK_OK(pipe(gate));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		char c;
		close(gate[1]);
		CHECK_EQ(read(gate[0], &c, 1), 0);
		_exit(3);
	}
	int status = 0x5555;
	CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
	CHECK_EQ(status, 0x5555);
	close(gate[1]);
	CHECK_EXIT(pid, 3);
	CHECK_ERR(waitpid(pid, &status, WNOHANG), ECHILD);
}

TEST(wait_by_group)
{
	pid_t a = CHECK_OK(fork());
	if (a == 0)
		_exit(setpgid(0, 0) == 0 ? 1 : 100);
	pid_t b = CHECK_OK(fork());
	if (b == 0)
		_exit(2);
	siginfo_t info;
	CHECK_OK(waitid(P_PID, a, &info, WEXITED | WNOWAIT));
	int status;
	CHECK_EQ(waitpid(0, &status, 0), b);
	CHECK_EQ(WEXITSTATUS(status), 2);
	CHECK_ERR(waitpid(0, &status, 0), ECHILD);
	CHECK_EQ(waitpid(-a, &status, 0), a);
	CHECK_EQ(WEXITSTATUS(status), 1);
}

TEST(waitid_info)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		_exit(42);
	siginfo_t info;
	for (int keep = 1; keep >= 0; keep--) {
		memset(&info, 0, sizeof info);
		CHECK_OK(waitid(P_PID, pid, &info, WEXITED | (keep ? WNOWAIT : 0)));
		CHECK_EQ(info.si_pid, pid);
		CHECK_EQ(info.si_uid, getuid());
		CHECK_EQ(info.si_signo, SIGCHLD);
		CHECK_EQ(info.si_status, 42);
		CHECK_EQ(info.si_code, CLD_EXITED);
	}
	pid = CHECK_OK(fork());
	if (pid == 0) {
		raise(SIGKILL);
		_exit(0);
	}
	CHECK_OK(waitid(P_ALL, 0, &info, WEXITED));
	CHECK_EQ(info.si_pid, pid);
	CHECK_EQ(info.si_status, SIGKILL);
	CHECK_EQ(info.si_code, CLD_KILLED);
	/* With WNOHANG and nothing to report, the answer is 0 and si_pid 0. */
	pid = CHECK_OK(fork());
	if (pid == 0) {
		pause();
		_exit(0);
	}
	memset(&info, 0xff, sizeof info);
	CHECK_EQ(waitid(P_PID, pid, &info, WEXITED | WNOHANG), 0);
	CHECK_EQ(info.si_pid, 0);
	CHECK_EQ(info.si_signo, 0);
	CHECK_OK(kill(pid, SIGTERM));
	CHECK_KILLED(pid, SIGTERM);
}

TEST(zombie_keeps_its_pid)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		_exit(0);
	EVENTUALLY(process_state(pid) == 'Z');
	CHECK_OK(kill(pid, 0));
	CHECK_EXIT(pid, 0);
	CHECK_ERR(kill(pid, 0), ESRCH);
	CHECK_EQ(process_state(pid), 0);
}

TEST(orphans_go_to_the_subreaper)
{
	CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	int out[2];
	CHECK_OK(pipe(out));
	pid_t middle = CHECK_OK(fork());
	if (middle == 0) {
		pid_t parent = getpid();
		pid_t orphan = fork();
		if (orphan == 0) {
			while (getppid() == parent)
				msleep(1);
			pid_t ids[2] = {getpid(), getppid()};
			CHECK_EQ(write(out[1], ids, sizeof ids), sizeof ids);
			_exit(9);
		}
		_exit(orphan > 0 ? 0 : 1);
	}
	CHECK_EXIT(middle, 0);
	pid_t ids[2];
	CHECK_EQ(read(out[0], ids, sizeof ids), sizeof ids);
	CHECK_EQ(ids[1], getpid());
	CHECK_EXIT(ids[0], 9);
}

TEST(ignored_sigchld_reaps)
{
	signal(SIGCHLD, SIG_IGN);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		_exit(5);
	int status;
	CHECK_ERR(waitpid(pid, &status, 0), ECHILD);
	CHECK_ERR(kill(pid, 0), ESRCH);
}

TEST(rusage_of_children)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		/* Of the processor's time, however long that takes. */
		while (clock() < CLOCKS_PER_SEC * 6 / 100)
			;
		_exit(0);
	}
	struct rusage usage;
	int status;
	CHECK_EQ(wait4(pid, &status, 0, &usage), pid);
	long us = usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_sec * 1000000 +
		  usage.ru_stime.tv_usec;
	CHECK(us > 5000 && us < 10000000);
	CHECK_OK(getrusage(RUSAGE_CHILDREN, &usage));
	CHECK(usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_sec * 1000000 +
		      usage.ru_stime.tv_usec >
	      5000);
	CHECK_ERR(getrusage(77, &usage), EINVAL);
}

TEST(vfork_shares_and_suspends)
{
	static volatile int shared;
	pid_t pid = vfork();
	if (pid == 0) {
		shared = 5;
		_exit(4);
	}
	CHECK(pid > 0);
	CHECK_EQ(shared, 5);
	CHECK_EXIT(pid, 4);
}

TEST(vfork_exec)
{
	for (int i = 0; i < 20; i++) {
		pid_t pid = vfork();
		if (pid == 0) {
			execl("/bin/sh", "sh", "-c", "exit 6", NULL);
			_exit(100);
		}
		CHECK_EXIT(pid, 6);
	}
	pid_t pid = vfork();
	if (pid == 0) {
		execl("/no/such/program", "x", NULL);
		_exit(errno == ENOENT ? 11 : 12);
	}
	CHECK_EXIT(pid, 11);
}

TEST(many_children)
{
	enum { N = 200 };
	pid_t pids[N];
	for (int i = 0; i < N; i++) {
		pids[i] = CHECK_OK(fork());
		if (pids[i] == 0)
			_exit(i);
	}
	int seen[N] = {0};
	for (int i = 0; i < N; i++) {
		int status;
		pid_t pid = CHECK_OK(wait(&status));
		CHECK(WIFEXITED(status));
		int index = WEXITSTATUS(status);
		CHECK(index < N && pids[index] == pid && !seen[index]);
		seen[index] = 1;
	}
	CHECK_ERR(wait(NULL), ECHILD);
}

TEST(deep_chain)
{
	int depth = 0;
	while (depth < 40) {
		pid_t pid = CHECK_OK(fork());
		if (pid != 0) {
			int status;
			CHECK_EQ(waitpid(pid, &status, 0), pid);
			CHECK(WIFEXITED(status));
			if (depth == 0) {
				CHECK_EQ(WEXITSTATUS(status), 40);
				return;
			}
			_exit(WEXITSTATUS(status));
		}
		depth++;
	}
	_exit(depth);
}

TEST(fork_from_thread_keeps_one_thread)
{
	extern void *fork_in_thread(void *);
	pthread_t thread;
	void *result;
	CHECK_EQ(pthread_create(&thread, NULL, fork_in_thread, NULL), 0);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK_EXIT((pid_t)(intptr_t)result, 1);
}

void *fork_in_thread(void *unused)
{
	(void)unused;
	pid_t pid = fork();
	if (pid == 0) {
		char text[4096], *line = strstr(get_file("/proc/self/status", text, sizeof text), "Threads:");
		CHECK(line);
		CHECK_EQ(syscall(SYS_gettid), getpid());
		_exit(atoi(line + 8));
	}
	return (void *)(intptr_t)pid;
}

TEST(exit_group_ends_all_threads)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		extern void *sleeper(void *);
		pthread_t thread;
		for (int i = 0; i < 4; i++)
			CHECK_EQ(pthread_create(&thread, NULL, sleeper, NULL), 0);
		msleep(5);
		exit(13);
	}
	CHECK_EXIT(pid, 13);
}

void *sleeper(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static void *leave_alone(void *unused)
{
	msleep(30);
	_exit(21);
	return unused;
}

TEST(leader_may_leave_first)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		pthread_t thread;
		CHECK_EQ(pthread_create(&thread, NULL, leave_alone, NULL), 0);
		syscall(SYS_exit, 3);
	}
	CHECK_EXIT(pid, 21);
}

TEST(clone_flag_errors)
{
	CHECK_ERR(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0), EINVAL);
	CHECK_ERR(syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0), EINVAL);
	CHECK_ERR(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0), EINVAL);
	/* Flags and places of struct clone_args: flags, pidfd, child_tid, parent_tid. */
	int number;
	uint64_t unknown[11] = {1ULL << 40}, same[11] = {CLONE_PIDFD | CLONE_PARENT_SETTID, (uintptr_t)&number, 0,
							 (uintptr_t)&number};
	CHECK_ERR(syscall(SYS_clone3, unknown, sizeof unknown), EINVAL);
	CHECK_ERR(syscall(SYS_clone3, same, sizeof same), EINVAL);
}

TEST(clone_parent_tid)
{
	pid_t parent_tid = 0;
	pid_t pid = CHECK_OK(syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, &parent_tid,
				     &parent_tid, 0));
	if (pid == 0)
		_exit(parent_tid == getpid() ? 8 : 9);
	CHECK_EQ(parent_tid, pid);
	CHECK_EXIT(pid, 8);
}

TEST(clone_without_signal)
{
	pid_t pid = CHECK_OK(syscall(SYS_clone, 0, 0, 0, 0, 0));
	if (pid == 0)
		_exit(2);
	int status;
	CHECK_ERR(waitpid(pid, &status, 0), ECHILD);
	CHECK_EQ(waitpid(pid, &status, __WCLONE), pid);
	CHECK_EQ(WEXITSTATUS(status), 2);
}

TEST(clone_files_shares_descriptors)
{
	pid_t pid = CHECK_OK(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
	if (pid == 0)
		_exit(open("/dev/null", O_RDONLY));
	int status;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	CHECK_OK(fcntl(WEXITSTATUS(status), F_GETFD));
}

TEST(clone_fs_shares_directory)
{
	CHECK_OK(mkdir("sub", 0700));
	pid_t pid = CHECK_OK(syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0));
	if (pid == 0)
		_exit(chdir("sub"));
	CHECK_EXIT(pid, 0);
	CHECK_OK(access("../sub", F_OK));
	char cwd[4096];
	CHECK(getcwd(cwd, sizeof cwd));
	CHECK_STR(strrchr(cwd, '/'), "/sub");
}

TEST(pdeathsig)
{
	CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	int out[2];
	CHECK_OK(pipe(out));
	pid_t middle = CHECK_OK(fork());
	if (middle == 0) {
		pid_t inner = fork();
		if (inner == 0) {
			prctl(PR_SET_PDEATHSIG, SIGUSR1);
			int own = 0;
			prctl(PR_GET_PDEATHSIG, &own);
			CHECK_EQ(own, SIGUSR1);
			CHECK_EQ(write(out[1], "x", 1), 1);
			for (;;)
				pause();
		}
		char c;
		CHECK_EQ(read(out[0], &c, 1), 1);
		CHECK_EQ(write(out[1], &inner, sizeof inner), sizeof inner);
		_exit(0);
	}
	CHECK_EXIT(middle, 0);
	pid_t inner;
	CHECK_EQ(read(out[0], &inner, sizeof inner), sizeof inner);
	CHECK_KILLED(inner, SIGUSR1);
}

TEST(times_and_cpu_clocks)
{
	struct tms before, after;
	clock_t start = times(&before);
	int64_t until = now_ns() + 50000000;
	while (now_ns() < until)
		;
	clock_t end = times(&after);
	CHECK(end > start);
	struct timespec cpu;
	CHECK_OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu));
	CHECK(cpu.tv_sec > 0 || cpu.tv_nsec > 5000000);
	CHECK_OK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu));
	CHECK(cpu.tv_sec > 0 || cpu.tv_nsec > 5000000);
}

TEST(rlimit_nproc_stops_fork)
{
	become_user();
	struct rlimit limit = {0, 0};
	CHECK_OK(setrlimit(RLIMIT_NPROC, &limit));
	CHECK_ERR(fork(), EAGAIN);
}

static volatile sig_atomic_t came;

static void note(int signo)
{
	came = signo;
}

TEST(siblings_end_as_their_maker_does)
{
	signal(SIGUSR1, note);
	signal(SIGCHLD, note);
	pid_t maker = CHECK_OK(fork());
	if (maker == 0) {
		/* The signal asked for would go to a process that did not ask for it. */
		pid_t sibling = syscall(SYS_clone, CLONE_PARENT | SIGUSR1, 0, NULL, NULL, 0);
		if (sibling == 0)
			_exit(getppid() == 1 ? 8 : 7);
		_exit(sibling > 0 ? 0 : 9);
	}
	int codes = 0;
	for (int i = 0; i < 2; i++) {
		int status;
		pid_t pid = waitpid(-1, &status, __WALL);
		if (pid < 0 && errno == EINTR) {
			i--;
			continue;
		}
		CHECK(pid > 0 && WIFEXITED(status));
		codes += WEXITSTATUS(status);
		CHECK_EQ(came, SIGCHLD);
	}
	CHECK_EQ(codes, 7);
}

TEST_MAIN
