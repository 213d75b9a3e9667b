#!/bin/bash
# dash as the system's shell.
# needs: dash
set -eu
cat >script <<'EOF'
#!/bin/dash
set -e
i=0; while [ $i -lt 50 ]; do i=$((i + 1)); /bin/true; done; echo $i
for f in a b c; do echo $f >$f; done; cat a b c
x=$(cat a; echo more) ; echo "$x"
(cd /tmp && pwd)
case $0 in ./script) echo named;; *) echo "other $0";; esac
trap 'echo bye' EXIT
true && false || echo or
{ echo grouped; echo twice; } | { read l; echo "first $l"; cat; }
echo hidden >/dev/null
sleep 0.05 & wait $!; echo waited $?
sh -c 'exit 9' || echo $?
command -v ls >/dev/null && type cd
set -- x y z; shift; echo "$# $*"
getopts ab: o -b val && echo "$o $OPTARG"
kill -l 9
umask
exec 3<a; read l <&3; echo $l
test -x script && test ! -d script && [ -e /dev/null ] && echo tested
exit 5
EOF
chmod +x script; umask 022
./script x y || echo "exit $?"
dash -c 'echo $PPID' | grep -qx $$ && echo parent
