use proptest::prelude::*;

use super::*;

fn put(b: &mut [u8], at: usize, bytes: &[u8]) {
    b[at..at + bytes.len()].copy_from_slice(bytes);
}

fn file_header(kind: u16, count: u16) -> Vec<u8> {
    let mut b = vec![0; HEADER_LEN];
    put(&mut b, 0, b"\x7fELF\x02\x01\x01");
    put(&mut b, 16, &kind.to_le_bytes());
    put(&mut b, 18, &62u16.to_le_bytes());
    put(&mut b, 24, &0x1040u64.to_le_bytes());
    put(&mut b, 32, &64u64.to_le_bytes());
    put(&mut b, 54, &56u16.to_le_bytes());
    put(&mut b, 56, &count.to_le_bytes());
    b
}

fn phdr(kind: u32, flags: u32, offset: u64, addr: u64, file_len: u64, len: u64) -> Vec<u8> {
    let mut b = vec![0; PHDR_LEN];
    put(&mut b, 0, &kind.to_le_bytes());
    put(&mut b, 4, &flags.to_le_bytes());
    for (i, v) in [offset, addr, addr, file_len, len, 0x1000].into_iter().enumerate() {
        put(&mut b, 8 + 8 * i, &v.to_le_bytes());
    }
    b
}

#[test]
fn a_dynamic_program_is_understood() {
    let h = header(&file_header(3, 4)).unwrap();
    assert_eq!((h.kind, h.entry, h.table_offset, h.table_len()), (Kind::Relocatable, 0x1040, 64, 224));
    let table = [
        phdr(PT_INTERP, 4, 0x318, 0x318, 28, 28),
        phdr(PT_LOAD, 4, 0, 0, 0x628, 0x628),
        phdr(PT_LOAD, 6, 0x2df0, 0x3df0, 0x220, 0x1000),
        phdr(PT_GNU_STACK, 6, 0, 0, 0, 0),
    ]
    .concat();
    let p = program(&h, &table).unwrap();
    assert_eq!(p.interp, Some((0x318, 28)));
    assert_eq!(p.exec_stack, Some(false));
    assert_eq!(p.table_addr, Some(64));
    assert_eq!((p.low(), p.high()), (0, 0x4df0));
    assert_eq!(p.segments[1].prot, Prot::RW);
}

#[test]
fn other_machines_and_broken_files_are_refused() {
    assert_eq!(header(b"#!/bin/sh"), Err(Error::NotElf));
    assert_eq!(header(b"\x7fELF\x02\x01"), Err(Error::Malformed));
    let mut b = file_header(3, 1);
    b[4] = 1;
    assert_eq!(header(&b), Err(Error::Foreign));
    assert_eq!(header(&file_header(1, 1)), Err(Error::Foreign));
    assert_eq!(header(&file_header(3, 0)), Err(Error::Malformed));
    assert_eq!(header(&file_header(3, 2000)), Err(Error::Malformed));
}

#[test]
fn segments_must_make_sense() {
    let h = header(&file_header(2, 1)).unwrap();
    let bad = [
        phdr(PT_LOAD, 5, 0, 0x400000, 20, 10),
        phdr(PT_LOAD, 5, 1, 0x400000, 10, 10),
        phdr(PT_LOAD, 5, 0, TASK_SIZE - 4096, 10, 5000),
        phdr(PT_LOAD, 5, 0, u64::MAX - 10, 10, 100),
        phdr(PT_LOAD, 5, u64::MAX - 10, 0x400ff5, 100, 100),
        phdr(PT_LOAD, 5, 0, 0x400000, 0, 0),
        phdr(PT_INTERP, 5, 0, 0, 1, 1),
    ];
    for b in bad {
        assert_eq!(program(&h, &b), Err(Error::Malformed));
    }
    let h = header(&file_header(2, 2)).unwrap();
    let on_one_page =
        [phdr(PT_LOAD, 5, 0, 0x400000, 10, 10), phdr(PT_LOAD, 6, 0x800, 0x400800, 10, 10)].concat();
    assert_eq!(program(&h, &on_one_page), Err(Error::Malformed));
    assert_eq!(program(&h, &on_one_page[..60]), Err(Error::Malformed));
}

#[test]
fn script_lines() {
    let s = |b: &'static [u8]| script(b).map(|s| (s.interp, s.arg));
    assert_eq!(s(b"#!/bin/sh\necho"), Some((&b"/bin/sh"[..], None)));
    assert_eq!(s(b"#! /usr/bin/env\t -S a b \n"), Some((&b"/usr/bin/env"[..], Some(&b"-S a b"[..]))));
    assert_eq!(s(b"#!/bin/sh"), Some((&b"/bin/sh"[..], None)));
    assert_eq!(s(b"#!  \n/bin/sh"), None);
    assert_eq!(s(b"#!\n"), None);
    assert_eq!(s(b"# !/bin/sh\n"), None);
    let long = [b"#!/".to_vec(), vec![b'x'; 300]].concat();
    assert_eq!(script(&long), None);
    let long_arg = [b"#!/bin/sh ".to_vec(), vec![b'x'; 300]].concat();
    assert_eq!(script(&long_arg).and_then(|s| s.arg).map(<[u8]>::len), Some(SCRIPT_MAX - 10));
}

#[test]
fn interpreter_names_end_with_nul() {
    assert_eq!(interp_name(b"/lib/ld.so\0"), Ok(&b"/lib/ld.so"[..]));
    assert_eq!(interp_name(b"/lib/ld.so"), Err(Error::Malformed));
    assert_eq!(interp_name(b"\0"), Err(Error::Malformed));
    assert_eq!(interp_name(b"\0\0"), Err(Error::Malformed));
}

#[test]
fn the_test_program_itself_is_read() {
    let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let h = header(&bytes).unwrap();
    let from = usize::try_from(h.table_offset).unwrap();
    let p = program(&h, &bytes[from..from + h.table_len()]).unwrap();
    let entry = p.segments.iter().find(|s| (s.addr..s.end()).contains(&h.entry)).unwrap();
    assert!(entry.prot.contains(Prot::EXEC));
    assert!(p.table_addr.is_some());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        mut head in prop::collection::vec(any::<u8>(), 0..300),
        table in prop::collection::vec(any::<u8>(), 0..600),
        real in any::<bool>(),
    ) {
        if real && head.len() >= HEADER_LEN {
            put(&mut head, 0, &file_header(2, 5)[..24]);
            put(&mut head, 54, &[56, 0, 5, 0]);
        }
        if let Ok(h) = header(&head) && let Ok(p) = program(&h, &table) {
            prop_assert!(p.high() <= TASK_SIZE && p.low() < p.high());
        }
        let _ = script(&head);
        let _ = interp_name(&head);
    }

    #[test]
    fn plausible_tables_keep_the_promises(
        loads in prop::collection::vec((0u64..64, 0u64..0x3000, 0u64..0x3000, 0u64..8), 1..6)
    ) {
        let table: Vec<u8> = loads
            .iter()
            .flat_map(|(page, f, m, fl)| phdr(PT_LOAD, *fl as u32, page * 4096, page * 4096, *f, *m))
            .collect();
        let h = header(&file_header(2, loads.len() as u16)).unwrap();
        if let Ok(p) = program(&h, &table) {
            for w in p.segments.windows(2) {
                prop_assert!(w[0].end() <= w[1].start());
            }
            prop_assert!(p.segments.iter().all(|s| s.file_end() <= s.end() && s.len > 0));
        }
    }
}
