//! Any bytes on the switch's control and management sockets.

#![no_main]

use libfuzzer_sys::fuzz_target;
use switchproto::command::{Command, Target};
use switchproto::shape::{Setting, Shape};
use switchproto::{Mac, Progress, Request, SockAddr};

fuzz_target!(|data: &[u8]| {
    match Request::parse(data) {
        Ok(Progress::Complete(request, used)) => {
            let bytes = request.emit();
            assert_eq!(bytes.len(), used);
            assert_eq!(Request::parse(&bytes), Ok(Progress::Complete(request, used)));
        }
        // More bytes never make an error of what was good so far, nor the reverse.
        Ok(Progress::Partial) => assert!(data.len() < 124),
        Err(_) => assert!(!matches!(Request::parse(&[data, &[0; 124]].concat()), Ok(Progress::Complete(..)))),
    }
    if let Ok(addr) = SockAddr::parse(data) {
        assert_eq!(SockAddr::parse(&addr.emit()).as_ref(), Ok(&addr));
        assert!(addr.as_path().is_some() != addr.as_abstract().is_some());
    }
    match Command::parse(data) {
        Err(reason) => assert!(!reason.contains('\n')),
        Ok(Command::Set(Target::Port(_) | Target::All | Target::New, settings)) => {
            let mut shape = Shape::default();
            settings.iter().for_each(|&setting| shape.apply(setting));
            let mut again = Shape::default();
            let text = shape.to_string();
            text.split_whitespace().for_each(|s| again.apply(Setting::parse(s).expect("what we printed")));
            // Delays are printed in whole microseconds.
            assert_eq!((again.rate, again.loss), (shape.rate, shape.loss));
        }
        Ok(_) => {}
    }
    if let Ok(mac) = String::from_utf8_lossy(data).parse::<Mac>() {
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }
});
