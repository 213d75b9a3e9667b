//! /proc/sysvipc (sysvipc(7)).

use std::{fmt::Write as _, sync::Arc};

use kernel::{Machine, Result};

pub(crate) fn shm(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let mut s = String::from(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      \
         dtime      ctime                   rss                  swap\n",
    );
    let all = m.ipc.shm.lock().all();
    for seg in all {
        let d = seg.stat();
        let p = d.perm;
        let _ = writeln!(
            s,
            "{:10} {:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}",
            p.key,
            kernel::ipc::Object::id(&*seg),
            p.mode,
            d.segsz,
            d.cpid,
            d.lpid,
            d.nattch,
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            d.atime,
            d.dtime,
            d.ctime,
            seg.resident(),
            0,
        );
    }
    Ok(s.into_bytes())
}

pub(crate) fn sem(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let mut s = String::from(
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
    );
    let all = m.ipc.sem.lock().all();
    for set in all {
        let d = set.stat();
        let p = d.perm;
        let _ = writeln!(
            s,
            "{:10} {:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}",
            p.key,
            kernel::ipc::Object::id(&*set),
            p.mode,
            d.nsems,
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            d.otime,
            d.ctime,
        );
    }
    Ok(s.into_bytes())
}

pub(crate) fn msg(m: &Arc<Machine>) -> Result<Vec<u8>> {
    let mut s = String::from(
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      \
         rtime      ctime\n",
    );
    let all = m.ipc.msg.lock().all();
    for q in all {
        let d = q.stat();
        let p = d.perm;
        let _ = writeln!(
            s,
            "{:10} {:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}",
            p.key,
            kernel::ipc::Object::id(&*q),
            p.mode,
            d.cbytes,
            d.qnum,
            d.lspid,
            d.lrpid,
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            d.stime,
            d.rtime,
            d.ctime,
        );
    }
    Ok(s.into_bytes())
}
