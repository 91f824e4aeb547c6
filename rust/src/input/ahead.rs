//! Ranges of a remote file, asked for before they are needed.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::{Check, Options, Remote};
use crate::error::{Error, Result};

/// Bytes asked for at a time: what a request costs is little beside that.
const PIECE: u64 = if cfg!(test) { 1000 } else { 1 << 20 };
/// Requests under way at a time, so that one's latency is another's transfer.
const REQUESTS: usize = 6;
/// Bytes that may be there or on their way before they are needed. Whoever may end at any place has few at first, so
/// that little is fetched for nothing, and more as more was read.
const LEAST: u64 = PIECE;
const MOST: u64 = 16 * PIECE;
/// A gap is read with the range before it where it is no more than this part of it: a request costs more.
const GAP: u64 = 8;

/// Reads ranges in order, while threads fetch what comes next. Dropped, it fetches no more.
pub(super) struct Ahead {
    shared: Arc<Shared>,
    check: Option<Check>,
    /// Whether what was read is held until it is let go: several columns are then read side by side.
    holds: bool,
}

struct Shared {
    remote: Arc<Remote>,
    /// In the order of the file.
    pieces: Vec<Range<u64>>,
    least: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The first piece that is not let go.
    first: usize,
    /// Behind the last piece that somebody waits for.
    wanted: usize,
    /// Those from the first on that were asked for; None until they are there.
    held: VecDeque<Option<Result<Bytes>>>,
    /// Bytes of the pieces that were let go.
    done: u64,
    closed: bool,
}

impl Ahead {
    pub fn new(
        remote: &Arc<Remote>,
        ranges: impl IntoIterator<Item = Range<u64>>,
        options: &Options,
        holds: bool,
    ) -> Self {
        let mut pieces = Vec::new();
        for Range { mut start, end } in joined(ranges, remote.size) {
            while start < end {
                let to = if end - start < PIECE * 3 / 2 { end } else { start + PIECE };
                pieces.push(start..to);
                start = to;
            }
        }
        let least = if options.may_end { LEAST } else { MOST };
        let threads = REQUESTS.min(pieces.len());
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        let shared = Arc::new(Shared { remote: remote.clone(), pieces, least, state, changed });
        for _ in 0..threads {
            let shared = shared.clone();
            std::thread::spawn(move || shared.fetch());
        }
        Self { shared, check: options.check.clone(), holds }
    }

    pub fn covers(&self, at: u64) -> bool {
        self.shared.find(at).is_some()
    }

    /// Lets go what lies in pieces that end before `at`.
    pub fn let_go(&self, at: u64) {
        let mut state = self.shared.lock();
        while self.shared.pieces.get(state.first).is_some_and(|piece| piece.end <= at) {
            self.shared.let_go(&mut state);
        }
        self.shared.changed.notify_all();
    }

    /// What follows `at` up to the end of its piece. What lies in earlier pieces is let go, unless it is to be held.
    pub fn piece(&self, at: u64) -> Result<Bytes> {
        let outside = || Error::data(format!("{}: byte {at} is not where its footer says", self.shared.remote.name));
        let index = self.shared.find(at).ok_or_else(outside)?;
        let piece = &self.shared.pieces[index];
        let mut state = self.shared.lock();
        if index < state.first {
            drop(state);
            return self.shared.remote.read(at, piece.end - at);
        }
        while state.first < index && !self.holds {
            self.shared.let_go(&mut state);
        }
        state.wanted = state.wanted.max(index + 1);
        self.shared.changed.notify_all();
        loop {
            let place = index - state.first;
            if let Some(Some(Ok(bytes))) = state.held.get(place) {
                return Ok(bytes.slice((at - piece.start) as usize..));
            }
            if let Some(Err(error)) = state.held.get_mut(place).and_then(Option::take) {
                state.closed = true;
                return Err(error);
            }
            if state.closed {
                return Err(Error::interrupted());
            }
            let waited = self.shared.changed.wait_timeout(state, Duration::from_millis(100));
            let (again, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = again;
            if timeout.timed_out() {
                if let Some(check) = &self.check {
                    drop(state);
                    check()?;
                    state = self.shared.lock();
                }
            }
        }
    }

    /// Exactly these bytes.
    pub fn bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        let first = self.piece(start)?;
        if first.len() >= length {
            return Ok(first.slice(..length));
        }
        let mut whole = BytesMut::with_capacity(length.min(1 << 26));
        whole.extend_from_slice(&first);
        while whole.len() < length {
            let next = self.piece(start + whole.len() as u64)?;
            whole.extend_from_slice(&next[..next.len().min(length - whole.len())]);
        }
        Ok(whole.freeze())
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, at: u64) -> Option<usize> {
        let index = self.pieces.partition_point(|piece| piece.end <= at);
        self.pieces.get(index).is_some_and(|piece| piece.contains(&at)).then_some(index)
    }

    fn let_go(&self, state: &mut State) {
        let piece = &self.pieces[state.first];
        state.held.pop_front();
        state.done += piece.end - piece.start;
        state.first += 1;
    }

    fn fetch(&self) {
        let mut state = self.lock();
        loop {
            let next = state.first + state.held.len();
            if state.closed || next >= self.pieces.len() {
                return;
            }
            let Range { start, end } = self.pieces[next];
            let room = (state.done / 64).clamp(self.least, MOST);
            let beyond = self.pieces.get(state.wanted.max(state.first)..next).unwrap_or_default();
            let beyond: u64 = beyond.iter().map(|piece| piece.end - piece.start).sum();
            if beyond > 0 && beyond + (end - start) > room {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.held.push_back(None);
            drop(state);
            let read = self.remote.read(start, end - start);
            state = self.lock();
            // it may have been passed over meanwhile
            if let Some(at) = next.checked_sub(state.first) {
                state.held[at] = Some(read);
            }
            self.changed.notify_all();
        }
    }
}

/// The ranges in order, those joined that lie close together.
fn joined(ranges: impl IntoIterator<Item = Range<u64>>, size: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<_> = ranges.into_iter().map(|range| range.start..range.end.min(size)).collect();
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        // no byte belongs to two pieces, whatever a damaged footer says
        match joined.last_mut() {
            Some(last) if range.start <= last.end + (last.end - last.start).min(PIECE) / GAP => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// The ranges as one stream, from `at` on.
pub(super) struct Stream {
    ahead: Arc<Ahead>,
    at: u64,
    end: u64,
    piece: Bytes,
}

impl Stream {
    pub fn new(ahead: Arc<Ahead>, at: u64, end: u64) -> Self {
        Self { ahead, at, end, piece: Bytes::new() }
    }
}

impl io::Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.at < self.end {
            self.piece = self.ahead.piece(self.at).map_err(io::Error::other)?;
            self.at += self.piece.len() as u64;
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// The error that a source of bytes gave, out of those that readers wrap around it.
pub(super) fn cause(error: io::Error) -> Result<Error, io::Error> {
    error.downcast::<Error>()
}
