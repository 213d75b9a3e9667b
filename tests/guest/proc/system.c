/* /proc/sys (proc_sys(5)), files of /proc about the machine, and sysfs. */
#include "../test.h"
#include <sys/resource.h>
#include <sys/ipc.h>
#include <sys/msg.h>

static char text[1 << 17];

static const char *sys(const char *name)
{
	char path[200];
	snprintf(path, sizeof path, "/proc/sys/%s", name);
	return get_file(path, text, sizeof text);
}

static int set(const char *name, const char *value)
{
	char path[200];
	snprintf(path, sizeof path, "/proc/sys/%s", name);
	int fd = CHECK_OK(open(path, O_WRONLY));
	int n = write(fd, value, strlen(value));
	int error = errno;
	close(fd);
	errno = error;
	return n == (int)strlen(value) ? 0 : -1;
}

/* Only in a machine of its own may a test change settings of everybody. */
static void needs_own_machine(void)
{
	get_file("/proc/version", text, sizeof text);
	if (geteuid() != 0 || strstr(text, "umlaut") == NULL)
		SKIP("changes settings of the whole machine");
}

TEST(there_and_sane)
{
	static const char *numbers[] = {
		"kernel/pid_max",    "kernel/threads-max",   "kernel/tainted",       "kernel/random/entropy_avail",
		"kernel/shmmax",     "kernel/shmall",	     "kernel/shmmni",	     "kernel/msgmax",
		"kernel/msgmnb",     "kernel/msgmni",	     "fs/file-max",	     "fs/nr_open",
		"fs/pipe-max-size",  "fs/pipe-user-pages-soft", "fs/pipe-user-pages-hard", "vm/overcommit_memory",
		"vm/overcommit_ratio", "vm/max_map_count",   "vm/swappiness",	     "fs/mqueue/msg_max",
		"fs/mqueue/queues_max", "kernel/ngroups_max", "kernel/cap_last_cap", "kernel/panic",
	};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		char *end;
		sys(numbers[i]);
		strtoull(text, &end, 10);
		if (end == text || strcmp(end, "\n") != 0)
			test_fail(__FILE__, __LINE__, "%s: %s", numbers[i], text);
	}
	CHECK_STR(sys("kernel/ostype"), "Linux\n");
	unsigned long sem[4];
	CHECK_EQ(sscanf(sys("kernel/sem"), "%lu %lu %lu %lu", sem, sem + 1, sem + 2, sem + 3), 4);
	char first[64];
	strcpy(first, sys("kernel/random/uuid"));
	CHECK_EQ(strlen(first), 37);
	CHECK(strcmp(first, sys("kernel/random/uuid")) != 0);
	strcpy(first, sys("kernel/random/boot_id"));
	CHECK_STR(sys("kernel/random/boot_id"), first);
}

TEST(who_may_write)
{
	if (geteuid() != 0)
		SKIP("needs root");
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		become_user();
		CHECK_ERR(open("/proc/sys/vm/max_map_count", O_WRONLY), EACCES);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	/* Not even root writes what is only to be read. */
	CHECK_ERR(open("/proc/sys/kernel/ostype", O_WRONLY), EACCES);
}

