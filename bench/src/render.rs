//! The report as text for a terminal: headline, rate, percentiles by stage, and the fine print.

use crate::report::{Prepared, Report, StageSummary, Summary};
use crate::stages::{CHAIN, SERVER_E2E};
use crate::text::{bytes, duration, grouped, short};
use std::fmt::{self, Display, Write};

impl Report {
    /// The whole report as text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write_text(&mut text).expect("writing to a string");
        text
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "{}", self.headline)?;
        for warning in &self.warnings {
            writeln!(out, "  ! {}", warning.sentence())?;
        }
        self.write_claim(out)?;
        self.write_latency(out)?;
        self.write_cpu(out)?;
        self.write_durability(out)?;
        self.write_correctness(out)?;
        self.write_honesty(out)?;
        self.write_env(out)
    }

    fn write_claim(&self, out: &mut String) -> fmt::Result {
        let claim = &self.claim;
        heading(out, "Throughput")?;
        let rate = grouped(claim.tx_per_s as u64);
        row(
            out,
            "transfers/s",
            format!("{rate} (a transfer is one debit and one credit)"),
        )?;
        let batches = format!(
            "{:.1} of {} transfers each",
            claim.batches_per_s,
            grouped(claim.batch.into())
        );
        row(out, "requests/s", batches)?;
        if let Some(offered) = claim.offered_tx_per_s {
            row(out, "offered/s", grouped(offered as u64))?;
        }
        let counts = format!(
            "{} accepted, {} refused",
            grouped(claim.accepted),
            grouped(claim.rejected)
        );
        row(out, "transfers", counts)?;
        for (code, count) in &claim.rejected_by_code {
            row(out, "  refused", format!("{} {code}", grouped(*count)))?;
        }
        if self.repeats.n > 1 {
            let repeats = &self.repeats;
            let (median, worst) = (short(repeats.median), short(repeats.worst));
            row(
                out,
                "repeats",
                format!("{} runs: median {median}, worst {worst}", repeats.n),
            )?;
        }
        Ok(())
    }

    fn write_latency(&self, out: &mut String) -> fmt::Result {
        let latency = &self.latency;
        heading(out, "Latency per request, by stage")?;
        if let Some(why) = &latency.why_not {
            writeln!(out, "  client.e2e: {why}")?;
        }
        writeln!(
            out,
            "  {:<18}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}",
            "stage", "p50", "p90", "p99", "p99.9", "max", "share"
        )?;
        percentiles(out, "client.e2e", &latency.client_e2e, None)?;
        percentiles(out, "client.outside", &latency.outside, None)?;
        if let Some(server) = &latency.server_e2e {
            percentiles(out, SERVER_E2E, server, Some(100.0))?;
        }
        for name in CHAIN {
            if let Some(stage) = latency.stages.get(name) {
                percentiles(out, &format!("  {name}"), &stage.summary, stage.share_pct)?;
            }
        }
        match self.closure.unaccounted_pct {
            Some(pct) => writeln!(out, "  {:<68}{pct:>7.2}%", "  unaccounted")?,
            None => writeln!(out, "  the servers gave no stages to add up")?,
        }
        let others = |(name, _): &(&String, &StageSummary)| {
            !CHAIN.contains(&name.as_str()) && name.as_str() != SERVER_E2E
        };
        for (name, stage) in latency.stages.iter().filter(others) {
            percentiles(out, name, &stage.summary, None)?;
        }
        Ok(())
    }

    fn write_cpu(&self, out: &mut String) -> fmt::Result {
        heading(out, "Processor time")?;
        for process in &self.cpu.processes {
            let name = match process.node {
                Some(node) => format!("{} (node {node})", process.role),
                None => process.role.to_owned(),
            };
            let each = known(
                process
                    .ns_per_transfer
                    .map(|ns| format!("{ns:.0} ns per transfer")),
            );
            let busy = known(
                process
                    .busy_pct
                    .map(|pct| format!("{pct:.0} % of a processor")),
            );
            let memory = known(process.resident_bytes.map(bytes));
            row(out, &name, format!("{each}, {busy}, {memory} resident"))?;
        }
        row(
            out,
            "all together",
            known(
                self.cpu
                    .total_ns_per_transfer
                    .map(|ns| format!("{ns:.0} ns per transfer")),
            ),
        )
    }

    fn write_durability(&self, out: &mut String) -> fmt::Result {
        let durability = &self.durability;
        heading(out, "Durability")?;
        row(out, "mode", &durability.mode)?;
        let issued = known(durability.fsyncs_issued.map(grouped));
        let completed = known(durability.fsyncs.map(grouped));
        let rate = known(durability.fsync_per_s.map(|rate| format!("{rate:.0}/s")));
        row(
            out,
            "durable writes",
            format!("{issued} begun, {completed} completed ({rate}, all replicas)"),
        )?;
        row(out, "bytes written", known(durability.bytes.map(bytes)))?;
        row(
            out,
            "transfers each",
            known(
                durability
                    .entries_per_fsync
                    .map(|count| format!("{count:.1}")),
            ),
        )?;
        let flushes = known(durability.device_flushes_seen.map(grouped));
        let cache = match durability.volatile_cache {
            Some(true) => "its cache is volatile",
            Some(false) => "its cache is not volatile",
            None => "its cache is unknown",
        };
        row(out, "device flushes", format!("{flushes} ({cache})"))
    }

    fn write_correctness(&self, out: &mut String) -> fmt::Result {
        let found = &self.correctness;
        heading(out, "Proof")?;
        row(
            out,
            "verdict",
            if self.passed { "PASSED" } else { "FAILED" },
        )?;
        let checked = format!(
            "{} on each of {} replicas",
            grouped(found.verified),
            found.replicas_checked
        );
        row(
            out,
            "acknowledged",
            format!("{checked}, looked up one by one"),
        )?;
        row(out, "lost", grouped(found.lost_acks))?;
        row(out, "twice", grouped(found.duplicates))?;
        row(out, "altered", grouped(found.altered))?;
        row(out, "money conserved", yes(found.conservation))?;
        row(
            out,
            "state digests",
            if found.replica_digests_equal {
                "equal"
            } else {
                "DIFFERENT"
            },
        )?;
        let doubt = format!(
            "{}, of which {} took place",
            grouped(found.in_doubt),
            grouped(found.in_doubt_applied)
        );
        row(out, "never answered", doubt)?;
        for finding in &found.findings {
            let json = serde_json::to_string(finding).expect("numbers and strings");
            row(out, "  found", json)?;
        }
        Ok(())
    }

    fn write_honesty(&self, out: &mut String) -> fmt::Result {
        let (replication, generator) = (&self.replication, &self.generator);
        heading(out, "What was measured")?;
        let replicas = format!(
            "{} {} on {} {}, {} server {}, quorum {}, {} {}, {} {} each",
            replication.replicas,
            plural(replication.replicas, "replica"),
            replication.hosts,
            plural(replication.hosts, "host"),
            replication.processes,
            plural(replication.processes, "process"),
            replication.quorum,
            replication.groups,
            plural(replication.groups, "group"),
            replication.cores,
            plural(replication.cores, "core"),
        );
        row(out, "replicas", replicas)?;
        let arrival = if generator.open_loop {
            let late = known(generator.late_pct.map(|pct| format!("{pct:.2} % late")));
            let held = known(
                generator
                    .held_pct
                    .map(|pct| format!("{pct:.2} % held back")),
            );
            let dropped = known(
                generator
                    .dropped
                    .map(|count| format!("{} dropped", grouped(count))),
            );
            format!(
                "open loop, {}: {late}, {held}, {dropped}",
                generator.arrival
            )
        } else {
            "closed loop: the load waits for the replies".to_owned()
        };
        row(out, "load", arrival)?;
        let clients = format!(
            "{} sessions, {} in flight each, {} {}, {} {}",
            generator.clients,
            generator.window,
            generator.connections,
            plural(generator.connections, "connection"),
            generator.threads,
            plural(generator.threads, "thread")
        );
        row(out, "clients", clients)?;
        let again = format!(
            "{} busy, {} not leader, {} reconnections",
            generator.busy, generator.not_leader, generator.reconnects
        );
        row(out, "sent again", again)?;
        let window = format!(
            "{:.2} s after {:.2} s of warm-up, which is not counted",
            self.run.duration_s, self.run.warmup_s
        );
        row(out, "window", window)?;
        if let Some(prepared) = &self.prepared {
            self.write_prepared(out, prepared)?;
        }
        self.write_host(out)
    }

    /// What was made ready before the load, and what the rate is without.
    fn write_prepared(&self, out: &mut String, prepared: &Prepared) -> fmt::Result {
        let ready = format!(
            "memory of {} transfers a group touched, {} of log a core laid out, before the load",
            grouped(prepared.reserve_transfers),
            bytes(prepared.preallocate_bytes)
        );
        row(out, "made ready", ready)?;
        let without = match prepared.tx_per_s_without {
            Some(rate) => format!("{} transfers/s, one run", grouped(rate as u64)),
            None if prepared.reserve_transfers == 0 && prepared.preallocate_bytes == 0 => {
                return Ok(());
            }
            None => "not measured; --unprepared-too measures it".to_owned(),
        };
        row(out, "without that", without)
    }

    fn write_host(&self, out: &mut String) -> fmt::Result {
        let load = |load: Option<f64>| known(load.map(|load| format!("{load:.2}")));
        row(
            out,
            "load average",
            format!(
                "{} before, {} after",
                load(self.env.loadavg_start),
                load(self.env.loadavg_end)
            ),
        )?;
        row(
            out,
            "steal",
            known(self.cpu.steal_pct.map(|pct| format!("{pct:.2} %"))),
        )?;
        let hiccup = &self.hiccup;
        let [p99, p999, max] = [hiccup.p99_ns, hiccup.p999_ns, hiccup.max_ns].map(duration);
        row(
            out,
            "host hiccups",
            format!("p99 {p99}, p99.9 {p999}, max {max}"),
        )
    }

    fn write_env(&self, out: &mut String) -> fmt::Result {
        let (env, run) = (&self.env, &self.run);
        heading(out, "Machine and run")?;
        let cpu = env.cpu.as_deref().unwrap_or("unknown");
        let kind = match env.virt {
            Some(true) => ", virtual",
            Some(false) => ", bare",
            None => "",
        };
        row(
            out,
            "processor",
            format!(
                "{cpu}, {} {}{kind}",
                env.cores,
                plural(env.cores as u32, "processor")
            ),
        )?;
        row(out, "memory", known(env.memory_bytes.map(bytes)))?;
        row(out, "kernel", known(env.kernel.as_ref()))?;
        row(
            out,
            "disk",
            format!("{}, {}", known(env.disk.as_ref()), known(env.fs.as_ref())),
        )?;
        row(out, "servers' io", env.io)?;
        row(
            out,
            "program",
            format!(
                "{} {} ({})",
                run.version,
                known(run.commit.as_ref()),
                run.profile
            ),
        )?;
        row(out, "run", format!("{}, seed {}", run.id, run.seed))?;
        if !run.argv.is_empty() {
            row(out, "command", run.argv.join(" "))?;
        }
        for file in &self.files {
            row(out, "file", file)?;
        }
        Ok(())
    }
}

fn heading(out: &mut String, title: &str) -> fmt::Result {
    writeln!(out, "\n{title}")
}

fn row(out: &mut String, name: &str, value: impl Display) -> fmt::Result {
    writeln!(out, "  {name:<18}{value}")
}

fn percentiles(out: &mut String, name: &str, summary: &Summary, share: Option<f64>) -> fmt::Result {
    let Summary {
        p50_ns,
        p90_ns,
        p99_ns,
        p999_ns,
        max_ns,
        ..
    } = *summary;
    write!(out, "  {name:<18}")?;
    for value in [p50_ns, p90_ns, p99_ns, p999_ns, max_ns] {
        write!(out, "{:>10}", duration(value))?;
    }
    match share {
        Some(share) => writeln!(out, "{share:>7.1}%"),
        None => writeln!(out),
    }
}

fn known(value: Option<impl Display>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

fn plural(count: u32, word: &str) -> String {
    match (count, word) {
        (1, word) => word.to_owned(),
        (_, "process") => "processes".to_owned(),
        (_, word) => format!("{word}s"),
    }
}

fn yes(holds: bool) -> &'static str {
    if holds { "yes" } else { "NO" }
}
