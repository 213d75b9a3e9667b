#!/bin/bash
# A debugger reads a core dump: the stacks of all threads, variables, the signal.
# needs: gdb gcc
set -eu
[ "$(cat /proc/sys/kernel/core_pattern)" = core ] || { echo "core_pattern is not the plain one"; exit 0; }
cat >crash.c <<'C'
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
char data[] = "initialised", *heap;
static void *waits(void *at) { pause(); return at; }
static void *spins(void *at) { for (;;) ; return at; }
static void inner(int *p) { *p = 7; }
static void outer(int n) { if (n > 0) outer(n - 1); else inner((int *)16); }
int main(void)
{
	pthread_t t;
	pthread_create(&t, NULL, waits, NULL);
	pthread_create(&t, NULL, spins, NULL);
	heap = strdup("on the heap");
	data[0] = 'I';
	usleep(50000);
	outer(2);
	return 0;
}
C
gcc -g -O0 -pthread -o crash crash.c
ulimit -c unlimited
status=0
./crash 2>/dev/null || status=$?
echo "status $status"
gdb -batch -nx -ex 'thread apply all bt' -ex 'p data' -ex 'output heap == 0' -ex 'printf "%s\n", heap' -ex 'p $_siginfo.si_signo' \
    -ex 'p $_siginfo._sifields._sigfault.si_addr' ./crash core >out 2>/dev/null
grep -cE '^Thread [0-9]+ ' out
grep -oE '(inner|outer|main|waits|spins|start_thread|pause) \(' out | sort | uniq -c
grep -E '^\$|on the heap' out
