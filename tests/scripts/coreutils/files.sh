#!/bin/bash
# Files by the core utilities.
# limit: 60
set -eu
export LC_ALL=C; umask 022
mkdir -p a/b/c; for i in $(seq 20); do echo "content $i" >a/f$i; done
ln a/f1 a/hard; ln -s f2 a/soft; ln -s ../nowhere a/dangling; mkfifo a/fifo
touch -d '2001-02-03 04:05:06.789 UTC' a/f3; chmod 4751 a/f4; chmod 1777 a/b
stat -c '%n %a %F %s %h %Y' a/f1 a/soft a/f3 a/f4 a/b a/fifo | sed 's/\(a\/[^3]*\|a\/b\) \(.*\) [0-9]*$/\1 \2/'
cp -a a copy; diff -r --no-dereference <(cd a; find . -printf '%p %y %m %n %s %l\n' | sort) <(cd copy; find . -printf '%p %y %m %n %s %l\n' | sort) && echo copied
cmp a/f5 copy/f5; [ "$(stat -c %i copy/f1)" = "$(stat -c %i copy/hard)" ] && echo linked
mv copy moved; mv moved/f6 moved/b/; ls -R moved | head -30
rm -rf moved; test ! -e moved && echo removed
dd if=/dev/zero of=sparse bs=1 count=0 seek=100M 2>/dev/null; stat -c %s sparse; du -k sparse | cut -f1 | awk '{print ($1 < 100)}'
truncate -s 5 sparse; wc -c <sparse
seq 10000 >n; split -l 1000 n part.; ls part.* | wc -l; cat part.* | cmp - n && echo joined
sort -rn n | head -2; sort -k1.2 n | tail -1; shuf --random-source=n n | sort -n | cmp - n && echo shuffled
sha256sum n; md5sum n; cksum n; od -An -tx1 -N16 n; base64 -w20 n | head -2; tac n | head -1; nl n | sed -n 7p
cut -c1-3 n | uniq -c | wc -l; join <(seq 5) <(seq 3 8) | paste -s; comm -12 <(seq 5 | sort) <(seq 3 8 | sort) | paste -s
tr 0-9 a-j <n | tail -1; expand -t4 <<<$'a\tb'; fold -w3 <<<abcdefgh; fmt -w20 <<<"a few words that are folded"; rev <<<abc
head -c 100000 /dev/urandom >r; cp r r2; cmp r r2 && dd if=r of=r3 bs=777 2>/dev/null && cmp r r3 && echo equal
printf x | dd of=r3 bs=1 seek=500 conv=notrunc 2>/dev/null; stat -c %s r3
install -m 640 -D n deep/er/n; stat -c %a deep/er/n; mktemp -d tmp.XXXX | grep -c tmp
readlink -f a/soft | xargs basename; realpath --relative-to=. a/b/../f1; basename /x/y.c .c; dirname /x/y
find a -type f -newer a/f3 | wc -l; find a -name 'f1*' -exec echo {} + | tr ' ' '\n' | sort | tail -1; find a -perm -4000; find a -links 2 | sort
find . -type l | sort; find a -empty -type d; find a -delete; test ! -e a && echo gone
touch {1..500}.x; ls | grep -c '\.x$'; rm -f *.x; ls -la | head -1 >/dev/null
echo one >t; tail -f t --pid=$$ >tailed & sleep 0.3; echo two >>t; sleep 1.3; kill $!; wait 2>/dev/null || true; cat tailed
env -i A=1 env; nice -n 5 nice; date -u -d @86400 +%F; expr 6 \* 7; factor 1001; numfmt --to=iec 1048576; seq -s, 5
chmod -R u+w .; chown -R "$(id -u)" . && echo owned; sync; df . | wc -l; id -u >/dev/null; uname -s; whoami >/dev/null; hostname >/dev/null
