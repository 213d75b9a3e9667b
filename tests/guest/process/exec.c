/* execve: what the new program finds, scripts, errors, descriptors. */
#include "../test.h"
#include <elf.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/resource.h>

extern char **environ;

/* Started by its own tests: says what it found, by its exit code. */
static void act(int argc, char **argv)
{
	if (argc < 2 || strncmp(argv[1], "--", 2) != 0)
		return;
	if (strcmp(argv[1], "--argv") == 0) {
		CHECK_EQ(argc, 5);
		CHECK_STR(argv[0], "name of my own");
		CHECK_STR(argv[2], "");
		CHECK_STR(argv[3], "two words");
		CHECK_STR(argv[4], "\xff\x01 end");
		CHECK(argv[5] == NULL);
		CHECK_STR(environ[0], "A=1");
		CHECK_STR(environ[1], "no equals sign");
		CHECK(environ[2] == NULL);
		exit(17);
	}
	if (strcmp(argv[1], "--count") == 0) {
		size_t total = 0;
		for (int i = 0; i < argc; i++)
			total += strlen(argv[i]) + 1;
		printf("%d %zu\n", argc, total);
		exit(18);
	}
	if (strcmp(argv[1], "--fds") == 0) {
		int open_fds = 0;
		for (int fd = 0; fd < 100; fd++)
			open_fds += fcntl(fd, F_GETFD) != -1;
		exit(open_fds);
	}
	if (strcmp(argv[1], "--signals") == 0) {
		struct sigaction old;
		CHECK_OK(sigaction(SIGUSR1, NULL, &old));
		CHECK(old.sa_handler == SIG_DFL);
		CHECK_OK(sigaction(SIGUSR2, NULL, &old));
		CHECK(old.sa_handler == SIG_IGN);
		sigset_t set;
		CHECK_OK(sigprocmask(0, NULL, &set));
		CHECK(sigismember(&set, SIGHUP) == 1 && sigismember(&set, SIGTERM) == 0);
		CHECK_OK(sigpending(&set));
		CHECK(sigismember(&set, SIGHUP) == 1);
		stack_t stack;
		CHECK_OK(sigaltstack(NULL, &stack));
		CHECK(stack.ss_flags & SS_DISABLE);
		exit(19);
	}
	if (strcmp(argv[1], "--self") == 0) {
		CHECK_EQ(getpid(), atoi(argv[2]));
		CHECK_EQ(syscall(SYS_gettid), getpid());
		char comm[32] = "";
		CHECK_OK(prctl(PR_GET_NAME, comm));
		CHECK_STR(comm, "exec");
		char text[4096];
		CHECK_STR(get_file("/proc/self/comm", text, sizeof text), "exec\n");
		char *threads = strstr(get_file("/proc/self/status", text, sizeof text), "Threads:");
		CHECK(threads && atoi(threads + 8) == 1);
		exit(20);
	}
	if (strcmp(argv[1], "--ids") == 0) {
		printf("%d %d %d %d\n", getuid(), geteuid(), getgid(), getegid());
		exit(21);
	}
	if (strcmp(argv[1], "--places") == 0) {
		printf("%#x %p %p %p %p\n", personality(-1), (void *)argv, (void *)&argc, sbrk(0),
		       mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		exit(22);
	}
}

static pid_t start(char *const argv[], char *const env[])
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		execve(test_self, argv, env);
		_exit(100 + errno % 100);
	}
	return pid;
}

/* Runs a command in the scratch directory; its standard output and exit code. */
static char *output_of(char *const argv[], int expected)
{
	static char text[8192];
	int out[2];
	CHECK_OK(pipe(out));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		dup2(out[1], 1);
		close(out[0]);
		close(out[1]);
		execv(argv[0], argv);
		_exit(100 + errno % 100);
	}
	close(out[1]);
	size_t have = 0;
	ssize_t n;
	while ((n = CHECK_OK(read(out[0], text + have, sizeof text - 1 - have))) > 0)
		have += n;
	text[have] = 0;
	close(out[0]);
	CHECK_EXIT(pid, expected);
	return text;
}

TEST(arguments_and_environment)
{
	char *argv[] = {"name of my own", "--argv", "", "two words", "\xff\x01 end", NULL};
	char *env[] = {"A=1", "no equals sign", NULL};
	CHECK_EXIT(start(argv, env), 17);
}

