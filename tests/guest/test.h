/* Small test kit for guest programs: static C that passes on Linux first, then inside the machine.
 *
 * A file holds TEST(name) { ... } bodies and ends with TEST_MAIN. Each body runs in a child process of its own
 * (own process group, own empty directory, TEST_SECONDS to finish); the first failed CHECK ends it. The program
 * prints one line per body and exits 0 when none failed, 77 when all were skipped.
 *   ./case            run all        ./case NAME...   run these
 *   ./case -1 NAME    run one without a child process
 */
#ifndef TEST_H
#define TEST_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef TEST_SECONDS
#define TEST_SECONDS 20
#endif
#define TEST_SKIPPED 77

struct test_case {
	const char *name;
	void (*body)(void);
};
static struct test_case test_cases[64];
static int test_count;
static const char *test_self; /* this program, as an absolute path */

#define TEST(n)                                                                                                        \
	static void test_##n(void);                                                                                    \
	__attribute__((constructor)) static void test_register_##n(void)                                               \
	{                                                                                                              \
		test_cases[test_count++] = (struct test_case){#n, test_##n};                                           \
	}                                                                                                              \
	static void test_##n(void)

__attribute__((format(printf, 3, 4), noreturn, unused)) static void test_fail(const char *file, int line,
									      const char *format, ...)
{
	char text[600];
	int n = snprintf(text, sizeof text, "  %s:%d: ", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line);
	va_list args;
	va_start(args, format);
	n += vsnprintf(text + n, sizeof text - n - 1, format, args);
	va_end(args);
	if (n > (int)sizeof text - 2)
		n = sizeof text - 2;
	text[n++] = '\n';
	if (write(2, text, n) != n)
		_exit(3);
	_exit(1);
}

/* Ends the test unless the condition holds. */
#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			test_fail(__FILE__, __LINE__, "%s (errno %d %s)", #condition, errno, strerror(errno));         \
	} while (0)

