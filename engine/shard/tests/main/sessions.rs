//! Requests that arrive more than once, late, from the forgotten: carried out once, answered with the same bytes.

use net::tigerbeetle::batches;
use raft::ids::Index;
use raft::state_machine::{Admission, Asker, Command, Refusal, RestoreError, StateMachine};
use shard::limits::SESSIONS_MAX;
use shard::sessions::{Once, Outcome, REGISTER, SESSION_OF, Sessions, number, verdict};

use crate::tally::{ADD, LOOK, Tally};

const ONCE: &[Once] = &[Once {
    operation: 250,
    told: 252,
    inner: ADD,
    event_bytes: 2,
    result_bytes: 8,
}];

/// A group: its machine and the length of its log.
struct Group {
    machine: Sessions<Tally>,
    index: u64,
}

impl Group {
    fn new(registers: bool) -> Self {
        Self {
            machine: Sessions::new(Tally::default(), ONCE, registers),
            index: 0,
        }
    }

    fn apply(&mut self, client: u128, number: u64, operation: u8, payload: &[u8]) -> Vec<u8> {
        self.index += 1;
        let command = Command {
            index: Index(self.index),
            time: 1000 * self.index,
            operation,
            payload,
        };
        let mut reply = Vec::new();
        self.machine
            .apply_for(Asker { client, number }, command, &mut reply);
        reply
    }

    fn register(&mut self, client: u128) -> u32 {
        let reply = self.apply(client, 0, REGISTER, &[]);
        let (body, verdict, outcome) = verdict(&reply).expect("a verdict");
        assert_eq!((body.len(), outcome), (0, Outcome::Done));
        verdict.session.get()
    }

    fn register_from(&mut self, origin: u32, client: u128) -> u32 {
        let reply = self.apply(client, 0, REGISTER, &origin.to_le_bytes());
        let (_, verdict, outcome) = verdict(&reply).expect("a verdict");
        assert_eq!(outcome, Outcome::Done);
        verdict.session.get()
    }

    fn add(&mut self, client: u128, session: u32, request: u32) -> Vec<u8> {
        self.apply(client, number(session, request), 250, &body(&[1]))
    }

    /// A request of a session whose origin is told; how it fared.
    fn outcome_from(&mut self, origin: u32, client: u128, session: u32, request: u32) -> Outcome {
        let payload = [&body(&[1])[..], &origin.to_le_bytes()].concat();
        let reply = self.apply(client, number(session, request), 252, &payload);
        verdict(&reply).expect("a verdict").2
    }

    fn outcome(&mut self, client: u128, session: u32, request: u32) -> Outcome {
        let reply = self.add(client, session, request);
        verdict(&reply).expect("a verdict").2
    }

    fn knows(&self, client: u128) -> bool {
        let mut reply = Vec::new();
        self.machine
            .query(SESSION_OF, &client.to_le_bytes(), &mut reply);
        !reply.is_empty()
    }

    fn count(&self) -> u64 {
        self.machine.inner().count
    }
}

/// Batches of so many elements each.
fn body(counts: &[u16]) -> Vec<u8> {
    let total: u16 = counts.iter().sum();
    let mut body = vec![7; 2 * usize::from(total)];
    batches::close(&mut body, 0, counts, 2);
    body
}

#[test]
fn a_request_is_carried_out_once_and_answered_the_same() {
    let mut group = Group::new(true);
    let session = group.register(1);
    assert_eq!(session, 1);
    let first = group.apply(1, number(session, 1), 250, &body(&[1, 3]));
    assert_eq!(group.count(), 2, "each batch is a command of its own");
    for _ in 0..3 {
        let again = group.apply(1, number(session, 1), 250, &body(&[1, 3]));
        assert_eq!(again, first);
    }
    assert_eq!(group.count(), 2);
    let (results, told, outcome) = verdict(&first).expect("a verdict");
    assert_eq!(
        (outcome, told.index.get(), told.time.get()),
        (Outcome::Done, 2, 2000)
    );
    let counts: Vec<usize> = batches::Batches::parse(results, 8)
        .expect("batches")
        .counts()
        .collect();
    assert_eq!(counts, [1, 1]);
    assert_eq!(group.outcome(1, session, 2), Outcome::Done);
    assert_eq!(group.outcome(1, session, 1), Outcome::Past);
    assert_eq!(group.count(), 3);
}

