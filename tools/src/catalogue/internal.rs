//! E5xxx: Quorate itself.

use super::entries;

entries! {
    RUN_FAILED { code: "E5001", title: "the run could not be made", exit: Failed,
        fix: ["read the cause; run it again, and with quorate doctor if it stays"],
        explanation: "The benchmark was stopped, or something that it needs did not happen in time: no leader, no \
            answer, no free ports. Nothing was measured, so no number is printed." }
    INVARIANT_BROKEN { code: "E5002", title: "Quorate found itself in an impossible state", exit: Failed,
        fix: ["please report it, with the lines above and the version (quorate --version)"],
        explanation: "An assertion about Quorate's own state does not hold, so the process stops before it can \
            act on a wrong assumption. What was acknowledged is in the logs of a quorum. This is a mistake in \
            Quorate and never in its use." }
    CHILD_DIED { code: "E5003", title: "a node of the benchmark ended by itself", exit: Failed,
        fix: ["read its last lines, printed above; quorate doctor often names the cause"],
        explanation: "The benchmark runs its replicas as processes of their own and watches them. One of them \
            ended before it was told to, so the run proves nothing and no number is printed." }
    PROOF_FAILED { code: "E5004", title: "the benchmark's proof does not hold", exit: Failed,
        fix: ["please report it, with the report and the seed; the same seed offers the same load again"],
        explanation: "After the load the benchmark checks that every acknowledged transfer is present on every \
            replica exactly once, that money was neither made nor lost, and that all replicas have the same \
            digest. One of these does not hold. A fast run with a wrong result is a failed run, whatever its \
            throughput." }
    RUN_INTERRUPTED { code: "E5005", title: "the benchmark was stopped", exit: Failed,
        fix: ["nothing; run it again when you like"],
        explanation: "SIGINT or SIGTERM arrived. The benchmark ends the replicas that it started and removes their \
            folder before it ends itself; a second signal ends it at once and leaves both. No number is printed." }
}
