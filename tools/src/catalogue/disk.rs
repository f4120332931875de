//! E3xxx: the data folder and its disk.

use super::entries;

entries! {
    FOLDER_UNUSABLE { code: "E3001", title: "the data folder cannot be used", exit: Environment,
        fix: ["create the folder and give it to the user that runs the node:  install -d -o <user> <folder>"],
        explanation: "The folder does not exist, is a file, or may not be read or written by this user. Only \
            format makes a folder. start never does, because a disk that is not mounted would then look like \
            an empty node." }
    NOT_FORMATTED { code: "E3002", title: "the data folder is not formatted", exit: Environment,
        fix: ["quorate format --data-dir <folder> prepares a new node",
              "if it held data before, stop: the disk may not be mounted"],
        explanation: "The folder holds no identity file. A node that starts without its log would have forgotten \
            its votes and what it promised to keep, so start never formats by itself." }
    FOLDER_NOT_EMPTY { code: "E3003", title: "the folder to format is not empty", exit: Failed,
        fix: ["quorate start --data-dir <folder> runs the node that lives there",
              "to make a new node choose another folder; nothing here deletes data"],
        explanation: "The folder holds something, perhaps a node's identity and its log, so format refuses to \
            touch it. After a format that was interrupted, empty the folder and repeat. A node that lost its disk comes back under a new number, never under its old one with an empty log." }
    FOLDER_IN_USE { code: "E3004", title: "another process uses the data folder", exit: Failed,
        fix: ["stop the other process (the message names it), or give this node a folder of its own"],
        explanation: "A running node holds a lock on its folder, because two processes that append to one log \
            would destroy it. The lock belongs to the process and is gone when the process is gone, also \
            after kill -9: there is no stale lock file to delete." }
    FOLDER_TOO_NEW { code: "E3005", title: "the data folder was written by a newer version", exit: Failed,
        fix: ["start the version that wrote it, or a later one"],
        explanation: "The format version in the folder's identity, in a segment or in a group's state is not one that \
            this binary knows. It does not guess at the meaning of bytes, and nothing was changed." }
    FOLDER_OF_ANOTHER { code: "E3006", title: "the data folder belongs to another cluster or node", exit: Failed,
        fix: ["check --data-dir, --cluster, and which disk is mounted there:  quorate inspect --data-dir <folder>"],
        explanation: "The identity in the folder names another cluster or another node than was asked \
            for, or the log inside belongs to another one. Serving one node's log under another node's name would break \
            the agreement of the whole group." }
    NO_DIRECT_IO { code: "E3007", title: "the file system cannot write past the page cache", exit: Environment,
        fix: ["put the data folder on ext4 or XFS on a local disk"],
        explanation: "Opening a file with O_DIRECT, or an aligned write to it, was refused. The log writes past \
            the page cache so that it knows what is on the disk: after a failed sync the page cache may \
            forget dirty pages and report success the next time." }
    DISK_FULL { code: "E3008", title: "the disk is full", exit: Failed,
        fix: ["free space on the file system of the data folder, then start the node again"],
        explanation: "The log could not get another segment. Segments are allocated and written in full before \
            they are used, so a full disk is met at that point and not in the middle of a promise: what was \
            acknowledged is durable, and requests that were not are answered with busy." }
    LOG_DAMAGED { code: "E3009", title: "the log cannot be read as this node's log", exit: Unhealthy,
        fix: ["keep the folder as it is, and bring the node back as a new one from its peers",
              "quorate inspect --data-dir <folder> shows the extent of the damage"],
        explanation: "What the log holds passes its checksums and is not what this node wrote, or nothing of it \
            can be read at all. Damaged records alone keep no node from starting: the groups that lost \
            something come up damaged, neither vote nor count, and fetch it from their peers; status says \
            which they are, inspect which records. A torn tail is cut in silence, because nobody was promised it." }
    DISK_FAILED { code: "E3010", title: "the disk refused a write", exit: Failed,
        fix: ["look for the device in the kernel's log (dmesg), replace it, bring the node back as a new one"],
        explanation: "A write or a sync returned an error. What is on the disk after that is unknown and no \
            second try can tell, so the node stops at once and does not acknowledge anything that depended \
            on it. Its groups go on with the other nodes." }
    IDENTITY_DAMAGED { code: "E3011", title: "the data folder's identity is damaged", exit: Unhealthy,
        fix: ["restore the identity file from a backup of this very node, or bring the node back as a new one"],
        explanation: "The file that says which node of which cluster lives in the folder fails its checksum. \
            Without it the log cannot be attributed to anybody, and a guess could vote twice in one term." }
    FILE_UNREADABLE { code: "E3012", title: "the file or folder to inspect cannot be read", exit: Failed,
        fix: ["check the path, and that this user may read it"],
        explanation: "The path does not exist, this user may not read it, or the disk returned an error. A damaged \
            file that can be read is no such case: it is examined and told. Nothing was changed: inspect only reads." }
    NOT_SEALED { code: "E3013", title: "the file is no sealed segment", exit: Failed,
        fix: ["quorate inspect --data-dir <folder> reads the log's own files",
              "quorate inspect integrity <folder> finds the sealed files below a folder"],
        explanation: "A sealed file begins with QUORSEG or QUORRUN and ends with an envelope that says so again. This \
            one does neither: it is another file, or both its ends are gone." }
}
