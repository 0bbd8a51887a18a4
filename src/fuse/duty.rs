//! [`Duty`]: no more threads wait for requests than there is work for.
//!
//! For each request the kernel wakes one of the threads that sleep in read(2), even where another is awake
//! and quicker (`linger`). So a thread that has answered goes back to read(2) only if nobody else is there;
//! else it is parked. Whoever takes a request leaves read(2) to nobody for a moment: the first of the parked
//! threads, the deputy, goes there if that moment becomes long, and one is called at once where more
//! requests wait, or the one at hand is known to take long.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long nobody may be in read(2), once or twice, before the deputy goes there.
const PERIOD: Duration = Duration::from_micros(300);

/// Shared by the threads that serve one mount.
#[derive(Debug, Default)]
pub(crate) struct Duty {
    /// Threads in read(2), or about to be. Those that have not had a request yet are not counted.
    reading: AtomicUsize,
    /// Requests that came.
    requests: AtomicU64,
    /// Threads that are parked; changed under `lobby`.
    parked: AtomicUsize,
    /// The deputy looks again within a period.
    watched: AtomicBool,
    /// A thread has ended, hence the mount: nobody is parked any more.
    ended: AtomicBool,
    /// A leaf, held for a few instructions, or by who sleeps on a condition.
    lobby: Mutex<Lobby>,
    deputy: Condvar,
    others: Condvar,
}

#[derive(Debug, Default)]
struct Lobby {
    /// Threads that are to go, and are counted as reading already.
    called: usize,
    has_deputy: bool,
}

/// What a thread knows of itself. Its end is that of the mount.
#[derive(Debug)]
struct Server {
    duty: Arc<Duty>,
    is_counted: bool,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.duty.end();
    }
}

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

impl Duty {
    /// This thread has taken a request.
    pub(crate) fn take(self: &Arc<Self>) {
        if self.count_thread(false) {
            self.reading.fetch_sub(1, SeqCst);
        }
        self.requests.fetch_add(1, SeqCst);
        let is_unwatched = self.reading.load(SeqCst) == 0
            && self.parked.load(SeqCst) > 0
            && !self.watched.load(SeqCst);
        if is_unwatched {
            let _lobby = self.lobby();
            self.deputy.notify_one();
        }
    }

    /// The request at hand takes long, or more wait: somebody else is to be in read(2).
    pub(crate) fn hand_over(&self) {
        if self.reading.load(SeqCst) > 0 || self.parked.load(SeqCst) == 0 {
            return;
        }
        let mut lobby = self.lobby();
        let free = self.parked.load(SeqCst).saturating_sub(lobby.called);
        if free == 0 {
            return;
        }
        lobby.called += 1;
        self.reading.fetch_add(1, SeqCst);
        if free > 1 { self.others.notify_one() } else { self.deputy.notify_one() }
    }

    /// Whether there is anybody to hand over to.
    pub(crate) fn has_parked(&self) -> bool {
        self.parked.load(SeqCst) > 0
    }

    /// This thread has answered. Returns when it is to read the next request: at once if it `stays`, or
    /// nobody else reads. Gives whether it was so at once.
    pub(crate) fn resume(self: &Arc<Self>, stays: bool) -> bool {
        if stays {
            self.reading.fetch_add(1, SeqCst);
        }
        if stays || self.reading.compare_exchange(0, 1, SeqCst, SeqCst).is_ok() {
            self.count_thread(true);
            return true;
        }
        if self.park() {
            self.count_thread(true);
        }
        false
    }

