//! Where the object store is: an address from the command line, checked before anything is contacted.
//!
//! - `file:///path/to/folder`: a local folder, the embedded default.
//! - `s3://bucket/prefix?endpoint=URL&region=NAME`: S3 or what speaks like it. Credentials never stand in the
//!   address; they come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
//!   or the machine's role).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;
use url::Url;

/// A place for objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A bucket.
    Bucket(Bucket),
}

/// A bucket of an S3 store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What the names of all objects begin with; without slashes at its ends, may be empty.
    pub prefix: String,
    /// The server, when it is not the cloud's own.
    pub endpoint: Option<String>,
    /// The region to sign for.
    pub region: Option<String>,
}

/// An address that names no place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LocationError {
    /// It is no address at all.
    #[error("not an address: {0}; write file:///folder or s3://bucket/prefix")]
    Unreadable(url::ParseError),
    /// Its scheme is unknown.
    #[error("objects cannot be kept in {0}://; write file:///folder or s3://bucket/prefix")]
    Scheme(String),
    /// A folder on another host, or none.
    #[error("a folder is named by an absolute path without a host: file:///folder")]
    Folder,
    /// No bucket is named.
    #[error("no bucket is named; write s3://bucket/prefix")]
    NoBucket,
    /// An option that is not known.
    #[error("unknown option {0}; known are endpoint and region")]
    Option(String),
    /// The address carries a secret.
    #[error("credentials do not belong into an address; give them in the environment")]
    Credentials,
    /// The endpoint is no http or https address.
    #[error("the endpoint is not an http:// or https:// address")]
    Endpoint,
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let url = Url::parse(text).map_err(LocationError::Unreadable)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(LocationError::Credentials);
        }
        match url.scheme() {
            "file" => folder(&url),
            "s3" => bucket(&url),
            other => Err(LocationError::Scheme(other.to_owned())),
        }
    }
}

fn folder(url: &Url) -> Result<Location, LocationError> {
    let path = url.to_file_path().map_err(|()| LocationError::Folder)?;
    if let Some((option, _)) = url.query_pairs().next() {
        return Err(LocationError::Option(option.into_owned()));
    }
    Ok(Location::Folder(path))
}

fn bucket(url: &Url) -> Result<Location, LocationError> {
    let name = url.host_str().unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(LocationError::NoBucket);
    }
    let mut bucket = Bucket {
        name,
        prefix: url.path().trim_matches('/').to_owned(),
        endpoint: None,
        region: None,
    };
    for (option, value) in url.query_pairs() {
        match option.as_ref() {
            "endpoint" => {
                let endpoint = Url::parse(&value).map_err(|_| LocationError::Endpoint)?;
                if !endpoint.username().is_empty() || endpoint.password().is_some() {
                    return Err(LocationError::Credentials);
                }
                if !matches!(endpoint.scheme(), "http" | "https") {
                    return Err(LocationError::Endpoint);
                }
                bucket.endpoint = Some(value.trim_end_matches('/').to_owned());
            }
            "region" => bucket.region = Some(value.into_owned()),
            other => return Err(LocationError::Option(other.to_owned())),
        }
    }
    Ok(Location::Bucket(bucket))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file://{}", path.display()),
            Self::Bucket(bucket) => write!(f, "s3://{}/{}", bucket.name, bucket.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Result<Location, LocationError> {
        text.parse()
    }

    #[test]
    fn folders_and_buckets_are_read() {
        assert_eq!(
            location("file:///var/lib/cold"),
            Ok(Location::Folder("/var/lib/cold".into()))
        );
        assert_eq!(
            location("s3://ledger/eu/west/?endpoint=http://127.0.0.1:9000/&region=eu-west-1"),
            Ok(Location::Bucket(Bucket {
                name: "ledger".into(),
                prefix: "eu/west".into(),
                endpoint: Some("http://127.0.0.1:9000".into()),
                region: Some("eu-west-1".into()),
            }))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        use LocationError::*;
        for (text, error) in [
            ("gs://bucket/x", Scheme("gs".into())),
            ("s3:///prefix", NoBucket),
            ("s3://b/p?ssl=no", Option("ssl".into())),
            ("s3://key:secret@b/p", Credentials),
            ("s3://b/p?endpoint=ftp://x", Endpoint),
            ("s3://b/p?endpoint=http://u:p@x", Credentials),
            ("file://host/folder", Folder),
            ("file:///folder?x=1", Option("x".into())),
        ] {
            assert_eq!(location(text), Err(error), "{text}");
        }
        assert!(matches!(location("folder"), Err(Unreadable(_))));
    }
}
