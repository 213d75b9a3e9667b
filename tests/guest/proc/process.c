/* Files of /proc/PID (proc(5)). */
#include "../test.h"
#include <dirent.h>

static char text[1 << 17];

static const char *self(const char *name)
{
	char path[100];
	snprintf(path, sizeof path, "/proc/self/%s", name);
	return get_file(path, text, sizeof text);
}

/* The number after "NAME:". */
static long amount(const char *in, const char *name)
{
	const char *at = strstr(in, name);
	CHECK(at != NULL);
	return strtol(at + strlen(name) + strspn(at + strlen(name), ": \t"), NULL, 10);
}

TEST(memory_as_a_file)
{
	static char secret[64] = "the old words";
	int fd = CHECK_OK(open("/proc/self/mem", O_RDWR));
	char got[64];
	CHECK_EQ(pread(fd, got, 14, (uintptr_t)secret), 14);
	CHECK_STR(got, "the old words");
	CHECK_EQ(pwrite(fd, "new", 3, (uintptr_t)secret + 4), 3);
	CHECK_STR(secret, "the new words");
	/* Protections do not count, as for a debugger. */
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK_EQ(pwrite(fd, "x", 1, (uintptr_t)page), 1);
	CHECK_EQ(*page, 'x');
	CHECK_OK(munmap(page, 4096));
	CHECK_ERR(pread(fd, got, 1, (uintptr_t)page), EIO);
	CHECK_ERR(pread(fd, got, 1, 0), EIO);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		strcpy(secret, "of the child");
		kill(getpid(), SIGSTOP);
		_exit(0);
	}
	int status;
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	int other = CHECK_OK(open(path, O_RDONLY));
	CHECK_EQ(pread(other, got, 13, (uintptr_t)secret), 13);
	CHECK_STR(got, "of the child");
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_KILLED(pid, SIGKILL);
	CHECK_EQ(pread(other, got, 13, (uintptr_t)secret), 0);
}

TEST(no_place_from_the_end)
{
	static const char *names[] = {"mem", "pagemap"};
	for (int i = 0; i < 2; i++) {
		char path[64];
		snprintf(path, sizeof path, "/proc/self/%s", names[i]);
		int fd = CHECK_OK(open(path, O_RDONLY));
		CHECK_ERR(lseek(fd, 0, SEEK_END), EINVAL);
		CHECK_ERR(lseek(fd, 0, SEEK_DATA), EINVAL);
		CHECK_EQ(lseek(fd, 16, SEEK_SET), 16);
		CHECK_EQ(lseek(fd, 16, SEEK_CUR), 32);
	}
}

/* An entry without what is for root alone. */
static uint64_t page_entry(int fd, void *at)
{
	uint64_t e;
	CHECK_EQ(pread(fd, &e, sizeof e, (uintptr_t)at / 4096 * sizeof e), (int)sizeof e);
	return e >> 55;
}

TEST(pagemap)
{
	enum { PRESENT = 1 << 8, SHARED = 1 << 6 };
	int fd = CHECK_OK(open("/proc/self/pagemap", O_RDONLY));
	char *own = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	own[0] = shared[0] = 1;
	CHECK_EQ(*(volatile char *)(own + 4096), 0);
	CHECK_EQ(page_entry(fd, own) & (PRESENT | SHARED), PRESENT);
	CHECK_EQ(page_entry(fd, own + 4096) & PRESENT, PRESENT);
	CHECK_EQ(page_entry(fd, own + 8192), 0);
	CHECK_EQ(page_entry(fd, shared) & (PRESENT | SHARED), PRESENT | SHARED);
	CHECK_EQ(page_entry(fd, shared + 4096), 0);
	CHECK_EQ(page_entry(fd, (char *)page_entry) & PRESENT, PRESENT);
	CHECK_EQ(page_entry(fd, NULL), 0);
	uint64_t three[3];
	CHECK_EQ(pread(fd, three, sizeof three, (uintptr_t)own / 4096 * 8), (int)sizeof three);
	CHECK(three[0] != 0 && three[2] == 0);
	CHECK_OK(madvise(own, 4096, MADV_DONTNEED));
	CHECK_EQ(page_entry(fd, own), 0);
	CHECK_OK(munmap(own, 3 * 4096));
	CHECK_EQ(page_entry(fd, own + 4096), 0);
	CHECK_ERR(pread(fd, three, 7, 0), EINVAL);
	CHECK_ERR(pread(fd, three, 8, 4), EINVAL);
	CHECK_ERR(pread(fd, NULL, 8, 0), EFAULT);
	CHECK_EQ(pread(fd, NULL, 0, 0), 0);
	/* Nothing is told beyond a program's addresses. */
	CHECK_EQ(pread(fd, three, 24, 0x7ffffffff000 / 4096 * 8 - 16), 16);
	CHECK_EQ(pread(fd, three, 24, 0x7ffffffff000 / 4096 * 8), 0);
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_mode, S_IFREG | 0400);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		pause();
		_exit(0);
	}
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
	int other = CHECK_OK(open(path, O_RDONLY));
	EVENTUALLY(page_entry(other, &st) & PRESENT);
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_KILLED(pid, SIGKILL);
	CHECK_EQ(pread(other, three, 24, 0), 0);
}