    /// Sleeps until the thread is called, or has to go as the deputy; then it is counted already, which is
    /// what is given. Not so at the end of the mount.
    fn park(&self) -> bool {
        let mut lobby = self.lobby();
        self.parked.fetch_add(1, SeqCst);
        let (mut is_deputy, mut look) = (false, Look::default());
        let is_counted = loop {
            if self.ended.load(SeqCst) {
                break false;
            }
            if lobby.called > 0 {
                lobby.called -= 1;
                break true;
            }
            if !is_deputy && lobby.has_deputy {
                lobby = self.others.wait(lobby).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            (is_deputy, lobby.has_deputy) = (true, true);
            match self.look(&mut look) {
                Watch::Go => break true,
                Watch::Soon => {
                    let woken = self.deputy.wait_timeout(lobby, PERIOD);
                    lobby = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                Watch::Rest => {
                    lobby = self.deputy.wait(lobby).unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        self.parked.fetch_sub(1, SeqCst);
        if is_deputy {
            lobby.has_deputy = false;
            self.watched.store(false, SeqCst);
            // The next deputy.
            self.others.notify_one();
        }
        is_counted
    }

    /// What the deputy has to do, by what it saw last.
    fn look(&self, last: &mut Look) -> Watch {
        let requests = self.requests.load(SeqCst);
        let is_unread = self.reading.load(SeqCst) == 0;
        let is_same = last.requests == Some(requests);
        if is_unread && is_same && last.was_unread {
            let goes = self.reading.compare_exchange(0, 1, SeqCst, SeqCst).is_ok();
            return if goes { Watch::Go } else { Watch::Soon };
        }
        *last = Look { requests: Some(requests), was_unread: is_unread };
        if is_unread || !is_same {
            self.watched.store(true, SeqCst);
            return Watch::Soon;
        }
        // Whoever takes a request from here on, and sees this, wakes the deputy.
        self.watched.store(false, SeqCst);
        match self.reading.load(SeqCst) {
            0 => Watch::Soon,
            _ => Watch::Rest,
        }
    }

    fn end(&self) {
        self.ended.store(true, SeqCst);
        let _lobby = self.lobby();
        self.deputy.notify_all();
        self.others.notify_all();
    }

    /// Notes whether this thread is counted as reading; gives whether it was.
    fn count_thread(self: &Arc<Self>, is_counted: bool) -> bool {
        SERVER.with_borrow_mut(|server| match server {
            Some(server) if Arc::ptr_eq(&server.duty, self) => {
                std::mem::replace(&mut server.is_counted, is_counted)
            }
            _ => {
                *server = Some(Server { duty: Arc::clone(self), is_counted });
                false
            }
        })
    }

    fn lobby(&self) -> MutexGuard<'_, Lobby> {
        self.lobby.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the deputy saw.
#[derive(Debug, Default)]
struct Look {
    requests: Option<u64>,
    was_unread: bool,
}

/// What the deputy does next.
#[derive(Debug, PartialEq, Eq)]
enum Watch {
    /// It goes to read(2).
    Go,
    /// It looks again within a period.
    Soon,
    /// It sleeps until somebody takes a request.
    Rest,
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::JoinHandle;
    use std::time::Instant;

    use super::*;

    const THREADS: usize = 4;
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A request: what it waits for, and whom to tell.
    type Request = (Option<Receiver<()>>, Sender<()>);

    /// What read(2) of a mount reads from.
    #[derive(Default)]
    struct Device {
        requests: Mutex<VecDeque<Request>>,
        is_closed: AtomicBool,
        came: Condvar,
    }

    impl Device {
        fn read(&self) -> Option<Request> {
            let mut requests = self.requests.lock().unwrap();
            loop {
                if self.is_closed.load(SeqCst) {
                    return None;
                }
                match requests.pop_front() {
                    Some(request) => return Some(request),
                    None => requests = self.came.wait(requests).unwrap(),
                }
            }
        }

        fn has_request(&self) -> bool {
            !self.requests.lock().unwrap().is_empty()
        }
    }

    /// Threads that serve as those of a mount do.
    struct Mount {
        device: Arc<Device>,
        duty: Arc<Duty>,
        threads: Vec<JoinHandle<()>>,
    }

    impl Mount {
        fn new() -> Self {
            let (device, duty) = <(Arc<Device>, Arc<Duty>)>::default();
            let serve = |_| {
                let (device, duty) = (Arc::clone(&device), Arc::clone(&duty));
                std::thread::spawn(move || {
                    while let Some((until, reply)) = device.read() {
                        duty.take();
                        if device.has_request() {
                            duty.hand_over();
                        }
                        if let Some(until) = until {
                            until.recv().unwrap();
                        }
                        reply.send(()).unwrap();
                        duty.resume(device.has_request());
                    }
                })
            };
            let threads = (0..THREADS).map(serve).collect();
            Self { device, duty, threads }
        }

        fn ask(&self, until: Option<Receiver<()>>) -> Receiver<()> {
            let (reply, answer) = channel();
            self.device.requests.lock().unwrap().push_back((until, reply));
            self.device.came.notify_one();
            answer
        }

        fn ask_and_wait(&self) {
            self.ask(None).recv_timeout(PATIENCE).unwrap();
        }

        /// Every thread ends, also the parked ones.
        fn end(self) {
            let requests = self.device.requests.lock().unwrap();
            self.device.is_closed.store(true, SeqCst);
            self.device.came.notify_all();
            drop(requests);
            self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    }

    #[test]
    fn requests_of_several_clients_are_all_answered() {
        let mount = Mount::new();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..1000).for_each(|_| mount.ask_and_wait()));
            }
        });
        mount.end();
    }

    #[test]
    fn requests_that_stick_hold_up_nobody() {
        for stuck in 1..THREADS {
            let mount = Mount::new();
            (0..50).for_each(|_| mount.ask_and_wait());
            let held: Vec<_> = (0..stuck)
                .map(|_| {
                    let (release, until) = channel();
                    let answer = mount.ask(Some(until));
                    // The next one is on its way when this one is at work.
                    std::thread::sleep(PERIOD / 3);
                    (release, answer)
                })
                .collect();
            (0..50).for_each(|_| mount.ask_and_wait());
            for (release, answer) in held {
                release.send(()).unwrap();
                answer.recv_timeout(PATIENCE).unwrap();
            }
            mount.end();
        }
    }

    #[test]
    fn one_client_keeps_one_thread_awake() {
        let mount = Mount::new();
        let start = Instant::now();
        // On a busy machine a thread may be stopped in between, and the deputy go.
        while mount.duty.parked.load(SeqCst) < THREADS - 1 {
            assert!(start.elapsed() < PATIENCE, "{:?}", mount.duty);
            mount.ask_and_wait();
        }
        mount.end();
    }
}
