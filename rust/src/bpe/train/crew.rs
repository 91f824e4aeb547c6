//! Threads that wait, spinning at first, for pieces of work of some microseconds.
//!
//! A merge takes 5 to 50 µs, a hundred of them are made between two looks at the clock: threads that were started or
//! woken by the system for each would spend longer on that than on the merge.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Mutex;
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::threads::spawn;

/// Looks for what is waited for, before the core is offered to others at each look: some 5 µs.
const SPIN: u32 = 1_000;
/// Looks for the next piece of work before a thread goes to sleep.
const PATIENCE: u32 = 2_000;

type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// Work that is being done; the caller of [`Crew::each`] keeps it alive until all are done.
#[derive(Clone, Copy)]
struct Current(*const Work<'static>);

// SAFETY: the pointer is used between the start and the end of one `each`, while what it points to is borrowed there.
unsafe impl Send for Current {}

pub(super) struct Crew {
    /// Rises with each piece of work.
    round: AtomicUsize,
    done: AtomicUsize,
    /// A member panicked at its work: what the work was to make is not there.
    failed: AtomicBool,
    current: Mutex<Option<Current>>,
    members: Vec<Member>,
}

#[derive(Default)]
struct Member {
    asleep: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

impl Crew {
    /// Runs `lead` with a crew of `threads`, itself one of them. A panic of any of them is an error.
    pub fn with<T>(threads: usize, lead: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let crew = Self {
            round: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            current: Mutex::new(None),
            members: (1..threads).map(|_| Member::default()).collect(),
        };
        std::thread::scope(|scope| {
            // the others leave even if this thread panics, or there are not as many of them as were wanted
            let dismissal = Dismissal(&crew);
            for number in 1..threads {
                let crew = &crew;
                spawn(scope, move || crew.serve(number))?;
            }
            // whatever the work left half done goes with the crew, and is not looked at
            catch_unwind(AssertUnwindSafe(|| lead(dismissal.0))).unwrap_or_else(|_| {
                Err(Error::tokenizer("a thread failed while it merged, through a fault of pylm")
                    .hint("please report it, with the lines above; --threads 1 may train all the same"))
            })
        })
    }

    pub fn threads(&self) -> usize {
        self.members.len() + 1
    }

    /// Calls `work` with every number below that of the threads, each on a thread of its own; returns how long this
    /// one then waited for the others.
    pub fn each(&self, work: &Work<'_>) -> Duration {
        if !self.members.is_empty() {
            #[allow(clippy::transmute_ptr_to_ptr)] // a cast cannot lengthen a lifetime
            // SAFETY: only the lifetime changes, and this function returns after the last use.
            let current = Current(unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) });
            self.begin(Some(current));
        }
        // what the others work on is borrowed: they are waited for even if this thread's part panics
        let others = Others(self);
        work(0);
        let ready = Instant::now();
        drop(others);
        assert!(!self.failed.load(Ordering::Relaxed), "another thread of the crew panicked");
        ready.elapsed()
    }

    fn begin(&self, current: Option<Current>) {
        *self.current.lock().expect("no thread panics while it holds this") = current;
        self.round.fetch_add(1, Ordering::SeqCst);
        for member in &self.members {
            if member.asleep.load(Ordering::SeqCst) {
                if let Some(thread) = &*member.thread.lock().expect("no thread panics while it holds this") {
                    thread.unpark();
                }
            }
        }
    }

    fn serve(&self, number: usize) {
        let member = &self.members[number - 1];
        *member.thread.lock().expect("no thread panics while it holds this") = Some(std::thread::current());
        let mut seen = 0;
        loop {
            let mut looks = 0;
            while self.round.load(Ordering::SeqCst) == seen {
                pause(&mut looks);
                if looks < PATIENCE {
                    continue;
                }
                member.asleep.store(true, Ordering::SeqCst);
                if self.round.load(Ordering::SeqCst) == seen {
                    std::thread::park();
                }
                member.asleep.store(false, Ordering::SeqCst);
            }
            seen += 1;
            let current = *self.current.lock().expect("no thread panics while it holds this");
            let Some(Current(work)) = current else { return };
            // SAFETY: `each` waits until all are done, and holds the borrow.
            let worked = catch_unwind(AssertUnwindSafe(|| unsafe { (*work)(number) }));
            if worked.is_err() {
                self.failed.store(true, Ordering::Relaxed);
            }
            // done even if the work panicked, so that the leader is not left waiting
            self.done.fetch_add(1, Ordering::Release);
        }
    }
}

/// Where there are more threads than cores, the one that is waited for needs this one's.
fn pause(looks: &mut u32) {
    *looks += 1;
    if *looks < SPIN {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// The members at work; gone once all are done.
struct Others<'a>(&'a Crew);

impl Drop for Others<'_> {
    fn drop(&mut self) {
        let Self(crew) = self;
        let mut looks = 0;
        while crew.done.load(Ordering::Acquire) < crew.members.len() {
            pause(&mut looks);
        }
        crew.done.store(0, Ordering::Relaxed);
    }
}

struct Dismissal<'a>(&'a Crew);

impl Drop for Dismissal<'_> {
    fn drop(&mut self) {
        self.0.begin(None);
    }
}

