#!/bin/bash
# A Debian tree of its own: packages, compiler, git, as if it were the host.
# root: bookworm
# limit: 240
set -eu
umask 022; d=$(mktemp -d /tmp/XXXXXX); trap 'rm -rf "$d"' EXIT; cd "$d"; export HOME=$d LC_ALL=C
cat /etc/debian_version; dpkg -l | grep -c ^ii; dpkg -S /bin/bash; dpkg -L coreutils | wc -l
ls / | paste -s; test -e /proc/self/exe || echo no proc >&2
for i in 1 2 3 4; do echo "int f$i(void){return $i;}" >f$i.c; done
echo 'int f1(void),f2(void),f3(void),f4(void); int printf(const char*,...); int main(void){printf("%d\n",f1()+f2()+f3()+f4());return 0;}' >m.c
printf 'm: m.o f1.o f2.o f3.o f4.o\n\tgcc -o $@ $^\n' >Makefile; make -s -j4; ./m
git init -q r; cd r; echo x >f; git add f; git -c user.name=a -c user.email=b commit -qm c; git fsck 2>/dev/null; git log --oneline | wc -l; cd ..
perl -e 'print "perl $]\n"'; python3 -c 'import sqlite3; print(sqlite3.connect(":memory:").execute("select 6*7").fetchone())'
find /usr -xdev | wc -l; tar c /usr/share/perl5 2>/dev/null | tar t | wc -l
