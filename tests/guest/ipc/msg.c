/* System V message queues: msgget(2), msgop(2), msgctl(2). */
#include "../test.h"
#include <sys/ipc.h>
#include <sys/msg.h>

struct message {
	long type;
	char text[9000];
};

static int queue(void)
{
	return CHECK_OK(msgget(IPC_PRIVATE, IPC_CREAT | 0600));
}

static void put(int id, long type, const char *text)
{
	struct message m = {.type = type};
	strcpy(m.text, text);
	CHECK_OK(msgsnd(id, &m, strlen(text) + 1, 0));
}

static void expect(int id, long type, int flags, long got_type, const char *text)
{
	struct message m;
	CHECK_EQ(msgrcv(id, &m, sizeof m.text, type, flags | IPC_NOWAIT), strlen(text) + 1);
	CHECK_EQ(m.type, got_type);
	CHECK_STR(m.text, text);
}

TEST(order_and_types)
{
	int id = queue();
	put(id, 5, "five");
	put(id, 3, "three");
	put(id, 3, "three again");
	put(id, 9, "nine");
	expect(id, 3, 0, 3, "three");
	expect(id, -4, 0, 3, "three again");
	expect(id, 5, MSG_EXCEPT, 9, "nine");
	expect(id, 0, 0, 5, "five");
	struct message m;
	CHECK_ERR(msgrcv(id, &m, sizeof m.text, 0, IPC_NOWAIT), ENOMSG);
	put(id, 1, "a longer one");
	CHECK_ERR(msgrcv(id, &m, 3, 0, 0), E2BIG);
	CHECK_EQ(msgrcv(id, &m, 3, 0, MSG_NOERROR), 3);
	CHECK(memcmp(m.text, "a l", 3) == 0);
	CHECK_ERR(msgrcv(id, &m, 100, 0, IPC_NOWAIT), ENOMSG);
	CHECK_OK(msgctl(id, IPC_RMID, NULL));
}

TEST(status)
{
	int id = queue();
	put(id, 1, "abc");
	put(id, 1, "defgh");
	struct msqid_ds s;
	CHECK_OK(msgctl(id, IPC_STAT, &s));
	CHECK_EQ(s.msg_qnum, 2);
	CHECK_EQ(s.__msg_cbytes, 10);
	CHECK_EQ(s.msg_qbytes, 16384);
	CHECK_EQ(s.msg_lspid, getpid());
	CHECK_EQ(s.msg_lrpid, 0);
	CHECK(s.msg_stime != 0 && s.msg_rtime == 0);
	static char text[1 << 16];
	char line[100];
	get_file("/proc/sysvipc/msg", text, sizeof text);
	snprintf(line, sizeof line, "\n%10d %10d  %4o  %10lu %10lu %5u %5u", 0, id, 0600, 10L, 2L, getpid(), 0);
	CHECK(strstr(text, line) != NULL);
	s.msg_qbytes = 20;
	CHECK_OK(msgctl(id, IPC_SET, &s));
	struct message m = {.type = 1};
	CHECK_ERR(msgsnd(id, &m, 11, IPC_NOWAIT), EAGAIN);
	CHECK_OK(msgsnd(id, &m, 10, IPC_NOWAIT));
	CHECK_OK(msgctl(id, IPC_RMID, NULL));
	CHECK_ERR(msgsnd(id, &m, 1, 0), EINVAL);
}

TEST(blocking)
{
	int id = queue();
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		struct message m;
		CHECK_EQ(msgrcv(id, &m, sizeof m.text, 7, 0), 3);
		CHECK_STR(m.text, "hi");
		_exit(0);
	}
	msleep(20);
	put(id, 6, "not for it");
	put(id, 7, "hi");
	CHECK_EXIT(pid, 0);
	expect(id, 0, 0, 6, "not for it");
	/* A full queue holds its writer up. */
	pid = CHECK_OK(fork());
	if (pid == 0) {
		struct message m = {.type = 2};
		for (int i = 0; i < 10; i++)
			CHECK_OK(msgsnd(id, &m, 4000, 0));
		_exit(0);
	}
	EVENTUALLY(process_state(pid) == 'S');
	struct message m;
	for (int i = 0; i < 10; i++)
		CHECK_EQ(msgrcv(id, &m, sizeof m.text, 0, 0), 4000);
	CHECK_EXIT(pid, 0);
	CHECK_OK(msgctl(id, IPC_RMID, NULL));
}

