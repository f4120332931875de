//! The real store: a folder or S3, behind one side thread that does all the waiting.
//!
//! - The thread runs object_store on a single-threaded runtime and the keeper of keys; the core only passes tasks to it
//!   and takes what has ended.
//! - Every task has a deadline. A task that ran out of it, or whose connection broke, may have been done: it comes back
//!   as unknown when it changes something, and as unavailable when it only reads.
//! - Nothing is repeated in here: who repeats, and when, is the tier's to say.

use std::ops::Range;
use std::path::Path as FolderPath;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, GetOptions, GetRange, ObjectMeta, ObjectStore as Objects, ObjectStoreExt,
    PutMode, PutOptions, PutPayload, RetryConfig,
};
use thiserror::Error as ThisError;
use tokio::sync::OnceCell;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::lock::Locks;
use super::{Busy, Ended, Listed, ObjectStore, Outcome, StoreError, Task};
use crate::key::{KeyError, KeyKeeper};
use crate::limits::{LIST_MAX, TASKS_MAX};
use crate::location::{Bucket, Location};

/// The empty object that a bucket is asked for twice.
const PROBE: &str = "created-once";

/// A task has so long, and one more second for every MiB that it carries.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why a store could not be opened.
#[derive(Debug, ThisError)]
pub enum OpenError {
    /// The folder cannot be made or entered.
    #[error("the folder {0} cannot be used: {1}")]
    Folder(String, std::io::Error),
    /// The store's client refuses what it was given.
    #[error("the store cannot be used: {0}")]
    Client(#[from] Error),
    /// The side thread could not be started.
    #[error("the side thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Called when a task has ended, so that a sleeping core may look.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A store and its thread.
pub struct Remote {
    tasks: Option<UnboundedSender<(u64, Task)>>,
    ended: Receiver<Ended>,
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

impl Remote {
    /// Opens the store at this place. Nothing is contacted yet: the first task tells whether it can be reached.
    ///
    /// # Errors
    /// When the place cannot be used.
    pub fn open(
        location: &Location,
        keeper: Option<Box<dyn KeyKeeper>>,
        wake: Wake,
    ) -> Result<Self, OpenError> {
        let backend = Backend::open(location)?;
        let (tasks, inbox) = unbounded_channel();
        let (outbox, ended) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("cold".to_owned())
            .spawn(move || {
                let side = Side {
                    backend: Arc::new(backend),
                    outbox,
                    wake,
                };
                runtime.block_on(side.run(inbox, keeper));
            })?;
        Ok(Self {
            tasks: Some(tasks),
            ended,
            under_way: 0,
            thread: Some(thread),
        })
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // The closed channel ends the thread; what it is doing is given up at its next wait.
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            // A panic over there was reported there.
            let _ = thread.join();
        }
    }
}

impl ObjectStore for Remote {
    fn submit(&mut self, token: u64, task: Task) -> Result<(), Busy> {
        if self.under_way >= TASKS_MAX {
            return Err(Busy);
        }
        let tasks = self.tasks.as_ref().ok_or(Busy)?;
        tasks.send((token, task)).map_err(|_| Busy)?;
        self.under_way += 1;
        Ok(())
    }

    fn poll(&mut self, ended: &mut Vec<Ended>) {
        let before = ended.len();
        ended.extend(self.ended.try_iter());
        self.under_way -= ended.len() - before;
    }
}

struct Side {
    backend: Arc<Backend>,
    outbox: Sender<Ended>,
    wake: Wake,
}

impl Side {
    async fn run(
        self,
        mut inbox: UnboundedReceiver<(u64, Task)>,
        mut keeper: Option<Box<dyn KeyKeeper>>,
    ) {
        while let Some((token, task)) = inbox.recv().await {
            let result = match task {
                Task::NewKey => with_keeper(&mut keeper, |keeper| keeper.generate()),
                Task::OpenKey(wrapped) => {
                    with_keeper(&mut keeper, |keeper| Ok((keeper.open(&wrapped)?, wrapped)))
                }
                task => {
                    let (backend, outbox, wake) = (
                        Arc::clone(&self.backend),
                        self.outbox.clone(),
                        Arc::clone(&self.wake),
                    );
                    // The runtime holds it until it ends; nobody waits for it here.
                    drop(tokio::spawn(async move {
                        let result = backend.perform_in_time(task).await;
                        // Whoever asked may be gone.
                        let _ = outbox.send(Ended { token, result });
                        wake();
                    }));
                    continue;
                }
            };
            // Whoever asked may be gone.
            let _ = self.outbox.send(Ended { token, result });
            (self.wake)();
        }
    }
}

fn with_keeper(
    keeper: &mut Option<Box<dyn KeyKeeper>>,
    act: impl FnOnce(
        &mut dyn KeyKeeper,
    ) -> Result<(crate::key::DataKey, crate::key::WrappedKey), KeyError>,
) -> Result<Outcome, StoreError> {
    let keeper = keeper.as_mut().ok_or(KeyError::NoKeeper)?;
    let (key, wrapped) = act(keeper.as_mut())?;
    Ok(Outcome::Key(key, wrapped))
}

enum Backend {
    Folder(LocalFileSystem),
    Bucket(Box<Place>),
}

/// What is needed to ask one bucket.
struct Place {
    client: AmazonS3,
    prefix: String,
    locks: Locks,
    /// Whether it creates only what is not there; asked once.
    creates_once: OnceCell<bool>,
}

impl Backend {
    fn open(location: &Location) -> Result<Self, OpenError> {
        match location {
            Location::Folder(folder) => {
                let named = |error| OpenError::Folder(folder.display().to_string(), error);
                std::fs::create_dir_all(folder).map_err(named)?;
                Ok(Self::Folder(open_folder(folder)?))
            }
            Location::Bucket(bucket) => Ok(Self::Bucket(Box::new(open_bucket(bucket)?))),
        }
    }

    fn objects(&self) -> &dyn Objects {
        match self {
            Self::Folder(folder) => folder,
            Self::Bucket(place) => &place.client,
        }
    }

    fn path(&self, name: &str) -> Path {
        match self {
            Self::Bucket(place) if !place.prefix.is_empty() => {
                Path::from(format!("{}/{name}", place.prefix))
            }
            _ => Path::from(name),
        }
    }

    fn name(&self, path: &Path) -> String {
        let path = path.as_ref();
        match self {
            Self::Bucket(place) if !place.prefix.is_empty() => path
                .strip_prefix(place.prefix.as_str())
                .unwrap_or(path)
                .trim_start_matches('/')
                .to_owned(),
            _ => path.to_owned(),
        }
    }

    async fn perform_in_time(&self, task: Task) -> Result<Outcome, StoreError> {
        let (changes, deadline) = (changes(&task), deadline(&task));
        match tokio::time::timeout(deadline, self.perform(task)).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(error)) => Err(translate(error, changes)),
            Err(_) => {
                let why = format!("no answer within {} s", deadline.as_secs());
                Err(no_answer(why, changes))
            }
        }
    }

