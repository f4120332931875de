//! Our own scenarios: text files named by behaviour, a command, `----`, and what it shows.
//!
//! - `QUORATE_REWRITE=1` writes what is shown back into the files; read the difference before you keep it.
//! - All invariants are checked after every step.
//!
//! ```text
//! cluster nodes=3 [learners=(..)] [witnesses=(..)] [sites=(1,1,2)] [election=n commit=n] [lease] [nocheckquorum]
//!         [noprevote] [inflight=n] [entries=n] [bytes=n] [append=n] [uncommitted=n] [uncommittedbytes=n]
//! elect | campaign N | pass TENTHS | settle [most=n] [skip=N] | deliver N.. [most=n] | drop [N..] | reverse
//! complete N.. [most=n] | sent
//! propose N [count] | read N | reads N | transfer FROM TO | change N vI lI wI rI [transition=..] | leave N
//! sizes N election=n commit=n | class N count=n sites=n regions=n witnesses=n | durable N class | add N
//! waits N index class [touched=index/class] | ask N.. | renew N | tell | age N
//! crash N | start N [damage=entries|votes] | forget N index | isolate N | sever N M | heal | compact N
//! state [N..] | peers N | members N | quiet
//! ```

use std::path::Path;

use raft::change::{Change, Transition};
use raft::config::{Config, Damage};
use raft::durability::{Class, Waits};
use raft::effects::{HardState, Role};
use raft::ids::{EntryId, Index, NodeId};
use raft::membership::{Kind, Membership, Place};
use raft::progress::Flow;
use raft::quorum::Quorum;
use raft::quorum_read::QuorumRead;
use raft::requests::MembershipChange;

use crate::cluster::{Cluster, TIMEOUT, config};
use crate::datadriven::{Directive, parse, texts};
use crate::peers_quorum::print;

struct Scenario {
    cluster: Cluster,
    founders: Option<Membership>,
    adjust: fn(&mut Config, &Directive),
    setup: Directive,
}

fn number(directive: &Directive, key: &str) -> Option<usize> {
    directive.get(key).and_then(|value| value.parse().ok())
}

/// `Ok` or the error, in words.
fn show<T, E: core::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(error) => format!("refused: {error}"),
    }
}

fn adjust(config: &mut Config, setup: &Directive) {
    let has = |flag: &str| setup.plain.iter().any(|word| word == flag);
    config.check_quorum = !has("nocheckquorum");
    config.pre_vote = !has("noprevote");
    config.lease_drift = has("lease").then_some(TIMEOUT / 10);
    if let Some(inflight) = number(setup, "inflight") {
        config.max_inflight_messages = inflight;
    }
    if let Some(uncommitted) = number(setup, "uncommitted") {
        config.max_uncommitted_entries = uncommitted as u64;
    }
    if let Some(bytes) = number(setup, "uncommittedbytes") {
        config.max_uncommitted_bytes = bytes as u64;
    }
    if let Some(entries) = number(setup, "entries") {
        config.max_inflight_entries = entries as u32;
    }
    if let Some(bytes) = number(setup, "bytes") {
        config.max_inflight_bytes = bytes as u64;
        config.max_append_bytes = 8;
    }
    if let Some(entries) = number(setup, "append") {
        config.max_append_entries = entries as u32;
    }
}

