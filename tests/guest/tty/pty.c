/* Pseudo terminals: line discipline, signals, job control, window size, hangup. */
#include "../test.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave;

static void open_pair(void)
{
	CHECK_OK(openpty(&master, &slave, NULL, NULL, NULL));
}

static void set_flags(tcflag_t set, tcflag_t clear)
{
	struct termios t;
	CHECK_OK(tcgetattr(slave, &t));
	t.c_lflag = (t.c_lflag & ~clear) | set;
	CHECK_OK(tcsetattr(slave, TCSANOW, &t));
}

/* What the reader of a side gets within a moment, as a string. */
static const char *get(int fd)
{
	static char text[20000];
	size_t have = 0;
	struct pollfd p = {fd, POLLIN, 0};
	while (have < sizeof text - 1 && poll(&p, 1, 60) == 1 && p.revents & POLLIN) {
		ssize_t n = read(fd, text + have, sizeof text - 1 - have);
		if (n <= 0)
			break;
		have += n;
	}
	text[have] = 0;
	return text;
}

/* What comes until it is as long as it should be, however long that takes, and shortly after. */
static const char *get_whole(int fd, size_t length)
{
	static char text[20000];
	size_t have = 0;
	struct pollfd p = {fd, POLLIN, 0};
	while (have < length && poll(&p, 1, 10000) == 1 && p.revents & POLLIN) {
		ssize_t n = read(fd, text + have, length - have);
		if (n <= 0)
			break;
		have += n;
	}
	strcpy(text + have, get(fd));
	return text;
}

static void type(const char *text)
{
	CHECK_EQ(write(master, text, strlen(text)), strlen(text));
}

TEST(names_and_modes)
{
	master = CHECK_OK(posix_openpt(O_RDWR | O_NOCTTY));
	CHECK_OK(grantpt(master));
	const char *name = ptsname(master);
	CHECK(name && strncmp(name, "/dev/pts/", 9) == 0);
	CHECK_ERR(open(name, O_RDWR | O_NOCTTY), EIO);
	CHECK_OK(unlockpt(master));
	slave = CHECK_OK(open(name, O_RDWR | O_NOCTTY));
	struct stat st;
	CHECK_OK(fstat(slave, &st));
	CHECK(S_ISCHR(st.st_mode));
	CHECK_EQ(st.st_uid, geteuid());
	CHECK(isatty(slave));
	char own[100];
	CHECK_EQ(ttyname_r(slave, own, sizeof own), 0);
	CHECK_STR(own, name);
	int null = CHECK_OK(open("/dev/null", O_RDWR));
	CHECK(!isatty(null));
	CHECK_EQ(errno, ENOTTY);
	close(master);
	CHECK_ERR(open(name, O_RDWR | O_NOCTTY), ENOENT);
	int second_master, second_slave;
	CHECK_OK(openpty(&second_master, &second_slave, NULL, NULL, NULL));
}

TEST(default_settings)
{
	open_pair();
	struct termios t;
	CHECK_OK(tcgetattr(slave, &t));
	CHECK_EQ(t.c_iflag, ICRNL | IXON);
	CHECK_EQ(t.c_oflag, OPOST | ONLCR);
	CHECK_EQ(t.c_cflag, CS8 | CREAD | B38400);
	CHECK_EQ(t.c_lflag, ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN);
	CHECK(t.c_cc[VINTR] == 3 && t.c_cc[VQUIT] == 28 && t.c_cc[VERASE] == 127 && t.c_cc[VKILL] == 21 &&
	      t.c_cc[VEOF] == 4 && t.c_cc[VSUSP] == 26 && t.c_cc[VWERASE] == 23 && t.c_cc[VLNEXT] == 22 &&
	      t.c_cc[VMIN] == 1 && t.c_cc[VTIME] == 0);
	CHECK_ERR(tcgetattr(CHECK_OK(open("/dev/null", O_RDWR)), &t), ENOTTY);
}

