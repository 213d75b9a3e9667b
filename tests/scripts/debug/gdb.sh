#!/bin/bash
# gdb: breakpoints, steps, watched variables, stacks, threads, forks followed, programs attached to.
# needs: gdb gcc
# limit: 120
set -eu
cat >t.c <<'END'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static pthread_barrier_t barrier;
volatile int total, ready;
static int leaf(int n)
{
	int twice = n * 2;
	total += twice;
	return twice;
}
static int branch(int n)
{
	return n > 0 ? branch(n - 1) : leaf(21);
}
static void *work(void *number)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return number;
}
static void child(void)
{
	_exit(total == 42 ? 6 : 7);
}
int main(int argc, char **argv)
{
	pthread_t threads[3];
	if (argc > 1)
		for (ready = 1; ready; total++)
			usleep(10000);
	pthread_barrier_init(&barrier, NULL, 4);
	for (long i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	pthread_barrier_wait(&barrier);
	branch(3);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	if (fork() == 0)
		child();
	int status;
	wait(&status);
	if (argc > 1)
		return total > 10 ? 9 : 8;
	if (getenv("CRASH"))
		*(volatile int *)8 = 1;
	return WEXITSTATUS(status);
}
END
gcc -g -O0 -pthread t.c -o t
# Commands of gdb from standard input; what it says, without addresses and numbers of processes.
debug() {
	cat >commands
	timeout 60 gdb -q -nx -batch -iex 'set debuginfod enabled off' -iex 'set auto-load safe-path /' -ex 'set width 0' \
		-ex 'set confirm off' -x commands "$@" 2>&1 </dev/null | sed 's/argv=0x[0-9a-f]*/argv/'
}
echo '-- break, step, stack'
debug ./t <<'END' | grep -E '^(#[0-9]|\$|[0-9]+\s|Breakpoint [0-9], |leaf|Run till|Value|\[Inferior)' | sed 's/0x[0-9a-f]* in //; s/process [0-9]*/process/; s/Thread.*hit //'
break leaf
run
backtrace
frame 2
next
print n
print twice
step
finish
print total
print $_exitcode
continue
END
echo '-- a variable watched'
debug ./t <<'END' | grep -E '^(Old|New|leaf|main|Hardware|Watch|\[Inferior)' | sed 's/process [0-9]*/process/; s/Hardware watch/Watch/; s/^\(Watchpoint [0-9]*\): total.*/\1/'
break branch if n == 1
run
watch total
continue
continue
delete
continue
END
echo '-- threads'
debug ./t <<'END' | grep -c '^#[0-9]* .*\(work\|branch\)' 
break leaf
run
thread apply all backtrace
END
debug ./t <<'END' | grep -E '^\$|exited with' | sed 's/process [0-9]*/process/'
break work
run
print $_thread > 1
set scheduler-locking on
stepi
stepi
print (long)number >= 0
set scheduler-locking off
delete
continue
END
echo '-- forks'
debug ./t <<'END' | grep -E 'hit Breakpoint|^Breakpoint .*, c|^\$|^#|exited with' | sed 's/Thread.*hit //; s/process [0-9]*/process/; s/0x[0-9a-f]* in //'
set follow-fork-mode child
break child
run
backtrace
print total
continue
END
debug ./t <<'END' | grep -oE '^\$.*|exited with.*'
set detach-on-fork off
set schedule-multiple on
break child
run
print total
continue
END
echo '-- calls, signals'
debug ./t <<'END' | grep -oE 'hit Catchpoint . \(.*\)|exited with.*'
catch syscall exit_group
run
continue
continue
END
CRASH=1 debug ./t <<'END' | grep -E 'SIGSEGV|^#0|si_addr|^\$' | sed 's/.*received/received/; s/0x[0-9a-f]* in //'
run
backtrace 1
print $_siginfo._sifields._sigfault.si_addr
print $_siginfo.si_signo
END
echo '-- attached'
./t loop & p=$!
while [ "$(tr '\0' ' ' </proc/$p/cmdline)" != './t loop ' ]; do sleep 0.05; done; sleep 0.3
debug -p $p ./t <<'END' | grep -E '^(\$|#.* main )|Detach|detached' | sed 's/process [0-9]*/process/; s/0x[0-9a-f]* in //; s/(argc.*//'
backtrace
print ready
print total > 5
set var ready = 0
set var total = 100
detach
END
wait $p || echo "exit $?"
sleep 100 & p=$!; timeout 30 gdb -q -nx -batch -p $p -ex 'generate-core-file core' >said 2>&1 || true; ls core | wc -l; kill $p
debug -c core "$(readlink -f "$(command -v sleep)")" <<'END' | grep -c '^#0'
backtrace
END
