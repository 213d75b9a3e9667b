/* AF_UNIX: stream, datagram, seqpacket, names, descriptors, credentials, shutdown. */
#include "../test.h"
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

static socklen_t name_of(struct sockaddr_un *address, const char *name)
{
	memset(address, 0, sizeof *address);
	address->sun_family = AF_UNIX;
	size_t length = strlen(name);
	memcpy(address->sun_path, name, length);
	if (name[0] == '@') {
		address->sun_path[0] = 0;
		return offsetof(struct sockaddr_un, sun_path) + length;
	}
	return offsetof(struct sockaddr_un, sun_path) + length + 1;
}

static int bound(int type, const char *name)
{
	struct sockaddr_un address;
	socklen_t length = name_of(&address, name);
	int fd = CHECK_OK(socket(AF_UNIX, type, 0));
	CHECK_OK(bind(fd, (void *)&address, length));
	return fd;
}

static int try_connect(int fd, const char *name)
{
	struct sockaddr_un address;
	socklen_t length = name_of(&address, name);
	return connect(fd, (void *)&address, length);
}

TEST(pairs)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	for (int i = 0; i < 3; i++) {
		int pair[2];
		CHECK_OK(socketpair(AF_UNIX, types[i], 0, pair));
		CHECK_EQ(write(pair[0], "one", 3), 3);
		CHECK_EQ(write(pair[0], "two", 3), 3);
		char text[20];
		if (types[i] == SOCK_STREAM) {
			CHECK_EQ(read(pair[1], text, 20), 6);
		} else {
			CHECK_EQ(read(pair[1], text, 2), 2);
			CHECK_EQ(read(pair[1], text, 20), 3);
			CHECK(memcmp(text, "two", 3) == 0);
		}
		CHECK_EQ(recv(pair[1], text, 1, MSG_DONTWAIT), -1);
		CHECK_EQ(errno, EAGAIN);
		int type;
		socklen_t length = sizeof type;
		CHECK_OK(getsockopt(pair[0], SOL_SOCKET, SO_TYPE, &type, &length));
		CHECK_EQ(type, types[i]);
	}
	int pair[2];
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
	CHECK_EQ(fcntl(pair[0], F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(pair[1], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	int none[2];
	CHECK_ERR(socketpair(AF_UNIX, 77, 0, none), EINVAL);
	CHECK_ERR(socketpair(AF_UNIX, SOCK_STREAM, 5, none), EPROTONOSUPPORT);
	CHECK_ERR(socket(99, SOCK_STREAM, 0), EAFNOSUPPORT);
	CHECK_ERR(lseek(pair[0], 0, SEEK_CUR), ESPIPE);
}

TEST(connections)
{
	int server = bound(SOCK_STREAM, "sock");
	struct stat st;
	CHECK_OK(stat("sock", &st));
	CHECK(S_ISSOCK(st.st_mode));
	int early = CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	CHECK_ERR(try_connect(early, "sock"), ECONNREFUSED);
	CHECK_OK(listen(server, 5));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		int client = CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0));
		CHECK_OK(try_connect(client, "sock"));
		CHECK_EQ(write(client, "hello", 5), 5);
		char text[10];
		CHECK_EQ(read(client, text, 10), 2);
		CHECK_EQ(read(client, text, 10), 0);
		_exit(0);
	}
	struct sockaddr_un peer;
	socklen_t length = sizeof peer;
	int fd = CHECK_OK(accept(server, (void *)&peer, &length));
	CHECK_EQ(peer.sun_family, AF_UNIX);
	CHECK_EQ(length, 2);
	char text[10];
	CHECK_EQ(read(fd, text, 10), 5);
	CHECK_EQ(write(fd, "ok", 2), 2);
	struct ucred cred;
	length = sizeof cred;
	CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length));
	CHECK(cred.pid == pid && cred.uid == geteuid() && cred.gid == getegid());
	close(fd);
	CHECK_EXIT(pid, 0);
	length = sizeof peer;
	CHECK_OK(getsockname(server, (void *)&peer, &length));
	CHECK_STR(peer.sun_path, "sock");
	CHECK_EQ(length, offsetof(struct sockaddr_un, sun_path) + 5);
	CHECK_ERR(getpeername(server, (void *)&peer, &length), ENOTCONN);
	struct sockaddr_un address;
	length = name_of(&address, "sock");
	CHECK_ERR(bind(early, (void *)&address, length), EADDRINUSE);
	CHECK_ERR(try_connect(early, "missing"), ENOENT);
	put_file("plain", "", 0600);
	CHECK_ERR(try_connect(early, "plain"), ECONNREFUSED);
	CHECK_ERR(accept(early, NULL, NULL), EINVAL);
	CHECK_ERR(accept(0, NULL, NULL), ENOTSOCK);
	CHECK_OK(try_connect(early, "sock"));
	CHECK_ERR(try_connect(early, "sock"), EISCONN);
	close(server);
	CHECK_ERR(try_connect(CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0)), "sock"), ECONNREFUSED);
	CHECK_ERR(read(early, text, 1), ECONNRESET);
	CHECK_EQ(read(early, text, 1), 0);
}

