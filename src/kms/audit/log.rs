//! The writer of the audit log: one thread, fed with records as text.
//!
//! Uses of keys are written in batches, at most a second late. A management change waits until its
//! record is durable. When too many wait, callers wait; when the log cannot be written either, they
//! are refused. Several processes may append to one file: each batch is written under `flock`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::crypto::kdf::MacKey;
use crate::kms::KmsError;
use crate::kms::audit::chain::{AuditHead, LINE_LEN_MAX, Line};
use crate::kms::audit::line::Place;
use crate::kms::audit::lines::Lines;
use crate::kms::audit::record::Record;
use crate::kms::audit::switch::AuditLimits;
use crate::kms::audit::watch::Watch;
use crate::random::Random;
use crate::sync::{Mutex, Rank};

/// Records that wait, before callers do.
const WAITING_MAX: usize = 8192;
/// Records with which a batch is not gathered any longer.
const BATCH_LEN: usize = 1024;
/// Messages to the writer: one a change under way, and one that wakes it.
const QUEUE_LEN_MAX: usize = 1024;
/// Records that a log which cannot be written holds back, before callers are refused.
const HELD_BACK_MAX: usize = 16_384;
/// Bytes of memory that the writer keeps for the next batch.
const TEXT_KEPT_MAX: usize = 16 << 20;
/// How long a batch is gathered at most. Half of the second that a use may be late.
const BATCH_TIME_MAX: Duration = Duration::from_millis(500);
/// How long a writer that is gathering sleeps, unless a change or the end wakes it.
const NAP_TIME: Duration = Duration::from_millis(10);
/// How long the queue is empty before what was written is synced.
const IDLE_TIME: Duration = Duration::from_secs(1);
/// How long the writer sleeps if there is nothing to do.
const SLEEP_TIME: Duration = Duration::from_secs(3600);
/// How long a log that cannot be written is left alone.
const RETRY_TIME: Duration = Duration::from_millis(250);
/// How long a change waits for its record.
const DURABLE_TIME_MAX: Duration = Duration::from_secs(10);

/// What the writer needs to know.
#[derive(Debug)]
pub(crate) struct AuditConfig {
    /// The file.
    pub(crate) path: PathBuf,
    /// The log, on a medium that cannot be written, whose chain this one goes on with.
    pub(crate) goes_on_from: Option<PathBuf>,
    /// Region and account.
    pub(crate) region: String,
    /// The account.
    pub(crate) account: String,
    /// Seals each line.
    pub(crate) key: Arc<MacKey>,
    /// For the ids of events.
    pub(crate) random: Arc<dyn Random>,
    /// The head that the key database knows: the log must reach at least this far.
    pub(crate) expected: AuditHead,
    /// When segments end, and how long they are kept.
    pub(crate) limits: AuditLimits,
    /// For the times of segments.
    pub(crate) clock: Arc<dyn Clock>,
    /// Who is told of records.
    pub(crate) watch: Option<Arc<dyn Watch>>,
}

/// The audit log of a KMS.
#[derive(Debug)]
pub(crate) struct AuditLog {
    path: PathBuf,
    place: Place,
    watch: Option<Arc<dyn Watch>>,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// What callers and writer tell each other outside of the queue.
#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// The last write failed.
    is_failing: AtomicBool,
    /// Nobody will ask any more: a log that cannot be written is given up.
    is_ending: AtomicBool,
}

/// Records of uses that the writer has not written yet.
#[derive(Debug, Default)]
struct Waiting {
    lines: Lines,
    /// How many more the writer holds, because the log could not be written.
    held_back: usize,
}

#[derive(Debug)]
enum Message {
    /// A record waits: the first since the writer has looked.
    Wake,
    /// Written and synced before the answer.
    Now(Waiter),
    /// Write what waits, and end.
    Stop,
}

/// Someone who waits until everything so far is durable.
#[derive(Debug)]
struct Waiter {
    /// Written last; empty, or one.
    record: Lines,
    /// Set by the first of two: the writer, which takes the record, or the waiter, who gives up.
    /// A record of a change that was refused must not be written later.
    is_decided: Arc<AtomicBool>,
    answer: SyncSender<Result<AuditHead, String>>,
}