    async fn perform(&self, task: Task) -> Result<Outcome, Error> {
        match task {
            Task::Create { name, pieces } => {
                self.must_create_once().await?;
                let options = PutOptions::from(PutMode::Create);
                self.objects()
                    .put_opts(&self.path(&name), payload(pieces), options)
                    .await?;
                Ok(Outcome::Done)
            }
            Task::Get { name, range } => {
                let bytes = self.get(&self.path(&name), range).await?;
                Ok(Outcome::Bytes(bytes))
            }
            Task::Head { name } => {
                let meta = self.objects().head(&self.path(&name)).await?;
                let listed = self.listed(&meta);
                Ok(Outcome::Length(listed.bytes, listed.written))
            }
            Task::List { prefix, after } => self.list(&prefix, &after).await,
            Task::Delete { name } => match self.objects().delete(&self.path(&name)).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(Outcome::Done),
                Err(error) => Err(error),
            },
            Task::Begin { .. } | Task::Part { .. } | Task::Complete { .. } | Task::Abort { .. } => {
                self.in_parts(task).await
            }
            Task::Lock { .. } | Task::LockOf { .. } => self.locks(task).await,
            Task::NewKey | Task::OpenKey(_) => Err(Error::NotImplemented {
                operation: "keys".to_owned(),
                implementer: "the object store".to_owned(),
            }),
        }
    }

    /// What there is of a stretch of an object. Stores refuse a stretch that begins where the object has ended: an object
    /// that was cut short is told as that, and not as a store that cannot be reached.
    async fn get(&self, path: &Path, range: Range<u64>) -> Result<Bytes, Error> {
        let from = range.start;
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        match self.objects().get_opts(path, options).await {
            Ok(got) => got.bytes().await,
            Err(error @ Error::NotFound { .. }) => Err(error),
            Err(error) => match self.objects().head(path).await {
                Ok(meta) if meta.size <= from => Ok(Bytes::new()),
                _ => Err(error),
            },
        }
    }

    async fn in_parts(&self, task: Task) -> Result<Outcome, Error> {
        let Self::Bucket(place) = self else {
            return Err(Error::NotSupported {
                source: "a folder takes an object whole".into(),
            });
        };
        match task {
            Task::Begin { name } => {
                let upload = place.client.create_multipart(&self.path(&name)).await?;
                Ok(Outcome::Begun(upload))
            }
            Task::Part {
                name,
                upload,
                part,
                pieces,
            } => {
                let part = place
                    .client
                    .put_part(&self.path(&name), &upload, part, payload(pieces))
                    .await?;
                Ok(Outcome::Part(part.content_id))
            }
            Task::Complete {
                name,
                upload,
                parts,
            } => {
                let parts = parts
                    .into_iter()
                    .map(|content_id| PartId { content_id })
                    .collect();
                place
                    .client
                    .complete_multipart(&self.path(&name), &upload, parts)
                    .await?;
                Ok(Outcome::Done)
            }
            Task::Abort { name, upload } => {
                place
                    .client
                    .abort_multipart(&self.path(&name), &upload)
                    .await?;
                Ok(Outcome::Done)
            }
            _ => Err(Error::NotImplemented {
                operation: "a whole object".to_owned(),
                implementer: "uploads in parts".to_owned(),
            }),
        }
    }

    /// Refuses a bucket that replaces what it was asked to create only if it is not there: two writers would both be
    /// told that a number of the manifest is theirs. Ceph's gateway does so where a bucket keeps versions.
    async fn must_create_once(&self) -> Result<(), Error> {
        let Self::Bucket(place) = self else {
            return Ok(());
        };
        let path = self.path(PROBE);
        let is_refused = async || {
            let options = PutOptions::from(PutMode::Create);
            let put = place.client.put_opts(&path, PutPayload::new(), options);
            match put.await {
                Ok(_) => Ok(false),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(true),
                Err(error) => Err(error),
            }
        };
        let creates_once = place
            .creates_once
            .get_or_try_init(async || Ok::<_, Error>(is_refused().await? || is_refused().await?))
            .await?;
        if *creates_once {
            return Ok(());
        }
        Err(Error::PermissionDenied {
            path: path.to_string(),
            source: "the bucket replaces objects that it is asked to create only once (Ceph's gateway does where a \
                     bucket keeps versions); use a bucket that does not, or another server"
                .into(),
        })
    }

    async fn locks(&self, task: Task) -> Result<Outcome, Error> {
        match (self, task) {
            (Self::Bucket(place), Task::Lock { name, until }) => {
                let path = self.path(&name);
                place.locks.lock(&place.client, &path, until).await
            }
            (Self::Bucket(place), Task::LockOf { name }) => {
                place.locks.lock_of(&place.client, &self.path(&name)).await
            }
            _ => Err(Error::NotSupported {
                source: "a folder has no locks".into(),
            }),
        }
    }

    async fn list(&self, prefix: &str, after: &str) -> Result<Outcome, Error> {
        let folder = self.path(prefix);
        let mut stream = if after.is_empty() {
            self.objects().list(Some(&folder))
        } else {
            self.objects()
                .list_with_offset(Some(&folder), &self.path(after))
        };
        // A bucket lists in the order of names; a folder in any, and must be read to its end.
        let stops_early = matches!(self, Self::Bucket(..));
        let mut found: Vec<Listed> = Vec::new();
        while let Some(meta) = stream.next().await {
            let listed = self.listed(&meta?);
            if listed.name.as_str() > after {
                found.push(listed);
            }
            if stops_early && found.len() > LIST_MAX {
                break;
            }
        }
        found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let more = found.len() > LIST_MAX;
        found.truncate(LIST_MAX);
        Ok(Outcome::Listed(found, more))
    }

    fn listed(&self, meta: &ObjectMeta) -> Listed {
        Listed {
            name: self.name(&meta.location),
            bytes: meta.size,
            written: u64::try_from(meta.last_modified.timestamp()).unwrap_or(0),
        }
    }
}