TEST(abstract_names)
{
	char name[40];
	snprintf(name, sizeof name, "@abstract-%d", getpid());
	int server = bound(SOCK_STREAM, name);
	CHECK_OK(listen(server, 1));
	int client = CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	CHECK_OK(try_connect(client, name));
	int fd = CHECK_OK(accept4(server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	char c;
	CHECK_ERR(read(fd, &c, 1), EAGAIN);
	struct sockaddr_un address;
	socklen_t length = sizeof address;
	CHECK_OK(getpeername(client, (void *)&address, &length));
	CHECK_EQ(address.sun_path[0], 0);
	CHECK(memcmp(address.sun_path + 1, name + 1, strlen(name) - 1) == 0);
	close(server);
	close(fd);
	CHECK_ERR(try_connect(CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0)), name), ECONNREFUSED);
	/* Autobind gives a name. */
	int fresh = CHECK_OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	sa_family_t family = AF_UNIX;
	CHECK_OK(bind(fresh, (void *)&family, sizeof family));
	length = sizeof address;
	CHECK_OK(getsockname(fresh, (void *)&address, &length));
	CHECK(length == 8 && address.sun_path[0] == 0);
}

TEST(datagrams)
{
	int a = bound(SOCK_DGRAM, "a"), b = bound(SOCK_DGRAM, "b");
	struct sockaddr_un to;
	socklen_t length = name_of(&to, "b");
	CHECK_EQ(sendto(a, "first", 5, 0, (void *)&to, length), 5);
	CHECK_EQ(sendto(a, "", 0, 0, (void *)&to, length), 0);
	CHECK_EQ(sendto(a, "third", 5, 0, (void *)&to, length), 5);
	struct sockaddr_un from;
	socklen_t from_length = sizeof from;
	char text[20];
	CHECK_EQ(recvfrom(b, text, 3, MSG_TRUNC, (void *)&from, &from_length), 5);
	CHECK_STR(from.sun_path, "a");
	CHECK_EQ(recv(b, text, 20, 0), 0);
	CHECK_EQ(recv(b, text, 20, MSG_PEEK), 5);
	CHECK_EQ(recv(b, text, 20, 0), 5);
	CHECK_ERR(recv(b, text, 20, MSG_DONTWAIT), EAGAIN);
	CHECK_ERR(send(a, "x", 1, 0), ENOTCONN);
	CHECK_OK(try_connect(a, "b"));
	CHECK_EQ(send(a, "conn", 4, 0), 4);
	CHECK_EQ(recv(b, text, 20, 0), 4);
	close(b);
	CHECK_ERR(send(a, "x", 1, 0), ECONNREFUSED);
	int pair[2];
	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	char *big = calloc(1, 1 << 20);
	CHECK_ERR(send(pair[0], big, 1 << 20, 0), EMSGSIZE);
	int sent = 0;
	while (send(pair[0], big, 1000, MSG_DONTWAIT) == 1000)
		sent++;
	CHECK_EQ(errno, EAGAIN);
	CHECK(sent > 5);
}

