//! Names of the system: uname, sethostname, setdomainname.

use abi::{Utsname, errno::EINVAL, errno::EPERM, nr};
use kernel::{Result, task::TaskCx};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_UNAME, "uname", uname),
    Row::new(nr::SYS_SETHOSTNAME, "sethostname", sethostname),
    Row::new(nr::SYS_SETDOMAINNAME, "setdomainname", setdomainname),
];

/// Longest name without its NUL (__NEW_UTS_LEN).
const NAME_MAX: usize = 64;

fn uname(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let names = cx.machine().uts.read().clone();
    let field = |text: &str| text.as_bytes()[..text.len().min(NAME_MAX)].to_vec();
    let u = Utsname {
        sysname: field("Linux"),
        nodename: field(&names.nodename),
        release: field(kernel::machine::RELEASE),
        version: field(kernel::machine::VERSION),
        machine: field("x86_64"),
        domainname: field(&names.domainname),
    };
    cx.copy_out(a.u64(0), &u.encode())?;
    Ok(0)
}

fn name_arg(cx: &mut TaskCx, a: Args) -> Result<String> {
    if !cx.cred().has(abi::cap::CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    let len = a.i32(1);
    let len = usize::try_from(len).ok().filter(|l| *l <= NAME_MAX).ok_or(EINVAL)?;
    let mut buf = vec![0; len];
    cx.copy_in(a.u64(0), &mut buf)?;
    Ok(String::from_utf8_lossy(&buf).trim_end_matches('\0').to_string())
}

fn sethostname(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let name = name_arg(cx, a)?;
    cx.machine().uts.write().nodename = name;
    Ok(0)
}

fn setdomainname(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let name = name_arg(cx, a)?;
    cx.machine().uts.write().domainname = name;
    Ok(0)
}