TEST(mapping_count)
{
	needs_own_machine();
	CHECK_OK(set("vm/max_map_count", "100"));
	char *p = mmap(NULL, 1000 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	int i = 0;
	while (i < 300 && mprotect(p + 2 * i * 4096, 4096, PROT_NONE) == 0)
		i++;
	CHECK_EQ(errno, ENOMEM);
	CHECK(i > 20 && i < 60);
	CHECK_OK(set("vm/max_map_count", "65530"));
}

TEST(overcommit)
{
	needs_own_machine();
	size_t huge = 1UL << 44;
	CHECK(mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	CHECK_OK(set("vm/overcommit_memory", "1"));
	CHECK(mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	CHECK_OK(set("vm/overcommit_memory", "0"));
	CHECK_ERR(set("vm/overcommit_memory", "3"), EINVAL);
	CHECK_ERR(set("vm/overcommit_memory", "x"), EINVAL);
}

TEST(limits_of_processes)
{
	needs_own_machine();
	CHECK_OK(set("fs/nr_open", "2000"));
	struct rlimit l = {2001, 2001};
	CHECK_ERR(setrlimit(RLIMIT_NOFILE, &l), EPERM);
	CHECK_OK(set("fs/nr_open", "1048576"));
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &l));
	CHECK_OK(set("fs/pipe-max-size", "70000"));
	CHECK_STR(sys("fs/pipe-max-size"), "131072\n");
	int p[2];
	CHECK_OK(pipe(p));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		become_user();
		CHECK_OK(fcntl(p[0], F_SETPIPE_SZ, 131072));
		CHECK_ERR(fcntl(p[0], F_SETPIPE_SZ, 262144), EPERM);
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_OK(set("fs/pipe-max-size", "1048576"));
	CHECK_OK(set("kernel/msgmax", "16"));
	int id = CHECK_OK(msgget(IPC_PRIVATE, IPC_CREAT | 0600));
	struct {
		long type;
		char text[32];
	} m = {.type = 1};
	CHECK_ERR(msgsnd(id, &m, 17, 0), EINVAL);
	CHECK_OK(msgsnd(id, &m, 16, 0));
	CHECK_OK(set("kernel/msgmax", "8192"));
	CHECK_OK(msgctl(id, IPC_RMID, NULL));
	CHECK_OK(set("kernel/threads-max", "20"));
	pid_t pids[40];
	int made = 0;
	while (made < 40 && (pids[made] = fork()) > 0)
		made++;
	if (made < 40 && pids[made] == 0) {
		pause();
		_exit(0);
	}
	int error = errno;
	for (int i = 0; i < made; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	CHECK_OK(set("kernel/threads-max", "100000"));
	CHECK(made < 20);
	CHECK_EQ(error, EAGAIN);
}

TEST(files_of_the_machine)
{
	static const char *files[] = {"/proc/interrupts", "/proc/diskstats", "/proc/consoles", "/proc/devices",
				      "/proc/swaps",	  "/proc/partitions", "/proc/kallsyms",
				      "/proc/vmstat",	  "/proc/locks",      "/proc/misc",	"/proc/crypto",
				      "/proc/tty/drivers", "/proc/filesystems", "/proc/execdomains", "/proc/softirqs"};
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		get_file(files[i], text, sizeof text);
	CHECK(strstr(get_file("/proc/tty/drivers", text, sizeof text), "/dev/pts") != NULL);
	double load[3];
	int running, all, last;
	CHECK_EQ(sscanf(get_file("/proc/loadavg", text, sizeof text), "%lf %lf %lf %d/%d %d", load, load + 1,
			load + 2, &running, &all, &last), 6);
	CHECK(running <= all);
	/* The sums of processor time never fall. */
	unsigned long long before[4], after[4];
	const char *cpu = "cpu %llu %llu %llu %llu";
	CHECK_EQ(sscanf(get_file("/proc/stat", text, sizeof text), cpu, before, before + 1, before + 2, before + 3), 4);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		/* Of the processor's time, however long that takes. */
		while (clock() < CLOCKS_PER_SEC / 5)
			for (volatile int i = 0; i < 100000; i++)
				;
		_exit(0);
	}
	CHECK_EXIT(pid, 0);
	CHECK_EQ(sscanf(get_file("/proc/stat", text, sizeof text), cpu, after, after + 1, after + 2, after + 3), 4);
	CHECK(after[0] + after[1] >= before[0] + before[1] + 5);
}

TEST(processors_in_sysfs)
{
	int first, last = -1;
	CHECK(sscanf(get_file("/sys/devices/system/cpu/online", text, sizeof text), "%d-%d", &first, &last) >= 1);
	if (last < 0)
		last = first;
	CHECK_EQ(last - first + 1, sysconf(_SC_NPROCESSORS_ONLN));
	CHECK(sysconf(_SC_NPROCESSORS_CONF) >= last + 1);
	CHECK_EQ(atoi(get_file("/sys/devices/system/cpu/cpu0/topology/physical_package_id", text, sizeof text)), 0);
	CHECK(strchr(get_file("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text), '[') != NULL);
	CHECK_STR(get_file("/sys/class/mem/null/dev", text, sizeof text), "1:3\n");
	CHECK_STR(get_file("/sys/dev/char/1:3/uevent", text, sizeof text), "MAJOR=1\nMINOR=3\nDEVNAME=null\nDEVMODE=0666\n");
	CHECK_OK(access("/sys/fs/cgroup", F_OK));
	CHECK_OK(access("/sys/module", F_OK));
	struct stat st;
	CHECK_OK(stat("/sys/devices/system/cpu/online", &st));
	CHECK_EQ(st.st_mode, S_IFREG | 0444);
	CHECK_EQ(st.st_size, 4096);
	CHECK_OK(stat("/sys/devices/system/node/node0/cpu0", &st));
	CHECK(S_ISDIR(st.st_mode));
}

TEST_MAIN