TEST(sequenced_packets)
{
	int server = bound(SOCK_SEQPACKET, "s");
	CHECK_OK(listen(server, 1));
	int client = CHECK_OK(socket(AF_UNIX, SOCK_SEQPACKET, 0));
	CHECK_OK(try_connect(client, "s"));
	int fd = CHECK_OK(accept(server, NULL, NULL));
	CHECK_EQ(send(client, "abc", 3, 0), 3);
	CHECK_EQ(send(client, "defg", 4, 0), 4);
	char text[20];
	struct iovec iov = {text, 2};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	CHECK_EQ(recvmsg(fd, &message, 0), 2);
	CHECK_EQ(message.msg_flags & MSG_TRUNC, MSG_TRUNC);
	CHECK_EQ(recv(fd, text, 20, 0), 4);
	close(client);
	CHECK_EQ(recv(fd, text, 20, 0), 0);
}

static ssize_t send_fds(int socket, const int *fds, int count, const char *text)
{
	char control[CMSG_SPACE(sizeof(int) * 10)];
	memset(control, 0, sizeof control);
	struct iovec iov = {(char *)text, strlen(text)};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
	return sendmsg(socket, &message, 0);
}

static int receive_fds(int socket, int *fds, int room, int flags, int *message_flags)
{
	char control[CMSG_SPACE(sizeof(int) * 10)], text[100];
	struct iovec iov = {text, sizeof text};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = CMSG_SPACE(sizeof(int) * room)};
	CHECK(recvmsg(socket, &message, flags) > 0);
	if (message_flags)
		*message_flags = message.msg_flags;
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	if (!c)
		return 0;
	CHECK(c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS);
	int count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	memcpy(fds, CMSG_DATA(c), sizeof(int) * count);
	return count;
}

TEST(passing_descriptors)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	for (int t = 0; t < 3; t++) {
		int pair[2], ends[2];
		CHECK_OK(socketpair(AF_UNIX, types[t], 0, pair));
		CHECK_OK(pipe(ends));
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			int got[10];
			CHECK_EQ(receive_fds(pair[1], got, 10, MSG_CMSG_CLOEXEC, NULL), 2);
			CHECK_EQ(fcntl(got[0], F_GETFD), FD_CLOEXEC);
			CHECK_EQ(write(got[1], "through", 7), 7);
			_exit(0);
		}
		CHECK_EQ(send_fds(pair[0], ends, 2, "two"), 3);
		close(ends[1]);
		char text[20];
		CHECK_EQ(read(ends[0], text, 20), 7);
		CHECK_EQ(read(ends[0], text, 20), 0);
		CHECK_EXIT(pid, 0);
	}
	/* Without room the rest is dropped and said so. */
	int pair[2], got[10], flags;
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	int three[3] = {0, 1, 2};
	CHECK_EQ(send_fds(pair[0], three, 3, "x"), 1);
	char control[CMSG_LEN(sizeof(int))], text[4];
	struct iovec iov = {text, 4};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	CHECK_EQ(recvmsg(pair[1], &message, 0), 1);
	CHECK_EQ(message.msg_flags & MSG_CTRUNC, MSG_CTRUNC);
	int bad = 999;
	CHECK_ERR(send_fds(pair[0], &bad, 1, "x"), EBADF);
	/* A plain read drops descriptors; a stream stops after the bytes that carried them. */
	CHECK_EQ(send(pair[0], "ab", 2, 0), 2);
	CHECK_EQ(send_fds(pair[0], three, 1, "cd"), 2);
	CHECK_EQ(send(pair[0], "ef", 2, 0), 2);
	char stream[10];
	CHECK_EQ(read(pair[1], stream, 10), 4);
	CHECK_EQ(receive_fds(pair[1], got, 10, 0, &flags), 0);
	CHECK_EQ(flags & MSG_CTRUNC, 0);
}

