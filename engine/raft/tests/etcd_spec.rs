//! What etcd-raft's TLA+ trace specification allows, restated for the tests: the trace that we write cannot rot unseen.
//!
//! - A line must be one of the events, with its fields, and a step that the specification has from the state before; the
//!   states that it names must be those that the steps led to.
//! - Messages wait at their sender until its `Ready`, which also makes its state durable; a restart goes back to there.
//! - After each line: one leader a term, logs that match, committed prefixes that agree, leaders that hold them, and a
//!   leader that has made durable what it committed.
//! - Steps that our traces do not have (heartbeats, changes of configuration) are refused.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A message of the specification.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    from: String,
    to: String,
    term: u64,
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Body {
    Vote {
        last: u64,
        last_term: u64,
    },
    Voted(bool),
    Append {
        snapshot: bool,
        prev: u64,
        prev_term: u64,
        entries: Vec<u64>,
        commit: u64,
    },
    Appended {
        /// The answer to a snapshot: no line can tell of its arrival.
        snapshot: bool,
        success: bool,
        matched: u64,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Durable {
    term: u64,
    vote: String,
    log: usize,
    commit: u64,
}

#[derive(Clone, Debug, Default)]
struct Server {
    role: String,
    durable: Durable,
    term: u64,
    vote: String,
    /// The terms of the entries, from index 1 on.
    log: Vec<u64>,
    commit: u64,
    responded: BTreeSet<String>,
    granted: BTreeSet<String>,
    matched: BTreeMap<String, u64>,
    pending: Vec<Sent>,
    /// The event before, for the events that follow from it.
    before: Value,
}

/// The state of the specification.
#[derive(Debug, Default)]
pub(crate) struct Spec {
    servers: BTreeMap<String, Server>,
    config: BTreeSet<String>,
    messages: Vec<Sent>,
    leaders: BTreeMap<u64, String>,
    /// How often each event was seen.
    pub(crate) seen: BTreeMap<String, usize>,
}

const FOLLOWER: &str = "StateFollower";
const CANDIDATE: &str = "StateCandidate";
const LEADER: &str = "StateLeader";

fn text(value: &Value, key: &str) -> Result<String, String> {
    let text = value[key].as_str().map(str::to_string);
    text.ok_or_else(|| format!("no text in {key}"))
}

fn number(value: &Value, key: &str) -> Result<u64, String> {
    value[key]
        .as_u64()
        .ok_or_else(|| format!("no number in {key}"))
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_string()) }
}

/// Judges a trace; says which line is wrong, and why.
pub(crate) fn judge(trace: &str) -> Result<Spec, String> {
    let mut lines = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let line: Value =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", at + 1))?;
        ensure(line["tag"] == "trace", "every line is tagged")?;
        lines.push(line["event"].clone());
    }
    let mut spec = Spec::default();
    for (at, event) in lines.iter().enumerate() {
        spec.take(event)
            .and_then(|()| spec.check())
            .map_err(|wrong| format!("line {}: {wrong}: {event}", at + 1))?;
    }
    Ok(spec)
}

impl Spec {
    fn take(&mut self, event: &Value) -> Result<(), String> {
        let (name, id) = (text(event, "name")?, text(event, "nid")?);
        *self.seen.entry(name.clone()).or_default() += 1;
        let conf: Vec<&str> = event["conf"][0]
            .as_array()
            .ok_or("no configuration")?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        ensure(
            event["conf"][1].as_array().is_some_and(Vec::is_empty),
            "a joint configuration",
        )?;
        if self.config.is_empty() {
            self.config = conf.iter().map(ToString::to_string).collect();
        }
        let same =
            conf.len() == self.config.len() && conf.iter().all(|id| self.config.contains(*id));
        ensure(same, "the configuration changed")?;
        if !self.servers.contains_key(&id) {
            ensure(name == "InitState", "a server begins with InitState")?;
            return self.begin(id, event);
        }
        let result = match name.as_str() {
            "InitState" => self.restart(&id, event),
            "BecomeCandidate" => self.time_out(&id, event),
            "BecomeFollower" => self.become_follower(&id, event),
            "BecomeLeader" => self.become_leader(&id, event),
            "Replicate" => self.replicate(&id),
            "Commit" => self.advance(&id, event),
            "Ready" => self.ready(&id),
            "SendAppendEntriesRequest" => self.send_append(&id, event),
            "SendAppendEntriesResponse" => self.acknowledge_self(&id, event),
            "SendRequestVoteRequest" => self.ask(&id, event),
            "SendRequestVoteResponse" => self.vote_for_self(&id, event),
            "ReceiveAppendEntriesRequest"
            | "ReceiveAppendEntriesResponse"
            | "ReceiveRequestVoteRequest"
            | "ReceiveRequestVoteResponse" => self.receive(&name["Receive".len()..], &id, event),
            other => Err(format!("{other} is no event of ours")),
        };
        self.server(&id).before = event.clone();
        result
    }