impl AuditLog {
    /// Opens or makes the file and starts the writer. A torn last line is set apart.
    ///
    /// # Errors
    /// [`io::Error`] if the file cannot be opened or written.
    pub(crate) fn open(config: AuditConfig) -> io::Result<Self> {
        let (path, watch) = (config.path.clone(), config.watch.clone());
        let place = Place { region: config.region.clone(), account: config.account.clone() };
        let mut sink = Sink::open(config)?;
        let (queue, messages) = sync_channel(QUEUE_LEN_MAX);
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Rank::Audit, Waiting::default()),
            is_failing: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
        });
        let writer_shared = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("kms-audit".to_owned())
            .spawn(move || run(&mut sink, &messages, &writer_shared))?;
        Ok(Self { path, place, watch, queue, shared, writer: Some(writer) })
    }

    /// The file that is written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Hands over the record of a use. Waits while too many wait already, unless they will not get
    /// fewer.
    ///
    /// # Errors
    /// [`KmsError::Internal`] if the log cannot be written and holds back as much as it can.
    pub(crate) fn later(&self, record: &Record<'_>) -> Result<(), KmsError> {
        let is_wanted = self.is_wanted(record);
        loop {
            if self.writer.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(unwritable("its writer has ended"));
            }
            let is_failing = self.shared.is_failing.load(Ordering::Relaxed);
            let mut waiting = self.shared.waiting.lock();
            let count = waiting.lines.len();
            if is_failing && count.saturating_add(waiting.held_back) >= HELD_BACK_MAX {
                return Err(unwritable("it holds back as many records as it can"));
            }
            if is_failing || count < WAITING_MAX {
                waiting.lines.push(record, &self.place, is_wanted);
                drop(waiting);
                if count == 0 {
                    // A full queue wakes the writer as well.
                    let _full = self.queue.try_send(Message::Wake);
                }
                return Ok(());
            }
            drop(waiting);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_wanted(&self, record: &Record<'_>) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.wants(record.op, record.error))
    }

    /// Writes the record of a change, and everything before it, and waits until it is durable.
    ///
    /// # Errors
    /// [`KmsError::Internal`] if the log cannot be written.
    pub(crate) fn now(&self, record: &Record<'_>) -> Result<AuditHead, KmsError> {
        let mut lines = Lines::default();
        lines.push(record, &self.place, self.is_wanted(record));
        self.send_now(lines)
    }

    /// Waits until everything handed over so far is durable.
    ///
    /// # Errors
    /// [`KmsError::Internal`] if the log cannot be written.
    pub(crate) fn flush(&self) -> Result<AuditHead, KmsError> {
        self.send_now(Lines::default())
    }

    fn send_now(&self, record: Lines) -> Result<AuditHead, KmsError> {
        let (answer, answers) = sync_channel(1);
        let is_decided = Arc::new(AtomicBool::new(false));
        self.enqueue(Message::Now(Waiter { record, is_decided: Arc::clone(&is_decided), answer }))?;
        let gone = |_| unwritable("its writer has ended");
        let outcome = match answers.recv_timeout(DURABLE_TIME_MAX) {
            Ok(outcome) => outcome,
            Err(_) if !is_decided.swap(true, Ordering::SeqCst) => {
                return Err(unwritable("no answer in time"));
            }
            Err(_) => answers.recv().map_err(gone)?,
        };
        outcome.map_err(|cause| unwritable(&cause))
    }

    /// Waits while the queue is full: the writer empties it whether or not it can write.
    fn enqueue(&self, mut message: Message) -> Result<(), KmsError> {
        loop {
            message = match self.queue.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(message)) => message,
                Err(TrySendError::Disconnected(_)) => {
                    return Err(unwritable("its writer has ended"));
                }
            };
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::SeqCst);
        if let Err(error) = self.enqueue(Message::Stop) {
            tracing::error!(%error, "audit log: end");
        }
        if let Some(writer) = self.writer.take() {
            let _ended = writer.join();
        }
    }
}

fn unwritable(cause: &str) -> KmsError {
    KmsError::Internal { message: format!("audit log cannot be written: {cause}") }
}