TEST(cycles_in_flight)
{
	/* A plain user may have as many descriptors in messages as it may have open: cycles nobody can read do not count. */
	become_user();
	struct rlimit limit = {64, 64};
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < 200; i++) {
		int a[2], b[2], end[2];
		CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, a));
		CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, b));
		CHECK_OK(pipe(end));
		/* Each pair lies in the other's queue, and a pipe in one of them. */
		CHECK_EQ(send_fds(a[0], b, 2, "x"), 1);
		CHECK_EQ(send_fds(b[0], a, 2, "x"), 1);
		CHECK_EQ(send_fds(a[1], &end[1], 1, "x"), 1);
		close(a[0]), close(a[1]), close(b[0]), close(b[1]);
		close(end[1]);
		/* What is really closed gives the occasion to look for them, as each test of the host's kernel does too. */
		CHECK_OK(close(CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0))));
		/* The pipe's writer goes when the cycle does. */
		struct pollfd p = {end[0], POLLIN, 0};
		EVENTUALLY(poll(&p, 1, 0) == 1 && p.revents == POLLHUP);
		close(end[0]);
	}
}

TEST(reachable_cycles_stay)
{
	int a[2], b[2], got[4], c;
	char text[4];
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, a));
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, b));
	/* b[1] holds a[1], whose queue holds b[0], b[1] and text; only a[0] writes there. */
	CHECK_EQ(send_fds(a[0], b, 2, "in"), 2);
	CHECK_EQ(send_fds(b[0], &a[1], 1, "xy"), 2);
	int keep = CHECK_OK(dup(b[1]));
	close(a[1]), close(b[0]), close(b[1]);
	for (int i = 0; i < 200; i++) {
		CHECK_OK(close(CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0))));
		int pair[2];
		CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
		CHECK_EQ(send_fds(pair[0], pair, 2, "x"), 1);
		close(pair[0]), close(pair[1]);
	}
	CHECK_EQ(receive_fds(keep, got, 4, 0, NULL), 1);
	CHECK_EQ(receive_fds(got[0], got + 1, 3, 0, NULL), 2);
	CHECK_EQ(write(got[1], "ok", 2), 2);
	CHECK_EQ(read(got[2], text, 4), 2);
	/* A listener's waiting connection holds the listener, and goes with it. */
	int end[2];
	struct sockaddr_un name;
	socklen_t length = name_of(&name, "l");
	int server = bound(SOCK_STREAM, "l");
	CHECK_OK(listen(server, 1));
	c = CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	CHECK_OK(connect(c, (void *)&name, length));
	CHECK_OK(pipe(end));
	CHECK_EQ(send_fds(c, (int[]){server, c, end[1]}, 3, "x"), 1);
	close(server), close(c), close(end[1]);
	CHECK_OK(close(CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0))));
	struct pollfd p = {end[0], POLLIN, 0};
	EVENTUALLY(poll(&p, 1, 0) == 1 && p.revents == POLLHUP);
}

TEST(descriptors_in_flight)
{
	/* Sockets that hold each other alive, and sockets that hold themselves. */
	for (int i = 0; i < 300; i++) {
		int pair[2];
		CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
		CHECK_EQ(send_fds(pair[0], pair, 2, "x"), 1);
		CHECK_EQ(send_fds(pair[1], pair, 2, "x"), 1);
		close(pair[0]);
		close(pair[1]);
	}
	int pair[2], ends[2], got[2];
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_OK(pipe(ends));
	CHECK_EQ(send_fds(pair[0], &ends[1], 1, "x"), 1);
	close(ends[1]);
	struct pollfd p = {ends[0], POLLIN, 0};
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_EQ(receive_fds(pair[1], got, 2, 0, NULL), 1);
	CHECK_EQ(write(got[0], "y", 1), 1);
	/* Never received: gone with the socket. */
	CHECK_EQ(send_fds(pair[0], got, 1, "x"), 1);
	close(got[0]);
	close(pair[1]);
	char c;
	CHECK_EQ(read(ends[0], &c, 1), 1);
	CHECK_EQ(read(ends[0], &c, 1), 0);
}

