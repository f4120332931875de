//! The handshake: who is at the other end, whether both belong together, and in which words they will speak.
//!
//! ```text
//! dialer                       acceptor
//!    | -- HELLO ------------------> |   versions, cluster, role, node, core, incarnation, layout
//!    | <------------------ WELCOME -|   the version and codec chosen, the acceptor's own identity
//!    |            or                |
//!    | <------------------ GOODBYE -|   why not, then it closes
//! ```
//!
//! - Both sides check: the acceptor the HELLO, the dialer the WELCOME, against the same list of refusals.
//! - A refusal is typed and told to the other end, so that its user learns the cause.
//! - Two nodes whose layout (members, groups, limits) differs never exchange an envelope.
//! - No bytes, sockets or time here: numbers in, a verdict out.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::{BadHead, Codec, Kind, VERSION_MAX, VERSION_MIN};
use crate::limits::HANDSHAKE_HEAD_BYTES_MAX;
use crate::refusal::Refusal;
use crate::transport::Outgoing;

/// What the dialling end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// A core of a node of the cluster.
    Peer = 0,
    /// A client.
    Client = 1,
}

/// What this core of this node is, towards others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: u64,
    /// Its node.
    pub node: u32,
    /// Its core.
    pub core: u16,
    /// Cores of the node.
    pub cores: u16,
    /// Drawn anew at every start of the process.
    pub incarnation: u64,
    /// Digest of members, groups and limits: peers must agree on it.
    pub layout_digest: u64,
    /// The codec it would like between nodes; used where both wish the same.
    pub codec: Codec,
}

/// First frame of the dialer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Oldest version it speaks.
    pub version_min: u16,
    /// Newest version it speaks.
    pub version_max: u16,
    /// What it is.
    pub role: Role,
    /// The codec it wishes.
    pub codec: Codec,
    /// Its core; 0 for a client.
    pub core: u16,
    /// Cores of its node; 0 for a client.
    pub cores: u16,
    /// The node it means to reach; 0 for a client, which takes any.
    pub expected: u32,
    /// Its node; 0 for a client.
    pub node: u32,
    /// The cluster it means to reach.
    pub cluster: u64,
    /// Its incarnation; 0 for a client.
    pub incarnation: u64,
    /// Its layout; 0 for a client.
    pub layout_digest: u64,
}

