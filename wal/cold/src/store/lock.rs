//! Object Lock of S3: a bucket keeps an object from everybody up to a date, whatever their rights.
//!
//! - Locks are asked for in compliance mode, which no rights undo. One that is longer already stays as it is.
//! - The bucket is asked first whether it has locks: a server that does not know the question might take the request that
//!   carries a lock for the object's new content.
//! - object_store signs these requests and sends them; it has no call of its own for them.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use object_store::Error;
use object_store::aws::AmazonS3;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpRequestBody, ReqwestConnector,
};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use serde::Deserialize;

use super::Outcome;

/// What is signed is asked within this time.
const SIGNED_FOR: Duration = Duration::from_secs(300);
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Asks a bucket for locks.
#[derive(Debug)]
pub(super) struct Locks {
    http: HttpClient,
}

/// What a bucket says of its locks.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    object_lock_enabled: Option<String>,
}

impl Locks {
    pub(super) fn new(options: &ClientOptions) -> Result<Self, Error> {
        let http = ReqwestConnector::default().connect(options)?;
        Ok(Self { http })
    }

    /// Locks the object up to this second.
    pub(super) async fn lock(
        &self,
        bucket: &AmazonS3,
        path: &Path,
        until: u64,
    ) -> Result<Outcome, Error> {
        self.has_locks(bucket).await?;
        if self.date_of(bucket, path).await? >= until {
            return Ok(Outcome::Done);
        }
        let date = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(until))
            .filter(|_| until < YEAR_10000);
        let date = date.ok_or_else(|| generic("the lock ends beyond the year 9999"))?;
        let body = format!(
            "<Retention xmlns=\"{NAMESPACE}\"><Mode>COMPLIANCE</Mode><RetainUntilDate>{}</RetainUntilDate></Retention>",
            humantime::format_rfc3339_seconds(date)
        );
        let (status, _, text) = self
            .ask(bucket, Method::PUT, path, Some("retention"), body)
            .await?;
        if status.is_success() {
            return Ok(Outcome::Done);
        }
        // A lock in this mode may not be shortened: somebody else was quicker, with a longer one.
        if status == StatusCode::FORBIDDEN && self.date_of(bucket, path).await? >= until {
            return Ok(Outcome::Done);
        }
        Err(refused(path, status, &text))
    }

    /// Up to when the object is locked.
    pub(super) async fn lock_of(&self, bucket: &AmazonS3, path: &Path) -> Result<Outcome, Error> {
        self.has_locks(bucket).await?;
        Ok(Outcome::LockedUntil(self.date_of(bucket, path).await?))
    }

    async fn has_locks(&self, bucket: &AmazonS3) -> Result<(), Error> {
        let whole = Path::default();
        let (status, _, text) = self
            .ask(
                bucket,
                Method::GET,
                &whole,
                Some("object-lock"),
                String::new(),
            )
            .await?;
        let none = || Error::NotSupported {
            source: "the bucket has no object lock".into(),
        };
        match status {
            StatusCode::OK => {
                // A listing, from a server that does not know the question, says nothing of locks.
                let said: Option<Configuration> = quick_xml::de::from_str(&text).ok();
                let enabled = said.and_then(|said| said.object_lock_enabled);
                (enabled.as_deref() == Some("Enabled"))
                    .then_some(())
                    .ok_or_else(none)
            }
            StatusCode::NOT_FOUND if text.contains("NoSuchBucket") => {
                Err(refused(&whole, status, &text))
            }
            StatusCode::NOT_FOUND
            | StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED => Err(none()),
            _ => Err(refused(&whole, status, &text)),
        }
    }

    /// The end of an object's lock that no rights undo; 0 when it has none, or none that these credentials may see.
    async fn date_of(&self, bucket: &AmazonS3, path: &Path) -> Result<u64, Error> {
        let (status, headers, text) = self
            .ask(bucket, Method::HEAD, path, None, String::new())
            .await?;
        if !status.is_success() {
            return Err(refused(path, status, &text));
        }
        let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let date = match said("x-amz-object-lock-mode") {
            Some("COMPLIANCE") => said("x-amz-object-lock-retain-until-date"),
            _ => None,
        };
        let Some(date) = date else {
            return Ok(0);
        };
        let date = humantime::parse_rfc3339(date)
            .map_err(|error| generic(format!("the lock's date {date} cannot be read: {error}")))?;
        let since = date.duration_since(SystemTime::UNIX_EPOCH);
        Ok(since.map_or(0, |since| since.as_secs()))
    }

    async fn ask(
        &self,
        bucket: &AmazonS3,
        method: Method,
        path: &Path,
        question: Option<&str>,
        body: String,
    ) -> Result<(StatusCode, HeaderMap, String), Error> {
        let question = question.map(|question| (question, ""));
        let mut options = SignedUrlOptions::default().with_query(question);
        let mut request = Request::builder().method(method.clone());
        if !body.is_empty() {
            // The protocol asks for a checksum of what carries a lock.
            let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
            let checksum = HeaderValue::try_from(STANDARD.encode(digest)).map_err(generic)?;
            let name = HeaderName::from_static("x-amz-checksum-sha256");
            options = options.with_signed_header(name.clone(), checksum.clone());
            request = request.header(name, checksum);
        }
        let url = bucket
            .signed_url_opts(method, path, SIGNED_FOR, &options)
            .await?;
        let request = request
            .uri(url.as_str())
            .body(HttpRequestBody::from(body))
            .map_err(generic)?;
        let answer = self.http.execute(request).await.map_err(generic)?;
        let (head, body) = answer.into_parts();
        let text = body.bytes().await.map_err(generic)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok((head.status, head.headers, text))
    }
}

/// The first second that a date of four digits for the year does not reach.
const YEAR_10000: u64 = 253_402_300_800;

fn generic(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic {
        store: "S3",
        source: cause.into(),
    }
}

fn refused(path: &Path, status: StatusCode, text: &str) -> Error {
    let cause = format!("{status}: {text}").into();
    match status {
        StatusCode::NOT_FOUND => Error::NotFound {
            path: path.to_string(),
            source: cause,
        },
        _ if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            Error::PermissionDenied {
                path: path.to_string(),
                source: cause,
            }
        }
        _ => generic(cause),
    }
}