TEST(credentials)
{
	int pair[2], on = 1;
	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	CHECK_OK(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	CHECK_EQ(send(pair[0], "x", 1, 0), 1);
	char control[CMSG_SPACE(sizeof(struct ucred))], text[4];
	struct iovec iov = {text, 4};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	CHECK_EQ(recvmsg(pair[1], &message, 0), 1);
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	CHECK(c && c->cmsg_type == SCM_CREDENTIALS);
	struct ucred cred;
	memcpy(&cred, CMSG_DATA(c), sizeof cred);
	CHECK(cred.pid == getpid() && cred.uid == geteuid() && cred.gid == getegid());
	/* A plain user cannot claim to be another. */
	become_user();
	memset(control, 0, sizeof control);
	message.msg_controllen = sizeof control;
	c = CMSG_FIRSTHDR(&message);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_CREDENTIALS;
	c->cmsg_len = CMSG_LEN(sizeof cred);
	cred = (struct ucred){getpid(), 0, getegid()};
	memcpy(CMSG_DATA(c), &cred, sizeof cred);
	CHECK_ERR(sendmsg(pair[0], &message, 0), EPERM);
	cred.uid = geteuid();
	memcpy(CMSG_DATA(c), &cred, sizeof cred);
	CHECK_EQ(sendmsg(pair[0], &message, 0), 4);
}

TEST(shutdowns)
{
	int pair[2];
	char text[10];
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_EQ(write(pair[0], "abc", 3), 3);
	CHECK_OK(shutdown(pair[0], SHUT_WR));
	CHECK_EQ(read(pair[1], text, 10), 3);
	CHECK_EQ(read(pair[1], text, 10), 0);
	CHECK_EQ(write(pair[1], "back", 4), 4);
	CHECK_EQ(read(pair[0], text, 10), 4);
	CHECK_ERR(send(pair[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	struct pollfd p = {pair[1], POLLIN | POLLRDHUP, 0};
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLIN | POLLRDHUP);
	CHECK_OK(shutdown(pair[1], SHUT_RDWR));
	p.fd = pair[0];
	p.revents = 0;
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLIN | POLLRDHUP | POLLHUP);
	CHECK_ERR(shutdown(pair[0], 9), EINVAL);
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		CHECK_EQ(write(pair[0], "x", 1), 1);
		_exit(0);
	}
	CHECK_KILLED(pid, SIGPIPE);
}

TEST(bulk_both_ways)
{
	int pair[2];
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		close(pair[0]);
		char block[10000];
		ssize_t n;
		while ((n = read(pair[1], block, sizeof block)) > 0)
			for (ssize_t at = 0; at < n;)
				at += CHECK_OK(write(pair[1], block + at, n - at));
		_exit(0);
	}
	close(pair[1]);
	CHECK_OK(fcntl(pair[0], F_SETFL, O_NONBLOCK));
	size_t sent = 0, got = 0, total = 3000000;
	char block[8192];
	while (got < total) {
		struct pollfd p = {pair[0], POLLIN | (sent < total ? POLLOUT : 0), 0};
		CHECK(poll(&p, 1, 10000) == 1);
		if (p.revents & POLLOUT && sent < total) {
			size_t n = total - sent < sizeof block ? total - sent : sizeof block;
			for (size_t i = 0; i < n; i++)
				block[i] = (char)((sent + i) * 11);
			ssize_t done = write(pair[0], block, n);
			if (done > 0)
				sent += done;
		}
		if (p.revents & POLLIN) {
			ssize_t n = CHECK_OK(read(pair[0], block, sizeof block));
			CHECK(n > 0);
			for (ssize_t i = 0; i < n; i++)
				CHECK_EQ(block[i], (char)((got + i) * 11));
			got += n;
		}
	}
	close(pair[0]);
	CHECK_EXIT(pid, 0);
}

