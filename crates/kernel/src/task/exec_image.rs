//! Loading a program and its interpreter into an empty address space.

use std::sync::Arc;

use abi::errno::{EINVAL, EIO, ELIBBAD, ENOEXEC, ENOMEM};
use elf::{Kind, Program};
use hal::{PAGE_SIZE, Prot};

use super::TaskCx;
use crate::{
    error::Result,
    io::BufSink,
    mm::{Layout, Mapped, Mm, Vma, VmaFlags, mapped_program, private_vma},
    vfs::file::File,
};

/// A program read and checked, not mapped yet.
pub(super) struct Elf {
    header: elf::Header,
    pub(super) program: Program,
    object: Arc<Mapped>,
}

/// What loading decided.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded {
    /// Where the first instruction is: the interpreter's, if there is one.
    pub(super) entry: u64,
    pub(super) program_entry: u64,
    pub(super) table_addr: u64,
    pub(super) table_count: u16,
    /// Load address of the interpreter, 0 without.
    pub(super) interp_base: u64,
    pub(super) interp_end: u64,
    pub(super) code: (u64, u64),
    pub(super) data: (u64, u64),
}

/// Reads `buf.len()` bytes; fewer at the end of the file.
pub(crate) fn read_at(cx: &TaskCx, file: &File, pos: u64, buf: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        let mut sink = BufSink::new(&mut buf[done..]);
        let n = file.ops.read(file, &cx.task, &mut sink, pos + done as u64)?;
        if n == 0 {
            break;
        }
        done += n;
    }
    Ok(done)
}

/// Reads the headers of a program whose first bytes are `head`. ENOEXEC.
pub(super) fn read_elf(cx: &TaskCx, file: &Arc<File>, head: &[u8]) -> Result<Elf> {
    let header = elf::header(head).map_err(|_| ENOEXEC)?;
    let mut table = vec![0; header.table_len()];
    let from = usize::try_from(header.table_offset).ok();
    match from.and_then(|f| head.get(f..f.checked_add(table.len())?)) {
        Some(t) => table.copy_from_slice(t),
        None => {
            if read_at(cx, file, header.table_offset, &mut table)? < table.len() {
                return Err(EIO);
            }
        }
    }
    let program = elf::program(&header, &table).map_err(|_| ENOEXEC)?;
    Ok(Elf { header, program, object: mapped_program(file).map_err(|_| ENOEXEC)? })
}

/// The interpreter's name, if the program, whose first bytes are `head`, asks for one.
pub(super) fn interp_name(cx: &TaskCx, file: &File, head: &[u8], e: &Elf) -> Result<Option<Vec<u8>>> {
    let Some((pos, len)) = e.program.interp else { return Ok(None) };
    let mut name = vec![0; len as usize];
    let from = usize::try_from(pos).ok();
    match from.and_then(|f| head.get(f..f.checked_add(name.len())?)) {
        Some(n) => name.copy_from_slice(n),
        None => {
            if read_at(cx, file, pos, &mut name)? < name.len() {
                return Err(EIO);
            }
        }
    }
    Ok(Some(elf::interp_name(&name).map_err(|_| ENOEXEC)?.to_vec()))
}

/// Reads an interpreter. ELIBBAD if it is none.
pub(super) fn read_interp(cx: &TaskCx, file: &Arc<File>) -> Result<Elf> {
    let mut head = [0; 1024];
    let n = read_at(cx, file, 0, &mut head)?;
    read_elf(cx, file, &head[..n]).map_err(|e| if e == ENOEXEC { ELIBBAD } else { e })
}

/// Random numbers of one exec.
pub(super) struct Random {
    words: [u64; 6],
    next: usize,
    enabled: bool,
}

impl Random {
    /// `enabled` false: everything at its fixed place (personality(2), ADDR_NO_RANDOMIZE).
    pub(super) fn new(cx: &TaskCx, enabled: bool) -> Random {
        let mut b = [0; 48];
        cx.machine().host.entropy(&mut b);
        let mut words = [0; 6];
        for (w, c) in words.iter_mut().zip(b.chunks_exact(8)) {
            *w = c.iter().fold(0, |a, x| a << 8 | u64::from(*x));
        }
        Random { words, next: 0, enabled }
    }
    /// A random number of pages below `2^bits`, in bytes.
    fn pages(&mut self, bits: u32) -> u64 {
        let w = self.words[self.next % self.words.len()];
        self.next += 1;
        if self.enabled { (w & ((1 << bits) - 1)) * PAGE_SIZE } else { 0 }
    }
}

/// Where position-independent programs are put (two thirds of the address space).
const PIE_BASE: u64 = 0x5555_5555_4000;
/// Largest stack mapped from the start; beyond it, it grows by faults.
const STACK_MAX: u64 = 256 << 20;
const STACK_MIN: u64 = 128 << 10;

/// Stack and mapping places of a new program.
pub(super) struct Places {
    /// Mapped for the stack: `[stack_low, stack_top)`.
    pub(super) stack_low: u64,
    pub(super) stack_top: u64,
    pub(super) mmap_base: u64,
}