#[test]
fn register_is_repeated_until_the_first_request() {
    let mut group = Group::new(true);
    let first = group.apply(9, 0, REGISTER, &[]);
    assert_eq!(group.apply(9, 0, REGISTER, &[]), first);
    group.add(9, 1, 1);
    let late = group.apply(9, 0, REGISTER, &[]);
    assert_eq!(verdict(&late).expect("a verdict").2, Outcome::Past);
    let nobody = group.apply(0, 0, REGISTER, &[]);
    assert_eq!(verdict(&nobody).expect("a verdict").2, Outcome::NoSession);
    let mut other = Group::new(false);
    let elsewhere = other.apply(9, 0, REGISTER, &[]);
    assert_eq!(
        verdict(&elsewhere).expect("a verdict").2,
        Outcome::NoSession
    );
}

#[test]
fn the_quietest_makes_room_and_stays_forgotten() {
    let mut group = Group::new(true);
    for client in 1..=SESSIONS_MAX as u128 {
        group.register(client);
    }
    group.add(1, 1, 1);
    assert_eq!(group.register(1000), SESSIONS_MAX as u32 + 1);
    assert_eq!(group.machine.len(), SESSIONS_MAX);
    assert_eq!(
        group.outcome(1, 1, 2),
        Outcome::Done,
        "it was not the quietest"
    );
    let before = group.count();
    assert_eq!(group.outcome(2, 2, 1), Outcome::NoSession);
    assert_eq!(group.count(), before);
}

#[test]
fn a_flood_from_one_origin_pushes_out_its_own_sessions() {
    let mut group = Group::new(true);
    let quiet: Vec<u32> = (1..=100)
        .map(|client| group.register_from(client % 3 + 1, client.into()))
        .collect();
    for client in 1000..3000 {
        group.register_from(9, client);
    }
    for (client, &session) in (1..).zip(&quiet) {
        assert_eq!(group.outcome(client, session, 1), Outcome::Done, "{client}");
    }
    // Of the flood itself the last ones are left: of 256, what the others do not have.
    let last = |client: u128| (client - 1000) as u32 + 101;
    assert_eq!(group.outcome(2999, last(2999), 1), Outcome::Done);
    assert_eq!(group.outcome(2844, last(2844), 1), Outcome::Done);
    assert_eq!(group.outcome(2843, last(2843), 1), Outcome::NoSession);
    // Two floods share what there is; an origin that has less than they loses nothing.
    for client in 5000..8000 {
        group.register_from(8, client);
    }
    for (client, &session) in (1..).zip(&quiet) {
        assert_eq!(group.outcome(client, session, 2), Outcome::Done, "{client}");
    }
    let left = (1000..3000).filter(|&client| group.knows(client)).count();
    let share = (SESSIONS_MAX - quiet.len()) / 2;
    assert!((share - 1..=share).contains(&left), "{left} of {share}");
}

#[test]
fn a_group_that_gives_no_numbers_never_revives_a_session() {
    let mut group = Group::new(false);
    for session in 1..=SESSIONS_MAX as u32 {
        assert_eq!(group.outcome(session.into(), session, 5), Outcome::Done);
    }
    let next = SESSIONS_MAX as u32 + 1;
    assert_eq!(group.outcome(next.into(), next, 1), Outcome::Done);
    // Session 1 made room: its request may have been carried out, so it is none of this group's any more.
    assert_eq!(group.outcome(1, 1, 5), Outcome::NoSession);
    assert_eq!(group.outcome(2, 2, 5), Outcome::Done, "repeated");
    // A client with a newer session: the older one is told.
    assert_eq!(group.outcome(3, next + 1, 1), Outcome::Done);
    assert_eq!(group.outcome(3, 3, 6), Outcome::Superseded);
}