TEST(canonical_lines)
{
	open_pair();
	set_flags(0, ECHO);
	type("first line\nsecond");
	char text[100];
	CHECK_EQ(read(slave, text, 5), 5);
	CHECK_EQ(read(slave, text, 100), 6);
	CHECK(memcmp(text, "line\n", 5) == 0 || memcmp(text, " line\n", 6) == 0);
	struct pollfd p = {slave, POLLIN, 0};
	CHECK_EQ(poll(&p, 1, 30), 0);
	type(" part\rthird\n");
	CHECK_EQ(read(slave, text, 100), 12);
	CHECK(memcmp(text, "second part\n", 12) == 0);
	CHECK_EQ(read(slave, text, 100), 6);
	/* Editing: erase, word erase, kill, literal next. */
	type("abc\x7f\x7fX\n");
	CHECK_STR(get(slave), "aX\n");
	type("one two\x17three\n");
	CHECK_STR(get(slave), "one three\n");
	type("forget this\x15keep\n");
	CHECK_STR(get(slave), "keep\n");
	type("lit\x16\x7f\n");
	CHECK_STR(get(slave), "lit\x7f\n");
	/* End of file: alone it is an empty read, after text it hands the text over. */
	type("\x04");
	CHECK_EQ(read(slave, text, 100), 0);
	type("rest\x04");
	CHECK_EQ(read(slave, text, 100), 4);
	int have;
	type("12345\n");
	EVENTUALLY(ioctl(slave, FIONREAD, &have) == 0 && have == 6);
	CHECK_OK(tcflush(slave, TCIFLUSH));
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_OK(fcntl(slave, F_SETFL, O_NONBLOCK));
	CHECK_ERR(read(slave, text, 1), EAGAIN);
}

TEST(echo)
{
	open_pair();
	type("ab\n");
	CHECK_STR(get(master), "ab\r\n");
	type("x\x7f");
	CHECK_STR(get(master), "x\b \b");
	type("\x01");
	CHECK_STR(get(master), "^A");
	type("\x15");
	get(master);
	set_flags(0, ECHO);
	type("silent\n");
	CHECK_STR(get(master), "");
	set_flags(ECHONL, 0);
	type("x\n");
	CHECK_STR(get(master), "\r\n");
}

TEST(output_processing)
{
	open_pair();
	CHECK_EQ(write(slave, "a\nb\tc\r\n", 7), 7);
	CHECK_STR(get(master), "a\r\nb\tc\r\r\n");
	struct termios t;
	CHECK_OK(tcgetattr(slave, &t));
	t.c_oflag &= ~OPOST;
	CHECK_OK(tcsetattr(slave, TCSADRAIN, &t));
	CHECK_EQ(write(slave, "a\nb", 3), 3);
	CHECK_STR(get(master), "a\nb");
}

TEST(raw_input)
{
	open_pair();
	struct termios t;
	CHECK_OK(tcgetattr(slave, &t));
	cfmakeraw(&t);
	CHECK_OK(tcsetattr(slave, TCSAFLUSH, &t));
	type("a\x03\x04\r\x7f\x1a\x16\x11");
	char text[100];
	size_t have = 0;
	while (have < 8)
		have += CHECK_OK(read(slave, text + have, 100 - have));
	CHECK(memcmp(text, "a\x03\x04\r\x7f\x1a\x16\x11", 8) == 0);
	CHECK_STR(get(master), "");
	/* VMIN and VTIME. */
	t.c_cc[VMIN] = 0;
	t.c_cc[VTIME] = 0;
	CHECK_OK(tcsetattr(slave, TCSANOW, &t));
	CHECK_EQ(read(slave, text, 10), 0);
	t.c_cc[VTIME] = 1;
	CHECK_OK(tcsetattr(slave, TCSANOW, &t));
	int64_t start = now_ns();
	CHECK_EQ(read(slave, text, 10), 0);
	CHECK(now_ns() - start >= 90000000 && now_ns() - start < 2000000000);
	t.c_cc[VMIN] = 4;
	t.c_cc[VTIME] = 0;
	CHECK_OK(tcsetattr(slave, TCSANOW, &t));
	for (int before = 0; before < 2; before++) {
		/* The reader may have some bytes when the rest comes. */
		if (before)
			type("12");
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			if (!before)
				type("12");
			msleep(50);
			type("345");
			_exit(0);
		}
		ssize_t n = CHECK_OK(read(slave, text, 10));
		CHECK(n == 4 || n == 5);
		CHECK_EXIT(pid, 0);
		CHECK_OK(tcflush(slave, TCIFLUSH));
	}
}

static void child_session(void)
{
	CHECK_OK(setsid());
	CHECK_OK(ioctl(slave, TIOCSCTTY, 0));
	close(master);
}

TEST(interrupt_from_the_keyboard)
{
	open_pair();
	static const char keys[][2] = {"\x03", "\x1c"};
	static const int signals[] = {SIGINT, SIGQUIT};
	for (int i = 0; i < 2; i++) {
		CHECK_OK(openpty(&master, &slave, NULL, NULL, NULL));
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			prctl(PR_SET_DUMPABLE, 0);
			child_session();
			CHECK_EQ(write(slave, "ready\n", 6), 6);
			char c;
			CHECK_OK(read(slave, &c, 1));
			_exit(0);
		}
		CHECK_STR(get(master), "ready\r\n");
		type("lost");
		CHECK_STR(get(master), "lost");
		type(keys[i]);
		CHECK_KILLED(pid, signals[i]);
		CHECK_STR(get(master), i ? "^\\" : "^C");
	}
	/* Without ISIG it is a character. */
	set_flags(0, ISIG);
	type("\x03\n");
	CHECK_STR(get(slave), "\x03\n");
}