impl Scenario {
    fn run(&mut self, directive: &Directive) -> String {
        let ids: Vec<NodeId> = directive.numbers().into_iter().map(NodeId).collect();
        let cluster = &mut self.cluster;
        match directive.command.as_str() {
            "cluster" => self.found(directive),
            "elect" => {
                let leader = cluster.elect();
                return format!("node {leader} leads term {}", cluster.raft(leader.0).term());
            }
            "campaign" => cluster.mutate(ids[0], |raft, now, _| raft.campaign(now)),
            "pass" => cluster.pass(u64::from(directive.numbers()[0]) * TIMEOUT / 10),
            "settle" => return self.settle(directive),
            "deliver" => self.deliver(&ids, number(directive, "most")),
            "reverse" => cluster.network.make_contiguous().reverse(),
            "sent" => return format!("{} in all", cluster.sent),
            "waits" => return self.waits(directive),
            "ask" => return self.ask(&ids),
            "renew" => cluster.mutate(ids[0], |raft, now, _| raft.renew(now)),
            "tell" => self.tell(),
            "age" => return self.age(ids[0]),
            "drop" => {
                let all = ids.is_empty();
                cluster
                    .network
                    .retain(|packet| !all && !ids.contains(&packet.to));
            }
            "complete" => {
                let most = number(directive, "most").unwrap_or(usize::MAX);
                for id in ids {
                    (0..most)
                        .take_while(|_| cluster.complete(id))
                        .for_each(drop);
                }
            }
            "propose" => return self.propose(ids[0], directive),
            "read" => return show(cluster.mutate(ids[0], |raft, now, _| raft.read(now))),
            "reads" => return self.reads(ids[0]),
            "transfer" => {
                return show(cluster.mutate(ids[0], |raft, now, _| raft.transfer(ids[1], now)));
            }
            "change" => return self.change(ids[0], directive),
            "leave" => return show(cluster.mutate(ids[0], |raft, _, _| raft.leave_joint())),
            "sizes" => return self.sizes(ids[0], directive),
            "class" => return self.class(ids[0], directive),
            "durable" => {
                let class = directive.numbers()[1] as u8;
                return cluster.raft(ids[0].0).durable_index(class).to_string();
            }
            "successors" => {
                cluster.mutate(ids[0], |raft, _, _| raft.publish_successors(&ids[1..]));
            }
            "add" => self.add(ids[0]),
            "crash" => cluster.crash(ids[0]),
            "start" => self.start(ids[0], directive),
            "forget" => self.forget(ids[0], Index(u64::from(directive.numbers()[1]))),
            "isolate" => cluster.isolate(ids[0]),
            "sever" => cluster.sever(ids[0], ids[1]),
            "heal" => cluster.heal(),
            "compact" => cluster.compact(ids[0]),
            "state" => return self.state(&ids),
            "peers" => return self.peers(ids[0]),
            "members" => return self.members(ids[0]),
            "quiet" => return self.quiet(),
            other => panic!("unknown command {other}"),
        }
        "ok".into()
    }

    fn found(&mut self, directive: &Directive) {
        self.setup = directive.clone();
        let count = number(directive, "nodes").expect("nodes=n") as u32;
        let list = |key| -> Vec<u64> {
            directive
                .list(key)
                .unwrap_or_default()
                .into_iter()
                .flatten()
                .collect()
        };
        let (learners, witnesses) = (list("learners"), list("witnesses"));
        let (sites, regions) = (list("sites"), list("regions"));
        let place = |id: u32| {
            let of = |list: &[u64]| list.get(id as usize - 1).copied().unwrap_or_default() as u16;
            Place {
                site: of(&sites),
                region: of(&regions),
            }
        };
        let kind = |id: u32| match u64::from(id) {
            id if learners.contains(&id) => Kind::Learner,
            id if witnesses.contains(&id) => Kind::Witness,
            _ => Kind::Voter,
        };
        let members: Vec<_> = (1..=count)
            .map(|id| (NodeId(id), kind(id), place(id)))
            .collect();
        let voters = members.iter().filter(|(_, kind, _)| kind.votes()).count();
        let quorum = number(directive, "election").map(|election| {
            let commit = number(directive, "commit").expect("commit=n");
            Quorum::new(voters, election, commit, election).expect("sound sizes")
        });
        let membership = Membership::new(members, quorum).expect("members");
        for id in 1..=count {
            let mut config = config(id);
            (self.adjust)(&mut config, directive);
            self.cluster.add(config, &membership);
        }
        self.founders = Some(membership);
    }

