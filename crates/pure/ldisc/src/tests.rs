use super::*;

fn typed(ld: &mut LineDiscipline, s: &str) -> String {
    String::from_utf8(ld.input(s.as_bytes()).echo).unwrap()
}

#[test]
fn a_line_is_echoed_edited_and_read_whole() {
    let mut ld = LineDiscipline::default();
    assert_eq!(typed(&mut ld, "helx\x7flo"), "helx\x08 \x08lo");
    assert!(!ld.readable());
    assert_eq!(ld.read(100), None);
    assert_eq!(typed(&mut ld, "\r"), "\r\n");
    assert!(ld.readable());
    assert_eq!(ld.available(), 6);
    assert_eq!(ld.read(3).unwrap(), b"hel");
    assert_eq!(ld.read(100).unwrap(), b"lo\n");
    assert!(!ld.readable());
}

#[test]
fn control_d_ends_a_line_or_the_file() {
    let mut ld = LineDiscipline::default();
    typed(&mut ld, "ab\x04\x04");
    assert_eq!(ld.read(2).unwrap(), b"ab");
    assert_eq!(ld.read(100).unwrap(), b"");
    assert_eq!(ld.read(100), None);
}

#[test]
fn control_c_signals_flushes_and_shows() {
    let mut ld = LineDiscipline::default();
    let fx = ld.input(b"abc\x03");
    assert_eq!(fx.signals, [TtySignal::Interrupt]);
    assert_eq!(fx.echo, b"abc^C");
    assert!(fx.flush_output);
    typed(&mut ld, "x\n");
    assert_eq!(ld.read(100).unwrap(), b"x\n");
}

#[test]
fn raw_mode_passes_everything() {
    let mut ld = LineDiscipline::default();
    let mut t = *ld.termios();
    t.lflag &= !(ICANON | ISIG | ECHO | IEXTEN);
    t.iflag = 0;
    t.oflag = 0;
    typed(&mut ld, "pre");
    ld.set_termios(t);
    assert!(ld.input(b"\x03\x04\r\x11").echo.is_empty());
    assert_eq!(ld.read(100).unwrap(), b"pre\x03\x04\r\x11");
    assert_eq!(ld.output(b"a\n"), b"a\n");
}

#[test]
fn utf8_erase_takes_the_whole_character() {
    let mut ld = LineDiscipline::default();
    let mut t = *ld.termios();
    t.iflag |= IUTF8;
    ld.set_termios(t);
    assert_eq!(typed(&mut ld, "aä\x7f"), "aä\x08 \x08");
    typed(&mut ld, "\n");
    assert_eq!(ld.read(100).unwrap(), b"a\n");
}

#[test]
fn word_and_line_kill() {
    let mut ld = LineDiscipline::default();
    typed(&mut ld, "one two  \x17");
    typed(&mut ld, "\n");
    assert_eq!(ld.read(100).unwrap(), b"one \n");
    typed(&mut ld, "gone\x15kept\n");
    assert_eq!(ld.read(100).unwrap(), b"kept\n");
}

#[test]
fn flow_control_and_literal_next() {
    let mut ld = LineDiscipline::default();
    assert_eq!(ld.input(b"\x13").flow, Some(true));
    assert!(ld.stopped());
    assert_eq!(ld.input(b"\x11").flow, Some(false));
    typed(&mut ld, "\x16\x03\n");
    assert_eq!(ld.read(10).unwrap(), b"\x03\n");
}

#[test]
fn a_flood_is_bounded_and_the_line_can_still_end() {
    let mut ld = LineDiscipline::default();
    ld.input(&vec![b'x'; 3 * INPUT_MAX]);
    ld.input(b"\n");
    let line = ld.read(10 * INPUT_MAX).unwrap();
    assert_eq!(line.len(), INPUT_MAX);
    assert_eq!(line.last(), Some(&b'\n'));
}

#[test]
fn tabs_are_counted_and_erased() {
    let mut ld = LineDiscipline::default();
    assert_eq!(typed(&mut ld, "a\t\x7f"), "a\t\x08\x08\x08\x08\x08\x08\x08");
    assert_eq!(ld.output(b"x\ny"), b"x\r\ny");
}
