//! The documents of sources one after another, read and parsed ahead on threads.

use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reader::UnitReader;
use super::{Block, Input, Mark, Options, RawBlock, Validation};
use crate::error::{Error, Result};

/// Where reading goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which of the files.
    pub file: usize,
    #[serde(flatten)]
    pub mark: Mark,
}

/// About a megabyte of documents.
pub struct Batch {
    pub source: String,
    pub block: Block,
    /// Where reading goes on after it.
    pub after: Position,
}

/// The documents in order. Dropped, nothing more is read.
pub struct Documents {
    input: Input,
    /// One for each block that was cut off, in order.
    places: Mutex<Option<Receiver<Place>>>,
}

type Place = Receiver<Result<Option<Batch>>>;
type Task = (RawBlock, SyncSender<Result<Option<Batch>>>);

/// Threads that find the documents of blocks which one thread cuts off.
const PARSERS: usize = 4;
/// Blocks that wait for whoever takes them: each more is fetched for nothing where reading ends early.
const WAITING: usize = 2;

impl Documents {
    pub fn new(input: &Input, start: Position) -> Result<Self> {
        if start.file > input.files.len() {
            let (file, count) = (start.file, input.files.len());
            return Err(Error::usage(format!("reading cannot go on in file {file}: there are {count}"))
                .hint("give the sources that the position is of"));
        }
        let parsers = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, PARSERS);
        let input = &Input { options: Arc::new(Options { apart: true, ..(*input.options).clone() }), ..input.clone() };
        let (to_places, places) = sync_channel::<Place>(WAITING);
        let (to_tasks, tasks) = sync_channel::<Task>(parsers);
        let tasks = Arc::new(Mutex::new(tasks));
        for _ in 0..parsers {
            let (input, tasks) = (input.clone(), tasks.clone());
            std::thread::spawn(move || parse(&input, &tasks));
        }
        let reading = input.clone();
        std::thread::spawn(move || read(&reading, start, &to_places, &to_tasks));
        Ok(Self { input: input.clone(), places: Mutex::new(Some(places)) })
    }

    /// None after the last. After an error there is nothing more.
    pub fn next(&self) -> Result<Option<Batch>> {
        let mut places = lock(&self.places);
        let Some(receiver) = places.as_ref() else { return Ok(None) };
        let batch = self.wait(receiver).and_then(|place| self.wait(&place)).and_then(|batch| batch);
        if !matches!(batch, Ok(Some(_))) {
            *places = None;
        }
        batch
    }

    fn wait<T>(&self, receiver: &Receiver<T>) -> Result<T> {
        loop {
            match receiver.recv_timeout(Duration::from_millis(100)) {
                Ok(received) => return Ok(received),
                Err(RecvTimeoutError::Timeout) => self.input.options.check()?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::data("a thread that read the sources ended early")
                        .hint("this is a fault of pylm's: its text is printed above"))
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cuts blocks off, one file after another, until nobody wants them.
fn read(input: &Input, start: Position, places: &SyncSender<Place>, tasks: &SyncSender<Task>) {
    let send = |raw: Result<Option<RawBlock>>| {
        let (to, place) = sync_channel(1);
        if places.send(place).is_err() {
            return false;
        }
        let last = match raw {
            Ok(Some(raw)) => return tasks.send((raw, to)).is_ok(),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        // whoever asked may be gone
        let _ = to.send(last);
        false
    };
    let mut mark = start.mark;
    for file in start.file..input.files.len() {
        if input.files[file].size == 0 {
            continue;
        }
        let mut reader = match UnitReader::rest(input, file, mark) {
            Ok(reader) => reader,
            Err(error) => {
                send(Err(error));
                return;
            }
        };
        mark = Mark::default();
        loop {
            let raw = reader.next();
            if matches!(raw, Ok(None)) {
                break;
            }
            if !send(raw) {
                return;
            }
        }
    }
    send(Ok(None));
}

fn parse(input: &Input, tasks: &Mutex<Receiver<Task>>) {
    loop {
        let task = lock(tasks).recv();
        let Ok((raw, to)) = task else { return };
        let (file, after) = (raw.file(), raw.after());
        let source = raw.name(input).to_string();
        let block = Block::new(raw, &input.files[file], &input.options, Validation::None);
        let batch = block.map(|block| Some(Batch { source, block, after: Position { file, mark: after } }));
        // whoever asked may be gone
        let _ = to.send(batch);
    }
}
