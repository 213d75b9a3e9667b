#!/bin/bash
# perl: processes, sockets, files, sorting.
# needs: perl
# limit: 60
set -eu
perl -e 'print join(",", map { $_ ** 2 } 1..10), "\n"'
perl -MPOSIX -e 'my $p = fork // die; if (!$p) { exit 7 } waitpid $p, 0; print $? >> 8, "\n"; print POSIX::strftime("%F", gmtime 0), "\n"'
perl -e 'open my $f, "-|", "seq 1000" or die; my $s = 0; $s += $_ while <$f>; close $f; print "$s $?\n"'
perl -MSocket -e 'socketpair my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die; syswrite $a, "hi"; sysread $b, my $x, 10; print "$x\n"'
perl -e '$SIG{ALRM} = sub { print "alarm\n"; exit 3 }; alarm 1; select undef, undef, undef, 10' || echo $?
perl -e '%h = map { $_ => $_ * 7 % 1009 } 1..20000; print join(" ", (sort { $h{$a} <=> $h{$b} || $a <=> $b } keys %h)[0..4]), "\n"'
perl -MFile::Find -e 'find(sub { $n++ }, "/usr/share/perl"); print $n > 100 ? "many\n" : "few $n\n"'
perl -MIPC::Open3 -e '$p = open3(my $in, my $out, undef, "tr a-z A-Z"); print $in "shout\n"; close $in; print <$out>; waitpid $p, 0'
perl -MTime::HiRes=sleep,time -e '$t = time; sleep 0.1; print time - $t >= 0.1 ? "slept\n" : "early\n"'
perl -MFcntl=:flock -e 'open my $f, ">", "l"; flock $f, LOCK_EX; if (!fork) { open my $g, ">", "l"; print flock($g, LOCK_EX | LOCK_NB) ? "got\n" : "held\n"; exit } wait'
perl -MFile::Temp=tempfile -e '($f, $n) = tempfile(); print $f "x" x 100000; close $f; print -s $n, "\n"; unlink $n; print -e $n ? "there\n" : "gone\n"'
perl -i.bak -pe 's/a/b/' <(echo) 2>/dev/null || true; echo aaa >e; perl -i -pe 's/a/b/g' e; cat e
perl -e 'for (1..200) { my $p = fork; exit 0 if !$p; waitpid $p, 0 } print "forked\n"'
