//! E2xxx: this machine, its kernel, its limits and its processors.

use super::entries;

entries! {
    RING_MISSING { code: "E2101", title: "the kernel has no io_uring", exit: Environment,
        fix: ["use a Linux kernel of version 5.8 or later, built with CONFIG_IO_URING",
              "or run with --io threads, which needs no io_uring"],
        explanation: "io_uring_setup answered ENOSYS: the kernel is older than io_uring, was built without it, \
            or a sandbox that pretends to be a kernel does not offer it. The default driver (--io glommio) \
            submits all disk and network work through io_uring. The portable driver (--io threads) does the \
            same work with plain threads, more slowly, with the same guarantees and the same files." }
    RING_DISABLED_BY_SYSCTL { code: "E2102", title: "io_uring is disabled by a kernel setting", exit: Environment,
        fix: ["sudo sysctl kernel.io_uring_disabled=0",
              "or run with --io threads, which needs no io_uring"],
        explanation: "The setting kernel.io_uring_disabled is 2 (nobody may use io_uring) or 1 (only privileged \
            processes and the group in kernel.io_uring_group may). Some distributions ship it that way. To \
            keep a change over a restart, write it to a file in /etc/sysctl.d." }
    RING_TOO_OLD { code: "E2103", title: "the kernel's io_uring lacks operations", exit: Environment,
        fix: ["use a Linux kernel of version 5.8 or later",
              "or run with --io threads, which needs no io_uring"],
        explanation: "A ring could be set up, but the kernel does not know every operation that the log and the \
            sockets submit. Quorate asks the kernel for its operations and does not guess from the version \
            number, because vendors' kernels carry backports." }
    RING_BLOCKED_BY_SECCOMP { code: "E2104", title: "io_uring is blocked by seccomp", exit: Environment,
        fix: ["allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile",
              "or, without changing the container:  --io threads"],
        explanation: "io_uring_setup answered EPERM although kernel.io_uring_disabled is 0: a seccomp filter \
            rejects the call. The default profiles of Docker (since version 25), of containerd and of several \
            orchestrators do so. Give the container a profile that allows the three io_uring calls; giving it \
            no profile at all (seccomp=unconfined) opens more than is needed. The portable driver \
            (--io threads) works under the default profiles." }
    LOCKED_MEMORY { code: "E2105", title: "too little memory may be locked", exit: Environment,
        fix: ["in the systemd unit:  LimitMEMLOCK=infinity",
              "or in the shell, before the start:  ulimit -l unlimited"],
        explanation: "Each pinned core needs 512 KiB of lockable memory for its rings (RLIMIT_MEMLOCK), and the \
            log registers its write buffers with the kernel besides. Below the first limit the runtime \
            refuses to start; below the second the buffers stay unregistered and every write costs more. \
            Containers often set 64 KiB." }
    OPEN_FILES { code: "E2106", title: "too few files may be open", exit: Environment,
        fix: ["in the systemd unit:  LimitNOFILE=65536",
              "or in the shell, before the start:  ulimit -n 65536"],
        explanation: "Every connection and every log segment is an open file. At the limit (RLIMIT_NOFILE) new \
            connections are refused, and the log cannot open its next segment, so a node stops before it \
            gets there." }
    TOO_FEW_CORES { code: "E2107", title: "the machine has too few cores", exit: Environment,
        fix: ["ask for fewer cores with --cores, or give the process more (cgroup cpuset, taskset)"],
        explanation: "Quorate pins one thread to each core it was told to use, and two pinned threads on one \
            core would wait for each other. The number of cores is that which the process may run on, after \
            cpusets and affinity masks, and not what the machine has." }
    NO_UNNAMED_FILES { code: "E2108", title: "the folder for accounts cannot be used", exit: Environment,
        fix: ["give --accounts-dir a folder that exists, that this user may write to, and that has room",
              "and whose file system knows unnamed files and reserves their room: ext4, XFS or btrfs",
              "or leave --accounts-dir out: accounts then stay in memory"],
        explanation: "With --accounts-dir accounts lie in files without a name (O_TMPFILE) whose room is reserved when \
            they are made (fallocate) and that are mapped, so that the system keeps in memory what is in use. One was \
            tried, and could not be made, filled or mapped." }
}