/// The writer's loop.
fn run(sink: &mut Sink, messages: &Receiver<Message>, shared: &Shared) {
    let mut held = Lines::default();
    let mut retry_at: Option<Instant> = None;
    loop {
        let batch = gather(messages, shared, retry_at, sink.is_synced);
        let must_sync = batch.waiter.is_some() || batch.is_last || batch.is_idle;
        // What could not be written before, then what has come since.
        let mut outcome = sink.write(&mut held, false).and_then(|()| {
            std::mem::swap(&mut held, &mut shared.waiting.lock().lines);
            sink.write(&mut held, must_sync)
        });
        if let Some(mut waiter) = batch.waiter
            && !waiter.is_decided.swap(true, Ordering::SeqCst)
        {
            outcome = outcome.and_then(|()| sink.write(&mut waiter.record, true));
            let told = outcome.as_ref().map(|()| sink.head).map_err(ToString::to_string);
            let _gone = waiter.answer.send(told);
        }
        shared.waiting.lock().held_back = held.len();
        shared.is_failing.store(outcome.is_err(), Ordering::Relaxed);
        let is_given_up = outcome.is_err() && shared.is_ending.load(Ordering::SeqCst);
        if let Err(error) = outcome {
            tracing::error!(path = %sink.config.path.display(), %error, held = held.len(), "audit log");
            retry_at = Some(Instant::now() + RETRY_TIME);
        } else {
            retry_at = None;
        }
        if batch.is_last || is_given_up {
            return;
        }
    }
}

#[derive(Debug, Default)]
struct Batch {
    waiter: Option<Waiter>,
    is_last: bool,
    /// Nothing came for a while.
    is_idle: bool,
}

/// Waits until a batch has come together, its time is up, or someone waits for it.
fn gather(
    messages: &Receiver<Message>,
    shared: &Shared,
    retry_at: Option<Instant>,
    is_synced: bool,
) -> Batch {
    let mut batch = Batch::default();
    let waiting = || shared.waiting.lock().lines.len();
    let mut is_gathering = retry_at.is_some() || waiting() > 0;
    let time = match (is_gathering, is_synced) {
        (true, _) => BATCH_TIME_MAX,
        (false, true) => SLEEP_TIME,
        (false, false) => IDLE_TIME,
    };
    let mut deadline = retry_at.unwrap_or_else(|| Instant::now() + time);
    loop {
        let wait = deadline.saturating_duration_since(Instant::now());
        let is_full = || retry_at.is_none() && waiting() >= BATCH_LEN;
        // A writer that waits on the queue is woken by the first use, at the cost of a switch of
        // threads. One that is gathering looks now and then instead, and is woken by a change alone.
        let next = match messages.try_recv() {
            Ok(message) => Ok(message),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) if !is_gathering => messages.recv_timeout(wait),
            Err(TryRecvError::Empty) if wait.is_zero() || is_full() => {
                Err(RecvTimeoutError::Timeout)
            }
            Err(TryRecvError::Empty) => match messages.recv_timeout(wait.min(NAP_TIME)) {
                Err(RecvTimeoutError::Timeout) => continue,
                woken => woken,
            },
        };
        match next {
            Ok(Message::Wake) if is_gathering => {}
            Ok(Message::Wake) => {
                is_gathering = true;
                deadline = Instant::now() + BATCH_TIME_MAX;
            }
            Ok(Message::Now(waiter)) => {
                batch.waiter = Some(waiter);
                return batch;
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => {
                batch.is_last = true;
                return batch;
            }
            Err(RecvTimeoutError::Timeout) => {
                batch.is_idle = !is_gathering;
                return batch;
            }
        }
    }
}

/// The end of a file of this length, with the whole of its last lines.
fn read_tail(file: &mut File, len: u64) -> io::Result<Vec<u8>> {
    let tail_len = len.min(u64::try_from(2 * LINE_LEN_MAX).unwrap_or(u64::MAX));
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(len - tail_len))?;
    file.take(tail_len).read_to_end(&mut tail)?;
    Ok(tail)
}

/// The head that the last whole line tells, if it is sealed and not before `known`.
fn last_head(tail: &[u8], key: &MacKey, known: AuditHead) -> Option<AuditHead> {
    let whole_len = tail.iter().rposition(|byte| *byte == b'\n')?;
    let last = tail.get(..whole_len)?.rsplit(|byte| *byte == b'\n').next()?;
    let line = Line::parse(last).filter(|line| line.is_sealed(key))?;
    Some(line.head).filter(|head| head.sequence >= known.sequence)
}

/// The file, and where its chain stands.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) file: File,
    pub(super) config: AuditConfig,
    /// Lines on their way to the file: memory that is used over and over.
    text: Vec<u8>,
    pub(super) head: AuditHead,
    /// Length of the file after our last write; another length means that another process wrote.
    pub(super) end: u64,
    pub(super) is_synced: bool,
}