TEST(null_environment_and_arguments)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		syscall(SYS_execve, "/bin/true", NULL, NULL);
		_exit(errno);
	}
	CHECK_EXIT(pid, 0);
}

TEST(large_argument_lists)
{
	enum { N = 20000 };
	static char *argv[N + 1];
	argv[0] = "x";
	argv[1] = "--count";
	for (int i = 2; i < N; i++)
		argv[i] = "0123456789012345678";
	int out[2];
	CHECK_OK(pipe(out));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		dup2(out[1], 1);
		execv(test_self, argv);
		_exit(errno);
	}
	CHECK_EXIT(pid, 18);
	char text[64] = "";
	CHECK(read(out[0], text, 63) > 0);
	CHECK_STR(text, "20000 399970\n");

	/* One string is at most 32 pages, the whole at most a quarter of the stack limit. */
	size_t page = 4096, limit = 32 * page;
	char *big = malloc(limit + 1);
	memset(big, 'a', limit);
	big[limit - 1] = 0;
	char *one[] = {"x", "--count", big, NULL};
	pid = CHECK_OK(fork());
	if (pid == 0) {
		dup2(CHECK_OK(open("/dev/null", O_WRONLY)), 1);
		execv(test_self, one);
		_exit(errno);
	}
	CHECK_EXIT(pid, 18);
	memset(big, 'a', limit);
	big[limit] = 0;
	CHECK_ERR(execv(test_self, one), E2BIG);
	big[limit - 100] = 0;
	static char *many[200];
	many[0] = "x";
	for (int i = 1; i < 100; i++)
		many[i] = big;
	CHECK_ERR(execv(test_self, many), E2BIG);
}

TEST(errors)
{
	char *argv[] = {"x", NULL};
	CHECK_ERR(execv("missing", argv), ENOENT);
	CHECK_ERR(execv("", argv), ENOENT);
	CHECK_ERR(execv("/", argv), EACCES);
	CHECK_ERR(execv("/dev/null", argv), EACCES);
	put_file("plain", "#!/bin/sh\n", 0644);
	CHECK_ERR(execv("plain", argv), EACCES);
	CHECK_ERR(execv("plain/x", argv), ENOTDIR);
	put_file("garbage", "\x01\x02garbage", 0755);
	CHECK_ERR(execv("garbage", argv), ENOEXEC);
	put_file("empty", "", 0755);
	CHECK_ERR(execv("empty", argv), ENOEXEC);
	put_file("short-elf", "\177ELF\2\1\1", 0755);
	CHECK_ERR(execv("short-elf", argv), ENOEXEC);
	put_file("no-interpreter", "#!/no/such/interpreter\n", 0755);
	CHECK_ERR(execv("no-interpreter", argv), ENOENT);
	put_file("blank-interpreter", "#! \n", 0755);
	CHECK_ERR(execv("blank-interpreter", argv), ENOEXEC);
	CHECK_ERR(syscall(SYS_execve, (char *)8, argv, NULL), EFAULT);
	CHECK_ERR(syscall(SYS_execve, "/bin/true", (char **)8, NULL), EFAULT);
	char *bad[] = {"x", (char *)8, NULL};
	CHECK_ERR(execv("/bin/true", bad), EFAULT);
	int fd = CHECK_OK(open("busy", O_CREAT | O_WRONLY, 0755));
	char page[4096];
	int from = CHECK_OK(open("/bin/true", O_RDONLY));
	ssize_t n;
	while ((n = read(from, page, sizeof page)) > 0)
		CHECK_EQ(write(fd, page, n), n);
	CHECK_ERR(execv("busy", argv), ETXTBSY);
	close(fd);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		_exit(execv("busy", argv));
	CHECK_EXIT(pid, 0);
}

TEST(scripts)
{
	put_file("show", "#!/bin/sh\necho \"$0\" \"$#\" \"$*\"\nexit 33\n", 0755);
	char *argv[] = {"./show", "a b", "c", NULL};
	CHECK_STR(output_of(argv, 33), "./show 2 a b c\n");
	/* One optional argument, spaces kept inside it, and the script's own name in place of argv[0]. */
	put_file("one", "#!  /bin/echo   first  second  \nignored\n", 0755);
	char *one[] = {"./one", "third", NULL};
	CHECK_STR(output_of(one, 0), "first  second ./one third\n");
	/* A script may be the interpreter of a script, a few levels deep. */
	put_file("outer", "#!./one x\n", 0755);
	char *outer[] = {"./outer", NULL};
	CHECK_STR(output_of(outer, 0), "first  second ./one x ./outer\n");
	put_file("loop", "#!./loop\n", 0755);
	char *loop[] = {"./loop", NULL};
	CHECK_ERR(execv("./loop", loop), ELOOP);
	/* The last line needs no newline. */
	put_file("bare", "#!/bin/echo", 0755);
	char *bare[] = {"./bare", NULL};
	CHECK_STR(output_of(bare, 0), "./bare\n");
}