/* Two integers are equal. */
#define CHECK_EQ(left, right)                                                                                          \
	do {                                                                                                           \
		long long left_ = (long long)(left), right_ = (long long)(right);                                      \
		if (left_ != right_)                                                                                   \
			test_fail(__FILE__, __LINE__, "%s is %lld (%#llx), not %s = %lld (errno %d %s)", #left, left_, \
				  left_, #right, right_, errno, strerror(errno));                                      \
	} while (0)

/* The call did not answer -1; its value. */
#define CHECK_OK(call)                                                                                                 \
	({                                                                                                             \
		long long value_ = (long long)(call);                                                                  \
		if (value_ == -1)                                                                                      \
			test_fail(__FILE__, __LINE__, "%s failed: errno %d %s", #call, errno, strerror(errno));        \
		value_;                                                                                                \
	})

/* The call answered -1 with exactly this errno. */
#define CHECK_ERR(call, error)                                                                                         \
	do {                                                                                                           \
		errno = 0;                                                                                             \
		long long value_ = (long long)(call);                                                                  \
		if (value_ != -1)                                                                                      \
			test_fail(__FILE__, __LINE__, "%s answered %lld, expected %s", #call, value_, #error);         \
		if (errno != (error))                                                                                  \
			test_fail(__FILE__, __LINE__, "%s: errno %d %s, expected %s", #call, errno, strerror(errno),   \
				  #error);                                                                             \
	} while (0)

#define CHECK_STR(left, right)                                                                                         \
	do {                                                                                                           \
		const char *left_ = (left), *right_ = (right);                                                         \
		if (strcmp(left_, right_) != 0)                                                                        \
			test_fail(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #left, left_, right_);               \
	} while (0)

/* The child ended by itself with this exit code. */
#define CHECK_EXIT(pid, code)                                                                                          \
	do {                                                                                                           \
		int status_ = 0;                                                                                       \
		pid_t pid_ = (pid);                                                                                    \
		CHECK(pid_ > 0);                                                                                       \
		CHECK_EQ(waitpid(pid_, &status_, 0), pid_);                                                            \
		if (!WIFEXITED(status_) || WEXITSTATUS(status_) != (code))                                             \
			test_fail(__FILE__, __LINE__, "child status %#x, expected exit %d", status_, (int)(code));     \
	} while (0)

/* The child was ended by this signal. */
#define CHECK_KILLED(pid, signo)                                                                                       \
	do {                                                                                                           \
		int status_ = 0;                                                                                       \
		pid_t pid_ = (pid);                                                                                    \
		CHECK(pid_ > 0);                                                                                       \
		CHECK_EQ(waitpid(pid_, &status_, 0), pid_);                                                            \
		if (!WIFSIGNALED(status_) || WTERMSIG(status_) != (signo))                                             \
			test_fail(__FILE__, __LINE__, "child status %#x, expected signal %d", status_, (int)(signo));  \
	} while (0)

#define SKIP(reason)                                                                                                   \
	do {                                                                                                           \
		fprintf(stderr, "  skipped: %s\n", reason);                                                            \
		_exit(TEST_SKIPPED);                                                                                   \
	} while (0)

__attribute__((unused)) static void msleep(int ms)
{
	struct timespec left = {ms / 1000, (ms % 1000) * 1000000L};
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

__attribute__((unused)) static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* From here on a plain user; stays who it is when it is none of root's processes. */
__attribute__((unused)) static void become_user(void)
{
	if (geteuid() != 0)
		return;
	CHECK_OK(setgroups(0, NULL));
	CHECK_OK(setresgid(65534, 65534, 65534));
	CHECK_OK(setresuid(65534, 65534, 65534));
}

__attribute__((unused)) static void put_file(const char *path, const char *text, mode_t mode)
{
	int fd = CHECK_OK(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
	CHECK_OK(fchmod(fd, mode));
	CHECK_OK(close(fd));
}

/* Up to size-1 bytes of a file, as a string. */
__attribute__((unused)) static char *get_file(const char *path, char *into, size_t size)
{
	int fd = CHECK_OK(open(path, O_RDONLY));
	size_t have = 0;
	ssize_t n;
	while (have < size - 1 && (n = CHECK_OK(read(fd, into + have, size - 1 - have))) > 0)
		have += n;
	into[have] = 0;
	close(fd);
	return into;
}

/* Waits until the condition holds, or fails after ten seconds. */
#define EVENTUALLY(condition)                                                                                          \
	do {                                                                                                           \
		int64_t until_ = now_ns() + 10000000000LL;                                                             \
		while (!(condition)) {                                                                                 \
			if (now_ns() > until_)                                                                         \
				test_fail(__FILE__, __LINE__, "not within 10 s: %s", #condition);                      \
			msleep(1);                                                                                     \
		}                                                                                                      \
	} while (0)

/* The state letter of a process in /proc/PID/stat, or 0 when there is none. */
__attribute__((unused)) static char process_state(pid_t pid)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = 0;
	char *end = strrchr(text, ')');
	return end ? end[2] : 0;
}

__attribute__((unused)) static int test_run_one(struct test_case *test)
{
	char dir[200];
	snprintf(dir, sizeof dir, "%s.%d", test->name, getpid());
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0) {
		fprintf(stderr, "  fork: %s\n", strerror(errno));
		return 1;
	}
	if (pid == 0) {
		setpgid(0, 0);
		if (mkdir(dir, 0777) != 0 || chmod(dir, 0777) != 0 || chdir(dir) != 0)
			test_fail(__FILE__, __LINE__, "scratch directory %s: %s", dir, strerror(errno));
		test->body();
		fflush(NULL);
		_exit(0);
	}
	setpgid(pid, pid);
	int64_t until = now_ns() + TEST_SECONDS * 1000000000LL;
	int status, nap_us = 50;
	pid_t got;
	while ((got = waitpid(pid, &status, WNOHANG)) == 0 && now_ns() < until) {
		struct timespec nap = {0, nap_us * 1000L};
		nanosleep(&nap, NULL);
		if (nap_us < 5000)
			nap_us += nap_us / 4;
	}
	kill(-pid, SIGKILL);
	if (got == 0) {
		waitpid(pid, &status, 0);
		fprintf(stderr, "  no end after %d s\n", TEST_SECONDS);
		return 1;
	}
	if (got < 0) {
		fprintf(stderr, "  waitpid: %s\n", strerror(errno));
		return 1;
	}
	if (WIFSIGNALED(status)) {
		fprintf(stderr, "  ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
		return 1;
	}
	return WEXITSTATUS(status);
}

__attribute__((unused)) static int test_main(int argc, char **argv)
{
	static char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	test_self = n > 0 ? self : argv[0];
	setvbuf(stdout, NULL, _IOLBF, 0);
	int direct = argc > 1 && strcmp(argv[1], "-1") == 0;
	int failed = 0, skipped = 0, ran = 0;
	for (int i = 0; i < test_count; i++) {
		int wanted = argc <= 1 + direct;
		for (int a = 1 + direct; a < argc; a++)
			wanted |= strcmp(argv[a], test_cases[i].name) == 0;
		if (!wanted)
			continue;
		ran++;
		int code = 0;
		if (direct)
			test_cases[i].body();
		else
			code = test_run_one(&test_cases[i]);
		const char *word = code == 0 ? "ok" : code == TEST_SKIPPED ? "skip" : "FAIL";
		printf("%s %s\n", word, test_cases[i].name);
		failed += code != 0 && code != TEST_SKIPPED;
		skipped += code == TEST_SKIPPED;
	}
	if (ran == 0) {
		fprintf(stderr, "no such test\n");
		return 2;
	}
	return failed ? 1 : skipped == ran ? TEST_SKIPPED : 0;
}

/* A program may act as another one when it is started by its own tests: handle that in `before`. */
#define TEST_MAIN_WITH(before)                                                                                         \
	int main(int argc, char **argv)                                                                                \
	{                                                                                                              \
		before(argc, argv);                                                                                    \
		return test_main(argc, argv);                                                                          \
	}
#define TEST_MAIN                                                                                                      \
	int main(int argc, char **argv)                                                                                \
	{                                                                                                              \
		return test_main(argc, argv);                                                                          \
	}

#endif