static void nothing(int signo)
{
	(void)signo;
}

TEST(interrupted_and_removed)
{
	int id = queue();
	struct sigaction act = {.sa_handler = nothing, .sa_flags = SA_RESTART};
	CHECK_OK(sigaction(SIGALRM, &act, NULL));
	pid_t pid = CHECK_OK(fork());
	if (pid == 0) {
		struct message m;
		alarm(1);
		CHECK_ERR(msgrcv(id, &m, 10, 0, 0), EINTR);
		CHECK_ERR(msgrcv(id, &m, 10, 0, 0), EIDRM);
		_exit(0);
	}
	msleep(1300);
	CHECK_OK(msgctl(id, IPC_RMID, NULL));
	CHECK_EXIT(pid, 0);
}

TEST(refusals)
{
	int id = queue();
	struct message m = {.type = 0};
	CHECK_ERR(msgsnd(id, &m, 1, 0), EINVAL);
	m.type = 1;
	CHECK_ERR(msgsnd(id, &m, 8193, 0), EINVAL);
	CHECK_ERR(msgsnd(id, &m, -1, 0), EINVAL);
	CHECK_ERR(msgsnd(-1, &m, 1, 0), EINVAL);
	CHECK_ERR(msgsnd(id, (void *)8, 1, 0), EFAULT);
	CHECK_ERR(msgrcv(id, &m, -1, 0, 0), EINVAL);
	CHECK_ERR(msgctl(id, 99, NULL), EINVAL);
	key_t key = 0x58000000 + getpid();
	CHECK_ERR(msgget(key, 0), ENOENT);
	int named = CHECK_OK(msgget(key, IPC_CREAT | 0600));
	CHECK_EQ(msgget(key, 0), named);
	CHECK_ERR(msgget(key, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
	CHECK_OK(msgctl(named, IPC_RMID, NULL));
	/* Empty messages. */
	CHECK_OK(msgsnd(id, &m, 0, 0));
	CHECK_EQ(msgrcv(id, &m, 0, 0, 0), 0);
	if (geteuid() == 0) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			become_user();
			CHECK_ERR(msgsnd(id, &m, 1, 0), EACCES);
			CHECK_ERR(msgrcv(id, &m, 1, 0, IPC_NOWAIT), EACCES);
			CHECK_ERR(msgctl(id, IPC_RMID, NULL), EPERM);
			_exit(0);
		}
		CHECK_EXIT(pid, 0);
	}
	CHECK_OK(msgctl(id, IPC_RMID, NULL));
}

TEST(many_processes)
{
	int id = queue();
	for (int i = 0; i < 3; i++) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			struct message m;
			for (int n = 0; n < 300; n++) {
				m.type = i + 1;
				memcpy(m.text, &n, sizeof n);
				CHECK_OK(msgsnd(id, &m, 500, 0));
			}
			_exit(0);
		}
	}
	/* Of each writer in its order. */
	int next[3] = {0};
	for (int i = 0; i < 900; i++) {
		struct message m;
		int got;
		CHECK_EQ(msgrcv(id, &m, sizeof m.text, i % 2 ? 0 : -3, 0), 500);
		memcpy(&got, m.text, sizeof got);
		CHECK(m.type >= 1 && m.type <= 3);
		CHECK_EQ(got, next[m.type - 1]++);
	}
	for (int i = 0; i < 3; i++) {
		int status;
		CHECK_OK(wait(&status));
		CHECK_EQ(status, 0);
	}
	CHECK_OK(msgctl(id, IPC_RMID, NULL));
}

TEST_MAIN
