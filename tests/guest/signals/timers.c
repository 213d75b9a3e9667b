/* alarm, interval timers, POSIX timers, and signals to threads. */
#include "../test.h"
#include <sys/time.h>

static volatile sig_atomic_t ticks, last_code, last_value, last_overrun;

static void tick(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	last_code = info->si_code;
	last_value = info->si_value.sival_int;
	last_overrun = info->si_overrun;
	ticks++;
}

static void on(int signo)
{
	struct sigaction action = {.sa_sigaction = tick, .sa_flags = SA_SIGINFO};
	CHECK_OK(sigaction(signo, &action, NULL));
}

TEST(alarms)
{
	on(SIGALRM);
	CHECK_EQ(alarm(100), 0);
	unsigned left = alarm(0);
	CHECK(left == 99 || left == 100);
	CHECK_EQ(alarm(0), 0);
	int64_t start = now_ns();
	CHECK_EQ(alarm(1), 0);
	CHECK_ERR(pause(), EINTR);
	CHECK(now_ns() - start > 900000000 && now_ns() - start < 3000000000);
	CHECK_EQ(ticks, 1);
	CHECK_EQ(last_code, SI_KERNEL);
	/* exec keeps an alarm, fork does not. */
	alarm(50);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0)
		_exit(alarm(0));
	CHECK_EXIT(pid, 0);
	alarm(0);
}

TEST(interval_timer)
{
	on(SIGALRM);
	struct itimerval every = {{0, 5000}, {0, 5000}}, old;
	CHECK_OK(setitimer(ITIMER_REAL, &every, NULL));
	int64_t start = now_ns();
	while (ticks < 10)
		pause();
	CHECK(now_ns() - start >= 45000000);
	CHECK_OK(getitimer(ITIMER_REAL, &old));
	CHECK_EQ(old.it_interval.tv_usec, 5000);
	CHECK(old.it_value.tv_sec == 0 && old.it_value.tv_usec <= 5000);
	memset(&every, 0, sizeof every);
	CHECK_OK(setitimer(ITIMER_REAL, &every, &old));
	CHECK_EQ(old.it_interval.tv_usec, 5000);
	int now = ticks;
	msleep(20);
	CHECK_EQ(ticks, now);
	struct itimerval bad = {{0, 0}, {0, 1000000}};
	CHECK_ERR(setitimer(ITIMER_REAL, &bad, NULL), EINVAL);
	CHECK_ERR(setitimer(9, &every, NULL), EINVAL);
	CHECK_ERR(getitimer(9, &every), EINVAL);
}

TEST(cpu_timers)
{
	on(SIGVTALRM);
	on(SIGPROF);
	struct itimerval once = {{0, 0}, {0, 20000}};
	CHECK_OK(setitimer(ITIMER_VIRTUAL, &once, NULL));
	int64_t until = now_ns() + 8000000000;
	while (ticks < 1 && now_ns() < until)
		;
	CHECK_EQ(ticks, 1);
	CHECK_OK(setitimer(ITIMER_PROF, &once, NULL));
	while (ticks < 2 && now_ns() < until)
		;
	CHECK_EQ(ticks, 2);
}