/* What is known of a process's call; the number of words. */
static int call_of(pid_t pid, unsigned long long words[9])
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/%d/syscall", pid);
	get_file(path, text, sizeof text);
	if (strcmp(text, "running\n") == 0)
		return 0;
	int n = 0;
	for (char *at = text, *end; n < 9; at = end) {
		words[n] = strtoull(at, &end, n == 0 ? 10 : 16);
		if (end == at)
			break;
		n++;
	}
	return n;
}

TEST(the_call_that_a_process_is_in)
{
	unsigned long long w[9];
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		syscall(SYS_ppoll, 0x11, 0, 0, 0, 0x55, 0x66);
		_exit(0);
	}
	EVENTUALLY(process_state(pid) == 'S' && call_of(pid, w) == 9);
	CHECK_EQ(w[0], SYS_ppoll);
	CHECK_EQ(w[1], 0x11);
	CHECK_EQ(w[5], 0x55);
	CHECK_EQ(w[6], 0x66);
	CHECK(w[7] != 0 && w[8] != 0);
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_KILLED(pid, SIGKILL);
	/* One's own: the read of the file. */
	CHECK_EQ(call_of(getpid(), w), 9);
	CHECK_EQ(w[0], SYS_read);
	char here;
	CHECK(w[7] < (uintptr_t)&here && w[7] > (uintptr_t)&here - 65536);
	/* In no call, and stopped. */
	pid = CHECK_OK(fork());
	if (pid == 0)
		for (;;)
			;
	msleep(20);
	CHECK_EQ(call_of(pid, w), 0);
	CHECK_OK(kill(pid, SIGSTOP));
	EVENTUALLY(process_state(pid) == 'T' && call_of(pid, w) == 3);
	CHECK_EQ((long)w[0], -1);
	CHECK(w[1] != 0 && w[2] != 0);
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_KILLED(pid, SIGKILL);
}

TEST(hidden_from_others)
{
	if (geteuid() != 0)
		SKIP("needs root");
	static const char *names[] = {"environ", "maps", "smaps", "mem",
				      "auxv",	 "io",	 "pagemap", "smaps_rollup", "syscall"};
	pid_t roots = getpid();
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		become_user();
		char path[64], target[64];
		for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
			snprintf(path, sizeof path, "/proc/%d/%s", roots, names[i]);
			errno = 0;
			int fd = open(path, O_RDONLY);
			if (fd >= 0 || errno != EACCES)
				test_fail(__FILE__, __LINE__, "%s: %d, errno %d", path, fd, errno);
		}
		snprintf(path, sizeof path, "/proc/%d/exe", roots);
		CHECK_ERR(readlink(path, target, sizeof target), EACCES);
		snprintf(path, sizeof path, "/proc/%d/cwd", roots);
		CHECK_ERR(readlink(path, target, sizeof target), EACCES);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
}

TEST(rollup_and_smaps)
{
	char *p = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(p, 1, 4 << 20);
	CHECK(strstr(self("smaps_rollup"), "[rollup]\n") != NULL);
	CHECK(amount(text, "\nRss:") >= 4096);
	CHECK(amount(text, "\nPss_Anon:") >= 4096);
	CHECK(amount(text, "\nPrivate_Dirty:") >= 4096);
	CHECK(strstr(self("smaps"), "VmFlags: ") != NULL);
}

TEST(numa_maps)
{
	char path[] = "/proc/self/numa_maps";
	if (access(path, F_OK) != 0)
		SKIP("needs a kernel that knows of nodes");
	char *at = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(at, 1, 3 * 4096);
	int fd = CHECK_OK(open("a =b", O_RDWR | O_CREAT, 0600));
	CHECK_OK(ftruncate(fd, 4096));
	char *file = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	CHECK_EQ(*(volatile char *)file, 0);
	self("numa_maps");
	char wanted[64];
	snprintf(wanted, sizeof wanted, "%lx default anon=3 dirty=3 ", (unsigned long)at);
	char *line = strstr(text, wanted);
	CHECK(line != NULL);
	CHECK(strncmp(strstr(line, " N0="), " N0=3 kernelpagesize_kB=4\n", 26) == 0);
	snprintf(wanted, sizeof wanted, "%lx default file=/", (unsigned long)file);
	line = strstr(text, wanted);
	CHECK(line != NULL);
	CHECK(strstr(line, "/a\\040\\075b mapped=1 ") != NULL);
	CHECK(strstr(text, " stack ") != NULL);
}

