//! Reads the records of a log, oldest first or newest first. What is no whole line is left out; whether
//! the lines hold is the matter of `verify`.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;

use crate::kms::audit::chain::LINE_LEN_MAX;
use crate::kms::audit::mark::Mark;
use crate::kms::audit::segments::{LogFiles, Segment};

/// Bytes that are read at once from the end of a file.
const CHUNK_LEN: u64 = 64 << 10;

/// Where a line of a log begins. Stays right while the log grows and its segments end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    /// Number of the segment.
    pub segment: u32,
    /// Offset in it.
    pub offset: u64,
}

impl LogFiles {
    /// Hands on every record from a place on, oldest first, without its line feed; answers the place
    /// behind the last whole line.
    ///
    /// # Errors
    /// [`io::Error`] if a file cannot be read.
    pub fn read_from(
        &self,
        from: LogPlace,
        each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<LogPlace> {
        let mut place = from;
        for number in self.numbers().filter(|number| *number >= from.segment) {
            if number > place.segment {
                place = LogPlace { segment: number, offset: 0 };
            }
            let Some(mut segment) = self.open_if_kept(number)? else { continue };
            segment.file.seek(SeekFrom::Start(place.offset))?;
            let rest = segment.len.saturating_sub(place.offset);
            let mut reader = BufReader::with_capacity(1 << 16, segment.file.take(rest));
            let mut line = Vec::new();
            loop {
                line.clear();
                let limit = u64::try_from(LINE_LEN_MAX).unwrap_or(u64::MAX);
                let len = reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
                let Some(text) = line.strip_suffix(b"\n") else { break };
                place.offset += u64::try_from(len).unwrap_or(u64::MAX);
                if !Mark::is_mark(text) && each(text).is_break() {
                    return Ok(place);
                }
            }
        }
        Ok(place)
    }

    /// Behind the last byte.
    ///
    /// # Errors
    /// [`io::Error`] if a file cannot be read.
    pub fn end(&self) -> io::Result<LogPlace> {
        let Some(segment) = self.numbers().next_back() else { return Ok(LogPlace::default()) };
        Ok(LogPlace { segment, offset: self.open(segment)?.len })
    }

    /// The records before a place, or all, newest first.
    pub fn backward(&self, before: Option<LogPlace>) -> Backward<'_> {
        let is_before = |number: &u32| before.is_none_or(|place| *number <= place.segment);
        Backward {
            files: self,
            numbers: self.numbers().filter(is_before).collect(),
            before,
            current: None,
            seen_len: 0,
        }
    }

    /// Opens a segment; `None` if it was removed meanwhile.
    fn open_if_kept(&self, number: u32) -> io::Result<Option<Segment>> {
        match self.open(number) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }
}

/// Records of a log, newest first.
#[derive(Debug)]
pub struct Backward<'a> {
    files: &'a LogFiles,
    /// Segments that are not read yet; the newest stands last.
    numbers: Vec<u32>,
    before: Option<LogPlace>,
    current: Option<Unread>,
    seen_len: u64,
}

/// The part of a segment that is not handed on yet.
#[derive(Debug)]
struct Unread {
    segment: Segment,
    /// What was read of its end.
    chunk: Vec<u8>,
    /// Offset of the chunk.
    start: u64,
}

impl Backward<'_> {
    /// Bytes of the lines so far.
    pub fn seen_len(&self) -> u64 {
        self.seen_len
    }

    /// The next older record and where it begins.
    ///
    /// # Errors
    /// [`io::Error`] if a file cannot be read.
    pub fn next_record(&mut self) -> io::Result<Option<(LogPlace, Vec<u8>)>> {
        loop {
            let Some(unread) = &mut self.current else {
                match self.open_next()? {
                    Some(unread) => self.current = Some(unread),
                    None => return Ok(None),
                }
                continue;
            };
            match unread.take_line()? {
                None => self.current = None,
                Some(line) => {
                    self.seen_len += u64::try_from(line.len()).unwrap_or(u64::MAX);
                    let place = LogPlace { segment: unread.segment.number, offset: unread.end() };
                    if !Mark::is_mark(&line) {
                        return Ok(Some((place, line)));
                    }
                }
            }
        }
    }

    fn open_next(&mut self) -> io::Result<Option<Unread>> {
        while let Some(number) = self.numbers.pop() {
            let Some(segment) = self.files.open_if_kept(number)? else { continue };
            let before = self.before.filter(|place| place.segment == number);
            let end = before.map_or(segment.len, |place| place.offset.min(segment.len));
            return Ok(Some(Unread { segment, chunk: Vec::new(), start: end }));
        }
        Ok(None)
    }
}

impl Unread {
    fn end(&self) -> u64 {
        self.start + u64::try_from(self.chunk.len()).unwrap_or(u64::MAX)
    }

    /// Takes the last whole line, without its line feed; `None` if there is none left.
    fn take_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let whole = self.chunk.iter().rposition(|byte| *byte == b'\n');
            if let Some(feed) = whole {
                let begin = self.chunk.iter().take(feed).rposition(|byte| *byte == b'\n');
                if begin.is_some() || self.start == 0 {
                    let mut line = self.chunk.split_off(begin.map_or(0, |at| at + 1));
                    line.truncate(feed - self.chunk.len());
                    return Ok(Some(line));
                }
            }
            if self.start == 0 || self.chunk.len() > LINE_LEN_MAX {
                return Ok(None);
            }
            let from = self.start.saturating_sub(CHUNK_LEN);
            let mut more = Vec::new();
            self.segment.file.seek(SeekFrom::Start(from))?;
            (&self.segment.file).take(self.start - from).read_to_end(&mut more)?;
            more.append(&mut self.chunk);
            (self.chunk, self.start) = (more, from);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kms::audit::segments::segment_path;

    fn log(dir: &Path) -> LogFiles {
        let log = dir.join("audit.log");
        // Longer than a chunk, to meet its borders.
        let long = "x".repeat(100_000);
        std::fs::write(segment_path(&log, 1), format!("a\n{long}\nc\n")).unwrap();
        std::fs::write(&log, "{\"kmsfsLog\":1,..\nd\ne\ntorn").unwrap();
        LogFiles::find(&log).unwrap()
    }

    #[test]
    fn records_are_read_from_both_ends() {
        let dir = tempfile::tempdir().unwrap();
        let files = log(dir.path());
        let mut forward = Vec::new();
        let end = files.read_from(LogPlace::default(), &mut |line| {
            forward.push(line.to_vec());
            ControlFlow::Continue(())
        });
        assert_eq!(end.unwrap(), LogPlace { segment: 2, offset: 21 });
        let mut backward = Vec::new();
        let mut reader = files.backward(None);
        while let Some((place, line)) = reader.next_record().unwrap() {
            // A place is where to go on.
            let next = files.backward(Some(place)).next_record().unwrap();
            assert_eq!(next.is_none(), line == b"a");
            backward.push(line);
        }
        backward.reverse();
        assert_eq!(forward, backward);
        let lens: Vec<usize> = forward.iter().map(Vec::len).collect();
        assert_eq!(lens, [1, 100_000, 1, 1, 1]);
    }
}
