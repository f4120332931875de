//! E4xxx: the network and the cluster.

use super::entries;

entries! {
    CANNOT_LISTEN { code: "E4001", title: "the node cannot listen on its address", exit: Failed,
        fix: ["choose a free range of ports: core k listens on the node's port + k",
              "ss -ltnp shows who listens on a port"],
        explanation: "The address is taken, is not an address of this machine, or its port is reserved for \
            privileged processes. A node listens on as many consecutive ports as it has cores, from the port \
            given at format upward, and needs all of them." }
    NOBODY_ANSWERS { code: "E4002", title: "no node answers", exit: Unhealthy,
        fix: ["check the addresses, and on their machines that the nodes run"],
        explanation: "None of the given addresses accepted a connection and finished the handshake in time. \
            Refused connections mean that nothing listens there; silence points to a firewall or to a \
            machine that is down. The message lists what each address answered." }
    WRONG_CLUSTER { code: "E4003", title: "the other end belongs to another cluster", exit: Failed,
        fix: ["check the address list and --cluster on both sides"],
        explanation: "In the handshake both ends name their cluster, and the two differ. The connection is closed \
            before a frame passes, so nodes of a test cluster that dial a production address by mistake do \
            no harm there." }
    WRONG_VERSION { code: "E4004", title: "the other end speaks another version", exit: Failed,
        fix: ["run the same release on both ends"],
        explanation: "The handshake offers a protocol version, and the two ends have none in common. Frames of an \
            unknown version are never interpreted; they are counted and the connection is closed." }
    DEGRADED { code: "E4005", title: "the cluster is degraded", exit: Unhealthy,
        fix: ["bring the missing nodes back; quorate status names them and the groups they affect"],
        explanation: "Some group has no leader, or fewer replicas answer than the cluster has, so fewer failures \
            are tolerated than planned. With a quorum alive every acknowledged transfer is safe and service \
            goes on; without one, the group's requests wait." }
    BUSY { code: "E4006", title: "the node is busy", exit: Failed,
        fix: ["try again after a pause that grows with each refusal, or offer less load"],
        explanation: "A queue with a fixed bound is full. The request was not taken, so repeating it is safe. \
            Every queue in Quorate is bounded and a full one answers at once; none makes its clients wait \
            without telling them." }
    LAYOUT_DIFFERS { code: "E4007", title: "the other end has another layout of the cluster", exit: Failed,
        fix: ["format the nodes of one cluster with the same --nodes, --cores, --groups and limits",
              "run the same release on all nodes:  quorate --version"],
        explanation: "In the handshake both ends give a digest of what replicas must agree about: members, cores, \
            groups, limits, and the version of the rules by which entries become state. The two differ, so the \
            nodes would lay groups out differently, refuse at different entries, or apply one otherwise. The connection is closed before a frame passes." }
    NO_HISTORY { code: "E4008", title: "the group's history cannot be read", exit: Failed,
        fix: ["quorate status  tells whether the nodes answer; then ask again, with more --timeout",
              "quorate cold verify --cold <address>  tells whether what is stored is whole"],
        explanation: "Old entries are read from the log, from sealed files of the node, or from the object store. \
            A node that finds its copy damaged, or whose store does not answer in time, says unavailable, and \
            another node is asked until the time is over. Entries that are kept nowhere, since they expired or no \
            history was kept, are no error: they are told as gaps." }
}