TEST(posix_timers)
{
	on(SIGRTMIN + 3);
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3};
	event.sigev_value.sival_int = 4711;
	timer_t timer;
	CHECK_OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	struct itimerspec spec = {{0, 0}, {0, 10000000}}, got;
	CHECK_OK(timer_gettime(timer, &got));
	CHECK(got.it_value.tv_sec == 0 && got.it_value.tv_nsec == 0);
	CHECK_OK(timer_settime(timer, 0, &spec, NULL));
	EVENTUALLY(ticks == 1);
	CHECK_EQ(last_code, SI_TIMER);
	CHECK_EQ(last_value, 4711);
	/* Blocked: expirations are counted, not queued. */
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
	spec.it_interval.tv_nsec = 2000000;
	CHECK_OK(timer_settime(timer, 0, &spec, NULL));
	msleep(60);
	CHECK_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
	CHECK(last_overrun >= 5);
	CHECK_OK(timer_delete(timer));
	int now = ticks;
	msleep(10);
	CHECK(ticks <= now + 1);
	CHECK_ERR(timer_delete(timer), EINVAL);
	/* An absolute time. */
	CHECK_OK(timer_create(CLOCK_REALTIME, &event, &timer));
	struct timespec clock;
	clock_gettime(CLOCK_REALTIME, &clock);
	clock.tv_nsec += 20000000;
	if (clock.tv_nsec >= 1000000000) {
		clock.tv_nsec -= 1000000000;
		clock.tv_sec++;
	}
	struct itimerspec absolute = {{0, 0}, clock};
	now = ticks;
	CHECK_OK(timer_settime(timer, TIMER_ABSTIME, &absolute, NULL));
	EVENTUALLY(ticks == now + 1);
	CHECK_OK(timer_delete(timer));
	/* Bad arguments. */
	CHECK_ERR(timer_create(999, &event, &timer), EINVAL);
	event.sigev_signo = 100;
	CHECK_ERR(timer_create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
	event.sigev_notify = SIGEV_NONE;
	CHECK_OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	spec.it_value.tv_sec = 100;
	CHECK_OK(timer_settime(timer, 0, &spec, NULL));
	CHECK_OK(timer_gettime(timer, &got));
	CHECK(got.it_value.tv_sec >= 99);
	spec.it_value.tv_nsec = 1000000000;
	CHECK_ERR(timer_settime(timer, 0, &spec, NULL), EINVAL);
}

static volatile pid_t handled_by;
static void who(int signo)
{
	(void)signo;
	handled_by = syscall(SYS_gettid);
}

static volatile pid_t thread_id;
static volatile int stop;
static void *loop(void *unused)
{
	thread_id = syscall(SYS_gettid);
	while (!stop)
		msleep(1);
	return unused;
}

TEST(thread_directed)
{
	signal(SIGUSR1, who);
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, loop, NULL), 0);
	EVENTUALLY(thread_id != 0);
	CHECK_OK(syscall(SYS_tgkill, getpid(), thread_id, SIGUSR1));
	EVENTUALLY(handled_by == thread_id);
	CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
	CHECK_EQ(handled_by, getpid());
	/* To the process: goes to a thread that does not block it. */
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	handled_by = 0;
	CHECK_OK(kill(getpid(), SIGUSR1));
	EVENTUALLY(handled_by == thread_id);
	/* A signal for one thread alone stays with it while blocked. */
	handled_by = 0;
	CHECK_OK(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1));
	msleep(10);
	CHECK_EQ(handled_by, 0);
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
	CHECK_EQ(handled_by, getpid());
	stop = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	EVENTUALLY(syscall(SYS_tgkill, getpid(), thread_id, 0) == -1 && errno == ESRCH);
}

static void *spin(void *unused)
{
	thread_id = syscall(SYS_gettid);
	while (!stop)
		;
	return unused;
}

TEST(running_threads_are_interrupted)
{
	signal(SIGUSR1, who);
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, spin, NULL), 0);
	EVENTUALLY(thread_id != 0);
	for (int i = 0; i < 200; i++) {
		handled_by = 0;
		CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
		EVENTUALLY(handled_by == thread_id);
	}
	stop = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(fatal_signal_to_one_thread_ends_all)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		pthread_t thread;
		for (int i = 0; i < 3; i++)
			CHECK_EQ(pthread_create(&thread, NULL, spin, NULL), 0);
		EVENTUALLY(thread_id != 0);
		syscall(SYS_tgkill, getpid(), thread_id, SIGTERM);
		for (;;)
			pause();
	}
	CHECK_KILLED(pid, SIGTERM);
}

TEST(stop_stops_all_threads)
{
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		pthread_t thread;
		for (int i = 0; i < 3; i++)
			CHECK_EQ(pthread_create(&thread, NULL, i % 2 ? loop : spin, NULL), 0);
		for (;;)
			pause();
	}
	for (int i = 0; i < 10; i++) {
		int status;
		msleep(3);
		CHECK_OK(kill(pid, SIGSTOP));
		CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
		CHECK(WIFSTOPPED(status));
		CHECK_OK(kill(pid, SIGCONT));
		CHECK_EQ(waitpid(pid, &status, WCONTINUED), pid);
	}
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_KILLED(pid, SIGKILL);
}

TEST_MAIN
