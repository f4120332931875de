//! A shard between its doors: three of them on one thread, in virtual time, over disks that crash.

#[path = "main/crashes.rs"]
mod crashes;
#[path = "main/cut_off.rs"]
mod cut_off;
#[path = "main/damage.rs"]
mod damage;
#[path = "main/every_crash.rs"]
mod every_crash;
#[path = "main/every_region.rs"]
mod every_region;
#[path = "main/formats.rs"]
mod formats;
#[path = "main/histories.rs"]
mod histories;
#[path = "main/hostile.rs"]
mod hostile;
#[path = "main/images.rs"]
mod images;
#[path = "main/laggards.rs"]
mod laggards;
#[path = "main/mending.rs"]
mod mending;
#[path = "main/moving.rs"]
mod moving;
#[path = "main/overtaken.rs"]
mod overtaken;
#[path = "main/past.rs"]
mod past;
#[path = "main/recalling.rs"]
mod recalling;
#[path = "main/refusals.rs"]
mod refusals;
#[path = "main/repairing.rs"]
mod repairing;
#[path = "main/replication.rs"]
mod replication;
#[path = "main/rereading.rs"]
mod rereading;
#[path = "main/sessions.rs"]
mod sessions;
#[path = "main/spares.rs"]
mod spares;
#[path = "main/tally.rs"]
mod tally;
#[path = "main/vault.rs"]
mod vault;
#[path = "main/wire.rs"]
mod wire;
#[path = "main/world.rs"]
mod world;