TEST(foreground_group_alone)
{
	open_pair();
	pid_t leader = CHECK_OK(fork());
	if (leader == 0) {
		child_session();
		signal(SIGTTOU, SIG_IGN);
		CHECK_EQ(tcgetpgrp(slave), getpid());
		CHECK_EQ(tcgetsid(slave), getpid());
		pid_t job = fork();
		if (job == 0) {
			setpgid(0, 0);
			signal(SIGINT, SIG_DFL);
			for (;;)
				pause();
		}
		setpgid(job, job);
		CHECK_OK(tcsetpgrp(slave, job));
		CHECK_EQ(tcgetpgrp(slave), job);
		CHECK_EQ(write(slave, "go\n", 3), 3);
		CHECK_KILLED(job, SIGINT);
		CHECK_ERR(tcsetpgrp(slave, 999999), ESRCH);
		CHECK_ERR(tcsetpgrp(slave, getppid()), EPERM);
		CHECK_OK(tcsetpgrp(slave, getpid()));
		_exit(14);
	}
	CHECK_STR(get(master), "go\r\n");
	type("\x03");
	CHECK_EXIT(leader, 14);
	CHECK_ERR(tcgetpgrp(slave), ENOTTY);
}

TEST(suspend_and_resume)
{
	open_pair();
	pid_t leader = CHECK_OK(fork());
	if (leader == 0) {
		child_session();
		signal(SIGTTOU, SIG_IGN);
		pid_t job = fork();
		if (job == 0) {
			setpgid(0, 0);
			signal(SIGTTOU, SIG_DFL);
			/* Reads before it has the terminal would stop it by SIGTTIN. */
			while (tcgetpgrp(slave) != getpid())
				msleep(1);
			char c;
			CHECK_EQ(read(slave, &c, 1), 1);
			_exit(c);
		}
		setpgid(job, job);
		CHECK_OK(tcsetpgrp(slave, job));
		CHECK_EQ(write(slave, "go\n", 3), 3);
		int status;
		CHECK_EQ(waitpid(job, &status, WUNTRACED), job);
		CHECK(WIFSTOPPED(status));
		/* ^Z, or SIGTTIN when it had not begun to read before it lost the terminal. */
		CHECK_EQ(WSTOPSIG(status), SIGTSTP);
		CHECK_OK(tcsetpgrp(slave, getpid()));
		CHECK_OK(kill(-job, SIGCONT));
		CHECK_EQ(waitpid(job, &status, WUNTRACED), job);
		CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTIN);
		CHECK_OK(tcsetpgrp(slave, job));
		CHECK_OK(kill(-job, SIGCONT));
		CHECK_EQ(write(slave, "again\n", 6), 6);
		CHECK_EXIT(job, 'y');
		_exit(15);
	}
	CHECK_STR(get_whole(master, 4), "go\r\n");
	msleep(20);
	type("\x1a");
	CHECK_STR(get_whole(master, 9), "^Zagain\r\n");
	type("y\n");
	CHECK_EXIT(leader, 15);
}

TEST(background_reading_and_writing)
{
	open_pair();
	pid_t leader = CHECK_OK(fork());
	if (leader == 0) {
		child_session();
		for (int what = 0; what < 4; what++) {
			pid_t job = fork();
			if (job == 0) {
				setpgid(0, 0);
				char c = 'w';
				if (what == 0)
					_exit((int)read(slave, &c, 1));
				if (what == 1) {
					signal(SIGTTIN, SIG_IGN);
					CHECK_ERR(read(slave, &c, 1), EIO);
					_exit(20);
				}
				if (what == 2) {
					CHECK_EQ(write(slave, &c, 1), 1);
					_exit(21);
				}
				set_flags(TOSTOP, 0);
				_exit(22);
			}
			setpgid(job, job);
			int status;
			CHECK_EQ(waitpid(job, &status, WUNTRACED), job);
			if (what == 0)
				CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTIN);
			if (what == 1)
				CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 20);
			if (what == 2)
				CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 21);
			if (what == 3)
				CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTOU);
			kill(job, SIGKILL);
			if (WIFSTOPPED(status))
				CHECK_KILLED(job, SIGKILL);
		}
		/* With TOSTOP writing stops as well. */
		set_flags(TOSTOP, 0);
		pid_t job = fork();
		if (job == 0) {
			setpgid(0, 0);
			_exit((int)write(slave, "x", 1));
		}
		setpgid(job, job);
		int status;
		CHECK_EQ(waitpid(job, &status, WUNTRACED), job);
		CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTOU);
		kill(job, SIGKILL);
		CHECK_KILLED(job, SIGKILL);
		_exit(16);
	}
	CHECK_EXIT(leader, 16);
}