    fn server(&mut self, id: &str) -> &mut Server {
        self.servers.get_mut(id).expect("it has begun")
    }

    /// The state that a line names is the server's.
    fn agrees(&self, id: &str, event: &Value) -> Result<(), String> {
        let (server, state) = (&self.servers[id], &event["state"]);
        ensure(server.term == number(state, "term")?, "another term")?;
        ensure(server.role == text(event, "role")?, "another role")?;
        ensure(server.vote == text(state, "vote")?, "another vote")?;
        ensure(
            server.log.len() as u64 == number(event, "log")?,
            "another length of the log",
        )?;
        ensure(
            server.commit == number(state, "commit")?,
            "another commit index",
        )
    }

    fn begin(&mut self, id: String, event: &Value) -> Result<(), String> {
        let state = &event["state"];
        ensure(
            number(event, "log")? == 0,
            "our traces begin with empty logs",
        )?;
        let server = Server {
            role: text(event, "role")?,
            term: number(state, "term")?,
            vote: text(state, "vote")?,
            commit: number(state, "commit")?,
            durable: Durable {
                vote: "0".into(),
                ..Durable::default()
            },
            ..Server::default()
        };
        self.servers.insert(id, server);
        Ok(())
    }

    fn restart(&mut self, id: &str, event: &Value) -> Result<(), String> {
        let server = self.server(id);
        let durable = server.durable.clone();
        let mut log = std::mem::take(&mut server.log);
        log.truncate(durable.log);
        *server = Server {
            role: FOLLOWER.into(),
            term: durable.term,
            vote: durable.vote.clone(),
            commit: durable.commit,
            log,
            durable,
            ..Server::default()
        };
        self.agrees(id, event)
    }

    fn time_out(&mut self, id: &str, event: &Value) -> Result<(), String> {
        let server = self.server(id);
        ensure(server.role != LEADER, "a leader does not campaign")?;
        server.role = CANDIDATE.into();
        server.term += 1;
        server.vote = id.into();
        server.responded.clear();
        server.granted.clear();
        self.agrees(id, event)
    }

