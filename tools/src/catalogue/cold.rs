//! E6xxx: the object store of cold segments.

use super::entries;

entries! {
    COLD_ADDRESS { code: "E6001", title: "the object store's address cannot be used", exit: Usage,
        fix: ["a folder:  --cold file:///var/lib/quorate/cold",
              "a bucket:  --cold 's3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1'"],
        explanation: "Cold segments live in a local folder or in a bucket of S3 or of what speaks like it. The \
            address names the place only: credentials come from the environment (AWS_ACCESS_KEY_ID, \
            AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN) or from the machine's role, so that they do not end up in \
            shell histories and process lists." }
    COLD_UNREACHABLE { code: "E6002", title: "the object store does not answer as it should", exit: Failed,
        fix: ["check the address, the credentials in the environment, and that the bucket exists",
              "a bucket that replaces what it should create only once is refused: use one that keeps no versions",
              "try again later; nothing is lost by waiting"],
        explanation: "The store could not be reached, was busy for longer than is waited for, or refused. Segments \
            that are not stored yet stay on the local disk and are offered again, with growing waits. Nothing \
            is dropped locally before the store gave it back whole." }
    COLD_DAMAGED { code: "E6003", title: "what lies in the object store is damaged", exit: Unhealthy,
        fix: ["quorate cold verify --cold <address>  names every damaged object",
              "bring the named objects back from another copy of the bucket; a replica that still has the segment \
               stores it again once the damaged object is gone"],
        explanation: "An object fails its checksum, does not open with its key, or holds another file than its name \
            says. Objects are never overwritten, so this is rot, a truncated copy, or a change by hand. The \
            damaged object is never handed over as if it were sound." }
    COLD_KEY { code: "E6004", title: "a key of the object store is missing or wrong", exit: Failed,
        fix: ["give the file that holds the key:  --cold-keys <file>",
              "a file of keys has lines of a name and 64 hexadecimal digits; the last one is used for what is new"],
        explanation: "Each object is encrypted under a key of its own, which lies beside it wrapped by a key of the \
            keeper. Without the keeper's key the object cannot be read by anybody. If the key was destroyed on \
            purpose, to erase data, then this is how it is meant to be." }
    COLD_UNKNOWN_SEGMENT { code: "E6005", title: "no such segment in the object store", exit: Failed,
        fix: ["quorate cold ls --cold <address>  lists what is there"],
        explanation: "The manifest of the group names no segment that holds this index. It was never stored, is \
            still on the local disks, was merged into another one, or has been expired by its retention." }
}