impl Sink {
    fn open(config: AuditConfig) -> io::Result<Self> {
        let file = Self::open_file(&config.path)?;
        let mut head = config.expected;
        if let Some(path) = &config.goes_on_from {
            let mut file = File::open(path)?;
            let len = file.metadata()?.len();
            let tail = read_tail(&mut file, len)?;
            head = last_head(&tail, &config.key, head).unwrap_or(head);
        }
        let text = Vec::new();
        let mut sink = Self { file, config, text, head, end: u64::MAX, is_synced: true };
        sink.locked(Self::find_end)?;
        Ok(sink)
    }

    pub(super) fn open_file(path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
    }

    /// Appends records and forgets them; on an error they stay, and the file is as it was.
    fn write(&mut self, records: &mut Lines, must_sync: bool) -> io::Result<()> {
        if records.is_empty() && (self.is_synced || !must_sync) {
            return Ok(());
        }
        self.locked(|sink| sink.append(records))?;
        if must_sync {
            self.file.sync_data()?;
            self.is_synced = true;
        }
        Ok(())
    }

    fn append(&mut self, records: &mut Lines) -> io::Result<()> {
        self.find_end()?;
        self.switch_if_full();
        let (mut head, mut text) = (self.head, std::mem::take(&mut self.text));
        text.clear();
        let random = &*self.config.random;
        let wanted = records.close(&mut text, &mut head, &self.config.key, random);
        let outcome = self.append_text(&text, head);
        if outcome.is_ok() {
            records.clear();
            for line in wanted.into_iter().filter_map(|range| text.get(range)) {
                if let Some(watch) = &self.config.watch {
                    watch.told(line);
                }
            }
        }
        text.shrink_to(TEXT_KEPT_MAX);
        self.text = text;
        outcome
    }

    /// Appends whole lines that end at `head`. Under `flock`, after [`Self::find_end`].
    pub(super) fn append_text(&mut self, text: &[u8], head: AuditHead) -> io::Result<()> {
        if let Err(error) = (&self.file).write_all(text) {
            // Half a batch must not stay: the next one would not follow it.
            self.file.set_len(self.end)?;
            return Err(error);
        }
        self.end = self.end.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        self.head = head;
        self.is_synced = self.is_synced && text.is_empty();
        Ok(())
    }

    /// Finds the end of the chain if another process has moved it. Under `flock`.
    fn find_end(&mut self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        if len == self.end {
            return Ok(());
        }
        let tail = read_tail(&mut self.file, len)?;
        let whole_len = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (whole, torn) = tail.split_at(whole_len);
        if !torn.is_empty() {
            self.set_apart(torn, len)?;
        }
        self.end = len - u64::try_from(torn.len()).unwrap_or(0);
        match last_head(whole, &self.config.key, self.head) {
            Some(head) => self.head = head,
            // A new one beside the log that it goes on with.
            None if len == 0 && self.config.goes_on_from.is_some() => {}
            // Shortened, or not ours: the chain goes on from what we know, so that `verify` finds
            // the gap for ever.
            None if self.head.sequence > 0 || len > 0 => {
                let path = self.config.path.display();
                tracing::error!(%path, expected = self.head.sequence, "audit log is shortened");
            }
            None => {}
        }
        Ok(())
    }

    /// Moves a torn last line to a file of its own.
    fn set_apart(&self, torn: &[u8], len: u64) -> io::Result<()> {
        let start = len - u64::try_from(torn.len()).unwrap_or(0);
        let mut file = self.torn_file(start)?;
        file.write_all(torn)?;
        file.sync_all()?;
        tracing::warn!(path = %self.config.path.display(), torn = torn.len(), "audit log: torn line");
        self.file.set_len(start)
    }

    /// `audit.log.torn-OFFSET`; with a number behind it if another segment was torn there, too.
    fn torn_file(&self, start: u64) -> io::Result<File> {
        let mut tries: u32 = 0;
        loop {
            let suffix = if tries == 0 { String::new() } else { format!(".{tries}") };
            let mut name = self.config.path.clone().into_os_string();
            name.push(format!(".torn-{start}{suffix}"));
            let made =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(Path::new(&name));
            match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => tries += 1,
                other => return other,
            }
        }
    }
}