static volatile int resized;
static void on_resize(int signo)
{
	(void)signo;
	resized++;
}

TEST(window_size)
{
	open_pair();
	struct winsize size = {24, 80, 1, 2}, got;
	CHECK_OK(ioctl(master, TIOCSWINSZ, &size));
	CHECK_OK(ioctl(slave, TIOCGWINSZ, &got));
	CHECK(got.ws_row == 24 && got.ws_col == 80 && got.ws_xpixel == 1 && got.ws_ypixel == 2);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		child_session();
		signal(SIGWINCH, on_resize);
		CHECK_EQ(write(slave, "go\n", 3), 3);
		while (!resized)
			msleep(1);
		CHECK_OK(ioctl(slave, TIOCGWINSZ, &got));
		_exit(got.ws_row == 50 ? 17 : 18);
	}
	CHECK_STR(get(master), "go\r\n");
	CHECK_OK(ioctl(master, TIOCSWINSZ, &size));
	size.ws_row = 50;
	CHECK_OK(ioctl(master, TIOCSWINSZ, &size));
	CHECK_EXIT(pid, 17);
}

TEST(hangup)
{
	open_pair();
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		child_session();
		CHECK_EQ(write(slave, "go\n", 3), 3);
		for (;;)
			pause();
	}
	CHECK_STR(get(master), "go\r\n");
	close(master);
	CHECK_KILLED(pid, SIGHUP);
	char c;
	CHECK_EQ(read(slave, &c, 1), 0);
	CHECK_ERR(write(slave, "x", 1), EIO);
	struct pollfd p = {slave, POLLIN | POLLOUT, 0};
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLHUP);
}

TEST(last_slave_closed)
{
	open_pair();
	CHECK_EQ(write(slave, "bye", 3), 3);
	close(slave);
	char text[10];
	CHECK_EQ(read(master, text, 10), 3);
	CHECK_ERR(read(master, text, 10), EIO);
	struct pollfd p = {master, POLLIN, 0};
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLHUP);
}

TEST(leader_leaving_hangs_up)
{
	open_pair();
	pid_t leader = CHECK_OK(fork());
	if (leader == 0) {
		child_session();
		pid_t job = fork();
		if (job == 0) {
			signal(SIGHUP, SIG_IGN);
			close(slave);
			int tty = open("/dev/tty", O_RDWR);
			CHECK(tty >= 0);
			CHECK_EQ(write(tty, "go\n", 3), 3);
			char c;
			while (read(tty, &c, 1) > 0)
				;
			_exit(0);
		}
		msleep(100);
		_exit(job > 0 ? 5 : 6);
	}
	CHECK_EXIT(leader, 5);
	CHECK_STR(get(master), "go\r\n");
}

TEST(forkpty_shell)
{
	pid_t pid = CHECK_OK(forkpty(&master, NULL, NULL, NULL));
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", "read line; echo \"got $line\"; tty; stty size; exit 9", NULL);
		_exit(1);
	}
	type("hello there\n");
	char text[1000];
	size_t have = 0;
	ssize_t n;
	while ((n = read(master, text + have, sizeof text - 1 - have)) > 0)
		have += n;
	text[have] = 0;
	CHECK_EXIT(pid, 9);
	CHECK(strstr(text, "got hello there\r\n") != NULL);
	CHECK(strstr(text, "/dev/pts/") != NULL);
	CHECK(strstr(text, "0 0\r\n") != NULL);
}

TEST(flow_control)
{
	open_pair();
	set_flags(0, ECHO);
	type("\x13");
	msleep(20);
	CHECK_OK(fcntl(slave, F_SETFL, O_NONBLOCK));
	char block[1000];
	memset(block, 'x', sizeof block);
	for (int i = 0; i < 1000 && write(slave, block, sizeof block) > 0; i++)
		;
	CHECK_EQ(errno, EAGAIN);
	type("\x11");
	CHECK(strlen(get(master)) < 2000000);
	CHECK(write(slave, "after", 5) > 0);
}

TEST(a_flood_of_output)
{
	open_pair();
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		close(master);
		for (int i = 0; i < 20000; i++)
			dprintf(slave, "line %d of the flood\n", i);
		_exit(0);
	}
	close(slave);
	char block[4096];
	size_t total = 0;
	ssize_t n;
	while ((n = read(master, block, sizeof block)) > 0)
		total += n;
	CHECK_EXIT(pid, 0);
	size_t want = 0;
	for (int i = 0; i < 20000; i++)
		want += snprintf(NULL, 0, "line %d of the flood\r\n", i);
	CHECK_EQ(total, want);
}

TEST_MAIN