/// Items of which each thread takes its own.
pub(super) struct Shares<T>(*mut T);

// SAFETY: the items are sent to the threads that take them, one each.
unsafe impl<T: Send> Sync for Shares<T> {}

impl<T> Shares<T> {
    pub fn new(items: &mut [T]) -> Self {
        Self(items.as_mut_ptr())
    }

    /// # Safety
    /// `number` is below the number of items, and only one thread takes it while the others may still take theirs.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn take(&self, number: usize) -> &mut T {
        // SAFETY: by the contract above.
        unsafe { &mut *self.0.add(number) }
    }
}

/// Calls `work` with every item, each on a thread of its own; returns how long this one waited for the others.
pub(super) fn each_of<T: Send>(crew: &Crew, items: &mut [T], work: impl Fn(usize, &mut T) + Sync) -> Duration {
    assert_eq!(items.len(), crew.threads());
    let shares = Shares::new(items);
    crew.each(&|number| {
        // SAFETY: every number is called once, and there are as many items as threads.
        work(number, unsafe { shares.take(number) });
    })
}

/// Whether sharing work pays: where the others' cores are busy with something else, it costs a time slice of some
/// milliseconds to wait for them, and two threads took twice as long as one. After a long wait this thread works
/// alone for a while, twice as long after each further one.
pub(super) struct Sharing {
    /// Pieces of work that this thread still does alone.
    alone: u32,
    /// How many it does alone after the next long wait.
    penalty: u32,
}

impl Sharing {
    /// Longer than any fair share differs from another's: 1,000 occurrences.
    const LATE: Duration = Duration::from_micros(100);
    const LEAST: u32 = 16;

    pub fn new() -> Self {
        Self { alone: 0, penalty: Self::LEAST }
    }

    /// Whether the next piece of work is to be shared.
    pub fn ask(&mut self) -> bool {
        if self.alone == 0 {
            return true;
        }
        self.alone -= 1;
        false
    }

    /// Learns how long the others were waited for.
    pub fn waited(&mut self, wait: Duration) {
        if wait >= Self::LATE {
            self.alone = self.penalty;
            self.penalty = self.penalty.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_works_in_every_round() {
        for threads in [1, 2, 5] {
            let mut sums = vec![0u64; threads];
            let worked = Crew::with(threads, |crew| {
                for round in 0..600 {
                    if round % 200 == 199 {
                        // long enough for all to fall asleep
                        std::thread::sleep(std::time::Duration::from_millis(5));
                    }
                    each_of(crew, &mut sums, |number, sum| *sum += round * (number as u64 + 1));
                }
                Ok(())
            });
            worked.unwrap();
            for (number, sum) in sums.into_iter().enumerate() {
                assert_eq!(sum, (number as u64 + 1) * 600 * 599 / 2);
            }
        }
    }

    #[test]
    fn long_waits_end_sharing_for_longer_and_longer() {
        let mut sharing = Sharing::new();
        let mut shared = 0;
        for _ in 0..30_000 {
            if sharing.ask() {
                shared += 1;
                sharing.waited(Sharing::LATE);
            }
        }
        // 16 + 32 + … + 8192, each after one that was shared, then one more and what is left of 16384
        assert_eq!(shared, 11);
        let mut sharing = Sharing::new();
        for _ in 0..30_000 {
            assert!(sharing.ask());
            sharing.waited(Duration::from_micros(5));
        }
    }

    #[test]
    fn members_leave_with_their_leader() {
        let stopped = Crew::with(3, |_| -> Result<()> { panic!("the leader stops") });
        assert!(stopped.unwrap_err().message.contains("a fault of pylm"));
    }

    #[test]
    fn a_panic_at_work_is_an_error_and_nobody_is_left_waiting_or_working() {
        for threads in [1, 2, 5] {
            for failing in 0..threads {
                let working = AtomicUsize::new(0);
                // what is seen within: a failed assertion there would be taken for the panic
                let (mut left_working, mut seen, mut later) = (0, Vec::new(), 0);
                let failed = Crew::with(threads, |crew| {
                    let mut items = vec![0u64; threads];
                    // once with all at work for a while, so that the one that fails leaves first
                    each_of(crew, &mut items, |_, item| *item += 1);
                    let failed = catch_unwind(AssertUnwindSafe(|| {
                        each_of(crew, &mut items, |number, item| {
                            working.fetch_add(1, Ordering::SeqCst);
                            if number == failing {
                                working.fetch_sub(1, Ordering::SeqCst);
                                panic!("at work");
                            }
                            std::thread::sleep(Duration::from_millis(20));
                            *item += 1;
                            working.fetch_sub(1, Ordering::SeqCst);
                        });
                    }));
                    // the items are still there for all who worked on them
                    left_working = working.load(Ordering::SeqCst);
                    seen.clone_from(&items);
                    if let Err(panic) = failed {
                        std::panic::resume_unwind(panic);
                    }
                    later += 1;
                    Ok(())
                });
                assert!(failed.unwrap_err().message.contains("a fault of pylm"), "{failing} of {threads}");
                let expected: Vec<u64> = (0..threads).map(|number| 2 - u64::from(number == failing)).collect();
                assert_eq!((left_working, seen, later), (0, expected, 0), "{failing} of {threads}");
            }
        }
    }
}
