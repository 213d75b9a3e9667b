#!/bin/bash
# strace: a program of threads and children followed, attached to, counted, and its calls tampered with.
# needs: strace gcc
# limit: 60
set -eu
cat >t.c <<'END'
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static pthread_barrier_t barrier;
static void *work(void *number)
{
	char text[40];
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 5; i++) {
		int n = sprintf(text, "thread %ld line %d\n", (long)number, i);
		if (write(1, text, n) != n)
			return NULL;
	}
	return number;
}
int main(int argc, char **argv)
{
	pthread_t threads[4];
	void *result;
	if (argc > 1)
		for (;;) {
			usleep(20000);
			access(argv[1], F_OK);
		}
	pthread_barrier_init(&barrier, NULL, 4);
	for (long i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], &result);
	if (fork() == 0) {
		int fd = open("/no/such/file", O_RDONLY);
		_exit(fd < 0 ? 3 : 4);
	}
	int status;
	wait(&status);
	kill(getpid(), 0);
	return WEXITSTATUS(status);
}
END
gcc -O1 -pthread t.c -o t
strace -f -o all ./t >said && echo wrong || echo "exit $?"
sort said | md5sum
awk '/write\(1, "thread/ {n[$1]++} END {for (t in n) {threads++; if (n[t] == 5) whole++}; print threads, whole}' all
grep -c 'clone3\?(.*CLONE_THREAD' all; grep -c '"/no/such/file", O_RDONLY' all
grep -o '+++ exited with [0-9]* +++' all | sort | uniq -c | awk '{print $1, $5}'
grep -o 'SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, .*si_status=3' all | cut -d, -f2
head -1 all | grep -o 'execve("./t", \["./t"\].* = 0' | cut -d, -f1
grep -c 'WEXITSTATUS(s) == 3' all; tail -1 all | grep -o '+++ .*'
# Each thread in a file of its own.
strace -ff -o each ./t >said || true; cat each.* | grep -c 'write(1, "thread'; grep -l "write(1, .thread" each.* | wc -l
# Filters by name, path, class and descriptor; the number and the times of calls.
strace -f -e trace=write -o w ./t >said || true; grep -c 'write(1' w; grep -c 'mmap\|clone' w || true
strace -e trace=%file -o f cat /etc/hostname >/dev/null; grep -c '"/etc/hostname"' f
strace -y -e trace=read -o y cat t.c >/dev/null; grep -c "read([0-9]*<$PWD/t.c>" y | awk '{print ($1 > 0)}'
strace -f -c -o count ./t >said || true; awk '$NF == "write" {print $4}' count; tail -1 count | awk '{print $NF}'
strace -r -T -tt -o times true; grep -c '<[0-9.]*>$' times | awk '{print ($1 > 5)}'
# Attached to a program that runs, and let go again: it goes on.
./t /no/such/thing & p=$!
timeout 1 strace -o attached -p $p || true
grep -c 'access("/no/such/thing", F_OK) *= -1 ENOENT' attached | awk '{print ($1 >= 5)}'
sleep 0.1; kill -0 $p && echo goes on; kill $p; wait $p || echo "ended $?"
# Calls tampered with: an error in place of the call, another result, a signal.
strace -e inject=openat:error=EACCES -o /dev/null cat t.c 2>&1 | tail -1 | grep -o 'cannot open.*\|Permission denied\|error while loading.*' | head -1 | wc -l
strace -e trace=getuid,geteuid -e inject=geteuid:retval=4242 -o /dev/null id -u
strace -e inject=write:signal=KILL -e trace=write -o /dev/null echo never || echo "killed $?"
strace -f -o tree sh -c 'sh -c "exit 7"; cat /dev/null | cat; exit 5' || echo "exit $?"
grep -c 'exited with' tree; grep -o 'exited with [57]' tree | sort