/// The acceptor's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version both speak from here on.
    pub version: u16,
    /// The codec both use from here on.
    pub codec: Codec,
    /// The acceptor's core.
    pub core: u16,
    /// Cores of its node.
    pub cores: u16,
    /// Its node.
    pub node: u32,
    /// Its cluster.
    pub cluster: u64,
    /// Its incarnation.
    pub incarnation: u64,
    /// Its layout.
    pub layout_digest: u64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireHello {
    version_min: U16,
    version_max: U16,
    role: u8,
    codec: u8,
    core: U16,
    cores: U16,
    reserved: [u8; 2],
    expected: U32,
    node: U32,
    reserved_too: [u8; 4],
    cluster: U64,
    incarnation: U64,
    layout_digest: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireWelcome {
    version: U16,
    codec: u8,
    reserved: u8,
    core: U16,
    cores: U16,
    node: U32,
    reserved_too: [u8; 4],
    cluster: U64,
    incarnation: U64,
    layout_digest: U64,
}

const _: () =
    assert!(size_of::<WireHello>() == 48 && size_of::<WireHello>() <= HANDSHAKE_HEAD_BYTES_MAX);
const _: () = assert!(size_of::<WireWelcome>() == 40);

impl Hello {
    /// What `identity` says when it dials `node`.
    pub fn from_peer(identity: &Identity, node: u32) -> Hello {
        Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            role: Role::Peer,
            codec: identity.codec,
            core: identity.core,
            cores: identity.cores,
            expected: node,
            node: identity.node,
            cluster: identity.cluster,
            incarnation: identity.incarnation,
            layout_digest: identity.layout_digest,
        }
    }

    /// What a client says.
    pub fn from_client(cluster: u64, codec: Codec) -> Hello {
        Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            role: Role::Client,
            codec,
            core: 0,
            cores: 0,
            expected: 0,
            node: 0,
            cluster,
            incarnation: 0,
            layout_digest: 0,
        }
    }

    /// As a frame.
    pub fn encode(&self) -> Outgoing {
        let wire = WireHello {
            version_min: self.version_min.into(),
            version_max: self.version_max.into(),
            role: self.role as u8,
            codec: self.codec as u8,
            core: self.core.into(),
            cores: self.cores.into(),
            reserved: [0; 2],
            expected: self.expected.into(),
            node: self.node.into(),
            reserved_too: [0; 4],
            cluster: self.cluster.into(),
            incarnation: self.incarnation.into(),
            layout_digest: self.layout_digest.into(),
        };
        Outgoing::bare(Kind::HELLO, wire.as_bytes())
    }

    /// Reads a frame's head.
    pub fn decode(head: &[u8]) -> Result<Hello, BadHead> {
        let wire = WireHello::read_from_bytes(head).map_err(|_| BadHead)?;
        if wire.reserved != [0; 2] || wire.reserved_too != [0; 4] {
            return Err(BadHead);
        }
        Ok(Hello {
            version_min: wire.version_min.get(),
            version_max: wire.version_max.get(),
            role: match wire.role {
                0 => Role::Peer,
                1 => Role::Client,
                _ => return Err(BadHead),
            },
            codec: Codec::try_from(wire.codec).map_err(|_| BadHead)?,
            core: wire.core.get(),
            cores: wire.cores.get(),
            expected: wire.expected.get(),
            node: wire.node.get(),
            cluster: wire.cluster.get(),
            incarnation: wire.incarnation.get(),
            layout_digest: wire.layout_digest.get(),
        })
    }

    /// The acceptor's verdict. `is_member` tells whether a node belongs to the cluster.
    pub fn answer(
        &self,
        own: &Identity,
        is_member: impl FnOnce(u32) -> bool,
    ) -> Result<Welcome, Refusal> {
        if self.cluster != own.cluster {
            return Err(Refusal::WrongCluster(own.cluster));
        }
        let version = self.version_max.min(VERSION_MAX);
        if version < self.version_min.max(VERSION_MIN) {
            return Err(Refusal::UnknownVersion {
                min: VERSION_MIN,
                max: VERSION_MAX,
            });
        }
        if self.role == Role::Peer {
            if self.node == own.node {
                return Err(Refusal::SelfConnection);
            }
            if !is_member(self.node) {
                return Err(Refusal::UnknownNode(self.node));
            }
            if self.expected != own.node || !dials(self.node, own.node) {
                return Err(Refusal::NotExpected(own.node));
            }
            if (self.core, self.cores) != (own.core, own.cores) {
                return Err(Refusal::WrongCore {
                    core: own.core,
                    cores: own.cores,
                });
            }
            if self.layout_digest != own.layout_digest {
                return Err(Refusal::LayoutDiffers(own.layout_digest));
            }
        }
        // A client has no long link to save: it gets what it asks for. Nodes must both wish it.
        let codec = match self.role {
            Role::Client => self.codec,
            Role::Peer if self.codec == own.codec => self.codec,
            Role::Peer => Codec::None,
        };
        Ok(Welcome {
            version,
            codec,
            core: own.core,
            cores: own.cores,
            node: own.node,
            cluster: own.cluster,
            incarnation: own.incarnation,
            layout_digest: own.layout_digest,
        })
    }
}

/// Who dials whom: the lower node id dials the higher, so that a pair of cores has one connection.
pub const fn dials(from: u32, to: u32) -> bool {
    from < to
}

impl Welcome {
    /// As a frame.
    pub fn encode(&self) -> Outgoing {
        let wire = WireWelcome {
            version: self.version.into(),
            codec: self.codec as u8,
            reserved: 0,
            core: self.core.into(),
            cores: self.cores.into(),
            node: self.node.into(),
            reserved_too: [0; 4],
            cluster: self.cluster.into(),
            incarnation: self.incarnation.into(),
            layout_digest: self.layout_digest.into(),
        };
        Outgoing::bare(Kind::WELCOME, wire.as_bytes())
    }

    /// Reads a frame's head.
    pub fn decode(head: &[u8]) -> Result<Welcome, BadHead> {
        let wire = WireWelcome::read_from_bytes(head).map_err(|_| BadHead)?;
        if wire.reserved != 0 || wire.reserved_too != [0; 4] {
            return Err(BadHead);
        }
        Ok(Welcome {
            version: wire.version.get(),
            codec: Codec::try_from(wire.codec).map_err(|_| BadHead)?,
            core: wire.core.get(),
            cores: wire.cores.get(),
            node: wire.node.get(),
            cluster: wire.cluster.get(),
            incarnation: wire.incarnation.get(),
            layout_digest: wire.layout_digest.get(),
        })
    }