/// Chooses places in a space that ends at `end`, for a stack limit.
pub(super) fn places(end: u64, stack_limit: u64, r: &mut Random) -> Places {
    // As Linux on x86-64: 22 random bits for the stack, 28 for mappings.
    let stack_top = (end - r.pages(22)) & !(PAGE_SIZE - 1);
    let size = stack_limit.clamp(STACK_MIN, STACK_MAX).next_multiple_of(PAGE_SIZE);
    let gap = stack_limit.saturating_add((1 << 34) + (1 << 20)).clamp(128 << 20, end / 6 * 5);
    let mmap_base = (end - gap).saturating_sub(r.pages(28)) & !(PAGE_SIZE - 1);
    Places { stack_low: stack_top - size, stack_top, mmap_base: mmap_base.min(stack_top - size - (1 << 20)) }
}

fn hal_prot(p: abi::Prot) -> Prot {
    Prot {
        read: p.contains(abi::Prot::READ),
        write: p.contains(abi::Prot::WRITE),
        exec: p.contains(abi::Prot::EXEC),
    }
}

/// The mappings of `e` moved by `bias`, and the ranges to be zeroed in their last file pages.
fn segments(e: &Elf, bias: u64, vmas: &mut Vec<Vma>, zero: &mut Vec<(u64, u64)>) -> Result<()> {
    let up = |a: u64| abi::mm::page_up(a).ok_or(ENOMEM);
    for s in &e.program.segments {
        let prot = hal_prot(s.prot);
        let start = s.start().wrapping_add(bias);
        let end = up(s.end().wrapping_add(bias))?;
        let file_end = s.file_end().wrapping_add(bias);
        let file_pages = if s.file_len == 0 { start } else { up(file_end)? };
        if file_pages > start {
            let offset = s.offset & !(PAGE_SIZE - 1);
            vmas.push(private_vma(start, file_pages, prot, Some((&e.object, offset))));
            if s.len > s.file_len && prot.write {
                // To the end of the page, as Linux does: loaders hand out what is left of it as fresh memory.
                zero.push((file_end, file_pages));
            }
        }
        if end > file_pages {
            vmas.push(private_vma(file_pages, end, prot, None));
        }
    }
    Ok(())
}

/// Bytes from the first to the last page.
fn span(e: &Elf) -> Result<u64> {
    Ok(abi::mm::page_up(e.program.high()).ok_or(ENOMEM)? - e.program.low())
}

/// Maps a program, its interpreter and a stack into the empty `mm`. The heap begins after the program.
pub(super) fn load(
    mm: &Mm,
    exe: &Elf,
    interp: Option<&Elf>,
    places: &Places,
    r: &mut Random,
) -> Result<Loaded> {
    let mut vmas = Vec::new();
    let mut zero = Vec::new();
    let mut floor = places.mmap_base;
    let mut below = |e: &Elf| -> Result<u64> {
        let size = span(e)?;
        let at = floor.checked_sub(size).ok_or(ENOMEM)? & !(e.program.align - 1);
        floor = at;
        Ok(at)
    };
    let bias = match (exe.header.kind, interp) {
        (Kind::Fixed, _) => 0,
        (Kind::Relocatable, Some(_)) => {
            let base = (PIE_BASE + r.pages(28)) & !(exe.program.align - 1);
            base.wrapping_sub(exe.program.low())
        }
        // An interpreter run as a program leaves the usual place free for its own program.
        (Kind::Relocatable, None) => below(exe)?.wrapping_sub(exe.program.low()),
    };
    segments(exe, bias, &mut vmas, &mut zero)?;
    let program_entry = exe.header.entry.wrapping_add(bias);
    let (mut entry, mut interp_base, mut interp_end) = (program_entry, 0, 0);
    if let Some(i) = interp {
        let ib = match i.header.kind {
            Kind::Fixed => 0,
            Kind::Relocatable => below(i)?.wrapping_sub(i.program.low()),
        };
        segments(i, ib, &mut vmas, &mut zero)?;
        entry = i.header.entry.wrapping_add(ib);
        interp_base = ib;
        interp_end = i.program.high().wrapping_add(ib);
    }
    let exec = exe.program.exec_stack.unwrap_or(false);
    let prot = Prot { read: true, write: true, exec };
    let mut stack = private_vma(places.stack_low, places.stack_top, prot, None);
    stack.flags = VmaFlags::GROWSDOWN | VmaFlags::STACK | VmaFlags::NORESERVE | VmaFlags::NOHUGE;
    vmas.push(stack);
    mm.load(vmas)?;
    for (from, to) in zero {
        let len = (to - from) as usize;
        let zeros = [0; PAGE_SIZE as usize];
        if !mm.store(from, &zeros[..len]) {
            return Err(EINVAL);
        }
    }
    let static_pie = exe.header.kind == Kind::Relocatable && interp.is_none();
    let after = if static_pie { PIE_BASE } else { exe.program.high().wrapping_add(bias) };
    // Up to 32 MiB of random distance.
    let brk = after.next_multiple_of(PAGE_SIZE) + r.pages(13);
    mm.set_layout(Layout { mmap_base: places.mmap_base, brk_start: brk, brk });
    let range = |exec: bool| {
        let parts = exe.program.segments.iter().filter(|s| s.prot.contains(abi::Prot::EXEC) == exec);
        let all = parts.map(|s| (s.addr.wrapping_add(bias), s.file_end().wrapping_add(bias)));
        all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default()
    };
    Ok(Loaded {
        entry,
        program_entry,
        table_addr: exe.program.table_addr.map_or(0, |a| a.wrapping_add(bias)),
        table_count: exe.header.table_count,
        interp_base,
        interp_end,
        code: range(true),
        data: range(false),
    })
}