TEST(close_on_exec)
{
	for (int fd = 3; fd < 100; fd++)
		close(fd);
	int kept = CHECK_OK(open("/dev/null", O_RDONLY));
	int gone = CHECK_OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
	CHECK_EQ(fcntl(gone, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(kept, F_GETFD), 0);
	int dup_of_gone = CHECK_OK(dup(gone));
	CHECK_EQ(fcntl(dup_of_gone, F_GETFD), 0);
	CHECK_OK(fcntl(dup_of_gone, F_SETFD, FD_CLOEXEC));
	int dup3_gone = CHECK_OK(dup3(kept, 50, O_CLOEXEC));
	CHECK_EQ(dup3_gone, 50);
	CHECK_OK(fcntl(kept, F_DUPFD_CLOEXEC, 60));
	char *argv[] = {"x", "--fds", NULL};
	CHECK_EXIT(start(argv, NULL), 4);
}

static void nothing(int signo)
{
	(void)signo;
}

TEST(signals_over_exec)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		signal(SIGUSR1, nothing);
		signal(SIGUSR2, SIG_IGN);
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGHUP);
		sigprocmask(SIG_SETMASK, &set, NULL);
		raise(SIGHUP);
		stack_t stack = {malloc(65536), 0, 65536};
		CHECK_OK(sigaltstack(&stack, NULL));
		char *argv[] = {"x", "--signals", NULL};
		execv(test_self, argv);
		_exit(1);
	}
	CHECK_EXIT(pid, 19);
}

static void *exec_in_thread(void *unused)
{
	char pid[20];
	snprintf(pid, sizeof pid, "%d", getpid());
	char *argv[] = {"x", "--self", pid, NULL};
	execv(test_self, argv);
	return unused;
}

static void *wait_for_ever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

TEST(exec_from_a_thread)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		pthread_t thread;
		for (int i = 0; i < 3; i++)
			CHECK_EQ(pthread_create(&thread, NULL, wait_for_ever, NULL), 0);
		CHECK_EQ(pthread_create(&thread, NULL, exec_in_thread, NULL), 0);
		pause();
		_exit(1);
	}
	CHECK_EXIT(pid, 20);
}

TEST(fexecve_and_execveat)
{
	int fd = CHECK_OK(open("/bin/sh", O_RDONLY | O_CLOEXEC));
	char *argv[] = {"sh", "-c", "exit 41", NULL}, *env[] = {NULL};
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		syscall(SYS_execveat, fd, "", argv, env, AT_EMPTY_PATH);
		_exit(1);
	}
	CHECK_EXIT(pid, 41);
	int dir = CHECK_OK(open("/bin", O_PATH));
	pid = CHECK_OK(fork());
	if (pid == 0) {
		syscall(SYS_execveat, dir, "sh", argv, env, 0);
		_exit(1);
	}
	CHECK_EXIT(pid, 41);
	CHECK_ERR(syscall(SYS_execveat, fd, "", argv, env, 0), ENOENT);
	CHECK_ERR(syscall(SYS_execveat, 99, "sh", argv, env, 0), EBADF);
	CHECK_ERR(syscall(SYS_execveat, dir, "sh", argv, env, 0x10), EINVAL);
	CHECK_OK(symlink("/bin/sh", "link"));
	CHECK_ERR(syscall(SYS_execveat, AT_FDCWD, "link", argv, env, AT_SYMLINK_NOFOLLOW), ELOOP);
}

