#!/bin/bash
# valgrind: it reads the code of programs and runs it on a processor of its own making.
# needs: valgrind gcc
# limit: 60
set -eu
cat >t.c <<'C'
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
static void *work(void *p) { return strdup(p); }
int main(int argc, char **argv)
{
	pthread_t t;
	void *p;
	char *lost = malloc(10);
	pthread_create(&t, NULL, work, argv[0]);
	pthread_join(t, &p);
	free(p);
	return argc > 1 ? lost[10] : 0;
}
C
gcc -g -O0 -pthread -o t t.c
# Sites of the dynamic linker and of the C library trap in several programs first, so that what there is to be seen of that is.
for i in $(seq 20); do ./t; cat /dev/null; date >/dev/null; done
said() { valgrind --error-exitcode=9 "$@" 2>&1 | sed -n 's/==[0-9]*== //p' | grep -E 'Invalid read|definitely lost|ERROR SUMMARY'; }
said --leak-check=full ./t
said ./t x || true
valgrind --tool=none -q date +%Z
valgrind -q --trace-children=yes sh -c 'date | wc -l'
valgrind --tool=callgrind --callgrind-out-file=/dev/null -q ./t
