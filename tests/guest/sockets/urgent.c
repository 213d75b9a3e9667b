/* Out-of-band bytes of AF_UNIX streams: the mark, the inline option, poll, SIGURG. */
#include "../test.h"
#include <sys/ioctl.h>
#include <sys/socket.h>

static int pair[2];
static char text[32];

static void begin(void)
{
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
}

static int at_mark(void)
{
	int answer = -1;
	CHECK_OK(ioctl(pair[1], 0x8905 /* SIOCATMARK */, &answer));
	return answer;
}

#define GETS(wanted)                                                                                                   \
	do {                                                                                                           \
		ssize_t n_ = recv(pair[1], text, sizeof text - 1, MSG_DONTWAIT);                                       \
		CHECK(n_ >= 0);                                                                                        \
		text[n_] = 0;                                                                                          \
		CHECK_STR(text, wanted);                                                                               \
	} while (0)

TEST(one_byte_of_several)
{
	begin();
	CHECK_ERR(recv(pair[1], text, 1, MSG_OOB), EINVAL);
	CHECK_EQ(at_mark(), 0);
	CHECK_EQ(send(pair[0], "abc", 3, 0), 3);
	CHECK_EQ(send(pair[0], "xyU", 3, MSG_OOB), 3);
	CHECK_EQ(send(pair[0], "def", 3, 0), 3);
	struct pollfd p = {pair[1], POLLIN | POLLPRI, 0};
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLIN | POLLPRI);
	CHECK_EQ(recv(pair[1], text, 1, MSG_OOB | MSG_PEEK), 1);
	CHECK_EQ(text[0], 'U');
	/* Reading stops before the mark, and then leaves the byte out. */
	GETS("abcxy");
	CHECK_EQ(at_mark(), 1);
	CHECK_EQ(recv(pair[1], text, 1, MSG_OOB), 1);
	CHECK_EQ(text[0], 'U');
	CHECK_ERR(recv(pair[1], text, 1, MSG_OOB), EINVAL);
	GETS("def");
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_EQ(recv(pair[1], text, 1, MSG_DONTWAIT), -1);
	CHECK_EQ(errno, EAGAIN);
}

TEST(an_unread_byte_is_lost)
{
	begin();
	CHECK_EQ(send(pair[0], "aU", 2, MSG_OOB), 2);
	CHECK_EQ(send(pair[0], "b", 1, 0), 1);
	GETS("a");
	GETS("b");
	CHECK_ERR(recv(pair[1], text, 1, MSG_OOB), EINVAL);
	/* A later one makes the earlier an ordinary byte. */
	CHECK_EQ(send(pair[0], "1", 1, MSG_OOB), 1);
	CHECK_EQ(send(pair[0], "2", 1, MSG_OOB), 1);
	CHECK_EQ(recv(pair[1], text, 1, MSG_OOB), 1);
	CHECK_EQ(text[0], '2');
	GETS("1");
	CHECK_ERR(send(pair[0], "", 0, MSG_OOB), EOPNOTSUPP);
}

TEST(in_line)
{
	begin();
	int on = 1;
	CHECK_OK(setsockopt(pair[1], SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
	CHECK_EQ(send(pair[0], "abU", 3, MSG_OOB), 3);
	CHECK_EQ(send(pair[0], "cd", 2, 0), 2);
	CHECK_ERR(recv(pair[1], text, 1, MSG_OOB), EINVAL);
	GETS("ab");
	CHECK_EQ(at_mark(), 1);
	GETS("Ucd");
	CHECK_EQ(at_mark(), 0);
}

TEST(peeking)
{
	begin();
	CHECK_EQ(send(pair[0], "abU", 3, MSG_OOB), 3);
	CHECK_EQ(send(pair[0], "c", 1, 0), 1);
	CHECK_EQ(recv(pair[1], text, 10, MSG_PEEK), 2);
	GETS("ab");
	CHECK_EQ(recv(pair[1], text, 10, MSG_PEEK), 1);
	CHECK_EQ(text[0], 'c');
	CHECK_EQ(recv(pair[1], text, 1, MSG_OOB), 1);
	GETS("c");
}

static volatile int urged;
static void urge(int signal)
{
	urged = signal;
}

TEST(signal_to_the_owner)
{
	begin();
	signal(SIGURG, urge);
	CHECK_EQ(send(pair[0], "U", 1, MSG_OOB), 1);
	CHECK_EQ(urged, 0);
	CHECK_OK(fcntl(pair[1], F_SETOWN, getpid()));
	CHECK_EQ(send(pair[0], "U", 1, MSG_OOB), 1);
	EVENTUALLY(urged == SIGURG);
}

TEST(other_types)
{
	int other[2];
	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, other));
	CHECK_ERR(send(other[0], "x", 1, MSG_OOB), EOPNOTSUPP);
	CHECK_ERR(recv(other[1], text, 1, MSG_OOB), EOPNOTSUPP);
	CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, other));
	CHECK_ERR(send(other[0], "x", 1, MSG_OOB), EOPNOTSUPP);
	CHECK_ERR(recv(other[1], text, 1, MSG_OOB), EOPNOTSUPP);
}

TEST_MAIN