TEST(auxiliary_vector)
{
	CHECK_EQ(getauxval(AT_PAGESZ), 4096);
	CHECK_EQ(getauxval(AT_CLKTCK), 100);
	CHECK_EQ(getauxval(AT_UID), getuid());
	CHECK_EQ(getauxval(AT_EUID), geteuid());
	CHECK_EQ(getauxval(AT_GID), getgid());
	CHECK_EQ(getauxval(AT_EGID), getegid());
	CHECK_EQ(getauxval(AT_SECURE), 0);
	CHECK_EQ(getauxval(AT_PHENT), sizeof(Elf64_Phdr));
	CHECK(getauxval(AT_PHNUM) > 2 && getauxval(AT_PHNUM) < 64);
	const Elf64_Phdr *headers = (const void *)getauxval(AT_PHDR);
	int loads = 0;
	for (unsigned i = 0; i < getauxval(AT_PHNUM); i++)
		loads += headers[i].p_type == PT_LOAD;
	CHECK(loads >= 2);
	extern void _start(void);
	CHECK_EQ(getauxval(AT_ENTRY), (uintptr_t)_start);
	const unsigned char *random = (const void *)getauxval(AT_RANDOM);
	CHECK(random);
	int bits = 0;
	for (int i = 0; i < 16; i++)
		bits += __builtin_popcount(random[i]);
	CHECK(bits > 20 && bits < 108);
	CHECK_STR((const char *)getauxval(AT_PLATFORM), "x86_64");
	CHECK_STR((const char *)getauxval(AT_EXECFN), test_self);
	/* What /proc tells is what was on the stack. */
	static unsigned long vector[128];
	int fd = CHECK_OK(open("/proc/self/auxv", O_RDONLY));
	ssize_t n = CHECK_OK(read(fd, vector, sizeof vector));
	CHECK(n > 0 && n % 16 == 0);
	int pages = 0;
	for (int i = 0; i < n / 8; i += 2)
		pages += vector[i] == AT_PAGESZ && vector[i + 1] == 4096;
	CHECK_EQ(pages, 1);
	CHECK_EQ(vector[n / 8 - 2], AT_NULL);
}

TEST(proc_shows_the_command)
{
	char text[8192];
	int fd = CHECK_OK(open("/proc/self/cmdline", O_RDONLY));
	ssize_t n = CHECK_OK(read(fd, text, sizeof text));
	CHECK(n > 0 && text[n - 1] == 0);
	CHECK(strstr(text, "exec") != NULL);
	char exe[4096];
	n = CHECK_OK(readlink("/proc/self/exe", exe, sizeof exe - 1));
	exe[n] = 0;
	CHECK_STR(exe, test_self);
}

TEST(set_user_id_program)
{
	if (geteuid() != 0)
		SKIP("needs root");
	int from = CHECK_OK(open(test_self, O_RDONLY)), to = CHECK_OK(open("suid", O_CREAT | O_WRONLY, 0755));
	static char page[65536];
	ssize_t n;
	while ((n = read(from, page, sizeof page)) > 0)
		CHECK_EQ(write(to, page, n), n);
	CHECK_OK(fchown(to, 1234, 2345));
	CHECK_OK(fchmod(to, 06755));
	close(to);
	int out[2];
	CHECK_OK(pipe(out));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		dup2(out[1], 1);
		execl("suid", "suid", "--ids", NULL);
		_exit(errno);
	}
	CHECK_EXIT(pid, 21);
	char text[64] = "";
	CHECK(read(out[0], text, 63) > 0);
	CHECK_STR(text, "0 1234 0 2345\n");
}

TEST(places_without_randomness)
{
	char *const argv[] = {(char *)test_self, "--places", NULL};
	char first[200], again[200];
	strcpy(first, output_of(argv, 22));
	CHECK(strcmp(first, output_of(argv, 22)) != 0);
	CHECK_OK(personality(ADDR_NO_RANDOMIZE));
	strcpy(first, output_of(argv, 22));
	CHECK_EQ(strtol(first, NULL, 16), ADDR_NO_RANDOMIZE);
	for (int i = 0; i < 5; i++) {
		strcpy(again, output_of(argv, 22));
		CHECK_STR(again, first);
	}
	if (geteuid() != 0)
		return;
	/* Not handed to who gains rights. */
	char *const copy[] = {"/bin/cp", (char *)test_self, "copy", NULL};
	output_of(copy, 0);
	CHECK_OK(chown("copy", 1234, 2345));
	CHECK_OK(chmod("copy", 06755));
	char *const gained[] = {"./copy", "--places", NULL};
	CHECK_EQ(strtol(output_of(gained, 22), NULL, 16), 0);
}

TEST(exec_storm)
{
	char *argv[] = {"x", "--fds", NULL};
	for (int i = 0; i < 60; i++) {
		int status;
		pid_t pid = start(argv, NULL);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) >= 3 && WEXITSTATUS(status) < 20);
	}
}

TEST_MAIN_WITH(act)
