#!/bin/bash
# The language of bash, and what of the kernel it leans on.
set -eu
a=(one "two words" three); a+=(four)
echo "${#a[@]} ${a[1]} ${a[@]: -2}"
declare -A map=([x]=1 [y]=2); for k in x y; do echo "$k=${map[$k]}"; done
echo $((2**40 % 1000007)) $((16#ff)) {a..e} {01..03}
cat <<EOF
here ${a[0]} $(echo nested $(echo twice)) `echo old`
EOF
cat <<<"a here string"
f() { local x=$1; ((x <= 1)) && { echo 1; return; }; echo $((x * $(f $((x - 1))))); }
f 10
diff <(seq 1 5) <(seq 1 5) && echo same
diff <(printf 'a\nb\n') <(printf 'a\nc\n') || echo "differ $?"
(exit 7) || echo "subshell $?"
( trap 'echo leaving' EXIT; echo inside )
trap 'echo got usr1' USR1; kill -USR1 $$; trap - USR1
bash -c 'kill -TERM $$' || echo "killed $?"
bash -c 'kill -9 $$' || echo "killed $?"
set +e; false | true | false; echo "status ${PIPESTATUS[*]}"; set -e
(sleep 0.2; exit 3) & (exit 4) & wait -n || echo "first $?"; wait $! || echo "then $?"; wait
coproc upper { while read -r l; do echo "${l^^}"; done; }
echo "to the coprocess" >&"${upper[1]}"; read -r line <&"${upper[0]}"; echo "$line"
eval "exec ${upper[1]}>&-"; wait
read -r -t 0.1 nothing < <(sleep 1) || echo "read timed out $((($?) > 128))"
exec 7>file; echo seven >&7; exec 7>&-; cat file; exec 8<file; read -r x <&8; exec 8<&-; echo "$x"
echo error >&2 2>both; ls /no/such/file >out 2>&1 || echo "ls $?"; grep -c 'No such' out
shopt -s extglob nullglob globstar; mkdir -p d/e/f; touch d/x.c d/e/y.c d/e/f/z.h
echo d/**/*.c d/!(x.c) none*.q
printf '%s|%5d|%-5s|%x|%q\n' s 42 ab 255 'a b'
time_out=$(TIMEFORMAT=%0R; { time sleep 0.1; } 2>&1); echo "time ${time_out%%.*}"
i=0; while :; do ((++i > 1000)) && break; done; echo $i
for s in $(seq 200); do :; done | cat; x=; for s in $(seq 200); do x+=$(echo -n .); done; echo ${#x}
umask 027; touch masked; stat -c %a masked
cd /; echo "$PWD $OLDPWD" | wc -w; cd "$OLDPWD"; pwd | grep -q . && echo back
ulimit -n 100; ulimit -n; exec {fd}<file; ((fd >= 10)) && echo "descriptor by name"
mapfile -t lines < <(seq 5); echo "${lines[*]}"
[[ abc123 =~ ^([a-z]+)([0-9]+)$ ]] && echo "${BASH_REMATCH[2]} ${BASH_REMATCH[1]}"
echo "$BASHPID $$" | awk '{print ($1 == $2)}'
exec bash -c 'echo replaced "$0" "$@"' zero one two