#[test]
fn a_flood_from_one_origin_ends_nobody_elses_session_in_a_group_that_gives_no_numbers() {
    let mut group = Group::new(false);
    for session in 1..=100 {
        let origin = session % 3 + 1;
        assert_eq!(
            group.outcome_from(origin, session.into(), session, 1),
            Outcome::Done
        );
    }
    let flood = 1_000..3_000_u32;
    for session in flood.clone() {
        assert_eq!(
            group.outcome_from(9, session.into(), session, 1),
            Outcome::Done
        );
    }
    let count = group.count();
    for session in 1..=100 {
        let origin = session % 3 + 1;
        let again = group.outcome_from(origin, session.into(), session, 1);
        assert_eq!(again, Outcome::Done, "repeated");
        assert_eq!(group.outcome(session.into(), session, 2), Outcome::Done);
    }
    assert_eq!(group.count(), count + 100);
    // Older than all of the flood, and here for the first time.
    assert_eq!(group.outcome_from(1, 500, 500, 1), Outcome::Done);
    assert_eq!(group.outcome_from(7, 501, 501, 1), Outcome::Done);
    // What the flood lost stays lost, and who does not say where it comes from may be of the flood.
    let lost = flood.end - SESSIONS_MAX as u32 + 100 - 1;
    let count = group.count();
    for session in [flood.start, lost] {
        let late = group.outcome_from(9, session.into(), session, 1);
        assert_eq!(late, Outcome::NoSession, "{session}");
        assert_eq!(
            group.outcome(session.into(), session, 2),
            Outcome::NoSession
        );
    }
    assert_eq!(group.outcome(502, 502, 1), Outcome::NoSession);
    assert_eq!(group.count(), count);
}

#[test]
fn of_more_origins_than_are_remembered_the_lowest_floors_become_one() {
    let mut group = Group::new(false);
    // Every origin forgets one session: each has two, and all rooms are taken.
    let origins = 3 * SESSIONS_MAX as u32;
    let mut session = 0;
    let mut done = Vec::new();
    for origin in 1..=origins {
        for _ in 0..2 {
            session += 1;
            let outcome = group.outcome_from(origin, session.into(), session, 1);
            assert_eq!(outcome, Outcome::Done, "{session}");
            done.push((origin, session));
        }
    }
    let count = group.count();
    let mut known = 0;
    for (origin, session) in done {
        // Known and repeated, or forgotten: never carried out again.
        let outcome = group.outcome_from(origin, session.into(), session, 1);
        known += usize::from(outcome == Outcome::Done);
    }
    assert_eq!((known, group.count()), (SESSIONS_MAX, count));
    let fresh = session + 1;
    assert_eq!(
        group.outcome_from(origins + 1, fresh.into(), fresh, 1),
        Outcome::Done
    );
}

#[test]
fn a_stranger_to_the_group_that_gives_numbers_is_no_session() {
    let mut group = Group::new(true);
    assert_eq!(group.outcome(5, 77, 1), Outcome::NoSession);
    let session = group.register(5);
    assert_eq!(group.outcome(5, session + 1, 1), Outcome::NoSession);
    assert_eq!(group.count(), 0);
}

#[test]
fn what_is_no_list_of_batches_is_not_admitted() {
    let group = Group::new(true);
    let admit = |operation, body: &[u8]| group.machine.admit(operation, body);
    assert_eq!(admit(250, &body(&[2])), Ok(Admission::Write));
    assert_eq!(admit(250, &[1, 2, 3]), Err(Refusal::MalformedBody));
    assert_eq!(
        admit(250, &body(&[0])),
        Err(Refusal::MalformedBody),
        "the inner machine's word"
    );
    let told = [&body(&[2])[..], &[1, 0, 0, 127]].concat();
    assert_eq!(admit(252, &told), Ok(Admission::Write));
    for short in [&told[..3], &told[..4], &body(&[2])[..], &[]] {
        assert_eq!(admit(252, short), Err(Refusal::MalformedBody));
    }
    assert_eq!(admit(REGISTER, &[1]), Err(Refusal::MalformedBody));
    assert_eq!(admit(REGISTER, &[1, 2, 3, 4]), Ok(Admission::Write));
    assert_eq!(admit(SESSION_OF, &[0; 15]), Err(Refusal::MalformedBody));
    assert_eq!(admit(SESSION_OF, &[0; 16]), Ok(Admission::Read));
    assert_eq!(admit(LOOK, &[]), Ok(Admission::Read));
    assert_eq!(admit(251, &[]), Err(Refusal::UnknownOperation));
}