    fn add(&mut self, id: NodeId) {
        let mut config = config(id.0);
        (self.adjust)(&mut config, &self.setup.clone());
        let founders = self.founders.clone().expect("a cluster");
        let (start, hard_state) = (EntryId::default(), HardState::default());
        self.cluster
            .add_restored(config, &founders, start, hard_state, vec![]);
    }

    /// Everything goes on until nothing is left to do; or so many deliveries; or without the disk of one node.
    fn settle(&mut self, directive: &Directive) -> String {
        let most = number(directive, "most").unwrap_or(usize::MAX);
        let skipped = number(directive, "skip").map(|id| NodeId(id as u32));
        let mut deliveries = 0;
        loop {
            while !self.cluster.network.is_empty() {
                if deliveries == most {
                    return format!("{deliveries} messages");
                }
                self.cluster.deliver(0);
                deliveries += 1;
                assert!(deliveries < 5_000, "the group does not come to rest");
            }
            let alive = self.cluster.alive();
            let mut idle = true;
            for id in alive.into_iter().filter(|id| Some(*id) != skipped) {
                while self.cluster.complete(id) {
                    idle = false;
                }
            }
            if idle {
                return format!("{deliveries} messages");
            }
        }
    }

    fn waits(&self, directive: &Directive) -> String {
        let numbers = directive.numbers();
        let mut waits = Waits::of(Index(u64::from(numbers[1])), numbers[2] as u8);
        if let Some((index, class)) = directive.get("touched").and_then(|of| of.split_once('/')) {
            let index = Index(index.parse().expect("an index"));
            waits.inherit(&Waits::of(index, class.parse().expect("a class")));
        }
        let leader = self.cluster.raft(numbers[0]);
        match waits.released(|class| leader.durable_index(class)) {
            true => "answered".into(),
            false => "waits".into(),
        }
    }

    /// A quorum read asks these, in this order, until it has enough.
    fn ask(&self, ids: &[NodeId]) -> String {
        let mut read = QuorumRead::new();
        for (asked, id) in ids.iter().enumerate() {
            let answer = self.cluster.raft(id.0).read_answer();
            if let Some(index) = answer.and_then(|answer| read.answer(&answer)) {
                return format!("at {index}, after {} answers", asked + 1);
            }
        }
        "not enough answers".into()
    }

    /// Signs of life go round, and what leaders state arrives.
    fn tell(&mut self) {
        self.cluster.statements.clear();
        self.cluster.hear();
        while !self.cluster.statements.is_empty() {
            self.cluster.tell(0);
        }
    }

    fn age(&self, id: NodeId) -> String {
        let now = self.cluster.local(id);
        match self.cluster.raft(id.0).reflects(now) {
            Some(at) => format!(
                "{} thousandths of a timeout",
                now.since(at) * 1000 / TIMEOUT
            ),
            None => "not known".into(),
        }
    }

    fn deliver(&mut self, ids: &[NodeId], most: Option<usize>) {
        let packets: Vec<_> = self.cluster.network.drain(..).collect();
        let mut left = most.unwrap_or(usize::MAX);
        for packet in packets {
            if ids.contains(&packet.to) && left > 0 {
                left -= 1;
                self.cluster.arrive(packet);
            } else {
                self.cluster.network.push_back(packet);
            }
        }
    }

    fn propose(&mut self, id: NodeId, directive: &Directive) -> String {
        let count = directive.numbers().get(1).copied().unwrap_or(1);
        for _ in 0..count {
            if let Err(error) = self.cluster.try_propose(id) {
                return format!("refused: {error}");
            }
        }
        "ok".into()
    }

