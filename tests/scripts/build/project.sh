#!/bin/bash
# A C project of many files, built in parallel, linked every way.
# needs: gcc make
# limit: 120
set -eu
mkdir src; cd src
for i in $(seq 30); do
cat >f$i.c <<EOF
#include <stdio.h>
#include <math.h>
#include "all.h"
int f$i(int x) { double s = 0; for (int i = 1; i <= x; i++) s += sqrt(i) * $i; return (int)s % 1000; }
EOF
done
{ echo '#pragma once'; for i in $(seq 30); do echo "int f$i(int x);"; done; } >all.h
{ echo '#include <stdio.h>'; echo '#include "all.h"'; echo 'int main(void) { int s = 0;'
for i in $(seq 30); do echo "s += f$i(100);"; done; echo 'printf("%d\n", s); return 0; }'; } >main.c
cat >Makefile <<'EOF'
OBJS := $(patsubst %.c,%.o,$(wildcard *.c))
all: dynamic static shared
dynamic: $(OBJS)
	@$(CC) -o $@ $^ -lm
static: $(OBJS)
	@$(CC) -static -o $@ $^ -lm
libf.so: $(filter-out main.o,$(OBJS))
	@$(CC) -shared -o $@ $^ -lm
shared: main.o libf.so
	@$(CC) -o $@ main.o -L. -lf -Wl,-rpath,'$$ORIGIN'
%.o: %.c all.h
	@$(CC) -O2 -fPIC -Wall -c -o $@ $<
clean:
	@rm -f *.o *.so dynamic static shared
EOF
make -j4; ./dynamic; ./static; ./shared
make -j4 | sed 's/make\[[0-9]*\]/make/'; touch f7.c; make -j4 -n | grep -c f7; make -j4
ldd ./shared | grep -c libf; nm dynamic | grep -c ' T f'; size static | wc -l; strip static; ./static
cat >t.c <<'EOF'
#include <pthread.h>
#include <stdio.h>
static void *run(void *x) { return x; }
int main(void) { pthread_t t; void *r; pthread_create(&t, 0, run, "ran"); pthread_join(t, &r); puts(r); return 3; }
EOF
gcc -g -O0 -fsanitize=undefined -pthread t.c -o t 2>/dev/null || gcc -g -O0 -pthread t.c -o t; ./t || echo $?
echo 'int main( { return 0; }' >bad.c; gcc bad.c -o bad 2>/dev/null || echo "refused $?"
gcc -E main.c | grep -c . | awk '{print ($1 > 100)}'; gcc -S -o - f1.c | grep -c sqrt | awk '{print ($1 > 0)}'
ar rcs libx.a f1.o f2.o; ar t libx.a; objdump -d f1.o | grep -c call | awk '{print ($1 > 0)}'; make clean; ls *.o 2>/dev/null | wc -l