    /// The dialer's verdict on the answer to its `hello`.
    pub fn check(&self, hello: &Hello) -> Result<(), Refusal> {
        if self.cluster != hello.cluster {
            return Err(Refusal::WrongCluster(hello.cluster));
        }
        if !(hello.version_min..=hello.version_max).contains(&self.version) {
            return Err(Refusal::UnknownVersion {
                min: hello.version_min,
                max: hello.version_max,
            });
        }
        if self.codec != Codec::None && self.codec != hello.codec {
            return Err(Refusal::Malformed(0));
        }
        if hello.role == Role::Client {
            return Ok(());
        }
        if self.node == hello.node {
            return Err(Refusal::SelfConnection);
        }
        if self.node != hello.expected {
            return Err(Refusal::NotExpected(hello.node));
        }
        if (self.core, self.cores) != (hello.core, hello.cores) {
            return Err(Refusal::WrongCore {
                core: hello.core,
                cores: hello.cores,
            });
        }
        if self.layout_digest != hello.layout_digest {
            return Err(Refusal::LayoutDiffers(hello.layout_digest));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Identity {
        Identity {
            cluster: 0xC1,
            node: 2,
            core: 1,
            cores: 4,
            incarnation: 77,
            layout_digest: 0xD1,
            codec: Codec::None,
        }
    }

    fn hello() -> Hello {
        Hello::from_peer(
            &Identity {
                node: 1,
                incarnation: 66,
                ..own()
            },
            2,
        )
    }

    fn answer(hello: Hello) -> Result<Welcome, Refusal> {
        let hello = Hello::decode(&hello.encode().head).expect("what was encoded");
        hello.answer(&own(), |node| node <= 3)
    }

    #[test]
    fn those_who_belong_together_agree() {
        let welcome = answer(hello()).expect("all matches");
        assert_eq!(
            (welcome.version, welcome.node, welcome.incarnation),
            (1, 2, 77)
        );
        let decoded = Welcome::decode(&welcome.encode().head);
        assert_eq!(decoded, Ok(welcome));
        assert_eq!(welcome.check(&hello()), Ok(()));
        let client = Hello::from_client(0xC1, Codec::Lz4);
        assert_eq!(answer(client).map(|welcome| welcome.codec), Ok(Codec::Lz4));
        assert_eq!(
            answer(client)
                .expect("clients need no layout")
                .check(&client),
            Ok(())
        );
    }

    #[test]
    fn the_acceptor_refuses_by_name() {
        let check = |hello, refusal| assert_eq!(answer(hello), Err(refusal));
        check(
            Hello {
                cluster: 5,
                ..hello()
            },
            Refusal::WrongCluster(0xC1),
        );
        check(
            Hello {
                version_min: 2,
                version_max: 9,
                ..hello()
            },
            Refusal::UnknownVersion { min: 1, max: 1 },
        );
        check(
            Hello {
                version_min: 0,
                version_max: 0,
                ..hello()
            },
            Refusal::UnknownVersion { min: 1, max: 1 },
        );
        check(Hello { node: 9, ..hello() }, Refusal::UnknownNode(9));
        check(
            Hello {
                layout_digest: 1,
                ..hello()
            },
            Refusal::LayoutDiffers(0xD1),
        );
        check(
            Hello { core: 0, ..hello() },
            Refusal::WrongCore { core: 1, cores: 4 },
        );
        check(
            Hello {
                cores: 2,
                ..hello()
            },
            Refusal::WrongCore { core: 1, cores: 4 },
        );
        check(
            Hello {
                expected: 3,
                ..hello()
            },
            Refusal::NotExpected(2),
        );
        check(Hello { node: 3, ..hello() }, Refusal::NotExpected(2));
        check(Hello { node: 2, ..hello() }, Refusal::SelfConnection);
    }

    #[test]
    fn the_dialer_refuses_by_name() {
        let welcome = answer(hello()).expect("all matches");
        let check = |welcome: Welcome, refusal| assert_eq!(welcome.check(&hello()), Err(refusal));
        check(
            Welcome {
                cluster: 5,
                ..welcome
            },
            Refusal::WrongCluster(0xC1),
        );
        check(
            Welcome {
                version: 2,
                ..welcome
            },
            Refusal::UnknownVersion { min: 1, max: 1 },
        );
        check(
            Welcome {
                codec: Codec::Lz4,
                ..welcome
            },
            Refusal::Malformed(0),
        );
        check(Welcome { node: 1, ..welcome }, Refusal::SelfConnection);
        check(Welcome { node: 3, ..welcome }, Refusal::NotExpected(1));
        check(
            Welcome { core: 0, ..welcome },
            Refusal::WrongCore { core: 1, cores: 4 },
        );
        check(
            Welcome {
                layout_digest: 1,
                ..welcome
            },
            Refusal::LayoutDiffers(0xD1),
        );
    }
}