    fn reads(&mut self, id: NodeId) -> String {
        let node = self.cluster.nodes.get_mut(&id).expect("known");
        let reads = std::mem::take(&mut node.reads);
        if reads.is_empty() {
            return "none answered".into();
        }
        let texts = reads.values().map(|answer| match answer {
            Ok(index) => format!("at {index}"),
            Err(_) => "aborted".into(),
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    fn change(&mut self, id: NodeId, directive: &Directive) -> String {
        let changes = directive.plain[1..].iter().map(|word| {
            let node = NodeId(word[1..].parse().expect("a number"));
            match &word[..1] {
                "v" => Change::voter(node),
                "l" => Change::learner(node),
                "w" => Change::Add {
                    node,
                    kind: Kind::Witness,
                    place: Place::default(),
                },
                "r" => Change::Remove { node },
                other => panic!("unknown change {other}"),
            }
        });
        let transition = match directive.get("transition") {
            Some("simple") => Transition::Simple,
            Some("explicit") => Transition::JointExplicit,
            Some("implicit") => Transition::JointImplicit,
            _ => Transition::Auto,
        };
        let change = MembershipChange {
            changes: changes.collect(),
            quorum: None,
            transition,
        };
        show(
            self.cluster
                .mutate(id, |raft, _, _| raft.change_membership(&change)),
        )
    }

    fn sizes(&mut self, id: NodeId, directive: &Directive) -> String {
        let voters = self.cluster.raft(id.0).membership().quorum().voters();
        let size = |key| number(directive, key).expect("a size");
        match Quorum::new(voters, size("election"), size("commit"), size("election")) {
            Ok(quorum) => show(
                self.cluster
                    .mutate(id, |raft, _, _| raft.change_quorum(quorum)),
            ),
            Err(error) => format!("impossible: {error}"),
        }
    }

    fn class(&mut self, id: NodeId, directive: &Directive) -> String {
        let part = |key| number(directive, key).unwrap_or(0) as u8;
        let class = Class {
            count: part("count"),
            sites: part("sites"),
            regions: part("regions"),
            witnesses: part("witnesses"),
        };
        show(
            self.cluster
                .mutate(id, |raft, _, _| raft.change_classes(&[class])),
        )
    }

    fn start(&mut self, id: NodeId, directive: &Directive) {
        let damage = match directive.get("damage") {
            Some("entries") => Damage::Entries,
            Some("votes") => Damage::Votes,
            _ => Damage::None,
        };
        self.cluster.start(id, damage).expect("a sound disk");
    }

    /// The disk loses the entries from `index` on.
    fn forget(&mut self, id: NodeId, index: Index) {
        let contents = &mut self
            .cluster
            .nodes
            .get_mut(&id)
            .expect("known")
            .disk
            .contents;
        let keep = index.0.saturating_sub(contents.snapshot.index.0 + 1);
        contents.entries.truncate(keep as usize);
    }

    fn state(&self, ids: &[NodeId]) -> String {
        let mut text = String::new();
        for (id, node) in &self.cluster.nodes {
            if !ids.is_empty() && !ids.contains(id) {
                continue;
            }
            let Some(raft) = &node.raft else {
                text += &format!("{id}: down\n");
                continue;
            };
            let role = match raft.role() {
                Role::Follower => "follower",
                Role::PreCandidate => "pre-candidate",
                Role::Candidate => "candidate",
                Role::Leader => "leader",
            };
            let leader = raft
                .leader()
                .map_or("nobody".into(), |leader| leader.to_string());
            let damage = match raft.damage() {
                Damage::None => "",
                Damage::Entries => " lost entries",
                Damage::Votes => " lost votes",
            };
            text += &format!(
                "{id}: {role} of {leader} term {} log {}..{} durable {} commit {} applied {}{damage}\n",
                raft.term(),
                raft.first_index(),
                raft.last_index(),
                raft.durable(),
                raft.commit(),
                node.applied.len(),
            );
        }
        text.trim_end().to_string()
    }

    fn peers(&self, id: NodeId) -> String {
        let peers = self.cluster.raft(id.0).peers().map(|peer| {
            let flow = match peer.flow {
                Flow::Probe => "probe".into(),
                Flow::Replicate => "replicate".into(),
                Flow::Snapshot(index) => format!("snapshot {index}"),
            };
            let damaged = if peer.damaged { " damaged" } else { "" };
            let (node, matched, inflight) = (peer.node, peer.matched, peer.inflight);
            format!("{node}: {flow} matched {matched} inflight {inflight}{damaged}")
        });
        peers.collect::<Vec<_>>().join("\n")
    }

    fn members(&self, id: NodeId) -> String {
        let membership = self.cluster.raft(id.0).membership();
        let sizes = |quorum: Quorum| format!("{}/{}", quorum.election(), quorum.commit());
        let outgoing = membership
            .outgoing_quorum()
            .map_or(String::new(), |q| format!("&&{}", sizes(q)));
        format!(
            "{} sizes={}{outgoing}",
            print(membership),
            sizes(membership.quorum())
        )
    }

    /// No timers, no messages.
    fn quiet(&self) -> String {
        let awake: Vec<String> = self
            .cluster
            .nodes
            .iter()
            .filter(|(_, node)| node.raft.is_some() && node.wake.is_some())
            .map(|(id, _)| id.to_string())
            .collect();
        let waiting = self.cluster.network.len();
        if awake.is_empty() && waiting == 0 {
            return "yes".into();
        }
        format!("no: {waiting} messages, awake: {}", awake.join(" "))
    }
}

/// Runs one file; returns its text with what was shown.
fn run(text: &str) -> String {
    let mut scenario = Scenario {
        cluster: Cluster::empty(),
        founders: None,
        adjust,
        setup: Directive::default(),
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut result = String::new();
    let mut from = 0;
    for directive in parse(text) {
        // Comments and the command as they stand.
        for line in &lines[from..directive.line] {
            result += line;
            result.push('\n');
        }
        let shown = scenario.run(&directive);
        result += "----\n";
        result += &shown;
        result.push('\n');
        from = directive.line + 1 + directive.expected.len();
    }
    result
}

#[test]
fn all_scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files = texts(&folder);
    assert!(files.len() >= 75, "scenarios are missing");
    let rewrite = std::env::var_os("QUORATE_REWRITE").is_some();
    let mut differing = Vec::new();
    for (name, text) in files {
        println!("scenario {name}");
        let shown = run(&text);
        if shown.trim_end() != text.trim_end() {
            if rewrite {
                let text = format!("{}\n", shown.trim_end());
                std::fs::write(folder.join(format!("{name}.txt")), text).expect("writable");
            } else {
                println!("shown:\n{shown}");
                differing.push(name);
            }
        }
    }
    assert!(
        differing.is_empty(),
        "scenarios show something else: {differing:?}"
    );
}

/// Names in backticks of the table of a page, row by row: those of the second column.
fn rows(page: &str) -> Vec<(String, Vec<String>)> {
    let from = page.find("## Rules and scenarios").expect("the table");
    let table = page[from..]
        .lines()
        .skip_while(|line| !line.starts_with('|'));
    let rows = table.take_while(|line| line.starts_with('|')).skip(2);
    let cells = rows.map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let rule = cells.next().unwrap_or_default().to_string();
        let names = cells
            .next()
            .unwrap_or_default()
            .split('`')
            .skip(1)
            .step_by(2);
        (rule, names.map(str::to_string).collect())
    });
    cells.collect()
}

/// docs/consensus.md: every scenario stands in the table, every rule has one that is there.
#[test]
fn every_rule_has_a_scenario_and_every_scenario_a_rule() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(crate_folder.join("../../docs/consensus.md"));
    let rows = rows(&page.expect("the page"));
    let files = texts(&crate_folder.join("tests/scenarios"));
    let files: Vec<String> = files.into_iter().map(|(name, _)| name).collect();
    assert!(rows.len() > 50, "{} rows", rows.len());
    let mut named = Vec::new();
    for (rule, names) in rows.iter().filter(|(rule, _)| !rule.starts_with("**")) {
        assert!(!names.is_empty(), "no scenario for: {rule}");
        for name in names {
            assert!(files.contains(name), "{rule}: there is no {name}");
        }
        named.extend(names);
    }
    let missing: Vec<&String> = files.iter().filter(|file| !named.contains(file)).collect();
    assert!(missing.is_empty(), "not in docs/consensus.md: {missing:?}");
}