fn open_folder(folder: &FolderPath) -> Result<LocalFileSystem, Error> {
    Ok(LocalFileSystem::new_with_prefix(folder)?.with_fsync(true))
}

fn open_bucket(bucket: &Bucket) -> Result<Place, Error> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&bucket.name)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        });
    if let Some(region) = &bucket.region {
        builder = builder.with_region(region);
    }
    let is_plain = bucket
        .endpoint
        .as_ref()
        .is_some_and(|endpoint| endpoint.starts_with("http://"));
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let options = ClientOptions::new()
        .with_allow_http(is_plain)
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout_disabled();
    let locks = Locks::new(&options)?;
    Ok(Place {
        client: builder.with_client_options(options).build()?,
        prefix: bucket.prefix.clone(),
        locks,
        creates_once: OnceCell::new(),
    })
}

fn payload(pieces: Vec<Bytes>) -> PutPayload {
    pieces.into_iter().collect()
}

/// Whether a task changes something over there.
const fn changes(task: &Task) -> bool {
    !matches!(
        task,
        Task::Get { .. } | Task::Head { .. } | Task::List { .. } | Task::LockOf { .. }
    )
}

fn deadline(task: &Task) -> Duration {
    let bytes = match task {
        Task::Create { pieces, .. } | Task::Part { pieces, .. } => {
            pieces.iter().map(|piece| piece.len() as u64).sum()
        }
        Task::Get { range, .. } => range.end - range.start,
        _ => 0,
    };
    DEADLINE + Duration::from_secs(bytes >> 20)
}

fn no_answer(why: String, changes: bool) -> StoreError {
    if changes {
        StoreError::Unknown(why)
    } else {
        StoreError::Unavailable(why)
    }
}

fn translate(error: Error, changes: bool) -> StoreError {
    match error {
        Error::NotFound { .. } => StoreError::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => StoreError::Exists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            StoreError::Denied(error.to_string())
        }
        Error::NotSupported { .. } | Error::NotImplemented { .. } => StoreError::Unsupported,
        other => no_answer(reason(&other), changes),
    }
}

/// The error with all its causes in one line.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text += ": ";
            text += &said;
        }
        cause = next.source();
    }
    text
}
