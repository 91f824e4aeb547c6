//! Ranges of a remote file, asked for before they are needed.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::{Check, Remote};
use crate::error::{Error, Result};

/// Bytes asked for at a time: what a request costs is little beside that.
const PIECE: u64 = if cfg!(test) { 1000 } else { 1 << 20 };
/// Requests under way at a time, so that one's latency is another's transfer.
const REQUESTS: usize = 6;
/// Bytes that may be there or on their way before they are needed: few at first, so that whoever reads a little has
/// little fetched for nothing, and more as more was read.
const LEAST: u64 = 2 * PIECE;
const MOST: u64 = 16 * PIECE;

/// Reads ranges in order, while threads fetch what comes next. Dropped, it fetches no more.
pub(super) struct Ahead {
    shared: Arc<Shared>,
    check: Option<Check>,
}

struct Shared {
    remote: Arc<Remote>,
    /// In the order of the file.
    pieces: Vec<Range<u64>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The first piece that is not let go.
    first: usize,
    /// Those from the first on that were asked for; None until they are there.
    held: VecDeque<Option<Result<Bytes>>>,
    /// Bytes of the pieces held or under way.
    ahead: u64,
    /// Bytes of the pieces that were let go.
    done: u64,
    closed: bool,
}

impl Ahead {
    pub fn new(remote: &Arc<Remote>, ranges: impl IntoIterator<Item = Range<u64>>, check: Option<Check>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_by_key(|range| range.start);
        let (mut pieces, mut from) = (Vec::new(), 0);
        for range in ranges {
            // no byte belongs to two pieces, whatever a damaged footer says
            from = range.start.max(from);
            let end = range.end.min(remote.size);
            while from < end {
                let to = if end - from < PIECE * 3 / 2 { end } else { from + PIECE };
                pieces.push(from..to);
                from = to;
            }
        }
        let threads = REQUESTS.min(pieces.len());
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        let shared = Arc::new(Shared { remote: remote.clone(), pieces, state, changed });
        for _ in 0..threads {
            let shared = shared.clone();
            std::thread::spawn(move || shared.fetch());
        }
        Self { shared, check }
    }

    pub fn covers(&self, at: u64) -> bool {
        self.shared.find(at).is_some()
    }

    /// What follows `at` up to the end of its piece. What lies in earlier pieces is let go.
    pub fn piece(&self, at: u64) -> Result<Bytes> {
        let outside = || Error::data(format!("{}: byte {at} is not where its footer says", self.shared.remote.name));
        let index = self.shared.find(at).ok_or_else(outside)?;
        let piece = &self.shared.pieces[index];
        let mut state = self.shared.lock();
        if index < state.first {
            drop(state);
            return self.shared.remote.read(at, piece.end - at);
        }
        while state.first < index {
            self.shared.let_go(&mut state);
        }
        self.shared.changed.notify_all();
        loop {
            if let Some(Some(Ok(bytes))) = state.held.front() {
                return Ok(bytes.slice((at - piece.start) as usize..));
            }
            if let Some(Err(error)) = state.held.front_mut().and_then(Option::take) {
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
        if state.held.pop_front().is_some() {
            state.ahead -= piece.end - piece.start;
        }
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
            if state.ahead > 0 && state.ahead + (end - start) > (state.done / 32).clamp(LEAST, MOST) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.held.push_back(None);
            state.ahead += end - start;
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