TEST(counted_io)
{
	self("io");
	long read_before = amount(text, "rchar:"), written = amount(text, "wchar:"), calls = amount(text, "syscw:");
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT, 0600));
	char buf[1000] = {0};
	for (int i = 0; i < 5; i++)
		CHECK_EQ(write(fd, buf, 1000), 1000);
	CHECK_EQ(pread(fd, buf, 1000, 0), 1000);
	self("io");
	CHECK_EQ(amount(text, "wchar:") - written, 5000);
	CHECK_EQ(amount(text, "syscw:") - calls, 5);
	CHECK(amount(text, "rchar:") - read_before >= 1000);
}

TEST(settings_of_a_process)
{
	CHECK_STR(self("coredump_filter"), "00000033\n");
	int fd = CHECK_OK(open("/proc/self/coredump_filter", O_WRONLY));
	CHECK_EQ(write(fd, "0x7f", 4), 4);
	CHECK_STR(self("coredump_filter"), "0000007f\n");
	fd = CHECK_OK(open("/proc/self/oom_score_adj", O_WRONLY));
	CHECK_EQ(write(fd, "500", 3), 3);
	CHECK_STR(self("oom_score_adj"), "500\n");
	CHECK_ERR(write(fd, "1001", 4), EINVAL);
	CHECK(atoi(self("oom_score")) > 0);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		/* Inherited. */
		CHECK_STR(self("oom_score_adj"), "500\n");
		CHECK_STR(self("coredump_filter"), "0000007f\n");
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
}

TEST(who_is_who)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		pause();
		_exit(0);
	}
	char path[100], want[32];
	snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	snprintf(want, sizeof want, "%d ", pid);
	CHECK_STR(get_file(path, text, sizeof text), want);
	CHECK_ERR(open("/proc/self/children", O_RDONLY), ENOENT);
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_KILLED(pid, SIGKILL);
	CHECK_STR(get_file(path, text, sizeof text), "");
	CHECK_STR(self("uid_map"), "         0          0 4294967295\n");
	CHECK_EQ(strtoul(self("personality"), NULL, 16), 0);
	CHECK(strstr(self("sched"), "#threads: 1)") != NULL);
	CHECK(strstr(text, "se.sum_exec_runtime") != NULL);
	unsigned long long run, wait, turns;
	CHECK_EQ(sscanf(self("schedstat"), "%llu %llu %llu", &run, &wait, &turns), 3);
	CHECK_STR(self("timerslack_ns"), "50000\n");
	timer_t timer;
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	CHECK_OK(timer_create(CLOCK_MONOTONIC, &e, &timer));
	snprintf(want, sizeof want, "notify: signal/pid.%d\n", getpid());
	self("timers");
	CHECK(strstr(text, want) != NULL);
	CHECK(strstr(text, "\nsignal: 10/") != NULL);
	CHECK(strstr(text, "\nClockID: 1\n") != NULL);
}

TEST(map_files)
{
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT, 0600));
	CHECK_OK(ftruncate(fd, 8192));
	char *p = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	char path[100], target[300], real[300];
	snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (long)p, (long)p + 8192);
	ssize_t n = CHECK_OK(readlink(path, target, sizeof target - 1));
	target[n] = 0;
	CHECK(realpath("file", real) != NULL);
	CHECK_STR(target, real);
	CHECK_ERR(open("/proc/self/map_files/1-2", O_RDONLY), ENOENT);
}

TEST(locks_are_listed)
{
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT, 0600));
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
	CHECK_OK(fcntl(fd, F_SETLK, &l));
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	get_file("/proc/locks", text, sizeof text);
	char want[100];
	snprintf(want, sizeof want, ":%lu 10 14\n", (unsigned long)st.st_ino);
	char *at = strstr(text, want);
	CHECK(at != NULL);
	while (at > text && at[-1] != '\n')
		at--;
	snprintf(want, sizeof want, "POSIX  ADVISORY  WRITE %d ", getpid());
	CHECK(strstr(at, want) != NULL);
}

TEST(processor_time_grows)
{
	long before = 0, after = 0;
	char *end = strrchr(self("stat"), ')');
	CHECK_EQ(sscanf(end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld", &before), 1);
	int64_t until = now_ns() + 300000000;
	while (now_ns() < until)
		;
	end = strrchr(self("stat"), ')');
	CHECK_EQ(sscanf(end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld", &after), 1);
	CHECK(after - before >= 5);
}

TEST_MAIN