    /// By the message before, or by itself.
    fn become_follower(&mut self, id: &str, event: &Value) -> Result<(), String> {
        let before = self.server(id).before.clone();
        let term = number(&event["state"], "term")?;
        let received = before["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("Receive"));
        if received {
            let (asked, had) = (
                number(&before["msg"], "term")?,
                number(&before["state"], "term")?,
            );
            let returns = before["name"] == "ReceiveAppendEntriesRequest"
                && asked == had
                && before["role"] == CANDIDATE;
            if asked == term && (had < asked || returns) {
                return Ok(());
            }
        }
        let server = self.server(id);
        ensure(server.role != FOLLOWER, "a follower steps down")?;
        server.role = FOLLOWER.into();
        self.agrees(id, event)
    }

    fn is_quorum(&self, of: usize) -> bool {
        2 * of > self.config.len()
    }

    fn become_leader(&mut self, id: &str, event: &Value) -> Result<(), String> {
        let granted = self.servers[id].granted.len();
        ensure(self.servers[id].role == CANDIDATE, "only candidates win")?;
        ensure(self.is_quorum(granted), "too few votes")?;
        let server = self.server(id);
        server.role = LEADER.into();
        server.matched.clear();
        server.matched.insert(id.into(), server.log.len() as u64);
        self.agrees(id, event)
    }

    fn replicate(&mut self, id: &str) -> Result<(), String> {
        let server = self.server(id);
        ensure(server.role == LEADER, "only leaders replicate")?;
        server.log.push(server.term);
        Ok(())
    }

    fn advance(&mut self, id: &str, event: &Value) -> Result<(), String> {
        ensure(self.servers[id].role == LEADER, "only leaders commit")?;
        let server = &self.servers[id];
        let agreed = (1..=server.log.len() as u64).rev().find(|index| {
            let members = self.config.iter();
            let there = members.filter(|member| server.matched.get(*member) >= Some(index));
            self.is_quorum(there.count())
        });
        let server = self.server(id);
        if let Some(agreed) = agreed
            && server.log[agreed as usize - 1] == server.term
        {
            server.commit = server.commit.max(agreed);
        }
        self.agrees(id, event)
    }

    fn ready(&mut self, id: &str) -> Result<(), String> {
        let server = self.server(id);
        server.durable = Durable {
            term: server.term,
            vote: server.vote.clone(),
            log: server.log.len(),
            commit: server.commit,
        };
        let pending = std::mem::take(&mut server.pending);
        self.messages.extend(pending);
        Ok(())
    }

    fn send_append(&mut self, id: &str, event: &Value) -> Result<(), String> {
        let told = &event["msg"];
        let (from, to) = (text(told, "from")?, text(told, "to")?);
        let (index, count) = (number(told, "index")?, number(told, "entries")?);
        let snapshot = told["type"] == "MsgSnap";
        ensure(
            snapshot || told["type"] == "MsgApp",
            "another kind of message",
        )?;
        let server = &self.servers[id];
        ensure(
            from == id && to != id && self.config.contains(&to),
            "from whom, to whom",
        )?;
        ensure(server.role == LEADER, "only leaders append")?;
        let last = index + count;
        ensure(last <= server.log.len() as u64, "entries beyond the log")?;
        let matched = server.matched.get(&to).copied().unwrap_or(0);
        ensure(
            snapshot || index >= matched,
            "behind what is known to be there",
        )?;
        ensure(
            !snapshot || (1..=server.commit).contains(&last),
            "a snapshot of what is committed",
        )?;
        let prev_term = match index {
            0 => 0,
            _ => server.log[index as usize - 1],
        };
        let body = Body::Append {
            snapshot,
            prev: index,
            prev_term,
            entries: server.log[index as usize..last as usize].to_vec(),
            commit: server.commit.min(last),
        };
        self.send(id, to, body, event)
    }

    /// What was sent is what the line says.
    fn send(&mut self, id: &str, to: String, body: Body, event: &Value) -> Result<(), String> {
        let server = self.server(id);
        let sent = Sent {
            from: id.into(),
            to,
            term: server.term,
            body,
        };
        ensure(is_told(&sent, &event["msg"])?, "the message is another")?;
        server.pending.push(sent);
        self.agrees(id, event)
    }

    fn acknowledge_self(&mut self, id: &str, event: &Value) -> Result<(), String> {
        if event["msg"]["from"] != event["msg"]["to"] {
            return Ok(());
        }
        ensure(
            self.servers[id].role == LEADER,
            "only leaders acknowledge themselves",
        )?;
        let matched = self.servers[id].log.len() as u64;
        let body = Body::Appended {
            snapshot: false,
            success: true,
            matched,
        };
        self.send(id, id.into(), body, event)
    }

    fn ask(&mut self, id: &str, event: &Value) -> Result<(), String> {
        let to = text(&event["msg"], "to")?;
        let server = &self.servers[id];
        ensure(server.role == CANDIDATE, "only candidates ask")?;
        ensure(
            to != id && !server.responded.contains(&to),
            "who has not answered is asked",
        )?;
        let body = Body::Vote {
            last: server.log.len() as u64,
            last_term: server.log.last().copied().unwrap_or(0),
        };
        self.send(id, to, body, event)
    }

    fn vote_for_self(&mut self, id: &str, event: &Value) -> Result<(), String> {
        if event["msg"]["from"] != event["msg"]["to"] {
            return Ok(());
        }
        let server = &self.servers[id];
        let open = server.role == CANDIDATE && !server.responded.contains(id);
        ensure(open, "a candidate votes for itself once")?;
        self.send(id, id.into(), Body::Voted(true), event)
    }

    fn receive(&mut self, kind: &str, id: &str, event: &Value) -> Result<(), String> {
        let told = &event["msg"];
        ensure(text(told, "to")? == id, "it is for another")?;
        let kinds: &[&str] = match kind {
            "AppendEntriesRequest" => &["MsgApp", "MsgSnap"],
            "AppendEntriesResponse" => &["MsgAppResp"],
            "RequestVoteRequest" => &["MsgVote"],
            _ => &["MsgVoteResp"],
        };
        ensure(
            kinds.contains(&text(told, "type")?.as_str()),
            "another kind of message",
        )?;
        let mut found = None;
        for (at, sent) in self.messages.iter().enumerate() {
            if is_told(sent, told)? {
                found = Some(at);
                break;
            }
        }
        let sent = self.messages.swap_remove(found.ok_or("nobody sent this")?);
        self.agrees(id, event)?;
        let server = self.server(id);
        if sent.term > server.term {
            server.term = sent.term;
            server.role = FOLLOWER.into();
            server.vote = "0".into();
        }
        match &sent.body {
            Body::Vote { last, last_term } => self.on_vote(id, &sent, *last, *last_term),
            Body::Append { .. } => self.on_append(id, &sent),
            Body::Voted(granted) if sent.term == server.term => {
                server.responded.insert(sent.from.clone());
                if *granted {
                    server.granted.insert(sent.from);
                }
            }
            Body::Appended {
                success, matched, ..
            } if sent.term == server.term => {
                if *success {
                    let known = server.matched.entry(sent.from).or_default();
                    *known = (*known).max(*matched);
                }
            }
            Body::Voted(_) | Body::Appended { .. } => {}
        }
        Ok(())
    }

    fn reply(&mut self, id: &str, to: &str, body: Body) {
        let server = self.server(id);
        server.pending.push(Sent {
            from: id.into(),
            to: to.into(),
            term: server.term,
            body,
        });
    }

    fn on_vote(&mut self, id: &str, sent: &Sent, last: u64, last_term: u64) {
        let server = self.server(id);
        let own = (
            server.log.last().copied().unwrap_or(0),
            server.log.len() as u64,
        );
        let free = server.vote == "0" || server.vote == sent.from;
        let grant = sent.term == server.term && (last_term, last) >= own && free;
        if grant {
            server.vote = sent.from.clone();
        }
        self.reply(id, &sent.from, Body::Voted(grant));
    }

    fn on_append(&mut self, id: &str, sent: &Sent) {
        let Body::Append {
            snapshot,
            prev,
            prev_term,
            entries,
            commit,
        } = &sent.body
        else {
            return;
        };
        let server = self.server(id);
        let (mut success, mut matched) = (false, 0);
        let held =
            |server: &Server| *prev == 0 || server.log.get(*prev as usize - 1) == Some(prev_term);
        if sent.term == server.term {
            server.role = FOLLOWER.into();
            if held(server) {
                success = true;
                if *prev < server.commit {
                    matched = server.commit;
                } else {
                    matched = prev + entries.len() as u64;
                    let conflicts = entries.iter().zip(&server.log[*prev as usize..]);
                    if conflicts.clone().any(|(one, other)| one != other) {
                        let agree = conflicts.take_while(|(one, other)| one == other).count();
                        server.log.truncate(*prev as usize + agree);
                    }
                    let have = server.log.len() - *prev as usize;
                    server.log.extend(entries.iter().skip(have));
                    server.commit = server.commit.max((*commit).min(matched));
                }
            }
        }
        let body = Body::Appended {
            snapshot: *snapshot,
            success,
            matched,
        };
        self.reply(id, &sent.from, body);
    }

    /// The safety properties of the specification.
    fn check(&mut self) -> Result<(), String> {
        for (id, server) in &self.servers {
            if server.role == LEADER {
                let leader = self.leaders.entry(server.term).or_insert(id.clone());
                ensure(leader == id, "two leaders of one term")?;
                let durable = server.durable.log as u64;
                ensure(
                    server.commit <= durable,
                    "a leader committed what is not durable",
                )?;
            }
            for (other, peer) in self.servers.iter().filter(|(other, _)| *other > id) {
                let committed = server.commit.min(peer.commit) as usize;
                ensure(
                    server.log[..committed] == peer.log[..committed],
                    &format!("{id} and {other} committed different entries"),
                )?;
                let common = server.log.len().min(peer.log.len());
                let agree = (0..common)
                    .rev()
                    .find(|at| server.log[*at] == peer.log[*at]);
                let agree = agree.map_or(0, |at| at + 1);
                ensure(
                    server.log[..agree] == peer.log[..agree],
                    &format!("the logs of {id} and {other} do not match"),
                )?;
            }
            // Not those of earlier terms, which do not know yet that they are deposed.
            let leads = |leader: &&Server| leader.role == LEADER && leader.term >= server.term;
            for leader in self.servers.values().filter(leads) {
                let committed = &server.log[..server.commit as usize];
                ensure(
                    leader.log.starts_with(committed),
                    "a leader lacks what is committed",
                )?;
            }
        }
        Ok(())
    }
}

/// Is this the message that a line tells of? As `LoglineIs...` of the trace specification has it.
fn is_told(sent: &Sent, told: &Value) -> Result<bool, String> {
    let addressed = sent.from == text(told, "from")?
        && sent.to == text(told, "to")?
        && sent.term == number(told, "term")?;
    if !addressed {
        return Ok(false);
    }
    let (kind, index) = (text(told, "type")?, number(told, "index")?);
    let reject = told["reject"].as_bool().ok_or("no reject")?;
    Ok(match &sent.body {
        Body::Vote { last, last_term } => {
            kind == "MsgVote" && *last == index && *last_term == number(told, "logTerm")?
        }
        Body::Voted(granted) => kind == "MsgVoteResp" && *granted != reject,
        Body::Append {
            snapshot,
            prev,
            prev_term,
            entries,
            commit,
        } => {
            let named = if *snapshot { "MsgSnap" } else { "MsgApp" };
            kind == named
                && (*snapshot || *commit == number(told, "commit")?)
                && *prev == index
                && *prev_term == number(told, "logTerm")?
                && entries.len() as u64 == number(told, "entries")?
        }
        Body::Appended { snapshot: true, .. } => false,
        Body::Appended {
            success, matched, ..
        } => kind == "MsgAppResp" && *success != reject && (reject || *matched == index),
    })
}
