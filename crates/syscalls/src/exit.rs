//! Ends: exit, exit_group.

use abi::nr;
use kernel::{
    Result,
    task::{TaskCx, exit as end},
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] =
    &[Row::new(nr::SYS_EXIT, "exit", exit), Row::new(nr::SYS_EXIT_GROUP, "exit_group", exit_group)];

fn code(a: Args) -> u8 {
    (a.u64(0) & 0xff) as u8
}

fn exit(cx: &mut TaskCx, a: Args) -> Result<u64> {
    end::exit_thread(cx, code(a));
    Ok(0)
}

fn exit_group(cx: &mut TaskCx, a: Args) -> Result<u64> {
    end::exit_group(cx, code(a));
    Ok(0)
}