#[test]
fn a_session_is_found_by_its_client() {
    let mut group = Group::new(true);
    let ask = |group: &Group, client: u128| {
        let mut reply = Vec::new();
        group
            .machine
            .query(SESSION_OF, &client.to_le_bytes(), &mut reply);
        reply
    };
    assert!(ask(&group, 4).is_empty());
    let session = group.register(4);
    group.add(4, session, 9);
    assert_eq!(ask(&group, 4), [1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    group.register_from(0x7f00_0001, 5);
    assert_eq!(ask(&group, 5), [2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 127]);
}

#[test]
fn the_digest_tells_sessions_apart_and_an_empty_table_is_invisible() {
    let mut one = Group::new(true);
    let mut other = Group::new(true);
    assert_eq!(one.machine.digest(), Tally::default().digest());
    for group in [&mut one, &mut other] {
        group.register(1);
        group.register(2);
    }
    assert_eq!(one.machine.digest(), other.machine.digest());
    one.add(1, 1, 1);
    other.add(2, 2, 1);
    assert_ne!(one.machine.digest(), other.machine.digest());
}

/// A tally that keeps images: its count.
#[derive(Debug, Default)]
struct Kept {
    count: u64,
    image: Option<Vec<u8>>,
    restored: Vec<u8>,
}

impl StateMachine for Kept {
    fn admit(&self, _operation: u8, _payload: &[u8]) -> Result<Admission, Refusal> {
        Ok(Admission::Write)
    }

    fn apply(&mut self, _command: Command<'_>, reply: &mut Vec<u8>) {
        self.count += 1;
        reply.extend_from_slice(&self.count.to_le_bytes());
    }

    fn query(&self, _operation: u8, _payload: &[u8], _reply: &mut Vec<u8>) {}

    fn digest(&self) -> u128 {
        self.count.into()
    }

    fn begin_image(&mut self) -> bool {
        self.image = Some(self.count.to_le_bytes().to_vec());
        true
    }

    fn next_image_piece(&mut self, _budget: usize, piece: &mut Vec<u8>) -> bool {
        piece.extend(self.image.take().expect("begun"));
        true
    }

    fn restore_piece(&mut self, piece: &[u8]) -> Result<(), RestoreError> {
        self.restored.extend_from_slice(piece);
        Ok(())
    }

    fn end_restore(&mut self) -> Result<(), RestoreError> {
        let bytes = self.restored[..]
            .try_into()
            .map_err(|_| RestoreError::Incomplete)?;
        self.count = u64::from_le_bytes(bytes);
        Ok(())
    }
}

/// A machine that took this image in pieces of so many bytes, and gives it back.
fn restored_from(whole: &[u8], cut: usize, registers: bool) -> Sessions<Kept> {
    let mut restored = Sessions::new(Kept::default(), ONCE, registers);
    restored.begin_restore();
    for piece in whole.chunks(cut) {
        restored.restore_piece(piece).expect("a piece of an image");
    }
    restored.end_restore().expect("all pieces were there");
    assert_eq!(image(&mut restored, 99), whole);
    restored
}

fn image(machine: &mut Sessions<Kept>, budget: usize) -> Vec<u8> {
    assert!(machine.begin_image());
    let mut image = Vec::new();
    while !machine.next_image_piece(budget, &mut image) {}
    image
}

#[test]
fn an_image_brings_every_session_back() {
    let mut machine = Sessions::new(Kept::default(), ONCE, true);
    let mut index = 0;
    let mut apply = |machine: &mut Sessions<Kept>, client, number, operation, payload: &[u8]| {
        index += 1;
        let mut reply = Vec::new();
        let command = Command {
            index: Index(index),
            time: index,
            operation,
            payload,
        };
        machine.apply_for(Asker { client, number }, command, &mut reply);
        reply
    };
    for client in 1..=40 {
        let origin = (client as u32 % 5).to_le_bytes();
        apply(&mut machine, client, 0, REGISTER, &origin);
    }
    let kept = apply(&mut machine, 7, number(7, 1), 250, &body(&[1, 2]));
    let whole = image(&mut machine, 1 << 20);
    assert_eq!(image(&mut machine, 7), whole, "the pieces do not matter");
    for cut in [1, 23, 24, 25, 41, 4096] {
        let mut restored = restored_from(&whole, cut, true);
        assert_eq!(restored.digest(), machine.digest());
        let again = apply(&mut restored, 7, number(7, 1), 250, &body(&[1, 2]));
        assert_eq!(again, kept, "cut into {cut}");
    }
    for end in [0, 10, 24, 70, whole.len() - 9] {
        let mut restored = Sessions::new(Kept::default(), ONCE, true);
        restored.begin_restore();
        restored
            .restore_piece(&whole[..end])
            .expect("the beginning of an image");
        assert_eq!(
            restored.end_restore(),
            Err(RestoreError::Incomplete),
            "{end}"
        );
    }
}

#[test]
fn an_image_brings_back_what_was_forgotten() {
    let mut machine = Sessions::new(Kept::default(), ONCE, false);
    let mut index = 0;
    let mut outcome = |machine: &mut Sessions<Kept>, origin: u32, session: u32| {
        index += 1;
        let payload = [&body(&[1])[..], &origin.to_le_bytes()].concat();
        let command = Command {
            index: Index(index),
            time: index,
            operation: 252,
            payload: &payload,
        };
        let (client, number) = (session.into(), number(session, 1));
        let mut reply = Vec::new();
        machine.apply_for(Asker { client, number }, command, &mut reply);
        verdict(&reply).expect("a verdict").2
    };
    for session in 1..=3 * SESSIONS_MAX as u32 {
        assert_eq!(outcome(&mut machine, session % 7, session), Outcome::Done);
    }
    let whole = image(&mut machine, 1 << 20);
    for cut in [1, 25, 31, 32, 80, 4096] {
        let mut restored = restored_from(&whole, cut, false);
        assert_eq!(restored.digest(), machine.digest());
        assert_eq!(outcome(&mut restored, 3, 3), Outcome::NoSession);
        assert_eq!(outcome(&mut restored, 8, 4), Outcome::Done, "not forgotten");
    }
    // Floors that do not rise, one that is below the floor for all, more than there may be.
    let damaged = [(24, 9), (28, 0), (21, 2)];
    for (at, byte) in damaged {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        if byte == 0 {
            bytes[29] = 0;
        }
        let mut restored = Sessions::new(Kept::default(), ONCE, false);
        restored.begin_restore();
        assert!(restored.restore_piece(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn an_image_without_origins_is_read() {
    let mut machine = Sessions::new(Kept::default(), ONCE, true);
    let command = Command {
        index: Index(1),
        time: 1,
        operation: REGISTER,
        payload: &[],
    };
    let (client, number) = (5, 0);
    machine.apply_for(Asker { client, number }, command, &mut Vec::new());
    let mut bytes = image(&mut machine, 1 << 20);
    bytes[4] = 1;
    let mut restored = Sessions::new(Kept::default(), ONCE, true);
    restored.begin_restore();
    restored.restore_piece(&bytes).expect("version 1");
    restored.end_restore().expect("all of it");
    // As the program that wrote version 1 computed it, and wrote it into its manifest.
    let then = 0x8875_c244_64ee_f2b4_d71f_15eb_a94d_4d6b;
    assert_eq!((restored.digest(), machine.digest()), (then, then));
}

/// 258 sessions of three origins in the group that gives numbers: two were forgotten.
#[test]
fn an_image_that_knew_one_floor_is_read() {
    let mut machine = Sessions::new(Kept::default(), ONCE, true);
    for at in 1..=258_u64 {
        let origin = (at % 3) as u32;
        let command = Command {
            index: Index(at),
            time: at,
            operation: REGISTER,
            payload: &origin.to_le_bytes(),
        };
        let (client, number) = (u128::from(at), 0);
        machine.apply_for(Asker { client, number }, command, &mut Vec::new());
    }
    let mut bytes = image(&mut machine, 1 << 20);
    bytes[4] = 2;
    // Image and digest as the last program that wrote version 2 made them of the same requests.
    let image_then = 0x497d_d5a9_df37_83c6_05c0_9c91_57c5_6cda;
    let digest_then = 0xaf82_6aeb_2b51_2c68_35c4_d6d8_10e8_da30;
    assert_eq!(xxhash_rust::xxh3::xxh3_128(&bytes), image_then);
    for cut in [1, 24, 25, 63, 64, bytes.len()] {
        let mut restored = Sessions::new(Kept::default(), ONCE, true);
        restored.begin_restore();
        for piece in bytes.chunks(cut) {
            restored.restore_piece(piece).expect("version 2");
        }
        restored.end_restore().expect("all of it");
        assert_eq!(restored.digest(), digest_then, "in pieces of {cut}");
        // Whoever was forgotten stays so, and where sessions came from is known: the next image says the same.
        assert_eq!(image(&mut restored, 1 << 20)[5..], bytes[5..]);
    }
    // One that claims a floor of an origin is none of that version.
    bytes[20] = 1;
    let mut refusing = Sessions::new(Kept::default(), ONCE, true);
    refusing.begin_restore();
    assert_eq!(
        refusing.restore_piece(&bytes).err(),
        Some(RestoreError::Malformed(0))
    );
}

/// The example of docs/formats-shard.md.
fn documented() -> Vec<u8> {
    let text = include_str!("../../../../docs/formats-shard.md");
    let (_, section) = text.split_once("## Sessions").expect("the section");
    let (_, block) = section.split_once("```hex").expect("its example");
    let (block, _) = block.split_once("```").expect("its end");
    let digits: String = block.split_whitespace().collect();
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("two digits"))
        .collect()
}

#[test]
fn a_damaged_image_is_refused() {
    let mut machine = Sessions::new(Kept::default(), ONCE, true);
    let command = Command {
        index: Index(1),
        time: 1,
        operation: REGISTER,
        payload: &[1, 0, 0, 127],
    };
    machine.apply_for(
        Asker {
            client: 5,
            number: 0,
        },
        command,
        &mut Vec::new(),
    );
    let whole = image(&mut machine, 1 << 20);
    assert_eq!(
        whole[..whole.len() - 8],
        documented(),
        "docs/formats-shard.md"
    );
    let refused = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        let mut restored = Sessions::new(Kept::default(), ONCE, true);
        restored.begin_restore();
        restored.restore_piece(&bytes).err()
    };
    assert_eq!(refused(0, 0), Some(RestoreError::Malformed(0)));
    assert_eq!(refused(4, 4), Some(RestoreError::Version(4)));
    assert_eq!(refused(20, 1), Some(RestoreError::Malformed(24)));
    assert_eq!(refused(22, 1), Some(RestoreError::Full));
    assert_eq!(refused(4, 0), Some(RestoreError::Version(0)));
    assert_eq!(
        refused(4, 1),
        Some(RestoreError::Malformed(24)),
        "version 1 knew no origins"
    );
    assert_eq!(refused(17, 2), Some(RestoreError::Full));
    assert_eq!(
        refused(24 + 34, 9),
        Some(RestoreError::Malformed(24)),
        "a reply too long"
    );
}