TEST(options_and_waits)
{
	int pair[2], value;
	socklen_t length = sizeof value;
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_OK(getsockopt(pair[0], SOL_SOCKET, SO_ERROR, &value, &length));
	CHECK_EQ(value, 0);
	CHECK_OK(getsockopt(pair[0], SOL_SOCKET, SO_DOMAIN, &value, &length));
	CHECK_EQ(value, AF_UNIX);
	CHECK_OK(getsockopt(pair[0], SOL_SOCKET, SO_ACCEPTCONN, &value, &length));
	CHECK_EQ(value, 0);
	CHECK_ERR(getsockopt(pair[0], SOL_SOCKET, 9999, &value, &length), ENOPROTOOPT);
	struct timeval limit = {0, 30000};
	CHECK_OK(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
	char c;
	int64_t start = now_ns();
	CHECK_ERR(read(pair[0], &c, 1), EAGAIN);
	CHECK(now_ns() - start >= 28000000);
	CHECK_EQ(write(pair[1], "abcd", 4), 4);
	CHECK_OK(ioctl(pair[0], FIONREAD, &value));
	CHECK_EQ(value, 4);
	char text[10];
	CHECK_EQ(recv(pair[0], text, 2, MSG_PEEK), 2);
	CHECK_EQ(write(pair[1], "efgh", 4), 4);
	CHECK_EQ(recv(pair[0], text, 8, MSG_WAITALL), 8);
	CHECK(memcmp(text, "abcdefgh", 8) == 0);
	CHECK_ERR(recv(pair[0], text, 1, MSG_OOB), EINVAL);
	struct mmsghdr many[2];
	struct iovec iov[2] = {{"m1", 2}, {"m2", 2}};
	memset(many, 0, sizeof many);
	for (int i = 0; i < 2; i++) {
		many[i].msg_hdr.msg_iov = &iov[i];
		many[i].msg_hdr.msg_iovlen = 1;
	}
	CHECK_EQ(sendmmsg(pair[1], many, 2, 0), 2);
	CHECK_EQ(read(pair[0], text, 10), 4);
}

TEST(listening_is_polled)
{
	int server = bound(SOCK_STREAM, "sock"), ep = CHECK_OK(epoll_create1(0));
	CHECK_OK(listen(server, 8));
	struct epoll_event event = {.events = EPOLLIN}, got[4];
	CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, server, &event));
	CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
	pid_t pids[5];
	for (int i = 0; i < 5; i++) {
		pids[i] = CHECK_OK(fork());
		if (pids[i] == 0) {
			int client = CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0));
			CHECK_OK(try_connect(client, "sock"));
			char c;
			CHECK_EQ(read(client, &c, 1), 1);
			_exit(c);
		}
	}
	for (char i = 0; i < 5; i++) {
		CHECK_EQ(epoll_wait(ep, got, 4, 5000), 1);
		int fd = CHECK_OK(accept(server, NULL, NULL));
		CHECK_EQ(write(fd, &i, 1), 1);
		close(fd);
	}
	int sum = 0;
	for (int i = 0; i < 5; i++) {
		int status;
		CHECK(wait(&status) > 0 && WIFEXITED(status));
		sum += WEXITSTATUS(status);
	}
	CHECK_EQ(sum, 10);
	CHECK_OK(fcntl(server, F_SETFL, O_NONBLOCK));
	CHECK_ERR(accept(server, NULL, NULL), EAGAIN);
}

TEST(full_backlog)
{
	int server = bound(SOCK_STREAM, "sock");
	CHECK_OK(listen(server, 1));
	int made = 0, last = 0;
	for (; made < 20; made++) {
		int client = CHECK_OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
		last = try_connect(client, "sock");
		if (last != 0)
			break;
	}
	CHECK(last == -1 && errno == EAGAIN);
	CHECK_EQ(made, 2);
}

TEST_MAIN
